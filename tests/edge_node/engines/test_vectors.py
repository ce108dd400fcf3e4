"""Batches, padding and pooling."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_node.engines.vectors import pad, plan_batches, pool


@given(st.lists(st.integers(1, 600), max_size=60))
def test_every_text_is_in_one_batch_within_the_limits(lengths):
    batches = plan_batches(lengths, rows_count=8, batch_tokens=512)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[index] for index in batch)
        assert len(batch) <= 8
        assert len(batch) == 1 or longest * len(batch) <= 512


def test_short_texts_share_a_batch():
    assert plan_batches([3, 9, 5], rows_count=32, batch_tokens=4096) == [[1, 2, 0]]


def test_padding_does_not_count_in_the_mean():
    ids, mask = pad([[7, 8], [9]])
    assert ids.tolist() == [[7, 8], [9, 0]]
    assert mask.tolist() == [[1, 1], [1, 0]]
    output = np.array([[[3.0, 0.0], [3.0, 8.0]], [[0.0, 2.0], [99.0, 99.0]]], np.float16)
    assert np.allclose(pool(output, mask, "mean"), [[0.6, 0.8], [0.0, 1.0]])
    assert np.allclose(pool(output, mask, "first"), [[1.0, 0.0], [0.0, 1.0]])


def test_a_model_that_pools_itself_is_only_normalised():
    vectors = pool(np.array([[3.0, 4.0], [0.0, 0.0]], np.float32), np.ones((2, 1), np.int64), "mean")
    assert np.allclose(vectors, [[0.6, 0.8], [0.0, 0.0]])
    assert vectors.dtype == np.float32
