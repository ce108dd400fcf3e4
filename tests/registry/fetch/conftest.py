"""A release to fetch in small shares."""

from __future__ import annotations

import random

import pytest

from registry.catalog import Catalog
from registry.publish import publish


@pytest.fixture
def release(tmp_path, store):
    """A release of 3 files and 24 chunks; its manifest and its files."""
    files = {}
    for number in range(24):
        place = tmp_path / "source" / f"{number:02}.bin"
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(random.Random(number).randbytes(200_000 + number))
        files[place.name] = place.read_bytes()
    publish(tmp_path / "source", name="chat", version="1", store=store, created_unix_s=1)
    return Catalog(store).manifest("chat", "1")[0], files


@pytest.fixture
def small_shares(monkeypatch):
    monkeypatch.setattr("registry.fetch.turns.SHARE_BYTES", 400_000)
