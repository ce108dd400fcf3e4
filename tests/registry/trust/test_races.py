"""Publishers race for one model, one role and the timestamp: whatever the order of their calls, no change is lost."""

from __future__ import annotations

import random
import threading

import pytest

from registry.catalog import Catalog
from registry.digest import digest_of
from registry.errors import ReleaseConflictError, StoreUnavailableError
from registry.layout import trust_key
from registry.store.memory import MemoryStore
from registry.trust.statements import SignedRelease

NAMES = ("chat", "team/chat")


def said_of(data):
    """The statement of bytes that stand for a manifest here."""
    return SignedRelease(sha256=digest_of(data), length_bytes=len(data))


def publishing(*versions):
    """Publishes versions of `chat`, and points the channel of their first letter at each."""

    def job(catalog):
        for version in versions:
            catalog.add("chat", version, said_of(version.encode()), channel=f"c-{version[0]}")

    return job


def race(world, interleaving, seed, jobs):
    """Run each job with a catalog of its own on a thread of its own, one store call at a time."""
    taking_turns = interleaving(world.objects, random.Random(seed), len(jobs))
    failures = []

    def run(job):
        try:
            job(Catalog(world.store.over(taking_turns)))
        except Exception as error:  # noqa: BLE001  # whatever it is, the test shows it
            failures.append(error)
        finally:
            taking_turns.done()

    threads = [threading.Thread(target=run, args=(job,), name=f"p{n}") for n, job in enumerate(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.parametrize("block", range(10))
def test_two_publishers_of_one_model_lose_nothing_in_200_orders(make_world, interleaving, block):
    for seed in range(block * 20, block * 20 + 20):
        world = make_world()
        if seed % 3:
            world.publish(version="0")  # else they race to be the first ever

        race(world, interleaving, seed, [publishing("a1", "a2"), publishing("b1", "b2")])
        catalog = Catalog(world.store)
        wanted = {"a1", "a2", "b1", "b2"} | ({"0"} if seed % 3 else set())
        assert set(catalog.versions("chat")) == wanted, seed
        channels = catalog.channels("chat")
        assert (channels["c-a"], channels["c-b"]) == ("a2", "b2"), seed
        # Every reader can follow: what the timestamp names is there, signed and fits together.
        assert set(world.read(world.reader()).releases()) == {("chat", version) for version in wanted}, seed


@pytest.mark.parametrize("seed", range(20))
def test_publishers_of_two_namespaces_meet_at_the_timestamp_alone(make_world, interleaving, seed):
    world = make_world()
    world.publish(version="0")

    def publish(name):
        def job(catalog):
            for version in ("1", "2"):
                catalog.add(name, version, said_of(name.encode()), channel="stable")

        return job

    race(world, interleaving, seed, [publish(name) for name in NAMES])
    catalog = Catalog(world.store)
    assert [catalog.channels(name) for name in NAMES] == [{"stable": "2"}] * 2


@pytest.mark.parametrize("seed", range(20))
def test_a_version_that_two_publish_with_other_bytes_has_one_winner(make_world, interleaving, seed):
    world = make_world()
    outcomes = []

    def publish(data):
        def job(catalog):
            try:
                catalog.add("chat", "1", said_of(data), channel="stable")
            except ReleaseConflictError:
                outcomes.append("refused")
            else:
                outcomes.append(data)

        return job

    race(world, interleaving, seed, [publish(b"mine"), publish(b"yours")])
    assert sorted(map(str, outcomes))[1] == "refused"
    winner = next(outcome for outcome in outcomes if outcome != "refused")
    assert world.catalog.statement("chat", "1") == said_of(winner)


@pytest.mark.parametrize("seed", range(10))
def test_renewal_and_rotation_race_with_a_publish(make_world, interleaving, seed):
    world = make_world()
    world.publish(version="0")
    race(
        world,
        interleaving,
        seed,
        [
            lambda catalog: catalog.add("chat", "1", said_of(b"1"), channel="stable"),
            lambda catalog: catalog._store.publisher.renew(even_if_young=True),
            lambda catalog: catalog._store.publisher.delegate("team"),
        ],
    )
    assert world.catalog.channels("chat") == {"stable": "1"}
    world.publish("team/chat")
    assert world.read(world.reader()).channels()["team/chat"] == {"stable": ("1",)}


def test_a_publisher_that_dies_at_any_call_harms_nobody(make_world):
    """After each number of writes: readers read what was, and the next publish goes on."""

    class Dying(MemoryStore):
        lives = 0

        def _spend(self):
            if not self.lives:
                raise StoreUnavailableError("the publisher is dead")
            self.lives -= 1

        def put_if_absent(self, key, data):
            self._spend()
            return super().put_if_absent(key, data)

        def put_if_match(self, key, data, etag):
            self._spend()
            return super().put_if_match(key, data, etag)

    for first in (True, False):
        for lives in range(5 if first else 3):
            world = make_world()
            dying = Dying()
            world.objects = dying
            world.store = world.store.over(dying)
            world.catalog = Catalog(world.store)
            dying.lives = 1_000
            if not first:
                world.publish(version="0")
            dying.lives = lives
            with pytest.raises(StoreUnavailableError):
                world.publish(version="1")
            dying.lives = 1_000
            assert "1" not in Catalog(world.store).versions("chat")
            world.publish(version="2")
            assert Catalog(world.store).channels("chat") == {"stable": "2"}
            assert ("chat", "2") in world.read(world.reader()).releases()


def test_numbers_that_somebody_took_are_skipped(world):
    world.publish(version="1")
    for number in (2, 3, 5):
        world.objects.put_if_absent(trust_key(f"{number}.models.json"), b"junk")
    world.objects.put_if_absent(trust_key("2.snapshot.json"), b"junk")
    world.publish(version="2")
    verified = world.read(world.reader())
    assert verified.channels() == {"chat": {"stable": ("2", "1")}}
    assert verified.snapshot.version == 3
