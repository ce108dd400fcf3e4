import numpy as np
import pytest

from origin.build.evaluate.encoder_scores import (
    cosines,
    kept_neighbours,
    probed,
    reciprocal_ranks,
    similarity_of,
    unit,
)


def vectors_of(seed, count=200, width=16):
    return unit(np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32))


def test_unit_vectors_are_one_long_and_zeros_stay():
    found = unit(np.array([[3, 4], [0, 0]], np.float32))
    np.testing.assert_allclose(found, [[0.6, 0.8], [0, 0]])


def test_a_turned_space_keeps_all_neighbours_and_no_cosine():
    vectors = vectors_of(1)
    turn, _ = np.linalg.qr(np.random.default_rng(2).standard_normal((16, 16)))
    assert kept_neighbours(vectors @ turn, vectors).mean() > 0.999
    assert abs(cosines(vectors @ turn, vectors).mean()) < 0.9
    np.testing.assert_allclose(cosines(vectors, vectors), 1.0)


def test_of_unrelated_vectors_few_neighbours_are_kept():
    assert kept_neighbours(vectors_of(1), vectors_of(2)).mean() == pytest.approx(10 / 199, abs=0.03)


def test_fewer_texts_than_neighbours_do_no_harm():
    assert kept_neighbours(vectors_of(1, count=5), vectors_of(1, count=5)).tolist() == [1.0] * 5


def test_similarity_is_pearsons_correlation_of_all_pairs():
    vectors = vectors_of(1, count=12)
    near = (vectors @ vectors.T)[np.triu_indices(12, 1)]
    people = near + np.random.default_rng(3).normal(0, 0.1, len(near))
    found = similarity_of(vectors, people)(np.arange(12))
    assert found == pytest.approx(np.corrcoef(near, people)[0, 1])


def test_a_text_drawn_twice_is_no_pair_with_itself():
    vectors = vectors_of(1, count=6)
    near = (vectors @ vectors.T)[np.triu_indices(6, 1)]
    assert similarity_of(vectors, near)(np.array([0, 0, 1, 2, 3, 3])) == pytest.approx(1.0)


def test_a_probe_finds_what_a_plane_parts_and_nothing_where_nothing_is():
    vectors = vectors_of(1, count=600)
    parted = (vectors[:, 3] > 0).astype(int)
    assert probed(vectors, parted, 400).mean() > 0.9
    chance = np.random.default_rng(4).integers(0, 2, 600)
    assert probed(vectors, chance, 400).mean() == pytest.approx(0.5, abs=0.12)


def test_a_probe_of_three_classes_with_labels_of_any_number():
    vectors = vectors_of(1, count=900)
    labels = np.array([10, 20, 70])[np.argmax(vectors[:, :3], axis=1)]
    assert probed(vectors, labels, 600).mean() > 0.85


def test_ranks_are_over_all_partners():
    texts = np.eye(4)
    assert reciprocal_ranks(np.vstack([texts, texts])).tolist() == [1.0] * 4
    turned = np.vstack([texts, texts[[1, 0, 2, 3]]])
    # The right one is as near as the others that are not nearest: it is ranked last of them.
    assert reciprocal_ranks(turned).tolist() == [0.25, 0.25, 1.0, 1.0]
