"""Collections, publishers, withdrawals and pulls: their calls of the store are interleaved by chance, each in a thread.

Whoever runs waits before every call of the store until the schedule says that it is its turn; the clock may jump at
every turn, beyond the grace period too. Whatever the schedule: a release that was acknowledged can be fetched whole.
"""

import asyncio
import random
import threading
import time

import pytest

from registry.catalog import Catalog
from registry.errors import EdgewardError, ReleaseConflictError, StoreError
from registry.fetch import StoreSource, fetch
from registry.layout import CONDEMNED
from registry.publish import publish
from registry.store.memory import MemoryStore
from registry.sweep import sweep
from registry.trust import ceremony
from registry.trust.in_memory import signed_in_memory
from registry.trust.keys import KeysInMemory

GRACE_S = 100.0
JUMPS_S = (0.0, 0.0, 0.0, 0.5, 5.0, 60.0, 150.0)
# A mark counts as forgotten after an hour, a manifest as abandoned after a day: nobody is delayed for so long.
CLOCK_LIMIT_S = 3000.0


class Schedule:
    """One thread at a time goes on, chosen by chance."""

    def __init__(self, seed):
        self.chance = random.Random(seed)
        self.clock_s = 1_000_000.0
        self.guard = threading.Condition()
        self.waiting = {}
        self.running = set()
        self.names = threading.local()
        self.trace = []

    def turn(self, name, what):
        ticket = object()
        with self.guard:
            self.waiting[ticket] = name
            self.running.discard(name)
            self.guard.notify_all()
            while ticket in self.waiting:
                self.guard.wait()
            self.trace.append(f"{self.clock_s - 1_000_000:.0f} {name} {what}")

    def start(self, name, work):
        def run():
            self.names.name = name
            try:
                work()
            finally:
                with self.guard:
                    self.running.discard(name)
                    self.guard.notify_all()

        self.running.add(name)
        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        return thread

    def drive(self, threads):
        while True:
            with self.guard:
                while self.running:
                    assert self.guard.wait(20), f"{self.running} neither waits nor ends"
                if not self.waiting:
                    break
                tickets = sorted(self.waiting, key=lambda ticket: self.waiting[ticket])
                ticket = self.chance.choice(tickets)
                if self.clock_s < 1_000_000.0 + CLOCK_LIMIT_S:
                    self.clock_s += self.chance.choice(JUMPS_S)
                self.running.add(self.waiting.pop(ticket))
                self.guard.notify_all()
        for thread in threads:
            thread.join(20)


class InTurn:
    """A store each of whose calls waits for its turn."""

    def __init__(self, store, schedule, name):
        self._store, self._schedule, self._name = store, schedule, name

    def __getattr__(self, verb):
        def call(*args):
            self._schedule.turn(self._name, f"{verb} {args[0]}")
            result = getattr(self._store, verb)(*args)
            return iter(tuple(result)) if verb == "list" else result

        return call


class World:
    def __init__(self, seed, directory, monkeypatch):
        self.schedule = Schedule(seed)
        self.keys = KeysInMemory()
        ceremony.begin(self.keys, now_unix_s=time.time(), namespaces=())
        self.store = signed_in_memory(MemoryStore(now_unix_s=lambda: self.schedule.clock_s), keys=self.keys)
        self.directory = directory
        self.acknowledged = {}
        self.withdrawn = set()
        self.problems = []
        monkeypatch.setattr("registry.publish.confirm.time", self)

    # what `settle` takes for the module `time`

    def monotonic(self):
        return self.schedule.clock_s

    def sleep(self, pause_s):
        self.schedule.turn(self.schedule.names.name, "sleep")
        self.schedule.clock_s += pause_s

    # who takes part

    def view(self, name):
        return signed_in_memory(InTurn(self.store, self.schedule, name), keys=self.keys)

    def files(self, version, parts):
        place = self.directory / f"source-{version}"
        place.mkdir()
        for part in parts:
            (place / part).write_bytes(part.encode() * 50)
        return place

    def publisher(self, who, version, parts):
        place = self.files(f"{who}-{version}", parts)

        def work():
            try:
                publish(
                    place, name="chat", version=version, store=self.view(who), created_unix_s=5,
                    channel=None,
                )  # fmt: skip
            except StoreError as error:
                if "garbage collection" not in error.message:
                    self.problems.append(error)
            except EdgewardError as error:
                self.problems.append(error)
            else:
                self.acknowledged[version] = parts

        return work

    def collector(self, who, rounds_count):
        def work():
            try:
                for _ in range(rounds_count):
                    sweep(self.view(who), grace_s=GRACE_S, now_s=self.monotonic)
            except EdgewardError as error:
                self.problems.append(error)

        return work

    def withdrawer(self, version):
        def work():
            self.withdrawn.add(version)
            Catalog(self.view("withdrawer")).yank("chat", version)

        return work

    def puller(self, version):
        def work():
            store = self.view("puller")
            try:
                data, _ = Catalog(store).manifest("chat", version)
                asyncio.run(fetch(data, StoreSource(store), self.directory / "pulled", concurrency_count=1))
            except EdgewardError as error:
                self.problems.append(error)

        return work

    def run(self, **works):
        threads = [self.schedule.start(name, work) for name, work in works.items()]
        self.schedule.drive(threads)

    def check(self):
        for version, parts in self.acknowledged.items():
            if version in self.withdrawn:
                continue
            data, _ = Catalog(self.store).manifest("chat", version)
            target = self.directory / f"check-{version}"
            asyncio.run(fetch(data, StoreSource(self.store), target, concurrency_count=1))
            got = {path.name: path.read_bytes() for path in (target / "files").iterdir()}
            assert got == {part: part.encode() * 50 for part in parts}


