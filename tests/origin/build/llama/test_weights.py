"""Tensors in training: what the model computes with is what the file will say."""

import numpy as np
import pytest
import torch

from origin.build.gguf.blocks import BLOCK_TYPES, encode, from_bytes
from origin.build.llama.weights import CodedWeight, FixedWeight, PlainWeight, places

TYPES = sorted(set(BLOCK_TYPES) - {"Q8_0"})
CPU = torch.device("cpu")


def start(name, seed=0, rows=6, columns=96):
    values = np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)
    if name != "IQ4_NL":
        return encode(name, values), values
    halves = np.random.default_rng(seed + 1).uniform(0.005, 0.03, (rows, columns // 32)).astype(np.float16)
    codes = np.random.default_rng(seed + 2).integers(0, 16, (rows, columns), np.uint8)
    blocks = type(encode("Q4_0", values))(BLOCK_TYPES[name], halves, None, codes)
    return blocks, blocks.values() + np.float32(0.01) * values


def coded(name, seed=0, **rates):
    blocks, values = start(name, seed)
    settings = {"code_rate": 0.1, "scale_rate": 0.01} | rates
    return CodedWeight(blocks, values, **settings, kind=torch.float32, device=CPU), blocks


@pytest.mark.parametrize("name", TYPES)
def test_untrained_blocks_are_the_bytes_that_were_given(name):
    weight, blocks = coded(name)
    assert np.array_equal(weight.blocks().to_bytes(), blocks.to_bytes())


@pytest.mark.parametrize("name", TYPES)
def test_value_is_what_the_file_will_be_read_as_after_any_training(name):
    weight, _ = coded(name)
    rng = torch.Generator().manual_seed(1)
    for moved in weight.moved().values():
        moved.numbers.add_(8 * moved.rate * torch.randn(moved.numbers.shape, generator=rng))
    weight.settle()
    written = from_bytes(name, weight.blocks().to_bytes())
    assert np.array_equal(weight.value().numpy(), written.values())


@pytest.mark.parametrize("name", TYPES)
def test_gradients_of_scales_and_lows_are_those_of_autograd(name):
    weight, blocks = coded(name)
    value = weight.value().requires_grad_()
    by_value = torch.randn(value.shape, generator=torch.Generator().manual_seed(3))
    weight.give(value, by_value)
    rows, columns = value.shape
    steps = torch.from_numpy(blocks.kind.steps[blocks.codes]).view(rows, columns // 32, 32)
    growth = torch.zeros(rows, columns // 32, requires_grad=True)
    shift = torch.zeros(rows, columns // 32, requires_grad=True)
    scales = torch.from_numpy(blocks.scales.astype(np.float32))
    lows = (
        torch.zeros_like(scales) if blocks.lows is None else torch.from_numpy(blocks.lows.astype(np.float32))
    )
    again = steps * (scales * growth.exp())[..., None] + (lows + scales * shift)[..., None]
    (again * by_value.view(again.shape)).sum().backward()
    moved = weight.moved()
    assert torch.allclose(moved["scales"].numbers.grad, growth.grad.view(-1), atol=1e-4)
    assert ("lows" in moved) == blocks.kind.has_low
    if blocks.kind.has_low:
        assert torch.allclose(moved["lows"].numbers.grad, shift.grad.view(-1), atol=1e-4)


@pytest.mark.parametrize("name", TYPES)
def test_a_step_against_the_gradient_lowers_a_value(name):
    weight, blocks = coded(name)
    value = weight.value()
    weight.give(value, torch.ones(value.shape))
    grown = weight.moved()["places"]
    assert torch.equal(
        grown.numbers.grad.sign().view(len(blocks.codes), -1)[:, ::32],
        torch.from_numpy(np.sign(blocks.scales).astype(np.float32)),
    )
    with torch.no_grad():
        grown.numbers.sub_(grown.numbers.grad.sign())
    weight.settle()
    assert bool((weight.value() <= value).all())
    assert bool((weight.value() < value).any())


def test_codes_stay_within_those_that_there_are():
    weight, _ = coded("Q4_0")
    with torch.no_grad():
        weight.moved()["places"].numbers.add_(100)
    weight.settle()
    assert int(weight.blocks().codes.max()) == int(weight.blocks().codes.min()) == 15


def test_without_a_rate_codes_are_kept():
    weight, _ = coded("Q5_1", code_rate=0.0)
    assert set(weight.moved()) == {"scales", "lows"}


def test_places_keep_to_codes_that_were_chosen_otherwise():
    blocks, values = start("Q4_0")
    other = type(blocks)(blocks.kind, blocks.scales, None, np.minimum(blocks.codes + 1, 15))
    found = places(other, values)
    assert np.array_equal(np.round(found).astype(np.uint8), other.codes)
    assert np.abs(found - other.codes).max() <= np.float32(0.491)


def test_a_block_of_zeros_stays_one():
    blocks = encode("Q4_0", np.zeros((1, 32), np.float32))
    weight = CodedWeight(
        blocks, np.zeros((1, 32), np.float32), code_rate=0.1, scale_rate=0.1, kind=torch.float32, device=CPU
    )
    assert torch.equal(weight.value(), torch.zeros(1, 32))


def test_plain_numbers_move_in_parts_of_their_size():
    weight = PlainWeight(torch.full((4, 4), 2.0), 0.01, torch.bfloat16)
    assert weight.moved()["numbers"].rate == pytest.approx(0.02)
    assert weight.value().dtype == torch.bfloat16
    assert FixedWeight(torch.ones(2)).moved() == {}
