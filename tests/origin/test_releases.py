"""The cached view of the catalog: what it takes from the store and what it keeps without it."""

import asyncio
import dataclasses

import pytest

from origin.api import NodeReport
from origin.releases import Releases
from registry.catalog import Catalog
from registry.errors import ReleaseUnknownError, StoreUnavailableError, TrustError
from registry.layout import manifest_key, trust_key
from registry.manifest import decode_manifest, encode_manifest
from registry.trust.statements import statement_of


@pytest.fixture
def releases(store):
    return Releases(store.signed, refresh_s=0.01, now_s=lambda: 0.0)


def wanted(releases, channel="stable", follows=("*",)):
    report = NodeReport(node_id="n", incarnation=1, url="http://n.example", channel=channel, follows=follows)
    return {w.name: w.version for w in releases.wanted(report)}


async def test_a_moved_channel_is_seen_at_the_next_look(releases, store, publish):
    publish(store, "chat", "1.0")
    await releases.refresh()
    assert wanted(releases) == {"chat": "1.0"}
    publish(store, "chat", "1.1")
    assert wanted(releases) == {"chat": "1.0"}
    await releases.refresh()
    assert wanted(releases) == {"chat": "1.1"}


@pytest.mark.parametrize(
    ("follows", "names"),
    [
        (("*",), {"chat", "team/chat", "embed"}),
        (("chat",), {"chat"}),
        (("team/*", "em?ed"), {"team/chat", "embed"}),
        ((), set()),
    ],
)
async def test_a_node_holds_what_its_patterns_match(releases, store, publish, follows, names):
    for name in ("chat", "team/chat", "embed"):
        publish(store, name, "1.0")
    await releases.refresh()
    assert set(wanted(releases, follows=follows)) == names


def replace_manifest(store, name, version, data):
    """What somebody with access to the bucket can do."""
    key = manifest_key(name, version, Catalog(store.signed).statement(name, version).sha256)
    store.delete(key)
    store.put_if_absent(key, data)


async def test_known_manifests_are_not_read_again(releases, store, publish):
    publish(store, "chat", "1.0")
    await releases.refresh()
    replace_manifest(store, "chat", "1.0", b"other bytes would be noticed")
    publish(store, "chat", "1.1", channel="")
    await releases.refresh()
    assert wanted(releases) == {"chat": "1.0"}


async def test_a_replaced_manifest_hides_only_itself(releases, store, publish):
    publish(store, "chat", "1.0")
    publish(store, "chat", "0.9", channel="")
    replace_manifest(store, "chat", "0.9", b"EAF1 and then nothing")
    await releases.refresh()
    assert [release.version for release in releases.known().releases] == ["1.0"]
    with pytest.raises(TrustError):
        await releases.manifest("chat", "0.9")


async def test_a_manifest_that_nobody_signed_is_not_there(releases, store, publish):
    data = publish(store, "chat", "1.0")
    store.put_if_absent(manifest_key("chat", "2.0", statement_of(data).sha256), data)
    await releases.refresh()
    assert [release.version for release in releases.known().releases] == ["1.0"]
    with pytest.raises(ReleaseUnknownError):
        await releases.manifest("chat", "2.0")


async def test_a_channel_that_points_at_a_broken_release_leaves_nodes_on_what_they_have(
    releases, store, publish
):
    publish(store, "chat", "1.0")
    await releases.refresh()
    publish(store, "chat", "1.1")
    replace_manifest(store, "chat", "1.1", b"EAF1 and then nothing")
    await releases.refresh()
    assert wanted(releases) == {"chat": "1.0"}


async def test_a_publisher_whose_word_is_tampered_with_stays_at_its_last_and_others_move_on(
    releases, store, publish
):
    publish(store, "team/chat", "1.0")
    await releases.refresh()
    store.signed.reader.kept.files.pop("models-team.json")
    key = trust_key("1.models-team.json")
    data = store.get(key).data
    store.delete(key)
    store.put_if_absent(key, data.replace(b"1.0", b"6.6"))
    publish(store, "embed", "1.0")
    store.signed.reader.kept.files.pop("models-team.json", None)
    await releases.refresh()
    assert wanted(releases) == {"embed": "1.0", "team/chat": "1.0"}


async def test_signed_metadata_that_are_tampered_with_are_told_and_the_last_view_stays(
    releases, store, publish
):
    publish(store, "chat", "1.0")
    await releases.refresh()
    key = trust_key("timestamp.json")
    data = store.get(key).data
    store.delete(key)
    store.put_if_absent(key, data.replace(b'"version":1', b'"version":7'))
    with pytest.raises(TrustError):
        await releases.refresh()
    assert wanted(releases) == {"chat": "1.0"}


async def test_a_manifest_that_was_replaced_is_read_anew_without_a_restart(releases, store, publish):
    old = publish(store, "chat", "1.0")
    await releases.refresh()
    assert (await releases.manifest("chat", "1.0")).data == old
    new = encode_manifest(dataclasses.replace(decode_manifest(old), created_unix_s=9))
    said = statement_of(new)
    store.put_if_absent(manifest_key("chat", "1.0", said.sha256), new)
    store.signed.publisher.change(
        "models", lambda contents: dataclasses.replace(contents, releases={("chat", "1.0"): said})
    )
    await releases.refresh()
    (summary,) = releases.known().releases
    assert (summary.manifest_sha256, summary.created_unix_s) == (said.sha256, 9)
    assert (await releases.manifest("chat", "1.0")).data == new


async def test_a_yanked_release_is_wanted_no_more(releases, store, publish):
    for version in ("1.0", "1.1"):
        publish(store, "chat", version)
    await releases.refresh()
    Catalog(store.signed).yank("chat", "1.1")
    await releases.refresh()
    assert wanted(releases) == {"chat": "1.0"}
    assert [release.version for release in releases.known().releases] == ["1.0"]


async def test_without_the_store_the_last_view_stays_and_the_problem_is_told(releases, store, publish):
    publish(store, "chat", "1.0")
    refreshing = asyncio.create_task(releases.keep_fresh())
    try:
        await _until(lambda: releases.view is not None)
        assert releases.problem == ""
        store.away = True
        await _until(lambda: releases.problem)
        assert "does not answer" in releases.problem
        assert wanted(releases) == {"chat": "1.0"}
        store.away = False
        await _until(lambda: not releases.problem)
    finally:
        refreshing.cancel()


async def test_a_defect_does_not_end_the_looking(releases, store, publish):
    asked = store.head
    store.head = lambda key: 1 / 0
    refreshing = asyncio.create_task(releases.keep_fresh())
    try:
        await _until(lambda: "ZeroDivisionError" in releases.problem)
        store.head = asked
        await _until(lambda: releases.view is not None)
    finally:
        refreshing.cancel()


async def test_before_the_first_look_nothing_is_claimed(releases, store):
    report = NodeReport(node_id="n", incarnation=1, url="http://n.example")
    assert releases.wanted(report) is None
    assert releases.age_s is None
    with pytest.raises(StoreUnavailableError):
        releases.known()
    with pytest.raises(ReleaseUnknownError):
        await releases.manifest("chat", "1.0")


async def _until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # nothing tells when a look is over
            await asyncio.sleep(0)