def orphans(world, parts):
    """A publish that died before its manifest."""

    class Dies(MemoryStore):
        def put_if_absent(self, key, data):
            if not key.startswith("packs/"):
                raise StoreError("gone")
            return world.store.put_if_absent(key, data)

    with pytest.raises(StoreError, match="gone"):
        publish(
            world.files("orphan", parts), name="chat", version="x", created_unix_s=5, channel=None,
            store=signed_in_memory(Dies(), keys=world.keys),
        )  # fmt: skip


def play(seed, directory, monkeypatch):
    world = World(seed, directory, monkeypatch)
    chance = random.Random(seed)
    publish(
        world.files("old", ["a", "b", "c"]), name="chat", version="1", store=world.store, created_unix_s=1
    )
    world.acknowledged["1"] = ["a", "b", "c"]
    publish(
        world.files("older", ["p", "q"]), name="chat", version="0", store=world.store, created_unix_s=1, channel=None
    )  # fmt: skip
    world.acknowledged["0"] = ["p", "q"]
    orphans(world, ["m", "n"])
    world.schedule.clock_s += chance.choice([0.0, 50.0, 2 * GRACE_S])
    works = {
        "gc": world.collector("gc", 3),
        "one": world.publisher("one", "2", chance.choice([["m", "n"], ["a", "p", "q"], ["p", "q", "z"]])),
        "two": world.publisher("two", chance.choice(["2", "3"]), chance.choice([["m", "n"], ["p", "x"]])),
        "withdrawer": world.withdrawer("0"),
        "puller": world.puller("1"),
    }
    if seed % 2:
        works["gc-2"] = world.collector("gc-2", 2)
    world.run(**works)
    world.problems = [it for it in world.problems if not isinstance(it, ReleaseConflictError)]
    assert world.problems == [], "\n".join(world.schedule.trace)
    try:
        world.check()
    except EdgewardError as error:
        pytest.fail(f"seed {seed}: {error}\n" + "\n".join(world.schedule.trace))
    assert list(world.store.list(CONDEMNED)) == []
    return world


@pytest.mark.parametrize("seed", range(25))
def test_no_schedule_loses_an_acknowledged_release(seed, tmp_path, monkeypatch):
    play(seed, tmp_path, monkeypatch)


@pytest.mark.fault
@pytest.mark.parametrize("seed", range(1000, 1400))
def test_no_schedule_of_many_loses_an_acknowledged_release(seed, tmp_path, monkeypatch):
    play(seed, tmp_path, monkeypatch)


class _Meeting:
    """What `settle` takes for the module `time`: whoever waits for a mark says so, and goes on when it is gone."""

    def __init__(self):
        self.waits = threading.Event()
        self.collected = threading.Event()

    def monotonic(self):
        return 0.0

    def sleep(self, pause_s):
        self.waits.set()
        assert self.collected.wait(20), "the collection never ended"


class _Late(MemoryStore):
    """A store whose first removal of a pack is told of, and waits until the listener lets it go on."""

    def __init__(self, clock, before_removal):
        super().__init__(now_unix_s=clock)
        self.before_removal = before_removal

    def delete(self, key):
        if key.startswith("packs/") and self.before_removal is not None:
            tell, self.before_removal = self.before_removal, None
            tell()
        super().delete(key)


def test_a_publisher_that_finds_its_pack_condemned_waits_until_that_is_decided(tmp_path, monkeypatch):
    """The one schedule that needs the wait: the collection has looked for the last time, and has not removed yet.

    Everything else is in place then: the manifest is young, the pack is still there. Only who waits for the mark to go
    finds the pack gone afterwards, and stores it again.
    """
    meeting, acknowledged, threads = _Meeting(), [], []
    monkeypatch.setattr("registry.publish.confirm.time", meeting)
    clock_s = [1_000_000.0]

    def publish_this(version, parts, store):
        place = tmp_path / f"source-{version}"
        place.mkdir()
        for part in parts:
            (place / part).write_bytes(part.encode() * 50)
        publish(place, name="chat", version=version, store=store, created_unix_s=5, channel=None)

    def publisher():
        publish_this("2", ["m", "n"], signed_in_memory(objects, keys=keys))
        acknowledged.append("2")

    def publish_meanwhile():
        threads.append(threading.Thread(target=publisher, daemon=True))
        threads[0].start()
        while threads[0].is_alive() and not meeting.waits.wait(0.01):
            pass

    keys = KeysInMemory()
    ceremony.begin(keys, now_unix_s=time.time(), namespaces=())
    objects = _Late(lambda: clock_s[0], publish_meanwhile)
    store = signed_in_memory(objects, keys=keys)
    publish_this("1", ["a"], store)
    publish_this("0", ["m", "n"], store)
    Catalog(store).yank("chat", "0")
    clock_s[0] += 2 * GRACE_S
    sweep(store, grace_s=GRACE_S, now_s=meeting.monotonic)
    meeting.collected.set()
    threads[0].join(20)
    assert acknowledged == ["2"]
    assert meeting.waits.is_set()
    data, _ = Catalog(store).manifest("chat", "2")
    asyncio.run(fetch(data, StoreSource(store), tmp_path / "2", concurrency_count=1))
    assert (tmp_path / "2/files/m").read_bytes() == b"m" * 50
