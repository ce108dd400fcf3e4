"""A front that asks for client keys: who comes in, who does not, and that nothing leaks from one key to another."""

import asyncio
import logging
import random

import aiohttp
import openai
import pytest
import structlog
from aiohttp import hdrs

from edge_node.offers import TicketDesk
from edge_node.web.letting_in import FOR_NODES, FROM_HERE, OPEN
from origin.gate import Gate
from origin.tickets import TICKET_HEADER, TICKET_PARAMETER, Signer, Stop, Ticket
from registry.client_keys import new_key, parse_token, revoked

SIGNER = Signer(b"\x01" * 32)
NOW_S = 1_800_000_000.5
CHAT = {"model": "chat", "messages": [{"role": "user", "content": "Hi"}], "temperature": 0}


def made(number=1, **said):
    said = {"name": "shop", "now_unix_s": NOW_S} | said
    return new_key(id_bytes=bytes([number] * 6), secret_bytes=bytes([number] * 32), **said)


def ticket(key_id, *, node_id="node-a", model="chat", life_s=60, signer=SIGNER):
    stops = (Stop(node_id, "http://here.example", 0.01, 1.0),)
    return signer.sign([Ticket(model, stops, NOW_S + life_s, key_id)])[0]


class Guarded:
    """A front, its gate, and requests to it."""

    def __init__(self, front, gate):
        self.front, self.gate = front, gate

    def learn(self, *keys):
        self.gate.learn({key.key_id: key for key in keys}, read_unix_s=NOW_S)

    async def ask(
        self, token=None, *, method="POST", path="/v1/chat/completions", body=CHAT, headers=None, query=""
    ):
        headers = dict(headers or {})
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        url = self.front.url.removesuffix("/v1") + path + query
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                method, url, json=body if method == "POST" else None, headers=headers, allow_redirects=False
            ) as reply,
        ):
            await reply.read()
            return reply


@pytest.fixture
async def guarded(make_front):
    gate = Gate()
    desk = TicketDesk("node-a", None, lambda: NOW_S)
    front = await make_front(gate=gate, desk=desk, cache_bytes=2**20)
    desk._metrics = front.metrics
    desk.learn([SIGNER.public_key])
    return Guarded(front, gate)


async def error_of(reply):
    return (await reply.json())["error"]


