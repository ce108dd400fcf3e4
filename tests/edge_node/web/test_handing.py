"""Handing on over HTTP: two fronts, one of them loaded, and clients that follow where they are sent."""

import asyncio

import aiohttp
import openai
import pytest

from edge_node.errors import DrainingError, ModelNotHereError, OverloadedError
from edge_node.offers import TicketDesk
from edge_node.scheduler import Asking
from origin.tickets import TICKET_HEADER, TICKET_PARAMETER, Signer, Stop, Ticket
from tests.edge_node.client.asked_fleet import until

SIGNER = Signer(b"\x01" * 32)
NOW_S = 1_800_000_000.5
CHAT = {"model": "chat", "messages": [{"role": "user", "content": "Hi"}]}


class Pair:
    """Two fronts, `a` and `b`, that believe the same route key."""

    def __init__(self, a, b):
        self.a, self.b = a, b
        self.text = ""

    def ticket(self, *, score_s=0.01, first="a", model="chat", signer=SIGNER):
        urls = {"a": self.a.url.removesuffix("/v1"), "b": self.b.url.removesuffix("/v1")}
        order = ["a", "b"] if first == "a" else ["b", "a"]
        stops = tuple(Stop(f"node-{each}", urls[each], score_s, 1.0) for each in order)
        return signer.sign([Ticket(model, stops, NOW_S + 60)])[0]

    def occupy(self, front, count=1):
        """Requests that will never end take the slots."""
        for _ in range(count):
            front.scheduler.admit(
                "chat", "1.2.0", slots=1, asking=Asking(prompt_bytes=10, client="other"), now_s=0.0
            )


@pytest.fixture
async def pair(make_front, make_residents):
    fronts = []
    for name in ("node-a", "node-b"):
        desk = TicketDesk(name, None, lambda: NOW_S)
        front = await make_front(residents=make_residents(), node_id=name, desk=desk)
        desk._metrics = front.metrics
        desk.learn([SIGNER.public_key])
        front.desk = desk
        fronts.append(front)
    return Pair(*fronts)


async def post(url, *, ticket="", header="", path="/chat/completions", body=CHAT, follow=True):
    query = f"?{TICKET_PARAMETER}={ticket}" if ticket else ""
    headers = {TICKET_HEADER: header} if header else {}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}{path}{query}", json=body, headers=headers, allow_redirects=follow) as reply,
    ):
        await reply.read()
        return reply


class TestBusy:
    async def test_a_loaded_node_hands_on_and_says_why(self, pair):
        pair.occupy(pair.a)
        text = pair.ticket()
        reply = await post(pair.a.url, ticket=text, follow=False)
        assert reply.status == 307
        assert reply.headers["Location"] == f"{pair.b.url}/chat/completions?{TICKET_PARAMETER}={text}.0"
        assert reply.headers["Cache-Control"] == "no-store"
        assert reply.headers["x-edgeward-handed-on"].startswith("busy; here_ms=")
        assert pair.a.residents.chat.commands == []
        followed = await post(pair.a.url, ticket=text)
        assert (followed.status, followed.headers["x-edgeward-node"]) == (200, "node-b")

    async def test_a_free_node_answers(self, pair):
        reply = await post(pair.a.url, ticket=pair.ticket())
        assert (reply.headers["x-edgeward-node"], len(reply.history)) == ("node-a", 0)

    async def test_a_worse_next_one_is_no_reason(self, pair):
        pair.occupy(pair.a)
        waiting = asyncio.create_task(post(pair.a.url, ticket=pair.ticket(score_s=100.0)))
        await asyncio.wait_for(pair.a.residents.chat.asked.wait(), 10)
        assert (await waiting).headers["x-edgeward-node"] == "node-a"

    async def test_without_a_ticket_nothing_is_handed_on(self, pair):
        pair.occupy(pair.a)
        assert (await post(pair.a.url)).headers["x-edgeward-node"] == "node-a"

    async def test_the_ticket_in_a_header_is_as_good_and_the_url_goes_before_it(self, pair):
        pair.occupy(pair.a)
        text = pair.ticket()
        moved = await post(pair.a.url, header=text)
        assert moved.headers["x-edgeward-node"] == "node-b"
        stays = await post(pair.a.url, header=text, ticket=f"{text}.1")
        assert stays.headers["x-edgeward-node"] == "node-a"

    async def test_both_loaded_the_second_keeps_it(self, pair):
        pair.occupy(pair.a)
        pair.occupy(pair.b)
        reply = await post(pair.a.url, ticket=pair.ticket())
        assert (reply.status, reply.headers["x-edgeward-node"], len(reply.history)) == (200, "node-b", 1)

    async def test_many_choices_are_weighed_once(self, pair):
        reply = await post(pair.a.url, ticket=pair.ticket(), body={**CHAT, "n": 3, "temperature": 1})
        assert reply.headers["x-edgeward-node"] == "node-a"

    @pytest.mark.parametrize("path", ["/chat/completions", "/completions", "/responses"])
    async def test_streams_too(self, pair, path):
        pair.occupy(pair.a)
        body = {"model": "chat", "stream": True, "prompt": "Hi", "input": "Hi", "messages": CHAT["messages"]}
        wanted = {"/completions": {"prompt"}, "/responses": {"input"}}.get(path, {"messages"})
        body = {name: value for name, value in body.items() if name in {"model", "stream"} | wanted}
        reply = await post(pair.a.url, ticket=pair.ticket(), path=path, body=body)
        assert (reply.status, reply.headers["x-edgeward-node"]) == (200, "node-b")
        assert reply.content_type == "text/event-stream"

    async def test_vectors_too(self, pair):
        pair.a.residents.load_s = 60.0
        body = {"model": "team/embed", "input": "Hi"}
        reply = await post(pair.a.url, ticket=pair.ticket(model="team/embed"), path="/embeddings", body=body)
        assert reply.headers["x-edgeward-node"] == "node-b"
        assert reply.history[0].headers["x-edgeward-handed-on"].startswith("loading; here_ms=60000")

    async def test_kept_answers_are_given_whatever_the_queue(self, make_front, make_residents):
        desk = TicketDesk("node-a", None, lambda: NOW_S)
        front = await make_front(residents=make_residents(), node_id="node-a", desk=desk, cache_bytes=2**20)
        desk._metrics = front.metrics
        desk.learn([SIGNER.public_key])
        pair = Pair(front, front)
        body = {**CHAT, "temperature": 0}
        states = []
        for number in range(4):
            reply = await post(front.url, ticket=pair.ticket(score_s=0.01 + number), body=body)
            states.append((reply.status, reply.headers["x-edgeward-cache"]))
        assert states == [(200, "miss"), *[(200, "hit")] * 3]
        assert len(front.residents.chat.commands) == 1
        # The answer and one finished response of it, though each request had a ticket of its own.
        assert len(front.cache) == 2


