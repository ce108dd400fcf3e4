"""Ranked lists and redirects over a real socket."""

import json
import time

import msgpack
import pytest
import zstandard
from yarl import URL

from origin.api import ModelReport, NodeReport, Place, RouteQuery
from origin.errors import ModelUnknownError, NoNodeAvailableError
from origin.prefixes import EVERYBODY, client_name, pack_sketch, prompt_marks
from origin.prompt_text import turns_text
from origin.tickets import read_ticket, verifiers
from registry.errors import InputInvalidError

PARIS, TOKYO = Place(48.86, 2.35), Place(35.68, 139.65)
CHAT = {"model": "chat", "messages": [{"role": "user", "content": "hello"}]}
SENT_ON = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/embeddings",
    "/v1/rerank",
    "/v1/classify",
]


@pytest.fixture
async def network(origin, store, publish):
    """Two ready nodes far apart, and the release that they serve."""
    publish(store, "chat", "1.0")
    await origin.releases.refresh()
    ready = ModelReport(name="chat", version="1.0", state="ready", slots=2, service_s=0.5)
    for node_id, place in (("paris", PARIS), ("tokyo", TOKYO)):
        report = NodeReport(
            node_id=node_id,
            incarnation=1,
            url=f"http://{node_id}.example:8000/",
            place=place,
            models=(ready,),
        )
        await origin.client.report(report)
    return origin


