"""Prefixes with a real model: shared in cells, brought back from memory and the disk, kept apart, never wrong."""

import asyncio
import contextlib
import hashlib
from pathlib import Path

import pytest

from edge_node.engines import ChatMessage, Delta, Finished, Generate, Sampling, Started
from edge_node.engines.prefill import with_prefixes
from edge_node.engines.process import EngineProcess
from edge_node.engines.spec import EngineSpec
from edge_node.errors import EngineFailedError
from registry.errors import InputInvalidError

pytestmark = pytest.mark.system

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
SYSTEM = list(range(1000, 1400))


def question(number):
    return [*SYSTEM, *(200 + number * 7 + at for at in range(12))]


@contextlib.asynccontextmanager
async def running(sample_models, tmp_path, **more):
    spec = {
        "kind": "llama", "name": "m", "version": "1", "model_dir": str(sample_models / "smollm2"), "files": (GGUF,),
        "prefix_dir": str(tmp_path), "prefix_limit_bytes": 1 << 28,
    } | more  # fmt: skip
    engine = EngineProcess(EngineSpec(**spec))
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close(5)


async def ask(engine, number, *, client="", prompt=None):
    """(started, tokens' text) of a greedy answer."""
    command = Generate(
        request_id=f"{client}{number}", tokens=tuple(prompt or question(number)), client=client,
        sampling=Sampling(temperature=0.0, max_tokens=8),
    )  # fmt: skip
    events = [event async for event in engine.generate(command)]
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Finished)
    return events[0], "".join(event.text for event in events if isinstance(event, Delta))


async def written(directory):
    """The files of prefixes, once the engine has written them."""
    async with asyncio.timeout(20):
        while not (files := sorted(Path(directory).glob("*.edgekv"))):  # noqa: ASYNC110, ASYNC240 - a glance at what another process makes
            await asyncio.sleep(0.05)
    return files


async def test_a_prefix_is_shared_outlives_the_engine_and_gives_the_same_answers(sample_models, tmp_path):
    async with running(sample_models, tmp_path) as engine:
        first, alone = await ask(engine, 1)
        second, _ = await ask(engine, 2)
        other, _ = await ask(engine, 3, client="bob")
        again, same = await ask(engine, 1)
        (file,) = await written(tmp_path)
    assert (first.cached_tokens, first.cached_from) == (0, "")
    assert (second.cached_tokens, second.cached_from) == (400, "memory")
    assert (other.cached_tokens, other.cached_from) == (0, "")
    assert again.cached_tokens == 411
    assert same == alone
    async with running(sample_models, tmp_path) as engine:
        stranger, _ = await ask(engine, 5, client="bob")
        restarted, restored = await ask(engine, 1)
        assert (restarted.cached_tokens, restarted.cached_from) == (400, "disk")
        third, _ = await ask(engine, 4)
        assert (third.cached_tokens, third.cached_from) == (400, "memory")
    assert stranger.cached_tokens == 0
    assert restored == alone
    data = file.read_bytes()
    file.write_bytes(data[:-100] + bytes(100))
    async with running(sample_models, tmp_path) as engine:
        damaged, recomputed = await ask(engine, 1)
    assert (damaged.cached_tokens, damaged.cached_from) == (0, "")
    assert recomputed == alone
    assert not file.exists()


async def test_another_kv_type_takes_nothing_over(sample_models, tmp_path):
    async with running(sample_models, tmp_path) as engine:
        await ask(engine, 1)
        await ask(engine, 2)
        await written(tmp_path)
    async with running(sample_models, tmp_path, kv_type="q8_0") as engine:
        started, _ = await ask(engine, 3)
    assert started.cached_tokens == 0
    assert list(tmp_path.glob("*.edgekv")) == []


async def test_what_gives_way_to_others_comes_back_from_memory(sample_models, tmp_path):
    small = {"context_tokens": 512, "slots_count": 2, "prefix_dir": ""}
    async with running(sample_models, tmp_path, **small) as engine:
        _, alone = await ask(engine, 1)
        for number in range(2, 6):
            await ask(engine, number, prompt=[number * 1000 + at for at in range(480)])
        back, same = await ask(engine, 1)
    assert back.cached_from == "memory"
    assert back.cached_tokens >= 400
    assert same == alone


SYSTEM_TEXT = "You are a careful assistant of a harbour master. " * 30


async def chat(engine, request_id, system, question, client):
    """(started, text) of a greedy chat."""
    command = Generate(
        request_id=request_id, client=client, sampling=Sampling(temperature=0.0, max_tokens=8),
        messages=(ChatMessage(role="system", content=system), ChatMessage(role="user", content=question)),
    )  # fmt: skip
    events = [event async for event in engine.generate(command)]
    return events[0], "".join(event.text for event in events if isinstance(event, Delta))


async def test_a_published_prefix_is_there_for_every_client_at_once(sample_models, tmp_path):
    model = tmp_path / GGUF
    model.symlink_to(sample_models / "smollm2" / GGUF)
    prompt = tmp_path / "harbour.txt"
    prompt.write_text(SYSTEM_TEXT)
    with with_prefixes(model, [prompt]) as release:
        digest = hashlib.sha256(model.read_bytes()).hexdigest()
        files = (GGUF, "prefixes/harbour.edgekv")
        facts = {"model_dir": str(release), "files": files, "prefix_dir": ""}
        async with running(sample_models, tmp_path, **facts, files_sha256=(digest, "")) as engine:
            for client in ("ann", "bob"):
                started, text = await chat(engine, client, SYSTEM_TEXT, "Who are you?", client)
                assert started.cached_tokens > 250
                assert started.cached_from == ("release" if client == "ann" else "memory")
        async with running(sample_models, tmp_path, **facts, files_sha256=("0" * 64, "")) as engine:
            started, computed = await chat(engine, "ann", SYSTEM_TEXT, "Who are you?", "ann")
            assert started.cached_tokens == 0
    assert computed == text
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


async def test_a_prompt_that_cannot_be_prefilled_is_said_so(sample_models, tmp_path):
    with pytest.raises(InputInvalidError, match="one GGUF"), with_prefixes(tmp_path, [tmp_path / "x"]):
        pass
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF")
    prompt = tmp_path / "system.txt"
    prompt.write_text("You are kind.")
    with pytest.raises(EngineFailedError, match="cannot load"), with_prefixes(broken, [prompt]):
        pass
