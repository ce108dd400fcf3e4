"""What is kept is bounded, and what is used stays."""

from hypothesis import given
from hypothesis import strategies as st

from origin.dns.kept import Kept


def test_what_is_used_stays_and_the_rest_goes():
    kept = Kept(10)
    kept.put("used", 1)
    for number in range(100):
        kept.put(number, number)
        assert kept.get("used") == 1
    assert kept.get(0) is None
    assert kept.get(99) == 99


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30))), st.integers(1, 8))
def test_never_more_than_two_generations_and_never_a_wrong_value(steps, count):
    kept, all_put = Kept(count), {}
    for number, (puts, key) in enumerate(steps):
        if puts:
            kept.put(key, number)
            all_put[key] = number
        else:
            assert kept.get(key) in {None, all_put.get(key)}
        assert len(kept) <= 2 * count
    kept.clear()
    assert len(kept) == 0
    assert all(kept.get(key) is None for key in all_put)
