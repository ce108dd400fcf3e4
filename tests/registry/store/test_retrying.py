import pytest

from registry.errors import ObjectMissingError, StoreError, StoreUnavailableError
from registry.store.memory import MemoryStore
from registry.store.retrying import RetryingStore


class Flaky(MemoryStore):
    """Fails the first calls of `get` and `list`."""

    def __init__(self, *errors):
        super().__init__()
        self.errors = list(errors)

    def get(self, key):
        if self.errors:
            raise self.errors.pop(0)
        return super().get(key)

    def list(self, prefix):
        found = super().list(prefix)
        yield next(found)
        if self.errors:
            raise self.errors.pop(0)
        yield from found


def _busy(retry_after_s=None):
    return StoreUnavailableError("busy", retry_after_s=retry_after_s)


def _retrying(store, **settings):
    pauses = []
    return RetryingStore(store, sleep=pauses.append, chance=lambda: 0.5, **settings), pauses


def test_what_may_succeed_later_is_tried_again_with_growing_pauses():
    flaky = Flaky(_busy(), _busy(), _busy())
    flaky.put_if_absent("k", b"v")
    store, pauses = _retrying(flaky, first_delay_s=1.0, delay_limit_s=3.0)
    assert store.get("k").data == b"v"
    assert pauses == [0.5, 1.0, 1.5]


def test_it_gives_up_in_the_end():
    store, pauses = _retrying(Flaky(*[_busy() for _ in range(9)]), tries_count=3)
    with pytest.raises(StoreUnavailableError):
        store.get("k")
    assert len(pauses) == 2


@pytest.mark.parametrize("error", [ObjectMissingError("gone"), StoreError("denied")])
def test_what_will_never_succeed_is_not_tried_again(error):
    store, pauses = _retrying(Flaky(error, _busy()))
    with pytest.raises(type(error)):
        store.get("k")
    assert pauses == []


def test_the_store_says_how_long_to_wait():
    flaky = Flaky(_busy(retry_after_s=7.0))
    flaky.put_if_absent("k", b"v")
    store, pauses = _retrying(flaky)
    store.get("k")
    assert pauses == [7.0]


def test_a_listing_that_breaks_off_starts_again_and_repeats_nothing():
    flaky = Flaky(_busy())
    for key in "abc":
        flaky.put_if_absent(key, b"")
    store, _ = _retrying(flaky)
    assert [info.key for info in store.list("")] == ["a", "b", "c"]
