"""Round trips over a real socket: reported by nodes and clients, and what routes make of them."""

import msgspec
import pytest

from origin.api import ModelReport, NodeReport, Place, RttReport, RttSample
from registry.wire import to_json

PARIS, LYON, TOKYO = Place(48.86, 2.35), Place(45.76, 4.84), Place(35.68, 139.65)
CLIENT = {"X-Forwarded-For": "198.18.7.9"}
MODEL = ModelReport(name="chat", version="1.0", state="ready", slots=4, service_s=1.0)


@pytest.fixture
async def fleet(origin, store, publish):
    publish(store, "chat", "1.0")
    await origin.releases.refresh()
    reports = {}
    for node_id, place in (("paris", PARIS), ("lyon", LYON), ("tokyo", TOKYO)):
        reports[node_id] = NodeReport(
            node_id=node_id, incarnation=1, url=f"http://{node_id}.example", place=place, models=(MODEL,)
        )
        await origin.client.report(reports[node_id])
    return reports


async def route(origin, headers=CLIENT, **query):
    async with origin.session.post("/v1/route", json={"model": "chat"} | query, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def tell(origin, body, headers=CLIENT):
    async with origin.session.post("/v1/rtts", json=body, headers=headers) as answer:
        return answer.status, await answer.json()


async def test_a_client_s_probes_decide_its_next_route_and_nobody_else_s(origin, fleet):
    place = {"lat": 48.8, "lon": 2.3}
    assert (await route(origin, place=place))["nodes"][0]["node_id"] == "paris"
    probes = [
        {"node_id": "paris", "rtt_ms": 300.0, "count": 2},
        {"node_id": "lyon", "rtt_ms": 9.0, "count": 2},
    ]
    assert await tell(origin, {"probes": probes, "place": place}) == (200, {"taken_count": 2})
    origin.clock.now_s += 2
    for report in fleet.values():
        await origin.client.report(report)
    nodes = (await route(origin, place=place))["nodes"]
    assert (nodes[0]["node_id"], nodes[0]["rtt_source"]) == ("lyon", "probe")
    assert nodes[0]["rtt_ms"] == pytest.approx(9.0, abs=1.0)
    stranger = await route(origin, headers={"X-Forwarded-For": "203.0.113.5"}, place=place)
    assert stranger["nodes"][0]["node_id"] == "paris"


async def test_what_kernels_have_seen_decides_without_any_place(origin, fleet):
    for node_id, rtt_ms in (("paris", 250.0), ("lyon", 260.0), ("tokyo", 4.0)):
        seen = RttSample(prefix="198.18.7.0/24", rtt_ms=rtt_ms, count=5)
        await origin.client.report(msgspec.structs.replace(fleet[node_id], rtts=(seen,)))
    origin.clock.now_s += 1.5
    answer = await route(origin)
    assert answer["nodes"][0]["node_id"] == "tokyo"
    assert answer["nodes"][0]["rtt_source"] == "prefix"
    assert (answer["place_source"], answer["place"]) == ("learned", {"lat": 35.68, "lon": 139.65})
    metrics = await (await origin.session.get("/metrics")).text()
    assert 'origin_rtts_total{source="kernel"} 3.0' in metrics


async def test_a_route_names_nodes_to_probe_until_they_are_measured(origin, fleet):
    place = {"lat": 48.8, "lon": 2.3}
    first = (await route(origin, place=place))["probes"]
    assert {probe["node_id"] for probe in first} == set(fleet)
    assert {probe["url"] for probe in first} == {report.url for report in fleet.values()}
    probes = [{"node_id": node_id, "rtt_ms": 20.0 + n} for n, node_id in enumerate(fleet)]
    await tell(origin, {"probes": probes})
    origin.clock.now_s += 1.5
    assert (await route(origin, place=place))["probes"] == []
    assert (await route(origin))["probes"] == []


async def test_without_a_place_or_round_trips_nothing_is_worth_a_probe_more_than_another(origin, fleet):
    assert (await route(origin, headers={}))["probes"] == []


async def test_nodes_that_nobody_knows_are_left_out(origin, fleet):
    probes = [{"node_id": "paris", "rtt_ms": 5.0}, {"node_id": "atlantis", "rtt_ms": 5.0}]
    assert await tell(origin, {"probes": probes}) == (200, {"taken_count": 1})


@pytest.mark.parametrize(
    "body",
    [
        {}, {"probes": []}, {"probes": [{"node_id": "paris"}]}, {"probes": [{"node_id": "paris", "rtt_ms": 0}]},
        {"probes": [{"node_id": "paris", "rtt_ms": -1.0}]}, {"probes": [{"node_id": "paris", "rtt_ms": 1e9}]},
        {"probes": [{"node_id": "paris", "rtt_ms": "5"}]}, {"probes": [{"node_id": "../x", "rtt_ms": 5.0}]},
        {"probes": [{"node_id": "paris", "rtt_ms": 5.0, "age_s": -4}]}, {"probes": "x"}, [],
        {"probes": [{"node_id": "paris", "rtt_ms": 5.0}] * 17},
        {"probes": [{"node_id": "paris", "rtt_ms": 5.0}], "place": {"lat": 95, "lon": 0}},
        {"probes": [{"node_id": "paris", "rtt_ms": 5.0}], "extra": 1},
    ],
)  # fmt: skip
async def test_what_is_no_report_is_refused(origin, fleet, body):
    status, answer = await tell(origin, body)
    assert status == 400
    assert answer["error"]["code"] == "input.invalid"


async def test_a_heartbeat_s_impossible_round_trip_is_refused_and_a_strange_network_passed_over(
    origin, fleet
):
    body = msgspec.to_builtins(fleet["paris"])
    for rtts, status in (([{"prefix": "x", "rtt_ms": 0}], 400), ([{"prefix": "x" * 49, "rtt_ms": 5}], 200)):
        async with origin.session.post("/v1/nodes/paris/report", json=body | {"rtts": rtts}) as answer:
            assert answer.status == status


async def test_the_client_of_the_origin_can_report(origin, fleet):
    message = RttReport.__struct_fields__
    assert message == ("probes", "place")
    body = to_json({"probes": [{"node_id": "paris", "rtt_ms": 5.0}]})
    async with origin.session.post("/v1/rtts", data=body, headers={"Content-Type": "text/plain"}) as answer:
        assert answer.status == 415
