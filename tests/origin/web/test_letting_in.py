"""An origin that asks for client keys: who comes in, what is for nodes, and what a redirect takes along."""

import time

import aiohttp
import pytest
from aiohttp import hdrs

from origin.api import ModelReport, NodeReport, RouteQuery
from origin.client import OriginClient
from origin.config import OriginConfig
from origin.errors import ApiKeyInvalidError, KeyRateError, ModelOutOfScopeError, NodeNotEnrolledError
from origin.gate import Gate
from origin.kept_keys import KeptKeys
from origin.tickets import read_ticket, ticket_in, verifiers
from origin.web.letting_in import ENROLMENT, FOR_NODES, FROM_HERE, OPEN
from registry.client_keys import added, new_key, parse_token, revoked
from registry.trust.statements import CLIENT_KEYS_ROLE

CHAT = {"model": "chat", "messages": [{"role": "user", "content": "hello"}]}
PROXIED = {"X-Forwarded-For": "203.0.113.9"}


@pytest.fixture
def config(tmp_path):
    return OriginConfig(data_dir=tmp_path, require_keys=True, catalog_refresh_s=60.0)


def made(number=1, **said):
    said = {"name": "shop", "now_unix_s": time.time()} | said
    return new_key(id_bytes=bytes([number] * 6), secret_bytes=bytes([number] * 32), **said)


async def learn(origin, change):
    origin.store.signed.publisher.change_client_keys(change)
    await origin.releases.refresh()
    await origin.client_keys.look()


@pytest.fixture
async def network(origin, store, publish):
    publish(store, "chat", "1.0")
    publish(store, "secret", "1.0")
    ready = tuple(
        ModelReport(name=name, version="1.0", state="ready", slots=2, service_s=0.5)
        for name in ("chat", "secret")
    )
    await origin.client.report(
        NodeReport(node_id="paris", incarnation=1, url="http://paris.example:8000/", models=ready)
    )
    await origin.releases.refresh()
    return origin


def headers(token):
    return {"Authorization": f"Bearer {token}"}


async def test_a_redirect_takes_the_id_of_the_key_along_and_never_the_key(network):
    token, key = made()
    await learn(network, lambda keys: added(keys, key))
    async with network.session.post(
        "/v1/chat/completions", json=CHAT, headers=headers(token), allow_redirects=False
    ) as reply:
        assert reply.status == 307
        location = reply.headers["Location"]
    assert parse_token(token)[1] not in location
    ticket = read_ticket(ticket_in(location), verifiers(network.sharing.route_keys()), time.time())
    assert (ticket.key_id, ticket.model) == (key.key_id, "chat")
    async with OriginClient(network.url, api_key=token) as client:
        answer = await client.route(RouteQuery(model="chat"))
    assert (
        read_ticket(answer.ticket, verifiers(network.sharing.route_keys()), time.time()).key_id == key.key_id
    )


async def test_without_a_key_no_client_is_answered(network):
    await learn(network, lambda keys: added(keys, made()[1]))
    async with network.session.post("/v1/chat/completions", json=CHAT, allow_redirects=False) as reply:
        error = (await reply.json())["error"]
        assert (reply.status, error["code"], reply.headers["WWW-Authenticate"]) == (
            401,
            "invalid_api_key",
            "Bearer",
        )
        assert "Location" not in reply.headers
    for shown in ("", "none", made(2)[0]):
        async with OriginClient(network.url, api_key=shown) as client:
            with pytest.raises(ApiKeyInvalidError):
                await client.route(RouteQuery(model="chat"))


async def test_every_url_asks_for_a_key_but_those_that_are_said_to_be_open(network):
    await learn(network, lambda keys: added(keys, made()[1]))
    free, seen = OPEN | ENROLMENT | FOR_NODES | FROM_HERE, set()
    for resource in network.runner.app.router.resources():
        for route in resource:
            if route.method == hdrs.METH_HEAD:
                continue
            path = resource.canonical.replace("{", "").replace("}", "")
            async with network.session.request(route.method, path, allow_redirects=False) as reply:
                assert (reply.status == 401) == (resource.canonical not in free), resource.canonical
            seen.add(resource.canonical)
    assert free <= seen, "each exception is a real URL"
    async with network.session.get("/nothing") as reply:
        assert reply.status == 401


