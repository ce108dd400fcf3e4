"""The divergence and its written-down gradient against torch's own."""

import pytest
import torch
from torch.nn import functional

from origin.build.llama.divergence import divergence


def parts(count, seed=0, width=24, vocabulary=50):
    rng = torch.Generator().manual_seed(seed)
    return [
        torch.randn(*size, generator=rng)
        for size in ((count, width), (vocabulary, width), (count, width), (vocabulary, width))
    ]


@pytest.mark.parametrize("count", [1, 127, 128, 300])
def test_mean_and_gradients_are_those_of_autograd(count):
    hidden, output, their_hidden, their_output = parts(count)
    found = divergence(hidden, output, their_hidden, their_output, output_trained=True)
    hidden.requires_grad_()
    output.requires_grad_()
    own = torch.log_softmax(hidden @ output.T, -1)
    theirs = torch.log_softmax(their_hidden @ their_output.T, -1)
    expected = functional.kl_div(own, theirs, log_target=True, reduction="sum") / count
    expected.backward()
    assert found.mean == pytest.approx(expected.item(), rel=1e-5)
    assert torch.allclose(found.by_hidden, hidden.grad, atol=1e-5)
    assert torch.allclose(found.by_output, output.grad, atol=1e-5)


def test_equal_models_are_not_apart():
    hidden, output, _, _ = parts(40)
    found = divergence(hidden, output, hidden, output, output_trained=False)
    assert found.mean == pytest.approx(0, abs=1e-6)
    assert float(found.by_hidden.abs().max()) < 1e-6
    assert found.by_output is None


def test_inputs_are_left_as_they_were():
    given = parts(10)
    before = [one.clone() for one in given]
    divergence(*given, output_trained=True)
    assert all(torch.equal(one, other) for one, other in zip(given, before, strict=True))
