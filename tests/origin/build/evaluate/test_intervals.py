import math

import numpy as np
import pytest

from origin.build.evaluate.figures import Figure
from origin.build.evaluate.intervals import exact, mean_of, median_of, percentile_of, resampled

GROUPS = [slice(start, start + 10) for start in range(0, 200, 10)]


def test_the_interval_of_a_mean_is_about_two_standard_errors_each_way():
    values = np.random.default_rng(5).normal(3.0, 1.0, 4000)
    groups = [slice(index, index + 1) for index in range(4000)]
    figure = mean_of(values, groups, 7)
    error = values.std() / math.sqrt(4000)
    assert figure.value == pytest.approx(values.mean())
    assert figure.value - figure.low == pytest.approx(1.96 * error, rel=0.15)
    assert figure.high - figure.value == pytest.approx(1.96 * error, rel=0.15)


def test_tokens_of_one_chunk_hang_together_and_make_the_interval_wider():
    values = np.repeat(np.random.default_rng(5).normal(0.0, 1.0, 20), 10)
    alone = mean_of(values, [slice(index, index + 1) for index in range(200)], 7)
    together = mean_of(values, GROUPS, 7)
    assert together.value == pytest.approx(alone.value)
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(5).normal(size=200)
    assert mean_of(values, GROUPS, 7) == mean_of(values, GROUPS, 7)
    assert mean_of(values, GROUPS, 7) != mean_of(values, GROUPS, 8)


def test_one_value_that_is_no_number_leaves_no_figure():
    values = np.ones(200)
    values[17] = math.nan
    assert mean_of(values, GROUPS, 7) == Figure(value=None, low=None, high=None)
    assert percentile_of(values, GROUPS, 7, 99).value is None


def test_a_skewed_figure_lies_in_its_own_interval():
    values = np.zeros(200)
    values[-1] = 100.0
    figure = percentile_of(values, GROUPS, 7, 99.9)
    assert figure.low <= figure.value <= figure.high


def test_a_percentile_is_of_all_values():
    assert percentile_of(np.arange(200.0), GROUPS, 7, 99).value == pytest.approx(197.01)


def test_infinite_resamples_do_not_break_a_finite_figure():
    figure = resampled(4, 7, lambda drawn: 1.0 if len(set(drawn)) == 4 else math.inf)
    assert figure.value == 1.0


def test_a_count_has_no_width():
    assert exact(5) == Figure(value=5.0, low=5.0, high=5.0)
    assert exact(math.inf).value is None


def test_a_median_shrugs_off_one_round_that_was_disturbed():
    assert median_of([1.0, 1.1, 1.2, 1.1, 9.0], 7).value == 1.1