async def test_where_others_reach_it_what_nodes_fetch_is_for_nodes_and_keys(network):
    token, key = made()
    await learn(network, lambda keys: added(keys, key))
    object.__setattr__(network.config, "host", "203.0.113.1")  # as if it listened there, with TLS
    for path in (
        "/v1/catalog",
        "/v1/manifests/chat/1.0",
        "/v1/blobs/x",
        "/v1/deltas/a/b",
        "/v1/trust/timestamp.json",
    ):
        async with network.session.get(path) as reply:
            assert reply.status == 401, path
        async with network.session.get(path, headers=headers(token)) as reply:
            assert reply.status != 401, path
    async with network.session.get(f"/v1/trust/1.{CLIENT_KEYS_ROLE}.json", headers=headers(token)) as reply:
        assert (reply.status, (await reply.json())["error"]["code"]) == (403, NodeNotEnrolledError.code)
    async with network.session.get("/metrics", headers=PROXIED) as reply:
        assert reply.status == 401
    async with network.session.get("/readyz", headers=PROXIED) as reply:
        assert (reply.status, await reply.json()) == (200, {"status": "ready"})


async def test_scope_and_rate(network):
    token, key = made(models=("chat",), rate_per_h=3600)
    await learn(network, lambda keys: added(keys, key))
    async with OriginClient(network.url, api_key=token) as client:
        with pytest.raises(ModelOutOfScopeError):
            await client.route(RouteQuery(model="secret@1.0"))
        with pytest.raises(KeyRateError) as refused:
            await client.route(RouteQuery(model="chat"))
        assert 0 < refused.value.retry_after_s <= 1
        network.clock.now_s += 1
        async with network.session.get("/v1/models", headers=headers(token)) as reply:
            assert [model["id"] for model in (await reply.json())["data"]] == ["chat"]
        network.clock.now_s += 1
        async with network.session.get("/v1/models/secret", headers=headers(token)) as reply:
            assert reply.status == 403


async def test_a_revoked_key_is_out_and_nodes_are_told_of_another_list(network):
    token, key = made()
    await learn(network, lambda keys: added(keys, key))
    report = NodeReport(node_id="paris", incarnation=2, url="http://paris.example:8000/")
    before = (await network.client.report(report)).client_keys
    await learn(network, lambda keys: revoked(keys, key.key_id, now_unix_s=time.time()))
    after = (await network.client.report(report)).client_keys
    assert len(before) == len(after) == 64
    assert before != after
    async with OriginClient(network.url, api_key=token) as client:
        with pytest.raises(ApiKeyInvalidError, match="is revoked"):
            await client.route(RouteQuery(model="chat"))


async def test_the_last_list_stands_while_the_store_is_away_and_after_a_start(network, config):
    token, key = made()
    await learn(network, lambda keys: added(keys, key))
    network.store.away = True
    await network.client_keys.look()
    async with OriginClient(network.url, api_key=token) as client:
        assert (await client.route(RouteQuery(model="chat"))).nodes
    again = Gate()
    KeptKeys(config.data_dir, again, time.time).restore()
    assert again.prove(f"Bearer {token}", time.time()).key == key
    assert (config.data_dir / "client-keys.json").stat().st_mode & 0o777 == 0o600


async def test_before_any_list_was_read_it_is_not_ready(origin):
    async with origin.session.get("/readyz") as reply:
        assert reply.status == 503
        assert (await reply.json())["client_keys"]["problem"] == "the list of client keys was never read"
    async with origin.session.post("/v1/route", json={"model": "chat"}) as reply:
        assert (reply.status, (await reply.json())["error"]["code"]) == (503, "client_key.list_unknown")


async def test_several_authorization_headers_are_refused(network):
    token, key = made()
    await learn(network, lambda keys: added(keys, key))
    request = (
        f"GET /v1/models HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n"
        "Authorization: Bearer x\r\n\r\n"
    )
    assert b" 401 " in (await network.raw(request.encode())).splitlines()[0]


async def test_on_a_kept_connection_each_request_is_looked_at(network):
    token, key = made()
    await learn(network, lambda keys: added(keys, key))
    async with aiohttp.ClientSession(network.url, connector=aiohttp.TCPConnector(limit=1)) as session:
        for shown, status in ((token, 200), (None, 401), (token, 200)):
            sent = headers(shown) if shown else {}
            async with session.post("/v1/route", json={"model": "chat"}, headers=sent) as reply:
                assert reply.status == status
