"""Blocks are those of ggml, bit for bit, and survive the way to bytes and back."""

from __future__ import annotations

import ctypes
from pathlib import Path

import gguf
import llama_cpp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from origin.build.gguf.blocks import BLOCK_TYPES, encode, from_bytes, nearest_codes
from origin.build.gguf.model_file import TYPE_IDS

EXACT = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"]


def by_ggml(name, values):
    library = ctypes.CDLL(str(Path(llama_cpp.__file__).parent / "lib" / "libggml-base.so"))
    library.ggml_quantize_chunk.argtypes = (
        [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p] + [ctypes.c_int64] * 3 + [ctypes.c_void_p]
    )
    rows, columns = values.shape
    out = np.zeros((rows, columns // 32 * BLOCK_TYPES[name].block_bytes), np.uint8)
    library.ggml_quantize_chunk(TYPE_IDS[name], values.ctypes.data, out.ctypes.data, 0, rows, columns, None)
    return out


def hard_values():
    rng = np.random.default_rng(3)
    values = rng.standard_normal((600, 128)) * rng.lognormal(0, 2, (600, 1))
    values[0] = 0
    values[1] = -0.0
    values[2] = 7.5
    values[3] = rng.integers(-127, 128, 128) * 0.5 + 0.25  # halves to round
    values[4:200] = np.round(values[4:200] * 8) / 8  # ties
    values[200] = 6e4
    values[201] = 1e-7
    return values.astype(np.float16).astype(np.float32)


@pytest.mark.parametrize("name", EXACT)
def test_encoding_is_ggmls(name):
    values = hard_values()
    assert np.array_equal(encode(name, values).to_bytes(), by_ggml(name, values))


@settings(max_examples=60)
@given(
    arrays(np.float32, (2, 32), elements=st.floats(-1000, 1000, width=16)),
    st.sampled_from(EXACT),
)
def test_encoding_is_ggmls_for_any_block(values, name):
    assert np.array_equal(encode(name, values).to_bytes(), by_ggml(name, values))


@pytest.mark.parametrize("name", list(BLOCK_TYPES))
def test_values_are_what_engines_read(name):
    content = by_ggml(name, hard_values())
    blocks = from_bytes(name, content)
    assert np.array_equal(blocks.to_bytes(), content)
    assert np.array_equal(blocks.values(), gguf.dequantize(content, gguf.GGMLQuantizationType[name]))


@pytest.mark.parametrize("name", list(BLOCK_TYPES))
def test_nearest_code_is_nearest(name):
    kind = BLOCK_TYPES[name]
    numbers = np.linspace(float(kind.steps[0]) - 3, float(kind.steps[-1]) + 3, 4001, dtype=np.float32)
    chosen = np.abs(kind.steps[nearest_codes(kind, numbers)] - numbers)
    best = np.abs(kind.steps[None] - numbers[:, None]).min(axis=1)
    assert np.allclose(chosen, best, atol=1e-4)
