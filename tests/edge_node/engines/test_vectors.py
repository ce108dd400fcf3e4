"""Padding, pooling, and what becomes of logits."""

import numpy as np
import pytest

from edge_node.engines.vectors import cut_vectors, logistic, mask_of, pad, pool, softmax


def test_padding_does_not_count_in_the_mean():
    ids, mask = pad([[7, 8], [9]]), mask_of([2, 1])
    assert pad([[7, 8], [9]], fill=5).tolist() == [[7, 8], [9, 5]]
    assert ids.tolist() == [[7, 8], [9, 0]]
    assert mask.tolist() == [[1, 1], [1, 0]]
    output = np.array([[[3.0, 0.0], [3.0, 8.0]], [[0.0, 2.0], [99.0, 99.0]]], np.float16)
    assert np.allclose(pool(output, mask, "mean"), [[0.6, 0.8], [0.0, 1.0]])
    assert np.allclose(pool(output, mask, "first"), [[1.0, 0.0], [0.0, 1.0]])


def test_a_model_that_pools_itself_is_only_normalised():
    vectors = pool(np.array([[3.0, 4.0], [0.0, 0.0]], np.float32), np.ones((2, 1), np.int64), "mean")
    assert np.allclose(vectors, [[0.6, 0.8], [0.0, 0.0]])
    assert vectors.dtype == np.float32


def test_a_shorter_vector_has_length_1_again():
    cut = cut_vectors(np.array([[0.6, 0.0, 0.8], [0.0, 0.0, 1.0]], np.float32), 2)
    assert np.allclose(cut, [[1.0, 0.0], [0.0, 0.0]])


@pytest.mark.filterwarnings("error")
def test_logits_of_any_size_become_probabilities():
    logits = np.array([[-1e30, 0.0, 1e30]], np.float32)
    assert np.allclose(logistic(logits), [[0.0, 0.5, 1.0]])
    assert np.allclose(softmax(logits), [[0.0, 0.0, 1.0]])
    assert np.allclose(softmax(np.log(np.array([[1.0, 3.0]], np.float32))), [[0.25, 0.75]])
