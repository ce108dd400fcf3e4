"""Rounding with compensation loses less than rounding alone, for every type, and never more after a sweep."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from origin.build.gguf.activations import Activations, _attended
from origin.build.gguf.blocks import BLOCK_TYPES, encode
from origin.build.gguf.rounded_file import gram_of
from origin.build.gguf.rounding import compensated, loss
from origin.build.gguf.scale_search import searched


@pytest.fixture
def matrix():
    rng = np.random.default_rng(5)
    inputs = rng.standard_normal((800, 96)) @ rng.standard_normal((96, 96)) * rng.lognormal(0, 1, 96)
    values = rng.standard_normal((40, 96)).astype(np.float32)
    return values, (inputs.T @ inputs / 800).astype(np.float32)


@pytest.mark.parametrize("name", list(BLOCK_TYPES))
def test_compensation_beats_a_search(name, matrix):
    values, gram = matrix
    kind = BLOCK_TYPES[name]
    alone = loss(values, searched(kind, values, np.diag(gram)).values(), gram)
    together = loss(values, compensated(kind, values, gram).values(), gram)
    assert together < (0.7 if kind.bits < 8 else 0.9) * alone


@pytest.mark.parametrize("name", list(BLOCK_TYPES))
def test_sweeps_only_lessen_the_loss(name, matrix):
    values, gram = matrix
    losses = [
        loss(values, compensated(BLOCK_TYPES[name], values, gram, sweeps_count=n).values(), gram)
        for n in range(5)
    ]
    assert all(later <= earlier * 1.002 for earlier, later in itertools.pairwise(losses))


@pytest.mark.parametrize("name", ["Q4_0", "Q5_0", "Q5_1", "Q4_1"])
def test_search_beats_ggmls_choice_without_importance(name, matrix):
    values, gram = matrix
    importance = np.diag(gram)

    def cost(blocks):
        return float(((blocks.values() - values) ** 2 @ importance).sum())

    assert cost(searched(BLOCK_TYPES[name], values, importance)) < cost(encode(name, values))


@pytest.mark.parametrize("name", list(BLOCK_TYPES))
@pytest.mark.parametrize("values", [np.zeros((3, 64)), np.full((3, 64), 0.25), np.full((3, 64), 1e-30)])
def test_flat_rows_stay_finite(name, values):
    values = values.astype(np.float32)
    rounded = compensated(BLOCK_TYPES[name], values, np.eye(64, dtype=np.float32)).values()
    assert np.isfinite(rounded).all()
    assert np.abs(rounded - values).max() < 0.02


def test_columns_that_nothing_uses_do_no_harm(matrix):
    values, gram = matrix
    gram = gram.copy()
    gram[:, :32] = gram[:32] = 0
    rounded = compensated(BLOCK_TYPES["Q4_0"], values, gram).values()
    assert np.abs(rounded - values)[:, :32].max() < 1


def test_keys_and_values_are_weighed_as_attention_sees_them():
    given = np.arange(12, dtype=np.float32).reshape(4, 3)
    seen = _attended(given)
    gram = seen.T @ seen
    means = np.stack([given[: n + 1].mean(axis=0) for n in range(4)])
    assert np.allclose(gram, given.T @ given + means.T @ means + 4 * np.outer(given[0], given[0]))


def test_a_row_of_the_embedding_also_counts_where_it_is_looked_up():
    squares = np.diag(np.array([3, 1, 0, 0], np.float32))
    sums = Activations(tokens_count=1, grams={"normed": squares})
    sums.inputs = dict.fromkeys(("token_embd.weight", "output.weight"), "normed")
    assert np.array_equal(gram_of(sums, "output.weight", 4), squares)
    assert np.array_equal(gram_of(sums, "token_embd.weight", 4), squares + np.eye(4))
    assert np.array_equal(gram_of(sums, "blk.0.ffn_up.weight", 4), np.eye(4))