class TestKeysToCome:
    """A node that has just started loads its models, and has not heard of the route keys: once that cost 8.3 s."""

    OTHER = Signer(b"\x02" * 32)

    async def test_who_would_wait_for_a_load_goes_on_as_soon_as_they_are_told(self, pair):
        pair.a.residents.load_s = 60.0
        waiting = asyncio.create_task(post(pair.a.url, ticket=pair.ticket(signer=self.OTHER)))
        await until(lambda: b'state="unknown_key"' in pair.a.metrics.page())
        for front in (pair.a, pair.b):
            front.desk.learn([SIGNER.public_key, self.OTHER.public_key])
        reply = await asyncio.wait_for(waiting, 10)
        assert reply.headers["x-edgeward-node"] == "node-b"
        assert reply.history[0].headers["x-edgeward-handed-on"].startswith("loading")

    async def test_without_them_it_waits_no_longer_than_the_load(self, pair):
        pair.a.residents.load_s = 0.1
        reply = await asyncio.wait_for(post(pair.a.url, ticket=pair.ticket(signer=self.OTHER)), 2)
        assert (reply.headers["x-edgeward-node"], len(reply.history)) == ("node-a", 0)

    async def test_what_is_loaded_waits_for_no_keys(self, pair, monkeypatch):
        monkeypatch.setattr(pair.a.desk, "learns", None)
        reply = await post(pair.a.url, ticket=pair.ticket(signer=self.OTHER))
        assert reply.headers["x-edgeward-node"] == "node-a"


class TestRefused:
    @pytest.mark.parametrize(
        ("refusal", "reason"),
        [
            (DrainingError("stopping"), "draining"),
            (ModelNotHereError("not here"), "absent"),
            (OverloadedError("full", retry_after_s=1.0), "full"),
        ],
    )
    async def test_what_this_node_refuses_another_one_answers(self, pair, refusal, reason):
        pair.a.residents.refusal = refusal
        reply = await post(pair.a.url, ticket=pair.ticket())
        assert reply.headers["x-edgeward-node"] == "node-b"
        assert reply.history[0].headers["x-edgeward-handed-on"].startswith(reason)

    async def test_tensors_too(self, pair):
        pair.a.residents.refusal = DrainingError("stopping")
        url = pair.a.url.removesuffix("/v1")
        body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}
        text = pair.ticket(model="team/tensors")
        reply = await post(url, ticket=text, path="/v2/models/team/tensors/infer", body=body)
        assert (reply.status, reply.headers["x-edgeward-node"]) == (200, "node-b")

    async def test_nobody_left_is_the_refusal_itself(self, pair):
        for front in (pair.a, pair.b):
            front.residents.refusal = OverloadedError("full", retry_after_s=1.0)
        reply = await post(pair.a.url, ticket=pair.ticket())
        assert (reply.status, reply.headers["x-edgeward-node"], len(reply.history)) == (429, "node-b", 1)
        assert reply.headers["Retry-After"] == "1"

    async def test_a_forged_ticket_changes_nothing(self, pair):
        pair.a.residents.refusal = DrainingError("stopping")
        reply = await post(pair.a.url, ticket="A" * 300)
        assert (reply.status, len(reply.history)) == (503, 0)
        assert b'edge_tickets_total{state="damaged"} 1.0' in pair.a.metrics.page()

    async def test_a_clients_mistake_is_its_own(self, pair):
        reply = await post(pair.a.url, ticket=pair.ticket(), body={"model": "chat"})
        assert (reply.status, len(reply.history)) == (400, 0)


class TestOpenAI:
    async def test_the_official_client_follows_whole_and_streamed(self, pair):
        pair.occupy(pair.a)
        query = {TICKET_PARAMETER: pair.ticket()}
        async with openai.AsyncOpenAI(base_url=pair.a.url, api_key="secret", default_query=query) as client:
            whole = await client.chat.completions.create(**CHAT)
            assert whole.choices[0].message.content == "Hello ✓"
            stream = await client.chat.completions.create(**CHAT, stream=True)
            told = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
        assert "".join(told) == "Hello ✓"
        assert len(pair.b.residents.chat.commands) == 2
        assert pair.a.residents.chat.commands == []