class TestWhoComesIn:
    async def test_with_a_key(self, guarded):
        token, key = made()
        guarded.learn(key)
        reply = await guarded.ask(token)
        assert reply.status == 200
        assert guarded.front.residents.chat.commands[0].client == key.key_id, "the tenant is the key's id"

    async def test_without_one_in_openais_words(self, guarded):
        guarded.learn(made()[1])
        reply = await guarded.ask()
        error = await error_of(reply)
        assert (reply.status, error["code"], error["type"]) == (
            401,
            "invalid_api_key",
            "invalid_request_error",
        )
        assert reply.headers["WWW-Authenticate"] == "Bearer"
        assert reply.headers["x-should-retry"] == "false"
        client = openai.AsyncOpenAI(base_url=guarded.front.url, api_key="sk-wrong", max_retries=0)
        with pytest.raises(openai.AuthenticationError):
            await client.chat.completions.create(**CHAT)
        await client.close()
        assert guarded.front.residents.chat.commands == []

    async def test_before_the_list_is_known_another_node_is_asked(self, guarded):
        reply = await guarded.ask(made()[0])
        assert (reply.status, (await error_of(reply))["code"]) == (503, "client_key.list_unknown")

    async def test_every_url_asks_for_a_key_but_those_that_are_said_to_be_open(self, guarded):
        guarded.learn(made()[1])
        resources = guarded.front.client.server.app.router.resources()
        seen = set()
        for resource in resources:
            path = resource.canonical
            for route in resource:
                if route.method == hdrs.METH_HEAD:
                    continue
                filled = path.replace("{name}", "chat").replace("{id}", "chat").replace("{version}", "1.2.0")
                filled = filled.replace("{sha256}", "0" * 64)
                reply = await guarded.ask(method=route.method, path=filled)
                if path in OPEN | FOR_NODES | FROM_HERE:
                    assert reply.status != 401, path
                else:
                    assert reply.status == 401, path
                seen.add(path)
        assert seen >= OPEN | FOR_NODES | FROM_HERE, "each exception is a real URL"
        assert (await guarded.ask(path="/v1/nothing")).status == 401
        assert (await guarded.ask(method="GET", path="/")).status == 401

    @pytest.mark.parametrize(
        "path", ["/v1//models", "/healthz/../v1/models", "/healthz%2f..%2fv1/models", "/V1/models"]
    )
    async def test_no_spelling_leads_around(self, guarded, path):
        guarded.learn(made()[1])
        host = guarded.front.client.host
        reader, writer = await asyncio.open_connection(host, guarded.front.client.port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        assert b" 401 " in answer.splitlines()[0]

    async def test_metrics_and_details_are_for_this_machine_and_for_keys(self, guarded):
        token, key = made()
        guarded.learn(key)
        assert (await guarded.ask(method="GET", path="/metrics")).status == 200
        through_proxy = {"X-Forwarded-For": "203.0.113.9"}
        assert (await guarded.ask(method="GET", path="/metrics", headers=through_proxy)).status == 401
        assert (await guarded.ask(token, method="GET", path="/metrics", headers=through_proxy)).status == 200
        told = await (await guarded.ask(method="GET", path="/readyz", headers=through_proxy)).json()
        assert set(told) == {"ready", "node_id"}
        told = await (await guarded.ask(token, method="GET", path="/readyz", headers=through_proxy)).json()
        assert "models" in told

    async def test_refusals_are_counted(self, guarded):
        guarded.learn(made()[1])
        await guarded.ask()
        page = guarded.front.metrics.page().decode()
        assert 'edge_auth_failures_total{reason="invalid_api_key"} 1.0' in page


class TestScopesAndLimits:
    async def test_a_model_out_of_scope_is_forbidden_on_every_path(self, guarded):
        token, key = made(models=("other*",))
        guarded.learn(key)
        for path, body in (
            ("/v1/chat/completions", CHAT),
            ("/v1/completions", {"model": "chat", "prompt": "Hi"}),
            ("/v1/responses", {"model": "chat", "input": "Hi"}),
            ("/v1/embeddings", {"model": "team/embed", "input": "Hi"}),
            ("/v1/rerank", {"model": "team/embed", "query": "a", "documents": ["b"]}),
        ):
            reply = await guarded.ask(token, path=path, body=body)
            assert (reply.status, (await error_of(reply))["code"]) == (403, "client_key.model_refused"), path
        for path in ("/v1/models/chat", "/v2/models/chat", "/v2/models/chat/ready"):
            assert (await guarded.ask(token, method="GET", path=path)).status == 403, path
        assert (await guarded.ask(token, path="/v2/models/chat/infer", body={"inputs": []})).status in {
            400,
            403,
        }
        listed = await (await guarded.ask(token, method="GET", path="/v1/models")).json()
        assert listed["data"] == []
        assert guarded.front.residents.chat.commands == []

    async def test_the_rate_of_a_key(self, guarded):
        token, key = made(rate_per_h=3600)
        guarded.learn(key)
        assert (await guarded.ask(token)).status == 200
        reply = await guarded.ask(token)
        assert (reply.status, (await error_of(reply))["code"]) == (429, "rate_limit_exceeded")
        assert 1 <= int(reply.headers["retry-after-ms"]) <= 1000
        assert reply.headers["Retry-After"] == "1"

    async def test_how_many_at_a_time_and_they_are_counted_out(self, guarded):
        token, key = made(concurrent_count=1)
        guarded.learn(key)
        for _ in range(3):
            assert (await guarded.ask(token)).status == 200
        assert not guarded.gate._running


class TestCaches:
    async def test_no_kept_answer_goes_from_one_key_to_another(self, guarded):
        (token, key), (other_token, other) = made(), made(2)
        guarded.learn(key, other)
        assert (await guarded.ask(token)).headers["x-edgeward-cache"] == "miss"
        assert (await guarded.ask(token)).headers["x-edgeward-cache"] == "hit"
        assert (await guarded.ask(other_token)).headers["x-edgeward-cache"] == "miss"
        by_ticket = await guarded.ask(query=f"?{TICKET_PARAMETER}={ticket(made(3)[1].key_id)}")
        assert by_ticket.status == 401

    async def test_by_a_ticket_too_each_key_has_its_own(self, guarded):
        (token, key), (_, other) = made(), made(2)
        guarded.learn(key, other)
        mine, others = (f"?{TICKET_PARAMETER}={ticket(each.key_id)}" for each in (key, other))
        assert (await guarded.ask(token)).headers["x-edgeward-cache"] == "miss"
        assert (await guarded.ask(query=mine)).headers["x-edgeward-cache"] == "hit"
        assert (await guarded.ask(query=mine)).headers["x-edgeward-cache"] == "hit"
        assert (await guarded.ask(query=others)).headers["x-edgeward-cache"] == "miss"

    async def test_a_kept_answer_is_no_way_in(self, guarded):
        token, key = made()
        guarded.learn(key)
        for _ in range(2):
            await guarded.ask(token)
        assert (await guarded.ask()).status == 401
        guarded.gate.learn(revoked(guarded.gate.keys, key.key_id, now_unix_s=NOW_S), read_unix_s=NOW_S)
        assert (await guarded.ask(token)).status == 401
        guarded.learn(made(models=("other",))[1])
        assert (await guarded.ask(token)).status == 403


class TestTickets:
    async def test_the_ticket_of_a_redirect_stands_for_the_key(self, guarded):
        _, key = made()
        guarded.learn(key)
        text = ticket(key.key_id)
        assert (await guarded.ask(query=f"?{TICKET_PARAMETER}={text}")).status == 200
        assert (await guarded.ask(headers={TICKET_HEADER: text})).status == 200
        assert guarded.front.residents.chat.commands[0].client == key.key_id

    @pytest.mark.parametrize(
        "said",
        [
            {"key_id": ""},
            {"key_id": "0" * 12},
            {"node_id": "node-b"},
            {"life_s": -1},
            {"life_s": 3600},
            {"signer": Signer(b"\x02" * 32)},
        ],
    )
    async def test_no_other_ticket_does(self, guarded, said):
        _, key = made()
        guarded.learn(key)
        text = ticket(**{"key_id": key.key_id} | said)
        assert (await guarded.ask(query=f"?{TICKET_PARAMETER}={text}")).status == 401

    async def test_a_flipped_bit_does_not(self, guarded):
        _, key = made()
        guarded.learn(key)
        text = ticket(key.key_id)
        for place in range(0, len(text), 7):
            other = "A" if text[place] != "A" else "B"
            flipped = f"{text[:place]}{other}{text[place + 1 :]}"
            assert (await guarded.ask(query=f"?{TICKET_PARAMETER}={flipped}")).status == 401, place

    async def test_it_is_for_its_model_and_no_better_than_its_key(self, guarded):
        _, key = made()
        guarded.learn(key)
        reply = await guarded.ask(query=f"?{TICKET_PARAMETER}={ticket(key.key_id, model='other')}")
        assert (reply.status, (await error_of(reply))["code"]) == (403, "client_key.model_refused")
        guarded.gate.learn(revoked(guarded.gate.keys, key.key_id, now_unix_s=NOW_S), read_unix_s=NOW_S)
        assert (await guarded.ask(query=f"?{TICKET_PARAMETER}={ticket(key.key_id)}")).status == 401

    async def test_a_wrong_key_is_not_mended_by_a_ticket(self, guarded):
        _, key = made()
        guarded.learn(key)
        reply = await guarded.ask("sk-wrong", query=f"?{TICKET_PARAMETER}={ticket(key.key_id)}")
        assert reply.status == 401


async def test_no_header_gets_around_the_gate(guarded):
    """Seeded fuzzing of header lines on raw connections: 0 bypasses."""
    token, key = made()
    guarded.learn(key)
    chance = random.Random(5)
    near = [
        token,
        token[:-1],
        token.upper(),
        token.replace("_", "-"),
        key.key_id,
        key.secrets[0].sha256,
        "",
        "ek_",
    ]
    schemes = ["Bearer", "Basic", "bearer:", "Digest", "Bearer Bearer", "Token", ""]
    names = ["X-Api-Key", "Api-Key", "Proxy-Authorization", "X-Authorization", "Cookie", "Authorization2",
             "X-Original-URL",
             "X-Forwarded-For", "X-Edgeward-Ticket", "X-HTTP-Method-Override", "Forwarded"]  # fmt: skip
    body = b'{"model":"chat","messages":[{"role":"user","content":"Hi"}]}'
    let_in = 0
    for _ in range(400):
        value = f"{chance.choice(schemes)} {chance.choice(near)}".encode()
        lines = [f"{chance.choice(names)}: ".encode() + value]
        if chance.random() < 0.7:
            wrong = bytearray(f"Bearer {token}".encode())
            wrong[chance.randrange(7, len(wrong))] ^= chance.choice([1, 2, 4, 8, 16, 32])
            spaces = chance.choice([b": ", b":", b":\t", b" : "])
            lines.append(
                chance.choice([b"Authorization", b"authorization", b"AUTHORIZATION"]) + spaces + bytes(wrong)
            )
        if chance.random() < 0.2:
            lines.append(f"Authorization: Bearer {token}".encode() + b"\r\nAuthorization: Bearer x")
        chance.shuffle(lines)
        reader, writer = await asyncio.open_connection(guarded.front.client.host, guarded.front.client.port)
        lines += [b"Host: a", b"Connection: close", b"Content-Type: application/json"]
        head = b"POST /v1/chat/completions HTTP/1.1\r\n"
        writer.write(head + b"\r\n".join(lines) + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        status = (await reader.read()).split(b" ", 2)[1]
        writer.close()
        assert status in {b"400", b"401"}, lines
        let_in += status == b"200"
    assert let_in == 0
    assert guarded.front.residents.chat.commands == []


async def test_a_key_is_never_logged_nor_shown(make_front, caplog):
    """A canary in the key: in no line of the log, no header, no body, no metric."""
    lines = []

    def record(_logger, _method, event):
        lines.append(repr(event))
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(
        processors=[record], wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG)
    )
    try:
        gate = Gate()
        front = await make_front(gate=gate, cache_bytes=2**20)
        guarded = Guarded(front, gate)
        token, key = made(models=("chat",), rate_per_h=3600 * 50)
        guarded.learn(key)
        canary = parse_token(token)[1]
        shown = []
        for sent, path in (
            (token, "/v1/chat/completions"), (token, "/v1/chat/completions"),
            (token + "x", "/v1/chat/completions"),
            (token.replace("ek_01", "ek_09"), "/v1/models/chat"), (token, "/v1/nothing"), (token, "/v1/embeddings"),
        ):  # fmt: skip
            reply = await guarded.ask(sent, path=path)
            shown.append(f"{reply.headers} {await reply.text()}")
        shown.append(front.metrics.page().decode())
    finally:
        structlog.configure(**before)
    assert lines
    assert canary not in "".join([*lines, *shown, caplog.text])
    assert key.secrets[0].sha256 not in "".join([*lines, *shown])
