"""Rows of tokens from texts."""

import random

import numpy as np
import pytest

from origin.build.llama.samples import fill_rows, read_rows
from origin.build.texts import TextSet
from origin.errors import RecipeInvalidError


def rows(texts, *, seed=3, rows_count=5, row_tokens=16):
    return fill_rows(
        lambda text: list(text.encode()),
        TextSet("train", tuple(texts), "0" * 64),
        rng=random.Random(seed),
        rows_count=rows_count,
        row_tokens=row_tokens,
    )


def test_a_seed_decides_and_another_decides_otherwise():
    texts = [f"text number {number} of the set" for number in range(40)]
    assert np.array_equal(rows(texts), rows(texts))
    assert not np.array_equal(rows(texts), rows(texts, seed=4))


def test_texts_come_in_another_order_each_time():
    texts = ["abcd", "efgh", "ijkl", "mnop", "qrst", "uvwx"]
    found = {bytes(row.astype(np.uint8)).decode() for row in rows(texts, rows_count=12, row_tokens=24)}
    assert {"".join(sorted(row)) for row in found} == {"".join(texts)}, "each row is one pass over all texts"
    assert len(found) > 6


def test_texts_come_again_when_they_end():
    found = rows(["abcdefghijklmnopqrst"], rows_count=7)
    assert found.shape == (7, 16)
    assert set(found.ravel()) <= set(b"abcdefghijklmnopqrst")


def test_too_little_text_is_refused():
    with pytest.raises(RecipeInvalidError, match="has 3 tokens, and one row of training takes 16"):
        rows(["abc"])


def test_texts_without_any_token_end():
    with pytest.raises(RecipeInvalidError, match="has 0 tokens"):
        fill_rows(lambda _: [], TextSet("t", ("a",), ""), rng=random.Random(1), rows_count=1, row_tokens=4)


def test_tokens_are_the_models(toy, texts):
    found = read_rows(toy.model_file, texts, seed=1, rows_count=3, row_tokens=32)
    assert found.shape == (3, 32)
    assert found.dtype == np.int64
    assert found.max() < 259 + 60
