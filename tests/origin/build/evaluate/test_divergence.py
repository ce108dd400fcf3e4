import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from origin.build.evaluate.divergence import candidate_rows, reference_rows
from origin.build.probabilities import log_probabilities


def kept_of(logits, following):
    kept = np.empty(logits.shape, np.float16)
    return kept, reference_rows(logits, following, kept)


def logits_of(seed, rows=130, tokens=97, scale=4.0):
    return (np.random.default_rng(seed).standard_normal((rows, tokens)) * scale).astype(np.float32)


FOLLOWING = np.arange(130) % 97


def test_probabilities_add_up_however_large_logits_are():
    found = np.exp(log_probabilities(np.array([[1e4, 1e4, -1e4], [0, 0, 0]], np.float32)))
    np.testing.assert_allclose(found, [[0.5, 0.5, 0], [1 / 3, 1 / 3, 1 / 3]], rtol=1e-6)


def test_a_model_diverges_from_itself_by_less_than_two_millionths():
    logits = logits_of(1)
    kept, _ = kept_of(logits, FOLLOWING)
    assert np.abs(candidate_rows(logits, FOLLOWING, kept).kl).max() < 2e-6


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_divergence_is_the_sum_that_its_definition_says(one, other):
    reference, candidate = logits_of(one).astype(np.float64), logits_of(other).astype(np.float64)
    log_p = reference - np.log(np.exp(reference).sum(axis=1, keepdims=True))
    log_q = candidate - np.log(np.exp(candidate).sum(axis=1, keepdims=True))
    kept, _ = kept_of(reference.astype(np.float32), FOLLOWING)
    found = candidate_rows(candidate.astype(np.float32), FOLLOWING, kept)
    np.testing.assert_allclose(found.kl, (np.exp(log_p) * (log_p - log_q)).sum(axis=1), atol=5e-3, rtol=2e-3)
    np.testing.assert_allclose(found.nll, -log_q[np.arange(130), FOLLOWING], rtol=1e-5, atol=1e-5)
    assert (found.top == candidate.argmax(axis=1)).all()


def test_what_is_not_a_number_stays_none():
    logits = logits_of(1)
    kept, _ = kept_of(logits, FOLLOWING)
    broken = logits.copy()
    broken[70, 3] = np.nan
    found = candidate_rows(broken, FOLLOWING, kept)
    assert np.isnan(found.kl[70])
    assert np.isnan(found.nll[70])
    assert np.isfinite(np.delete(found.kl, 70)).all()


def test_a_token_thought_impossible_costs_infinitely_much():
    logits = np.zeros((1, 4), np.float32)
    kept, _ = kept_of(logits, np.array([0]))
    found = candidate_rows(np.array([[0, 0, 0, -np.inf]], np.float32), np.array([3]), kept)
    assert np.isinf(found.kl[0])
    assert np.isinf(found.nll[0])


def test_without_a_reference_there_is_no_divergence():
    found = candidate_rows(logits_of(1), FOLLOWING, None)
    assert np.isnan(found.kl).all()
    assert found.nll == pytest.approx(kept_of(logits_of(1), FOLLOWING)[1].nll)
