"""How the numbers of a tensor lie in its bytes: the layouts that chunks can be split by, each with its number for ever.

The block layouts are ggml's (ggml-common.h, `block_q4_0` and its neighbours); little-endian throughout.
"""

from __future__ import annotations

from enum import IntEnum


class Form(IntEnum):
    """A block layout. The numbers are stored in chunks: they never change and are never used again."""

    PLAIN = 0
    BYTES = 1
    WORDS_2 = 2
    WORDS_4 = 3
    WORDS_8 = 4
    Q4_0 = 5
    Q4_1 = 6
    Q5_0 = 7
    Q5_1 = 8
    Q8_0 = 9
    Q2_K = 10
    Q3_K = 11
    Q4_K = 12
    Q5_K = 13
    Q6_K = 14
    MXFP4 = 15


BLOCK_BYTES = {
    Form.PLAIN: 1,
    Form.BYTES: 1,
    Form.WORDS_2: 2,
    Form.WORDS_4: 4,
    Form.WORDS_8: 8,
    Form.Q4_0: 18,
    Form.Q4_1: 20,
    Form.Q5_0: 22,
    Form.Q5_1: 24,
    Form.Q8_0: 34,
    Form.Q2_K: 84,
    Form.Q3_K: 110,
    Form.Q4_K: 144,
    Form.Q5_K: 176,
    Form.Q6_K: 210,
    Form.MXFP4: 17,
}
"""How many bytes one block takes."""

_BY_ELEMENT = {
    **{name: Form[name] for name in ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0")},
    **{name: Form[name] for name in ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "MXFP4")},
    "IQ4_NL": Form.Q4_0,  # the same fields
    **dict.fromkeys(("I8", "U8", "INT8", "UINT8", "F8_E4M3", "F8_E5M2"), Form.BYTES),
    **dict.fromkeys(("FLOAT8E4M3FN", "FLOAT8E5M2"), Form.BYTES),
    **dict.fromkeys(("F16", "BF16", "I16", "U16", "FLOAT16", "BFLOAT16", "INT16", "UINT16"), Form.WORDS_2),
    **dict.fromkeys(("F32", "I32", "U32", "FLOAT", "INT32", "UINT32"), Form.WORDS_4),
    **dict.fromkeys(("F64", "I64", "U64", "DOUBLE", "INT64", "UINT64"), Form.WORDS_8),
}


def form_of(element: str) -> Form:
    """The layout of an element type as GGUF, safetensors and ONNX name them; PLAIN for any other."""
    return _BY_ELEMENT.get(element, Form.PLAIN)
