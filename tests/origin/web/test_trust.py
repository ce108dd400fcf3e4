"""Signed metadata over a real socket: only what was verified, for caches and for a node's own reader."""

from __future__ import annotations

import time

import pytest

from origin.trust import TrustFiles
from registry.catalog import Catalog
from registry.digest import digest_of
from registry.errors import StoreUnavailableError, TrustEndlessError
from registry.layout import trust_key
from registry.trust.kept import KeptInMemory
from registry.trust.reader import RemoteReader, require_signed
from registry.trust.statements import statement_of


async def test_a_node_follows_what_the_origin_serves(origin, store, publish):
    data = publish(store, "team/chat", "1.0")
    await origin.releases.refresh()
    reader = RemoteReader(
        origin.client.trust_file, store.signed.reader.pin, KeptInMemory(), now_unix_s=time.time
    )
    verified = await reader.read(frozenset({"team/chat"}))
    require_signed(verified, "team/chat", "1.0", statement_of(data).sha256, channel="stable")
    store.signed.publisher.rotate("online")
    store.signed.publisher.rotate("root")
    await origin.releases.refresh()
    assert (await reader.read()).root.version == 3


async def test_numbered_files_are_immutable_and_the_timestamp_is_not_cached(origin, store, publish):
    publish(store, "chat", "1.0")
    await origin.releases.refresh()
    for file, cached in (("timestamp.json", "no-cache"), ("1.snapshot.json", "immutable")):
        async with origin.session.get(f"/v1/trust/{file}") as reply:
            data = await reply.read()
            assert data == store.get(trust_key(file)).data
            assert cached in reply.headers["Cache-Control"]
            assert reply.headers["ETag"] == f'"{digest_of(data)}"'
        async with origin.session.get(
            f"/v1/trust/{file}", headers={"If-None-Match": reply.headers["ETag"]}
        ) as reply:
            assert reply.status == 304


async def test_before_the_first_reading_it_is_503_and_nothing_else_is_ever_served(origin, store, publish):
    with pytest.raises(StoreUnavailableError):
        await origin.client.trust_file("timestamp.json", 1000)
    publish(store, "chat", "1.0")
    store.put_if_absent(trust_key("2.root.json.json"), b"never verified")
    await origin.releases.refresh()
    for file in ("2.root.json.json", "root.json", "9.models.json", "..%2Ftimestamp.json", "lock"):
        assert await origin.client.trust_file(file, 1000) is None


async def test_an_older_snapshot_is_still_there_for_whoever_is_in_the_middle_of_reading(
    origin, store, publish
):
    for version in ("1.0", "2.0"):
        publish(store, "chat", version)
        await origin.releases.refresh()
        assert await origin.client.trust_file("timestamp.json", 10_000)
    assert await origin.client.trust_file("1.snapshot.json", 10_000)
    assert await origin.client.trust_file("2.snapshot.json", 10_000)


async def test_an_answer_without_end_is_cut_off(origin, store, publish):
    publish(store, "chat", "1.0")
    await origin.releases.refresh()
    with pytest.raises(TrustEndlessError, match="more than the 10 bytes"):
        await origin.client.trust_file("timestamp.json", 10)


async def test_expired_metadata_are_told_and_routed_by(origin, store, publish):
    publish(store, "chat", "1.0")
    await origin.releases.refresh()
    async with origin.session.get("/readyz") as reply:
        expires_in_s = (await reply.json())["trust"]["expires_in_s"]
    assert 86_000 < expires_in_s["timestamp"] <= 86_400
    assert expires_in_s.keys() == {"root", "timestamp", "snapshot", "targets", "models"}
    store.signed.reader.now_unix_s = origin.trust._now_unix_s = lambda: time.time() + 100_000
    publish_later = Catalog(store.signed).channels("chat")
    assert publish_later == {"stable": "1.0"}
    await origin.releases.refresh()
    async with origin.session.get("/readyz") as reply:
        assert (reply.status, (await reply.json())["trust"]["expires_in_s"]["timestamp"] < 0) == (200, True)
    async with origin.session.get("/metrics") as reply:
        assert 'origin_trust_expires_seconds{role="timestamp"} -' in await reply.text()


async def test_an_origin_with_the_online_key_renews(store, publish, monkeypatch):
    publish(store, "chat", "1.0")
    monkeypatch.setattr("origin.trust._LOOK_S", 0.0)
    store.signed.reader.now_unix_s = lambda: time.time() + 50_000
    trust = TrustFiles(store.signed, renews=True, now_unix_s=time.time)
    await _run_until(trust, lambda: b'"version":2' in store.get(trust_key("timestamp.json")).data)
    assert trust.problem == ""
    store.away = True
    await _run_until(trust, lambda: "does not answer" in trust.problem)


async def _run_until(trust, condition):
    import asyncio

    task = asyncio.create_task(trust.keep_renewed())
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # nothing tells when a renewal is over
            await asyncio.sleep(0)
    task.cancel()
