"""Every type of tensor that the registry knows is read as gguf reads it, or refused by its name."""

from __future__ import annotations

import random

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType
from gguf.quants import dequantize

from origin.build.gguf.model_file import ModelFile
from origin.build.gguf.writing import NewTensor, new_field, write_model
from registry.errors import FormatInvalidError
from registry.formats.ggml_tables import GGML_TYPES

ROWS_COUNT, BLOCKS_COUNT = 3, 2
PLAIN = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}


def content_of(known):
    """Rows of blocks of the type whose scales are all numbers: no byte of them has the exponent of infinity."""
    rng = random.Random(known.name)
    shape = (ROWS_COUNT, BLOCKS_COUNT * known.block_bytes)
    return np.array([rng.randrange(0x3C) for _ in range(shape[0] * shape[1])], np.uint8).reshape(shape)


def numbers_of(known, content):
    """What gguf makes of them; None where it cannot read the type."""
    if known.name in PLAIN:
        return content.view(PLAIN[known.name]).astype(np.float32)
    kind = GGMLQuantizationType.__members__.get(known.name)
    # gguf registers a class for each type that it can read, and has no public way to ask for them.
    return dequantize(content, kind) if kind in gguf.quants._type_traits else None


@pytest.mark.parametrize("known", GGML_TYPES.values(), ids=lambda known: known.name)
def test_a_type_is_read_exactly_if_gguf_reads_it(known, tmp_path):
    content = content_of(known)
    dimensions = (BLOCKS_COUNT * known.block_elements, ROWS_COUNT)
    tensor = NewTensor("blk.0.ffn_up.weight", dimensions, known.name, lambda: content)
    write_model(tmp_path / "m.gguf", [new_field("general.architecture", "llama")], [tensor])
    model = ModelFile(tmp_path / "m.gguf")
    expected = numbers_of(known, content)
    if expected is None:
        with pytest.raises(
            FormatInvalidError, match=rf"m\.gguf: .* blk\.0\.ffn_up\.weight of type {known.name}$"
        ):
            model.values(tensor.name)
        return
    values = model.values(tensor.name)
    assert (values.shape, values.dtype) == ((ROWS_COUNT, dimensions[0]), np.float32)
    assert np.isfinite(values).all()
    assert np.array_equal(values, expected)


def test_the_types_that_models_are_shipped_in_are_read_and_some_are_not():
    read = {it.name for it in GGML_TYPES.values() if numbers_of(it, content_of(it)) is not None}
    assert {"F32", "F16", "BF16", "Q4_0", "Q8_0", "Q4_K", "Q6_K", "IQ4_NL", "MXFP4"} <= read
    assert {"Q8_K", "I32"}.isdisjoint(read), "the test above would try no refusal"
