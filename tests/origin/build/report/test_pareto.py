from hypothesis import given
from hypothesis import strategies as st

from origin.build.report.pareto import front

POINTS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=30)


def test_nobody_on_the_front_is_beaten_in_one_way_without_winning_in_the_other():
    points = [(100, 0.1), (90, 0.2), (95, 0.3), (120, 0.05), (120, 0.06)]
    assert front(points, less_x=True, less_y=True) == [1, 0, 3]


def test_directions_are_kept_apart():
    points = [(1.0, 0.1), (2.0, 0.2), (1.5, 0.3)]
    assert front(points, less_x=False, less_y=True) == [0, 1]
    assert front(points, less_x=False, less_y=False) == [2, 1]


@given(POINTS, st.booleans(), st.booleans())
def test_every_point_off_the_front_is_beaten_by_one_on_it(points, less_x, less_y):
    found = front(points, less_x=less_x, less_y=less_y)
    assert found

    def beats(one, other):
        x, y = (1 if less_x else -1), (1 if less_y else -1)
        return one != other and x * one[0] <= x * other[0] and y * one[1] <= y * other[1]

    for index, point in enumerate(points):
        beaten = any(beats(points[best], point) for best in found)
        assert beaten != (index in found)
