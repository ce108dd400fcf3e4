"""When two results are the same, and when a model of any tensors is trusted."""

import numpy as np
import pytest

from edge_node.engines.onnx.invariance import LiveTrials, same_within_rounding

FLOATS = np.array([1.0, -200.0, np.inf, np.nan], np.float32)


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        (FLOATS, FLOATS.copy(), True),
        (FLOATS, FLOATS + np.float32(1e-3), True),
        (FLOATS, FLOATS + np.float32(1e-2), False),
        (FLOATS, np.nan_to_num(FLOATS), False),
        (FLOATS, FLOATS.astype(np.float64), False),
        (FLOATS[:0], FLOATS[:0], True),
        (FLOATS[:2], FLOATS[:1], False),
        (np.array([1, 2]), np.array([1, 2]), True),
        (np.array([1, 2]), np.array([1, 3]), False),
        (np.array(["a"], object), np.array(["b"], object), False),
    ],
)
def test_same(left, right, same):
    assert same_within_rounding(left, right) is same


def test_trust_takes_several_trials_and_ends_with_one_that_fails():
    trials, one = LiveTrials(), [np.ones(3)]
    for _ in range(4):
        assert not trials.trusted
        trials.note(one, [np.ones(3)])
    assert trials.trusted
    trials.note(one, None)
    assert trials.refuted
    assert not trials.trusted
