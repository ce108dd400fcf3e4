"""The catalog, manifests and models over a real socket."""

import pytest

from origin.api import ModelReport, NodeReport
from registry.digest import digest_of
from registry.errors import ReleaseUnknownError, StoreUnavailableError
from registry.manifest import manifest_digest


async def test_the_catalog_lists_releases_and_channels(origin, store, publish):
    manifest = publish(store, "team/chat", "1.0")
    publish(store, "team/chat", "2.0+b.1", channel="canary")
    await origin.releases.refresh()
    answer = await origin.client.catalog()
    assert [(r.name, r.version) for r in answer.releases] == [("team/chat", "1.0"), ("team/chat", "2.0+b.1")]
    assert answer.channels == {"team/chat": {"stable": "1.0", "canary": "2.0+b.1"}}
    first = answer.releases[0]
    assert (first.kind, first.architecture, first.quantization) == ("gguf", "llama", "Q4_K_M")
    assert first.manifest_sha256 == manifest_digest(manifest)
    assert first.total_bytes == 1400


async def test_before_the_first_read_the_catalog_is_503(origin):
    with pytest.raises(StoreUnavailableError, match="has not been able to read") as caught:
        await origin.client.catalog()
    assert caught.value.retry_after_s == 2.0


async def test_a_manifest_is_asked_about_by_its_etag_which_is_its_digest(origin, store, publish):
    for name, version in (("chat", "1.0"), ("team/chat", "2.0+b.1")):
        data = publish(store, name, version)
        assert await origin.client.manifest(name, version) == data
        url = f"/v1/manifests/{name}/{version}"
        async with origin.session.get(url) as reply:
            assert reply.headers["ETag"] == f'"{digest_of(data)}"'
            assert reply.headers["Cache-Control"] == "no-cache, no-transform"
            assert reply.content_type == "application/octet-stream"
        async with origin.session.get(url, headers={"If-None-Match": f'"{digest_of(data)}"'}) as reply:
            assert reply.status == 304


async def test_a_manifest_read_once_outlives_the_store(origin, store, publish):
    data = publish(store, "chat", "1.0")
    await origin.client.manifest("chat", "1.0")
    store.away = True
    assert await origin.client.manifest("chat", "1.0") == data


@pytest.mark.parametrize(
    ("name", "version"), [("nope", "1.0"), ("chat", "9"), ("Chat", "1.0"), ("a/b/c", "1")]
)
async def test_an_unknown_release_is_404(origin, store, publish, name, version):
    publish(store, "chat", "1.0")
    with pytest.raises(ReleaseUnknownError):
        await origin.client.manifest(name, version)


@pytest.mark.parametrize("path", ["../../channels/chat", "%2e%2e/%2e%2e/x", "chat/..%2f1.0", "chat/1.0%00"])
async def test_path_tricks_are_404(origin, store, publish, path):
    publish(store, "chat", "1.0")
    answer = await origin.raw(
        f"GET /v1/manifests/{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    )
    assert answer.startswith(b"HTTP/1.1 404 ")


async def test_models_as_openai_lists_them(origin, store, publish):
    publish(store, "chat", "1.0", created_unix_s=100)
    publish(store, "chat", "1.1", created_unix_s=200)
    await origin.releases.refresh()
    held = ModelReport(name="local", version="1", state="ready")
    await origin.client.report(NodeReport(node_id="n", incarnation=1, url="http://n.example", models=(held,)))
    async with origin.session.get("/v1/models") as reply:
        assert await reply.json() == {
            "object": "list",
            "data": [
                {"id": "chat", "object": "model", "created": 200, "owned_by": "edgeward"},
                {"id": "local", "object": "model", "created": 0, "owned_by": "edgeward"},
            ],
        }
    async with origin.session.get("/v1/models/chat") as reply:
        assert (await reply.json())["id"] == "chat"
    async with origin.session.get("/v1/models/chta") as reply:
        assert reply.status == 404
        assert "did you mean chat?" in (await reply.json())["error"]["message"]