async def error_of(reply):
    error = (await reply.json())["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


async def believed(network, text):
    """The ticket in a text, as a node reads it that has reported a moment ago."""
    directive = await network.client.report(
        NodeReport(node_id="reader", incarnation=1, url="http://reader.example")
    )
    ticket = read_ticket(text, verifiers(directive.route_keys), time.time())
    assert not isinstance(ticket, str), ticket
    return ticket


class TestRoute:
    async def test_ranked_for_where_the_client_is(self, network):
        answer = await network.client.route(RouteQuery(model="chat", place=Place(34.7, 135.5)))
        assert [node.node_id for node in answer.nodes] == ["tokyo", "paris"]
        assert answer.nodes[0].distance_km == pytest.approx(393, abs=5)
        assert (answer.ttl_s, answer.place_source, answer.place) == (60.0, "stated", Place(34.7, 135.5))

    async def test_the_list_comes_signed_and_with_its_end(self, network):
        answer = await network.client.route(RouteQuery(model="chat:stable", place=TOKYO))
        assert answer.expires_unix_s == pytest.approx(time.time() + 60, abs=5)
        ticket = await believed(network, answer.ticket)
        assert ticket.model == "chat:stable"
        assert ticket.expires_unix_s == pytest.approx(answer.expires_unix_s, abs=1)
        assert [(stop.node_id, stop.url, stop.score_s, stop.rtt_ms) for stop in ticket.stops] == [
            (node.node_id, node.url, node.score_s, node.rtt_ms) for node in answer.nodes
        ]

    async def test_a_node_that_has_read_the_prompt_comes_first(self, network):
        marks = prompt_marks(b"a long system prompt " * 100, salt=b"s", client="", model="chat")
        model = ModelReport(
            name="chat", version="1.0", state="ready", slots=2, service_s=0.5, prefill_tokens_per_s=100.0,
            prefixes=pack_sketch(mark.number for mark in marks),
        )  # fmt: skip
        url = "http://tokyo.example:8000/"
        await network.client.report(
            NodeReport(node_id="tokyo", incarnation=1, url=url, place=TOKYO, models=(model,))
        )
        told = {"prompt_tokens": 500, "prompt_bytes": 2100}
        plain = await network.client.route(RouteQuery(model="chat", place=PARIS, **told))
        assert plain.nodes[0].node_id == "paris"
        answer = await network.client.route(RouteQuery(model="chat", place=PARIS, marks=marks, **told))
        assert answer.nodes[0].node_id == "tokyo"

    async def test_without_a_place_it_says_so(self, network):
        answer = await network.client.route(RouteQuery(model="chat"))
        assert (answer.place, answer.place_source) == (None, "none")
        assert {node.distance_km for node in answer.nodes} == {None}

    @pytest.mark.parametrize(
        ("url", "headers"),
        [("/v1/route?place=34.7,135.5", {}), ("/v1/route", {"x-edgeward-place": "34.7,135.5"})],
    )
    async def test_the_place_in_the_url_or_a_header_and_json_both_ways(self, network, url, headers):
        async with network.session.post(url, json={"model": "chat"}, headers=headers) as reply:
            assert reply.status == 200
            assert reply.headers["Cache-Control"] == "no-store"
            assert (await reply.json())["nodes"][0]["node_id"] == "tokyo"

    async def test_excluded_nodes_are_left_out(self, network):
        answer = await network.client.route(RouteQuery(model="chat", place=TOKYO, exclude=("tokyo",)))
        assert [node.node_id for node in answer.nodes] == ["paris"]
        with pytest.raises(NoNodeAvailableError, match="excluded by the client"):
            await network.client.route(RouteQuery(model="chat", exclude=("tokyo", "paris")))

    async def test_an_unknown_model_is_404(self, network):
        with pytest.raises(ModelUnknownError, match=r"did you mean chat\?") as caught:
            await network.client.route(RouteQuery(model="chatt"))
        assert caught.value.param == "model"

    async def test_nobody_ready_is_503_with_when_to_come_back(self, network):
        network.clock.now_s += 60
        async with network.session.post("/v1/route", json={"model": "chat"}) as reply:
            assert reply.status == 503
            assert (reply.headers["Retry-After"], reply.headers["retry-after-ms"]) == ("2", "2000")
            error = await error_of(reply)
        assert (error["code"], error["type"]) == ("node.none_available", "server_error")
        assert "paris is down; tokyo is down" in error["message"]
        with pytest.raises(NoNodeAvailableError) as caught:
            await network.client.route(RouteQuery(model="chat"))
        assert caught.value.retry_after_s == 2.0

    @pytest.mark.parametrize(
        ("body", "param", "words"),
        [
            ({"model": "chat", "plase": None}, "plase", "did you mean `place`?"),
            ({"model": "../x"}, "model", "not a model name"),
            ({"model": 3}, "model", "str"),
            ({}, None, "model"),
            ([], None, "object"),
            ({"model": "chat", "limit": 0}, "limit", "1"),
            ({"model": "chat", "place": {"lat": 100, "lon": 0}}, "place.lat", "90"),
        ],
    )
    async def test_a_query_that_is_wrong_names_its_field(self, network, body, param, words):
        async with network.session.post("/v1/route", json=body) as reply:
            error = await error_of(reply)
        assert (reply.status, error["param"]) == (400, param)
        assert words in error["message"]

    async def test_requests_sent_to_a_node_count_until_its_next_heartbeat(self, network):
        for _ in range(2):
            await network.client.route(RouteQuery(model="chat", place=TOKYO))
        answer = await network.client.route(RouteQuery(model="chat", place=TOKYO))
        terms = {node.node_id: node.terms_s for node in answer.nodes}
        assert terms["tokyo"]["queue"] == pytest.approx(0.25)
        assert terms["paris"]["queue"] == 0


class TestRedirect:
    @pytest.mark.parametrize("path", SENT_ON)
    async def test_307_to_the_nearest_with_path_and_query(self, network, path):
        async with network.session.post(
            f"{path}?place=34.7,135.5&x=a%20b", json=CHAT, allow_redirects=False
        ) as reply:
            assert reply.status == 307
            location, ticket = reply.headers["Location"].split("&edgeward_ticket=")
            assert location == f"http://tokyo.example:8000{path}?place=34.7,135.5&x=a%20b"
            assert [stop.node_id for stop in (await believed(network, ticket)).stops] == ["tokyo", "paris"]
            assert reply.headers["Cache-Control"] == "no-store"
            assert reply.headers["x-edgeward-node"] == "tokyo"
            assert float(reply.headers["x-edgeward-rtt-ms"]) == pytest.approx(30.6, abs=0.5)
            assert reply.headers["x-request-id"]

    async def test_an_old_ticket_is_replaced(self, network):
        url = f"{SENT_ON[0]}?edgeward_ticket=old.01&x=1"
        async with network.session.post(url, json=CHAT, allow_redirects=False) as reply:
            location = URL(reply.headers["Location"], encoded=True)
        assert location.query["x"] == "1"
        assert len(location.query.getall("edgeward_ticket")) == 1
        assert (await believed(network, location.query["edgeward_ticket"])).model == "chat"

    async def test_without_a_place_no_round_trip_is_claimed(self, network):
        async with network.session.post(SENT_ON[0], json=CHAT, allow_redirects=False) as reply:
            assert reply.status == 307
            assert "x-edgeward-rtt-ms" not in reply.headers

    @pytest.mark.parametrize("packed", [False, True])
    @pytest.mark.parametrize("squeezed", [False, True])
    async def test_json_and_msgpack_plain_and_zstd(self, network, packed, squeezed):
        body = msgpack.packb(CHAT) if packed else json.dumps(CHAT).encode()
        headers = {"Content-Type": "application/msgpack" if packed else "application/json; charset=utf-8"}
        if squeezed:
            body = zstandard.compress(body)
            headers["Content-Encoding"] = "zstd"
        async with network.session.post(
            SENT_ON[0], data=body, headers=headers, allow_redirects=False
        ) as reply:
            assert reply.status == 307

    async def test_a_session_of_odd_bytes_is_only_bytes(self, network):
        body = b'{"model":"chat"}'
        answer = await network.raw(
            b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nx-edgeward-session: \xff\xfe\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        assert answer.startswith(b"HTTP/1.1 307 ")

    @pytest.mark.parametrize(
        ("body", "headers", "status", "words"),
        [
            (b"", {}, 400, "empty"),
            (b"{", {}, 400, "not valid JSON"),
            (b"[" * 20_000, {}, 400, ""),
            (b"\xff\xfe", {}, 400, ""),
            (b"{}", {}, 400, "model"),
            (b'{"model": null}', {}, 400, "model"),
            (b'{"model": "nope"}', {}, 404, "no model nope"),
            (b"\xc1", {"Content-Type": "application/msgpack"}, 400, "msgpack"),
            (b'{"model": "chat"}', {"Content-Type": "text/plain"}, 415, "text/plain"),
            # A web page could send this one without asking first.
            (b'{"model": "chat"}', {"Content-Type": ""}, 415, "application/json"),
            (b'{"model": "chat"}', {"Content-Encoding": "gzip"}, 415, "gzip"),
            (b'{"model": "chat"}', {"Content-Encoding": "zstd"}, 400, "zstd"),
            (zstandard.compress(b'{"model": "chat"}')[:-9], {"Content-Encoding": "zstd"}, 400, ""),
            (zstandard.compress(b" " * 10**7), {"Content-Encoding": "zstd"}, 413, "65536 bytes"),
            (b" " * 70_000, {}, 413, "65536 bytes"),
            (b'{"model": "chat"}', {"x-edgeward-place": "Paris"}, 400, "LAT,LON"),
        ],
    )
    async def test_what_cannot_be_sent_on_is_refused(self, network, body, headers, status, words):
        headers = {"Content-Type": "application/json"} | headers
        async with network.session.post(
            SENT_ON[0], data=body, headers=headers, allow_redirects=False
        ) as reply:
            error = await error_of(reply)
        assert reply.status == status
        assert words in error["message"]

    async def test_a_body_without_length_is_bounded_too(self, network):
        async def endless():
            while True:
                yield b" " * 10_000

        async with network.session.post(
            SENT_ON[0], data=endless(), headers={"Content-Type": "application/json"}, allow_redirects=False
        ) as reply:
            assert reply.status == 413


SYSTEM = "You answer the harbour master's letters, one by one. " * 60
LETTER = {
    "model": "chat",
    "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "When is high tide?"}],
}


class TestRedirectToWhereThePromptWasRead:
    """Paris is the nearest; Tokyo, some 300 ms further for a request and its connection, has read the system prompt."""

    @pytest.fixture
    async def has_read(self, network):
        async def has_read(client="", *, tokens_per_s=500.0, changed=""):
            directive = await network.client.report(
                NodeReport(node_id="reader", incarnation=1, url="http://reader.example")
            )
            text = turns_text([("system", changed + SYSTEM), ("user", "Who is in berth 4?")])
            marks = prompt_marks(text, salt=directive.mark_salt, client=client, model="chat")
            for node_id, place, sketch in (("paris", PARIS, b""), ("tokyo", TOKYO, marks)):
                model = ModelReport(
                    name="chat", version="1.0", state="ready", slots=2, service_s=0.5,
                    prefill_tokens_per_s=tokens_per_s, prefixes=pack_sketch(mark.number for mark in sketch),
                )  # fmt: skip
                url = f"http://{node_id}.example:8000/"
                report = NodeReport(node_id=node_id, incarnation=1, url=url, place=place, models=(model,))
                await network.client.report(report)

        return has_read

    async def sent_to(self, network, body=LETTER, path="/v1/chat/completions", **more):
        url = f"{path}?place=48.86,2.35"
        async with network.session.post(url, json=body, allow_redirects=False, **more) as reply:
            assert reply.status == 307
            return reply.headers["x-edgeward-node"]

    async def test_it_goes_there_when_that_saves_more_than_the_way_costs(self, network, has_read):
        await has_read()
        assert await self.sent_to(network) == "tokyo"
        await has_read(tokens_per_s=20_000.0)
        assert await self.sent_to(network) == "paris"

    async def test_another_beginning_saves_nothing(self, network, has_read):
        await has_read(changed="X")
        assert await self.sent_to(network) == "paris"

    async def test_every_dialect_and_form_finds_it(self, network, has_read):
        await has_read()
        body = {"model": "chat", "instructions": SYSTEM, "input": "When is high tide?"}
        assert await self.sent_to(network, body, "/v1/responses") == "tokyo"
        url, packed = "/v1/chat/completions?place=48.86,2.35", {"Content-Type": "application/msgpack"}
        async with network.session.post(
            url, data=msgpack.packb(LETTER), headers=packed, allow_redirects=False
        ) as reply:
            assert reply.headers["x-edgeward-node"] == "tokyo"

    async def test_whoever_follows_leaves_its_key_behind_and_is_nobody_there(self, network, has_read):
        headers = {"Authorization": "Bearer ann"}
        await has_read(client=client_name("Bearer ann"))
        assert await self.sent_to(network, headers=headers) == "paris"
        await has_read()
        assert await self.sent_to(network, headers=headers) == "tokyo"

    async def test_what_nodes_keep_for_everybody_counts_for_all(self, network, has_read):
        await has_read(client=EVERYBODY)
        assert await self.sent_to(network) == "tokyo"

    async def test_a_list_is_asked_for_with_the_prompt_itself(self, network, has_read):
        await has_read(client=client_name("Bearer ann"))
        turns = [["system", SYSTEM], ["user", "When is high tide?"]]
        body = {"model": "chat", "place": {"lat": 48.86, "lon": 2.35}, "turns": turns, "explains": True}
        for headers, first in (({}, "paris"), ({"Authorization": "Bearer ann"}, "tokyo")):
            async with network.session.post("/v1/route", json=body, headers=headers) as reply:
                nodes = (await reply.json())["nodes"]
            assert nodes[0]["node_id"] == first
        terms = {node["node_id"]: node["terms_s"] for node in nodes}
        assert terms["paris"]["prefill"] == pytest.approx(len(SYSTEM) / 4 / 500, rel=0.05)
        assert terms["tokyo"]["prefill"] < 0.3 * terms["paris"]["prefill"]


class TestRedirectOfTensors:
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("POST", "/v2/models/chat/infer"),
            ("POST", "/v2/models/chat/versions/1.0/infer"),
            ("POST", "/v2/models/chat@1.0/infer"),
            ("GET", "/v2/models/chat"),
            ("GET", "/v2/models/chat/versions/1.0/ready"),
        ],
    )
    async def test_307_by_the_model_in_the_url_whatever_the_body(self, network, method, path):
        async with network.session.request(
            method,
            f"{path}?place=34.7,135.5",
            data=b"\0\1" if method == "POST" else None,
            allow_redirects=False,
        ) as reply:
            assert reply.status == 307
            location, ticket = reply.headers["Location"].split("&edgeward_ticket=")
            assert location == f"http://tokyo.example:8000{path}?place=34.7,135.5"
            assert (await believed(network, ticket)).stops[0].node_id == "tokyo"
            assert (reply.headers["Cache-Control"], reply.headers["x-edgeward-node"]) == ("no-store", "tokyo")
            assert float(reply.headers["x-edgeward-rtt-ms"]) > 0

    @pytest.mark.parametrize(
        ("path", "status", "words"),
        [
            ("/v2/models/nope/infer", 404, "no model nope"),
            ("/v2/models/chat/versions/9.9/infer", 404, "9.9"),
            ("/v2/models/chat@1.0/versions/1.0/infer", 400, "already"),
            ("/v2/models/..%2Fx/infer", 400, "not a model name"),
            ("/v2/models/chat/infer?place=Paris", 400, "LAT,LON"),
        ],
    )
    async def test_what_cannot_be_sent_on_is_refused(self, network, path, status, words):
        async with network.session.post(URL(path, encoded=True), allow_redirects=False) as reply:
            error = await error_of(reply)
        assert reply.status == status
        assert words in error["message"]


async def test_with_the_store_gone_requests_are_still_routed(network, store):
    store.away = True
    with pytest.raises(Exception, match="does not answer"):
        await network.releases.refresh()
    answer = await network.client.route(RouteQuery(model="chat", place=PARIS))
    assert answer.nodes[0].node_id == "paris"
    with pytest.raises(ModelUnknownError):
        await network.client.route(RouteQuery(model="nope"))


async def test_before_any_catalog_an_unknown_model_is_not_called_unknown(origin):
    with pytest.raises(NoNodeAvailableError, match="cannot read the catalog"):
        await origin.client.route(RouteQuery(model="chat"))


async def test_decisions_are_counted_by_reason(network):
    await network.client.route(RouteQuery(model="chat", place=PARIS))
    await network.client.route(RouteQuery(model="chat"))
    for model in ("nope", "../nope"):
        with pytest.raises((ModelUnknownError, InputInvalidError)):
            await network.client.route(RouteQuery(model=model))
    async with network.session.get("/metrics") as reply:
        text = await reply.text()
    for reason in ("nearest", "no_place", "model_unknown"):
        assert f'router_decisions_total{{reason="{reason}"}} 1.0' in text
