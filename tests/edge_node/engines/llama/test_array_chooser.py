"""Draws from scores, against the probabilities that they stand for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.engines import Grammar, Sampling
from edge_node.engines.llama.array_chooser import draw, suits

SCORES = np.random.default_rng(5).normal(0, 3, 1000).astype(np.float32)


def shares(**sampling):
    """How often each token is drawn over evenly spaced chances."""
    chances = (np.arange(4000) + 0.5) / 4000
    tokens = [draw(SCORES, Sampling(**sampling), float(chance)) for chance in chances]
    return np.bincount(tokens, minlength=SCORES.size) / chances.size


def softmax(temperature):
    weights = np.exp(SCORES.astype(np.float64) / temperature)
    return weights / weights.sum()


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.0])
def test_tokens_are_drawn_as_often_as_their_probability(temperature):
    assert np.abs(shares(temperature=temperature) - softmax(temperature)).max() <= 1 / 4000


@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9, 0.999])
def test_top_p_keeps_the_fewest_tokens_that_suffice(top_p):
    expected = softmax(1.0)
    order = np.argsort(expected)[::-1]
    kept = order[: np.searchsorted(expected[order].cumsum(), top_p) + 1]
    expected[np.setdiff1d(order, kept)] = 0
    assert np.abs(shares(top_p=top_p) - expected / expected.sum()).max() <= 1 / 4000


def test_min_p_drops_what_is_improbable_beside_the_first():
    expected = softmax(1.0)
    expected[expected < 0.2 * expected.max()] = 0
    assert np.abs(shares(min_p=0.2) - expected / expected.sum()).max() <= 1 / 4000


@given(
    st.lists(st.floats(-1000, 1000, width=32), min_size=1, max_size=600),
    st.floats(0.01, 2),
    st.floats(0.001, 1),
    st.floats(0, 1),
    st.floats(0, 1, exclude_max=True),
)
def test_any_scores_give_a_token(scores, temperature, top_p, min_p, chance):
    sampling = Sampling(temperature=temperature, top_p=top_p, min_p=min_p)
    with np.errstate(over="ignore"):
        assert 0 <= draw(np.array(scores, np.float32), sampling, chance) < len(scores)


def test_what_needs_more_is_left_to_llama_cpp():
    assert suits(Sampling(temperature=0.0, logit_bias={1: 2.0}))
    assert suits(Sampling(top_p=0.9, min_p=0.1))
    for more in (
        {"top_k": 40},
        {"presence_penalty": 0.1},
        {"repeat_penalty": 1.1},
        {"grammar": Grammar(text="x")},
        {"logprobs_count": 0},
    ):
        assert not suits(Sampling(**more))
