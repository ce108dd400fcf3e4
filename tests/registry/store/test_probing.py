import pytest

from registry.errors import PreconditionFailedError, StoreError
from registry.store.memory import MemoryStore
from registry.store.probing import probe_conditional_writes


class Overwrites(MemoryStore):
    """Ignores If-None-Match, as old S3 clones do."""

    def put_if_absent(self, key, data):
        self.delete(key)
        return super().put_if_absent(key, data)


class IgnoresMatch(MemoryStore):
    """Ignores If-Match."""

    def put_if_match(self, key, data, etag):
        stored = self.head(key)
        return super().put_if_match(key, data, stored.etag if stored else None)


class LiesSoftly(MemoryStore):
    """Says that the key was taken, and overwrites nevertheless."""

    def put_if_absent(self, key, data):
        if super().put_if_absent(key, data):
            return True
        self.delete(key)
        super().put_if_absent(key, data)
        return False


@pytest.mark.parametrize(
    ("store", "header"),
    [(Overwrites(), "If-None-Match"), (IgnoresMatch(), "If-Match"), (LiesSoftly(), "If-None")],
)
def test_a_store_without_conditional_writes_is_refused(store, header):
    with pytest.raises(StoreError, match=f"ignores {header}") as refused:
        probe_conditional_writes(store)
    assert not isinstance(refused.value, PreconditionFailedError)
    assert list(store.list("")) == []


def test_the_probe_leaves_nothing():
    store = MemoryStore()
    probe_conditional_writes(store)
    assert list(store.list("")) == []


class LosesAnswers(MemoryStore):
    """Does everything, and then says what a repeated try hears."""

    def put_if_absent(self, key, data):
        super().put_if_absent(key, data)
        return False

    def put_if_match(self, key, data, etag):
        super().put_if_match(key, data, etag)
        raise PreconditionFailedError("the first try did it")


def test_a_lost_answer_is_not_taken_for_a_store_without_conditions():
    probe_conditional_writes(LosesAnswers())
