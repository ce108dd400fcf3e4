"""The node's list of keys: fetched at news, kept through starts, and good without the origin."""

import asyncio

import pytest

from edge_node.client_keys import REFRESH_S, NodeKeys
from edge_node.supervisor import Clock
from edge_node.trust import NodeTrust
from origin.errors import ApiKeyInvalidError, OriginUnreachableError
from registry.client_keys import added, new_key, revoked
from registry.errors import TrustRollbackError
from registry.trust.in_memory import signed_in_memory

NOW_S = 1_800_000_000.0


def made(number=1, **said):
    said = {"name": "shop", "now_unix_s": NOW_S} | said
    return new_key(id_bytes=bytes([number] * 6), secret_bytes=bytes([number] * 32), **said)


class Origin:
    """Gives the signed files of a store in memory, unless it is away."""

    def __init__(self):
        self.signed = signed_in_memory(now_unix_s=lambda: NOW_S)
        self.away = False
        self.replay = None
        self.reads_count = 0

    def change(self, change):
        self.signed.publisher.change_client_keys(change)

    async def trust_file(self, file, limit_bytes):
        del limit_bytes
        if self.away:
            raise OriginUnreachableError("the origin is away")
        self.reads_count += file == "timestamp.json"
        files = self.replay or self.signed.reader.read()[0].files
        return files.get(file)


class Site:
    """A node's list of keys and the clocks that it lives by."""

    def __init__(self, origin, data_dir, **said):
        self.now_unix_s = NOW_S
        self.sleeps = asyncio.Queue()
        clock = Clock(now_s=lambda: self.now_unix_s, sleep=self._sleep)
        data_dir.mkdir(exist_ok=True)
        (data_dir / "root.json").write_bytes(origin.signed.reader.pin)
        self.trust = NodeTrust(
            source=origin, data_dir=data_dir, trusted_root=None, takes_first_root=False, channel="stable",
            clock=clock, now_unix_s=lambda: self.now_unix_s,
        )  # fmt: skip
        said = {"max_age_s": 0.0} | said
        self.keys = NodeKeys(self.trust, data_dir, clock=clock, now_unix_s=lambda: self.now_unix_s, **said)

    async def _sleep(self, seconds):
        await self.sleeps.put(seconds)
        await asyncio.Event().wait()

    def prove(self, token):
        return self.keys.gate.prove(f"Bearer {token}", self.now_unix_s)


@pytest.fixture
def origin():
    return Origin()


@pytest.fixture
def site(origin, tmp_path):
    return Site(origin, tmp_path / "node")


async def test_a_list_is_fetched_verified_and_used(origin, site):
    token, key = made()
    origin.change(lambda keys: added(keys, key))
    await site.keys.look()
    assert site.prove(token).key == key
    status = site.keys.status()
    assert (status.checked, status.keys_count, status.age_s, status.problem) == (True, 1, 0.0, "")


async def test_the_origin_is_away_the_last_list_stands_and_its_age_shows(origin, site):
    token, key = made()
    origin.change(lambda keys: added(keys, key))
    await site.keys.look()
    origin.away = True
    site.now_unix_s += 3600 * 24 * 20  # past the date of every signature but the offline ones
    await site.keys.look()
    assert site.prove(token).key
    status = site.keys.status()
    assert (status.checked, status.age_s) == (True, 3600 * 24 * 20)
    assert "the origin is away" in status.problem


async def test_after_a_start_without_an_origin_too(origin, site, tmp_path):
    token, key = made()
    origin.change(lambda keys: added(keys, key))
    await site.keys.look()
    origin.away = True
    again = Site(origin, tmp_path / "node")
    assert not again.keys.status().checked
    again.keys.restore()
    assert again.prove(token).key == key


async def test_a_damaged_list_lets_nobody_in_until_it_is_read_again(origin, site, tmp_path):
    token, key = made()
    origin.change(lambda keys: added(keys, key))
    await site.keys.look()
    kept = tmp_path / "node" / "client-keys.json"
    kept.write_bytes(kept.read_bytes()[:-9])
    again = Site(origin, tmp_path / "node")
    again.keys.restore()
    assert not again.keys.status().checked
    await again.keys.look()
    assert again.prove(token)


async def test_a_policy_on_age_lets_nobody_in_when_it_is_passed(origin, tmp_path):
    site = Site(origin, tmp_path / "node", max_age_s=600.0)
    token, key = made()
    origin.change(lambda keys: added(keys, key))
    await site.keys.look()
    origin.away = True
    site.now_unix_s += 601
    assert not site.keys.status().checked
    assert "max_key_age_s" in site.keys.status().problem
    origin.away = False
    await site.keys.look()
    assert site.prove(token)


async def test_who_sets_the_list_back_is_refused(origin, site):
    token, key = made()
    origin.change(lambda keys: added(keys, key))
    before = dict(origin.signed.reader.read()[0].files)
    origin.change(lambda keys: revoked(keys, key.key_id, now_unix_s=NOW_S))
    await site.keys.look()
    origin.replay = before
    await site.keys.look()
    with pytest.raises(ApiKeyInvalidError, match="is revoked"):
        site.prove(token)
    assert "older than what was seen" in site.keys.status().problem
    with pytest.raises(TrustRollbackError):
        await site.trust.client_keys()


async def test_news_is_fetched_at_once_and_only_news(origin, site):
    (token, key), (_, other) = made(), made(2)
    origin.change(lambda keys: added(keys, other))
    task = asyncio.create_task(site.keys.keep_fresh())
    assert await asyncio.wait_for(site.sleeps.get(), 10) == REFRESH_S
    origin.change(lambda keys: added(keys, key))
    site.keys.heard("a" * 64)
    site.keys.heard("")
    assert await asyncio.wait_for(site.sleeps.get(), 10) == REFRESH_S
    assert site.prove(token)
    reads_count = origin.reads_count
    for _ in range(3):
        site.keys.heard("a" * 64)
        await asyncio.sleep(0)
    assert origin.reads_count == reads_count, "the same word again is no news"
    task.cancel()


async def test_a_failure_is_tried_again_soon(origin, site):
    origin.away = True
    task = asyncio.create_task(site.keys.keep_fresh())
    assert await asyncio.wait_for(site.sleeps.get(), 10) < REFRESH_S
    task.cancel()


async def test_nothing_was_signed_for_clients_yet(origin, site):
    origin.change(lambda keys: added(keys, made()[1]))
    origin.change(lambda _keys: {})
    await site.keys.look()
    assert site.keys.status().checked
    with pytest.raises(ApiKeyInvalidError):
        site.prove(made()[0])
