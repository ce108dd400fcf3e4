"""Signing against a real S3 server: publishers race for the timestamp with nothing between them but its conditions."""

from __future__ import annotations

import threading

import pytest

from registry.catalog import Catalog
from registry.digest import digest_of
from registry.store.retrying import RetryingStore
from registry.store.s3 import open_s3
from registry.trust.in_memory import signed_in_memory
from registry.trust.statements import SignedRelease

pytestmark = pytest.mark.system


def test_two_publishers_lose_nothing(s3_store_config):
    store = signed_in_memory(RetryingStore(open_s3(s3_store_config)))
    failures = []

    def publish(letter):
        # A publisher of its own, as in another process: only the keys and the bucket are shared.
        catalog = Catalog(signed_in_memory(RetryingStore(open_s3(s3_store_config)), keys=store._keys))
        try:
            for number in range(6):
                version = f"{letter}{number}"
                said = SignedRelease(sha256=digest_of(version.encode()), length_bytes=2)
                catalog.add("chat", version, said, channel=letter)
        except Exception as error:  # noqa: BLE001  # whatever it is, the test shows it
            failures.append(error)

    threads = [threading.Thread(target=publish, args=(letter,)) for letter in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    catalog = Catalog(store)
    assert set(catalog.versions("chat")) == {f"{letter}{number}" for letter in "ab" for number in range(6)}
    assert catalog.channels("chat") == {"a": "a5", "b": "b5"}
    assert catalog.roll_back("chat", "a") == "a4"
    assert catalog.yank("chat", "a4")
    assert store.publisher.renew(even_if_young=True)
    store.publisher.rotate("online")
    assert Catalog(store).channels("chat") == {"a": "a5", "b": "b5"}
