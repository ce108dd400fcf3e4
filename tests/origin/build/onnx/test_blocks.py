from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from origin.build.onnx.blocks import Grid, packed, round_blocks, short

FOUR = Grid(bits=4, levels_bits=4, block_count=16)
FLOATS = st.floats(-1e6, 1e6, width=32)


def simply_rounded(weights, grid):
    """By the scale that just reaches the largest number, as is usual."""
    blocks = weights.reshape(len(weights), -1, grid.block_count)
    scales = np.abs(blocks).max(2, keepdims=True) / grid.most
    scales[scales == 0] = 1
    return (np.clip(np.rint(blocks / scales), grid.least, grid.most) * scales).reshape(weights.shape)


@settings(max_examples=60)
@given(arrays(np.float32, (3, 32), elements=FLOATS), st.sampled_from([(4, 4), (8, 8), (8, 6), (8, 5)]))
def test_codes_stay_on_the_grid_and_the_search_is_no_worse_than_the_usual_scale(weights, bits):
    grid = Grid(bits=bits[0], levels_bits=bits[1], block_count=16, short_scales=False)
    blocks = round_blocks(weights, grid)
    assert blocks.codes.min() >= grid.least
    assert blocks.codes.max() <= grid.most
    assert np.isfinite(blocks.values()).all()
    ours = np.square(weights - blocks.values(), dtype=np.float64).sum()
    usual = np.square(weights - simply_rounded(weights, grid), dtype=np.float64).sum()
    rounding = 1e-12 * np.square(weights, dtype=np.float64).sum()  # of single precision
    assert ours <= usual * 1.02 + rounding + 1e-30


def test_zeros_and_one_large_number_round_to_themselves():
    weights = np.zeros((2, 32), np.float32)
    weights[1, 5] = -3.0
    assert np.allclose(round_blocks(weights, FOUR).values(), weights, rtol=2**-8)


def test_a_column_that_matters_is_rounded_better():
    weights = np.random.default_rng(3).normal(size=(64, 32)).astype(np.float32)
    importance = np.ones(32, np.float32)
    importance[7] = 1e4
    plain = np.abs(weights - round_blocks(weights, FOUR).values())[:, 7].mean()
    weighed = np.abs(weights - round_blocks(weights, FOUR, importance).values())[:, 7].mean()
    assert weighed < plain / 2


def test_scales_are_bfloat16_numbers():
    weights = np.random.default_rng(3).normal(size=(8, 32)).astype(np.float32)
    scales = round_blocks(weights, FOUR).scales
    assert not (np.ascontiguousarray(scales).view(np.uint32) & 0xFFFF).any()


@given(st.floats(-(2.0**100), 2.0**100, width=32))
def test_short_numbers_are_the_nearest(value):
    expected = torch.tensor(value, dtype=torch.float32).to(torch.bfloat16).float().item()
    assert short(np.asarray([value], np.float32))[0] == expected


@pytest.mark.parametrize("bits", [4, 8])
def test_codes_are_packed_low_first_with_zero_in_the_middle(bits):
    grid = Grid(bits=bits, levels_bits=bits, block_count=16)
    codes = np.asarray([[grid.least, 0, grid.most, -1]], np.int8)
    expected = [[0x80, 0x7F]] if bits == 4 else [[0, 128, 255, 127]]
    assert packed(codes, grid).tolist() == expected
