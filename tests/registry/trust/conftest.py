"""A publisher with keys, a node that reads over a wire, and an attacker who owns the wire."""

from __future__ import annotations

import asyncio
import threading

import pytest

from registry.catalog import Catalog
from registry.digest import digest_of
from registry.errors import StoreError
from registry.layout import trust_key
from registry.store.memory import MemoryStore
from registry.trust.in_memory import signed_in_memory
from registry.trust.kept import KeptInMemory
from registry.trust.keys import ROOT_FILE, KeysInMemory
from registry.trust.reader import RemoteReader
from registry.trust.statements import SignedRelease


def said_of(data):
    """The statement of bytes that stand for a manifest here."""
    return SignedRelease(sha256=digest_of(data), length_bytes=len(data))


class World:
    """What everybody uses: the store, the clock, the keys; `wire` are the attacker's own files by name."""

    def __init__(self, **first):
        self.now_s = 1_800_000_000.0
        self.objects = MemoryStore()
        self.store = signed_in_memory(self.objects, now_unix_s=lambda: self.now_s, **first)
        self.keys = self.store._keys
        self.catalog = Catalog(self.store)
        self.wire = {}
        self.asked = []

    def publish(self, name="chat", version="1", data=None):
        self.catalog.add(
            name, version, said_of(data or f"manifest of {name}@{version}".encode()), channel="stable"
        )

    def file(self, name):
        return self.objects.get(trust_key(name)).data

    def files(self):
        """A copy of all that is signed now, as an attacker may have kept it."""
        return {
            info.key.removeprefix("tuf/"): self.objects.get(info.key).data
            for info in self.objects.list("tuf/")
        }

    def put(self, name, data):
        """Write over what is in the bucket."""
        self.objects.delete(trust_key(name))
        self.objects.put_if_absent(trust_key(name), data)

    async def get(self, file, limit_bytes):
        self.asked.append(file)
        if file in self.wire:
            return self.wire[file]
        try:
            return self.file(file)
        except StoreError:
            return None

    def reader(self, kept=None):
        """A node's reader, with the root that was pinned first."""
        return RemoteReader(
            self.get,
            self.keys.read(ROOT_FILE),
            kept if kept is not None else KeptInMemory(),
            now_unix_s=lambda: self.now_s,
        )

    def read(self, reader, names=None):
        return asyncio.run(reader.read(None if names is None else frozenset(names)))


@pytest.fixture
def world():
    return World()


@pytest.fixture
def make_world():
    return World


@pytest.fixture
def make_keys():
    return KeysInMemory


class Interleaving:
    """A store whose callers take turns in an order that a seed decides: one call at a time, nobody beside it."""

    def __init__(self, inner, chance, callers_count):
        self._inner = inner
        self._chance = chance
        self._turn = threading.Condition()
        self._waiting = set()
        self._running = callers_count
        self._next = None

    def _step(self):
        """Called with the lock when all who run wait: draw whose turn is next."""
        if self._waiting and len(self._waiting) == self._running and self._next is None:
            self._next = self._chance.choice(sorted(self._waiting))
            self._turn.notify_all()

    def done(self):
        with self._turn:
            self._running -= 1
            self._step()

    def _call(self, name, *arguments):
        me = threading.current_thread().name
        with self._turn:
            self._waiting.add(me)
            self._step()
            while self._next != me:
                assert self._turn.wait(30), "nobody gives the turn on"
            self._waiting.discard(me)
            self._next = None
            return getattr(self._inner, name)(*arguments)

    def get(self, key):
        return self._call("get", key)

    def get_range(self, key, offset_bytes, length_bytes):
        return self._call("get_range", key, offset_bytes, length_bytes)

    def head(self, key):
        return self._call("head", key)

    def put_if_absent(self, key, data):
        return self._call("put_if_absent", key, data)

    def put_if_match(self, key, data, etag):
        return self._call("put_if_match", key, data, etag)

    def list(self, prefix):
        return iter(self._call("list", prefix))

    def delete(self, key):
        return self._call("delete", key)


@pytest.fixture
def interleaving():
    return Interleaving


@pytest.fixture
def said():
    return said_of
