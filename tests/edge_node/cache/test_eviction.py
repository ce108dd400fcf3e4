from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_node.cache.eviction import BoundedStore

STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "get", "discard"]), st.integers(0, 12), st.integers(1, 60)),
    max_size=200,
)


def name(number):
    return number.to_bytes(2, "big")


@given(STEPS)
def test_it_holds_what_was_put_last_or_nothing_and_never_more_than_its_room(steps):
    store, model = BoundedStore(100), {}
    for number, (step, key, size_bytes) in enumerate(steps):
        if step == "put":
            kept = store.put(name(key), number, size_bytes)
            assert kept is (size_bytes <= 25)
            model[key] = (number, size_bytes) if kept else None
        elif step == "get":
            assert store.get(name(key)) in {None, (model.get(key) or (None,))[0]}
        else:
            store.discard(name(key))
            model[key] = None
        here = [entry for key, entry in model.items() if entry and store.get(name(key)) is not None]
        assert store.used_bytes == sum(size for _, size in here) <= 100
        assert len(store) == len(here)


def test_what_is_asked_for_again_outlasts_any_number_of_new_ones():
    store = BoundedStore(1000)
    store.put(b"asked", "often", 10)
    for number in range(10_000):
        store.put(name(number), number, 10)
        if number % 20 == 0:
            assert store.get(b"asked") == "often"
    assert store.used_bytes == 1000


def test_one_that_comes_back_soon_after_it_left_is_kept_longer():
    store = BoundedStore(1000)
    for number in range(200):
        store.put(name(number), number, 10)
    ghost = next(number for number in reversed(range(190)) if store.get(name(number)) is None)
    store.put(name(ghost), "back", 10)
    for number in range(1000, 1050):
        store.put(name(number), number, 10)
    assert store.get(name(ghost)) == "back"
    assert store.get(name(1000)) is None or len(store) <= 100
