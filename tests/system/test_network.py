"""The whole network, of real parts: clients of every kind are answered, and whatever is killed mends by itself."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import openai
import pytest

from edge_node.client import AsyncClient, Client
from registry.catalog import Catalog

pytestmark = pytest.mark.system

PARIS = (48.85, 2.35)
NEW_YORK = (40.71, -74.01)
WANTED = [("chat", "1.0.0"), ("embed", "1.0.0")]
ASK = [{"role": "user", "content": "Say hello."}]


def node_url(network, index):
    return f"http://127.0.0.1:{network.ports.node(index)}"


def wait_until_mended(network):
    asyncio.run(network.wait_until_serving(WANTED, timeout_s=120))


def wait_for(condition, timeout_s=60.0):
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "it did not happen in time"
        time.sleep(0.05)


def children_of(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("through", ["origin", "node"])
def test_the_official_client_works_unchanged(network, through):
    url = network.origin_url if through == "origin" else node_url(network, 0)
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        plain = client.chat.completions.create(model="chat", messages=ASK, max_tokens=12, temperature=0)
        assert plain.choices[0].message.content
        assert plain.usage.completion_tokens <= 12
        options = {"include_usage": True}
        with client.chat.completions.create(
            model="chat", messages=ASK, max_tokens=12, temperature=0, stream=True, stream_options=options
        ) as stream:
            chunks = list(stream)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert text == plain.choices[0].message.content
        assert chunks[-1].usage.completion_tokens == plain.usage.completion_tokens
        assert (
            client.completions.create(model="chat", prompt="Once upon a time", max_tokens=5).choices[0].text
        )
        vectors = client.embeddings.create(model="embed", input=["one", "two"])
        assert [len(vector.embedding) for vector in vectors.data] == [384, 384]
        assert {"chat", "embed"} <= {model.id for model in client.models.list().data}
        with pytest.raises(openai.NotFoundError, match="nothing-here"):
            client.chat.completions.create(model="nothing-here", messages=ASK)


def test_each_client_goes_to_its_nearest_node(network):
    for place, nearest in ((PARIS, "frankfurt"), (NEW_YORK, "virginia")):
        with Client(network.origin_url, place=place) as client:
            assert client.chat("Hi.", model="chat", max_tokens=3).served.node_id == nearest


def test_bad_requests_are_refused_with_the_field_at_fault(network):
    with openai.OpenAI(base_url=f"{node_url(network, 0)}/v1", api_key="none", max_retries=0) as client:
        with pytest.raises(openai.BadRequestError) as too_long:
            client.chat.completions.create(
                model="chat", messages=[{"role": "user", "content": "word " * 9000}]
            )
        assert too_long.value.code == "context_length_exceeded"
        with pytest.raises(openai.BadRequestError) as unknown:
            client.chat.completions.create(model="chat", messages=ASK, extra_body={"temprature": 1})
        assert unknown.value.param == "temprature"
        assert "temperature" in str(unknown.value)


def test_three_nodes_worth_of_engines_share_the_cores(network):
    """Engines with one thread each take turns; none is starved while the others work."""

    async def ask(place):
        async with AsyncClient(network.origin_url, place=place) as client:
            started_s = time.monotonic()
            answer = await client.chat("Tell a long story.", model="chat", max_tokens=60, temperature=0)
            return answer.usage.completion_tokens / (time.monotonic() - started_s)

    async def together():
        return await asyncio.gather(*(ask(place) for place in (PARIS, NEW_YORK)))

    speeds = asyncio.run(together())
    assert min(speeds) > max(speeds) / 5  # one that spins away another's time leaves it a tenth


def test_a_killed_engine_comes_back(network):
    pid = network.pids()["node-frankfurt"]
    engines = children_of(pid)
    assert len(engines) == 2
    for engine in engines:
        os.kill(engine, signal.SIGKILL)
    wait_for(lambda: len(set(children_of(pid)) - set(engines)) == 2)
    wait_until_mended(network)
    with Client(node_origin(network), place=PARIS) as client:
        assert client.chat("Hi.", model="chat", max_tokens=3).text


def node_origin(network):
    return network.origin_url


@pytest.mark.parametrize("part", ["node-frankfurt", "origin", "object store"])
def test_a_killed_part_mends_when_it_is_started_again(network, part):
    pid = network.pids()[part]
    orphans = children_of(pid)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: part in network.restart_dead())
    wait_for(lambda: not any(Path(f"/proc/{orphan}").exists() for orphan in orphans))

    async def reachable():
        await network._until(network._children()[0], network._origin_ready, 60)
        await network.wait_until_serving(WANTED, timeout_s=120)

    asyncio.run(reachable())
    with Client(network.origin_url, place=PARIS) as client:
        assert client.chat("Hi.", model="chat", max_tokens=3).text


def test_nodes_serve_on_while_origin_and_store_are_gone(network):
    pids = network.pids()
    for part in ("origin", "object store"):
        os.kill(pids[part], signal.SIGKILL)
    wait_for(lambda: not {"origin", "object store"} & set(network.pids()))
    with openai.OpenAI(base_url=f"{node_url(network, 0)}/v1", api_key="none", max_retries=0) as client:
        assert client.chat.completions.create(model="chat", messages=ASK, max_tokens=3).choices
    assert set(network.restart_dead()) == {"origin", "object store"}
    wait_for(lambda: edgeward(network, "models").returncode == 0)
    wait_until_mended(network)


def edgeward(network, *arguments):
    command = [sys.executable, "-m", "deploy.cli", "--config", str(network.settings_file), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["publish", "{dir}/text.gguf", "--name", "a", "--version", "1"], "not a GGUF file"),
        (["publish", "{dir}/short.gguf", "--name", "a", "--version", "1"], "truncated"),
        (["publish", "{dir}/none.gguf", "--name", "a", "--version", "1"], "none.gguf"),
        (["publish", "{dir}/text.gguf", "--name", "../a", "--version", "1"], "not a model name"),
        (["publish", "{dir}/text.gguf", "--name", "a", "--version", "../1"], "not a version"),
        (["pull", "nothing@1.0.0", "--to", "{dir}/out"], "nothing"),
        (["pull", "chat@9.9.9", "--to", "{dir}/out"], "9.9.9"),
        (["ask", "hello", "--model", "nothing"], "nothing"),
        (["ask", "hello", "--origin", "http://127.0.0.1:9"], "127.0.0.1:9"),
        (["ask", "hello", "--from", "Atlantis"], "Atlantis"),
        (["route", "--model", "nothing"], "nothing"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else None,
)
def test_wrong_input_is_refused_in_one_line(network, sample_models, tmp_path, arguments, says):
    (tmp_path / "text.gguf").write_text("this is no model")
    whole = (sample_models / "smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf").open("rb")
    with whole:
        (tmp_path / "short.gguf").write_bytes(whole.read(5_000_000))
    done = edgeward(network, *(argument.format(dir=tmp_path) for argument in arguments))
    assert done.returncode == 1, done.stdout + done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_port_in_use_is_named(network):
    done = edgeward(network, "origin", "serve", "--port", str(network.ports.origin))
    assert done.returncode == 1
    assert f"port {network.ports.origin}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_model_travels_from_file_to_file_unchanged(network, sample_models, tmp_path):
    source = sample_models / "minilm"
    out = tmp_path / "pulled"
    assert edgeward(network, "pull", "embed", "--to", str(out)).returncode == 0
    assert edgeward(network, "verify", str(out)).returncode == 0
    for name in ("model.onnx", "tokenizer.json"):
        assert (out / "files" / name).read_bytes() == (source / name).read_bytes()
    with (out / "files" / "model.onnx").open("r+b") as file:
        file.seek(1_000_000)
        byte = file.read(1)
        file.seek(1_000_000)
        file.write(bytes([byte[0] ^ 1]))
    damaged = edgeward(network, "verify", str(out))
    assert damaged.returncode == 1
    assert "model.onnx" in damaged.stdout + damaged.stderr


def test_the_same_version_again_is_nothing_and_other_bytes_are_refused(network, sample_models):
    same = edgeward(
        network, "publish", str(sample_models / "minilm"), "--name", "embed", "--version", "1.0.0", "--json"
    )
    assert same.returncode == 0
    assert '"unchanged"' in same.stdout
    other = edgeward(network, "publish", str(sample_models / "minilm" / "tokenizer.json"), "--name", "embed",
                     "--version", "1.0.0")  # fmt: skip
    assert other.returncode == 1
    assert "embed@1.0.0" in other.stderr


def test_a_channel_goes_back_and_the_nodes_with_it(network, sample_models, tmp_path):
    edited = tmp_path / "edited"
    edited.mkdir()
    for name in ("model.onnx", "tokenizer.json"):
        (edited / name).write_bytes((sample_models / "minilm" / name).read_bytes())
    (edited / "NOTES.md").write_text("another release")
    assert edgeward(network, "publish", str(edited), "--name", "embed", "--version", "1.1.0").returncode == 0
    asyncio.run(network.wait_until_serving([("embed", "1.1.0")], timeout_s=120))
    back = edgeward(network, "rollback", "embed", "--json")
    assert back.returncode == 0
    assert '"1.0.0"' in back.stdout
    asyncio.run(network.wait_until_serving([("embed", "1.0.0")], timeout_s=120))


def test_keys_are_replaced_and_a_version_withdrawn_while_the_nodes_serve(network, sample_models, tmp_path):
    """The online key is lost: a new root names another, nodes follow it by themselves, and publishing goes on."""
    lost = list((network.directory / "keys").glob("online-*.key"))
    for path in lost:
        path.unlink()
    edited = tmp_path / "edited"
    edited.mkdir()
    for name in ("model.onnx", "tokenizer.json"):
        (edited / name).write_bytes((sample_models / "minilm" / name).read_bytes())
    (edited / "NOTES.md").write_text("signed with another key")
    publish = ("publish", str(edited), "--name", "embed", "--version", "2.0.0")
    refused = edgeward(network, *publish)
    assert refused.returncode == 1
    assert "too few keys" in refused.stderr
    for words in (("keys", "rotate", "online"), ("timestamp", "renew"), ("keys", "renew", "models")):
        done = edgeward(network, *words)
        assert done.returncode == 0, done.stderr
    published = edgeward(network, *publish)
    assert published.returncode == 0, published.stderr
    asyncio.run(network.wait_until_serving([("embed", "2.0.0")], timeout_s=120))
    yanked = edgeward(network, "yank", "embed@2.0.0", "--json")
    assert yanked.returncode == 0, yanked.stderr
    asyncio.run(network.wait_until_serving([("embed", "1.0.0")], timeout_s=120))
    again = edgeward(network, *publish)
    assert again.returncode == 1
    assert "withdrawn" in again.stderr


def test_what_somebody_with_the_buckets_password_writes_is_not_installed(network):
    """The bucket's signed metadata are replaced by well-formed ones of another's keys: all goes on as it was."""
    from registry.digest import digest_of
    from registry.store.s3 import open_s3
    from registry.trust.in_memory import signed_in_memory
    from registry.trust.statements import SignedRelease

    store = open_s3(network.store_config)
    right = store.get("tuf/timestamp.json")
    evil = signed_in_memory()
    said = SignedRelease(sha256=digest_of(b"evil"), length_bytes=4)
    Catalog(evil).add("chat", "6.6.6", said, channel="stable")
    etag = store.put_if_match("tuf/timestamp.json", evil.get("tuf/timestamp.json").data, right.etag)
    refused = edgeward(network, "models", "--json")
    assert refused.returncode == 1
    assert "not signed by the keys" in refused.stderr
    with Client(network.origin_url, place=PARIS) as client:
        assert client.chat("Hi.", model="chat", max_tokens=3).served.release == "chat@1.0.0"
    store.put_if_match("tuf/timestamp.json", right.data, etag)
    assert edgeward(network, "models", "--json").returncode == 0
