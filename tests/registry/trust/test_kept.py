"""What was verified is kept in a directory for one reader at a time."""

from __future__ import annotations

import shutil
import threading

import pytest

from registry.errors import TrustMissingError
from registry.store.memory import MemoryStore
from registry.trust.kept import KeptInDirectory
from registry.trust.keys import ROOT_FILE
from registry.trust.reader import StoreReader


@pytest.fixture
def kept_of_a_kind(tmp_path):
    return KeptInDirectory(tmp_path, b"pin")


def test_turns_exclude_one_another(kept_of_a_kind):
    """Two readers in two threads: what one reads is not changed by the other in the middle."""
    inside, entered, order = threading.Event(), threading.Event(), []

    def second():
        entered.set()
        with kept_of_a_kind.turn() as files:
            order.append(("second", dict(files)))

    with kept_of_a_kind.turn() as files:
        thread = threading.Thread(target=second)
        thread.start()
        entered.wait(20)
        inside.wait(0.05)  # the second one has time to come in, if nothing keeps it out
        files["timestamp.json"] = b"{}"
        order.append(("first", {}))
    thread.join(20)
    assert [name for name, _ in order] == ["first", "second"]
    assert order[1][1] == {"timestamp.json": b"{}"}


def test_who_emptied_a_store_on_purpose_is_told_what_to_delete(world, tmp_path):
    world.publish()
    kept = KeptInDirectory(tmp_path, b"pin")

    def read(objects):
        return StoreReader(objects, world.keys.read(ROOT_FILE), kept, now_unix_s=lambda: world.now_s).read()

    assert read(world.objects)[0] is not None
    with pytest.raises(TrustMissingError, match=f"delete .* {kept.directory}$"):
        read(MemoryStore())
    shutil.rmtree(kept.directory)
    assert read(MemoryStore()) == (None, None)
