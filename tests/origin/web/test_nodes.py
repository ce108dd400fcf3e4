"""Heartbeats over a real socket."""

import io

import msgspec
import pytest

from origin.api import ModelReport, NodeReport, Place
from origin.errors import NodeSupersededError
from registry.errors import InputInvalidError
from registry.wire import to_json

REPORT = NodeReport(
    node_id="paris", incarnation=5, url="http://10.0.0.1:8000", place=Place(48.86, 2.35), label="Paris"
)


async def test_a_heartbeat_is_told_what_to_hold(origin, store, publish):
    manifest = publish(store, "chat", "1.0")
    publish(store, "embed", "2.0")
    publish(store, "embed", "3.0", channel="canary")
    await origin.releases.refresh()
    directive = await origin.client.report(REPORT)
    assert [(w.name, w.version) for w in directive.wanted] == [("chat", "1.0"), ("embed", "2.0")]
    from registry.manifest import manifest_digest

    assert directive.wanted[0].manifest_sha256 == manifest_digest(manifest)
    assert directive.heartbeat_s == 1.0
    only_canary = msgspec.structs.replace(REPORT, channel="canary", follows=("em*",))
    assert [(w.name, w.version) for w in (await origin.client.report(only_canary)).wanted] == [
        ("embed", "3.0")
    ]


async def test_without_a_catalog_nothing_is_said_about_what_to_hold(origin):
    assert (await origin.client.report(REPORT)).wanted is None


async def test_the_fleet_is_listed_with_states_and_ages(origin):
    await origin.client.report(REPORT)
    origin.clock.now_s += 2.5
    (node,) = (await origin.client.nodes()).nodes
    assert (node.report, node.state, node.age_s) == (REPORT, "suspect", 2.5)


async def test_an_older_start_of_the_same_node_is_refused(origin):
    await origin.client.report(REPORT)
    with pytest.raises(NodeSupersededError, match="another process"):
        await origin.client.report(msgspec.structs.replace(REPORT, incarnation=4))


async def test_a_newer_node_may_say_more(origin):
    body = msgspec.to_builtins(REPORT) | {"a_field_of_tomorrow": 1}
    async with origin.session.post("/v1/nodes/paris/report", data=to_json(body)) as reply:
        assert reply.status == 415  # aiohttp's client says octet-stream for bytes
    async with origin.session.post("/v1/nodes/paris/report", json=body) as reply:
        assert reply.status == 200


@pytest.mark.parametrize(
    "url",
    [
        "ftp://10.0.0.1/",
        "10.0.0.1:8000",
        "http://",
        "http://u:p@host/",
        "http://host/?q=1",
        "http://host/#f",
        "http://host:99999/",
        "http://host\r\nSet-Cookie: a=b/",
        "http://[::1/",
        "javascript:alert(1)",
        "http://" + "h" * 3000,
    ],
)
async def test_a_url_that_clients_cannot_be_sent_to_is_refused(origin, url):
    with pytest.raises(InputInvalidError, match="not a URL that clients can be sent to") as caught:
        await origin.client.report(msgspec.structs.replace(REPORT, url=url))
    assert caught.value.param == "url"
    assert (await origin.client.nodes()).nodes == ()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"incarnation": -1}, "incarnation"),
        ({"incarnation": 10**30}, "incarnation"),
        ({"node_id": "../up"}, "node_id"),
        ({"node_id": "london"}, "speaks of node"),
        ({"place": {"lat": 91, "lon": 0}}, "lat"),
        ({"models": [{"name": "chat", "version": "1", "state": "flying"}]}, "models[0].state"),
        ({"models": [{"name": "chat", "version": "1", "state": "ready", "service_s": 1e300}]}, "service_s"),
    ],
)
async def test_a_report_out_of_range_is_refused_with_the_field(origin, body, words):
    report = msgspec.to_builtins(REPORT) | body
    async with origin.session.post("/v1/nodes/paris/report", json=report) as reply:
        error = (await reply.json())["error"]
    assert (reply.status, error["code"], error["type"]) == (400, "input.invalid", "invalid_request_error")
    assert words in error["message"]


async def test_a_report_over_a_mebibyte_is_refused(origin):
    body = to_json(msgspec.to_builtins(REPORT) | {"label": "x" * 2**20})
    headers = {"Content-Type": "application/json"}
    async with origin.session.post("/v1/nodes/paris/report", data=io.BytesIO(body), headers=headers) as reply:
        assert reply.status == 413


async def test_nodes_are_told_one_salt_and_their_sketches_are_not_shown(origin):
    first, second = [(await origin.client.report(REPORT)).mark_salt for _ in range(2)]
    assert first == second
    assert len(first) == 32
    model = ModelReport(name="chat", version="1.0", state="ready", prefixes=bytes(8))
    await origin.client.report(msgspec.structs.replace(REPORT, models=(model,)))
    (shown,) = (await origin.client.nodes()).nodes
    assert shown.report.models == (msgspec.structs.replace(model, prefixes=b""),)
