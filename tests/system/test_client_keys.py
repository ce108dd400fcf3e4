"""A real network that asks for client keys: official and own clients, revocation, and no origin at all."""

from __future__ import annotations

import asyncio
import secrets
import time

import httpx2
import openai
import pytest

from deploy.local.network import SITES, LocalNetwork
from deploy.local.ports import free_ports
from edge_node.client import Client
from edge_node.client.config import ClientConfig
from origin.errors import ApiKeyInvalidError
from registry.client_keys import added, new_key, parse_token, revoked
from registry.publish import publish
from registry.store.s3 import open_s3

pytestmark = pytest.mark.system

ASK = {"model": "embed", "input": "Say hello."}


@pytest.fixture(scope="module")
def network(tmp_path_factory, sample_models):
    """One origin, one node, one small model."""
    made = LocalNetwork(tmp_path_factory.mktemp("keys"), free_ports(1, start_port=24_300), keys=True)

    async def start():
        store = await made.start_store()
        await made.start_origin()
        publish(
            sample_models / "minilm",
            name="embed",
            version="1.0.0",
            store=store,
            created_unix_s=int(time.time()),
        )
        made.start_node(SITES[0], 0)
        await made.wait_until_serving([("embed", "1.0.0")], timeout_s=300)

    try:
        asyncio.run(start())
        yield made
    finally:
        made.stop()


@pytest.fixture
def make_key(network):
    """Signs another key into the list of the running network; gives it and its id."""

    def make(**said):
        token, key = new_key(
            id_bytes=secrets.token_bytes(6), secret_bytes=secrets.token_bytes(32), name="test",
            now_unix_s=time.time(), **said,
        )  # fmt: skip
        change(network, lambda keys: added(keys, key))
        return token, key.key_id

    return make


def change(network, change):
    network.signed(open_s3(network.store_config)).publisher.change_client_keys(change)


def node_url(network):
    return f"http://127.0.0.1:{network.ports.node(0)}"


def ask(url, token):
    with openai.OpenAI(base_url=f"{url}/v1", api_key=token, max_retries=0) as client:
        return client.embeddings.create(**ASK)


def wait_for(condition, timeout_s):
    started_s = time.monotonic()
    while not condition():
        assert time.monotonic() - started_s < timeout_s, "it did not happen in time"
        time.sleep(0.1)
    return time.monotonic() - started_s


def answers(url, token):
    try:
        return bool(ask(url, token).data)
    except (openai.AuthenticationError, openai.APIConnectionError, openai.InternalServerError):
        return False


def test_the_official_client_goes_through_the_origin_though_it_drops_its_key_on_the_way(network):
    sent = []
    http = httpx2.Client(
        event_hooks={"request": [lambda request: sent.append(dict(request.headers))]},
        follow_redirects=True,
        timeout=120,
    )
    with (
        http,
        openai.OpenAI(
            base_url=f"{network.origin_url}/v1", api_key=network.client_key, http_client=http, max_retries=0
        ) as client,
    ):
        assert len(client.embeddings.create(**ASK).data[0].embedding) == 384
        assert [("authorization" in headers) for headers in sent] == [True, False], (
            "the node saw a ticket alone"
        )
        assert {model.id for model in client.models.list().data} == {"embed"}


@pytest.mark.parametrize("wrong", ["none", "ek_" + "0" * 12 + "_" + "A" * 43])
def test_nobody_else_is_let_in_anywhere(network, wrong):
    for url in (network.origin_url, node_url(network)):
        with pytest.raises(openai.AuthenticationError) as refused:
            ask(url, wrong)
        assert refused.value.code == "invalid_api_key"
        assert httpx2.post(f"{url}/v1/embeddings", json=ASK).status_code == 401
    with pytest.raises(ApiKeyInvalidError):
        Client(config=ClientConfig(origin=(network.origin_url,), api_key=wrong)).embed("Hi.", model="embed")


def test_our_own_client_sends_its_key_to_both(network):
    with Client(config=ClientConfig(origin=(network.origin_url,), api_key=network.client_key)) as client:
        assert client.embed("Hi.", model="embed")
        assert [node.report.node_id for node in client.nodes()] == ["frankfurt"]


def test_a_key_counts_within_seconds_and_is_out_within_seconds(network, make_key):
    token, key_id = make_key(models=("chat",))
    wait_for(
        lambda: httpx2.get(f"{node_url(network)}/v1/models", headers=bearer(token)).status_code == 200, 10
    )
    with pytest.raises(openai.PermissionDeniedError):
        ask(node_url(network), token)
    wait_for(
        lambda: httpx2.get(f"{network.origin_url}/v1/models", headers=bearer(token)).status_code == 200, 10
    )
    with pytest.raises(openai.PermissionDeniedError):
        ask(network.origin_url, token)
    change(network, lambda keys: revoked(keys, key_id, now_unix_s=time.time()))
    for url in (network.origin_url, node_url(network)):
        wait_for(lambda url=url: httpx2.get(f"{url}/v1/models", headers=bearer(token)).status_code == 401, 10)


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def test_limits_over_real_connections(network, make_key):
    token, _ = make_key(rate_per_h=3600)
    url = f"{node_url(network)}/v1/models"
    wait_for(lambda: httpx2.get(url, headers=bearer(token)).status_code != 401, 10)
    time.sleep(1.1)
    assert httpx2.get(url, headers=bearer(token)).status_code == 200
    refused = httpx2.get(url, headers=bearer(token))
    assert refused.status_code == 429
    time.sleep(int(refused.headers["retry-after-ms"]) / 1000)
    assert httpx2.get(url, headers=bearer(token)).status_code == 200


def bytes_of(path):
    """What a file holds; nothing for what is none, for a whole volume, and for what the store took away meanwhile."""
    try:
        return path.read_bytes() if path.is_file() and path.stat().st_size < 2**26 else b""
    except FileNotFoundError:
        return b""


def test_no_secret_is_in_any_log_or_in_the_store(network, make_key):
    token, _ = make_key()
    for each in (token, network.client_key):
        answers(network.origin_url, each)
        answers(node_url(network), each + "x")
    # A secret may hold "_" itself, and end with one: what follows the last "_" may be nothing, and nothing is in all.
    said = [parse_token(each)[1].encode() for each in (token, network.client_key)]
    assert [len(each) for each in said] == [43, 43]
    found = [
        path
        for path in network.directory.rglob("*")
        if path.name not in {"client.key", "edgeward.toml"} and any(each in bytes_of(path) for each in said)
    ]
    assert found == []


def test_with_no_origin_left_keys_are_checked_on_and_after_a_start_too(network):
    """Last: it takes the network apart."""
    network._origins.pop(0).kill()
    url = node_url(network)
    assert answers(url, network.client_key)
    network._nodes["frankfurt"].kill()
    network.start_node(*network._sites["frankfurt"])
    wait_for(lambda: answers(url, network.client_key), 120)
    assert not answers(url, "ek_" + "0" * 12 + "_" + "A" * 43)
    status = httpx2.get(f"{url}/readyz").json()
    assert status["client_keys"]["checked"]
    assert status["client_keys"]["age_s"] > 0
    assert not status["origin_up"]
