import pytest
from hypothesis import given
from hypothesis import strategies as st

from origin.build.report.scale import scale_of


@given(st.lists(st.floats(1e-6, 1e12), min_size=1, max_size=20))
def test_every_value_has_a_place_and_some_round_number_is_near(values):
    scale = scale_of(values, 50.0, 600.0)
    assert all(50 <= scale.place(value) < 600 for value in values)
    ticks = scale.ticks()
    assert 1 <= len(ticks) <= 60
    assert ticks == sorted(ticks)
    assert all(scale.low <= tick <= scale.high * (1 + 1e-9) for tick in ticks)


def test_numbers_of_very_different_sizes_get_a_logarithmic_axis():
    assert scale_of([0.004, 0.3], 0, 1).logarithmic
    assert not scale_of([0.1, 0.3], 0, 1).logarithmic
    assert not scale_of([0.0, 100.0], 0, 1).logarithmic


def test_what_is_next_to_nothing_does_not_squeeze_the_rest():
    scale = scale_of([3e-7, 0.005, 0.5], 0.0, 100.0)
    assert scale.place(3e-7) == 0.0
    assert 30 < scale.place(0.005) < 70
    assert len(scale.ticks()) <= 6


def test_an_axis_may_run_backwards_as_heights_do():
    scale = scale_of([0.0, 10.0], 300.0, 20.0)
    assert scale.place(0) > scale.place(10)


def test_what_is_outside_is_drawn_at_the_edge():
    assert scale_of([1.0, 2.0], 0.0, 100.0).place(50.0) == 100.0


@pytest.mark.parametrize("value", [0.0, 5.0, -3.0])
def test_one_value_alone_is_in_the_middle(value):
    assert scale_of([value], 0.0, 100.0).place(value) == pytest.approx(50.0)
