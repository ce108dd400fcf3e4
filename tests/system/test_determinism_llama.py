"""Deterministic requests with a real model: the same text alone and under load."""

import asyncio
import contextlib

import pytest

from edge_node.engines import Delta, Finished, Generate, Sampling
from edge_node.engines.process import EngineProcess
from edge_node.engines.spec import EngineSpec

pytestmark = pytest.mark.system

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
RUNS_COUNT = 50


@contextlib.asynccontextmanager
async def running(sample_models, tmp_path, **more):
    spec = EngineSpec(
        kind="llama", name="m", version="1", model_dir=str(sample_models / "smollm2"), files=(GGUF,),
        prefix_dir=str(tmp_path), prefix_limit_bytes=1 << 20, determinism_probe_s=60.0, **more,
    )  # fmt: skip
    engine = EngineProcess(spec)
    ready = await engine.start()
    try:
        yield engine, ready
    finally:
        await engine.close(5)


async def text_of(engine, request_id, prompt, *, deterministic, **sampling):
    command = Generate(
        request_id=request_id, text=prompt, deterministic=deterministic, sampling=Sampling(max_tokens=12, **sampling)
    )  # fmt: skip
    events = [event async for event in engine.generate(command)]
    assert isinstance(events[-1], Finished)
    return "".join(event.text for event in events if isinstance(event, Delta))


async def noise(engine, name):
    """Answers of other people, for ever."""
    for number in range(10_000):
        prompt = f"{name} tells story number {number} about " + "the sea and " * (number % 40)
        await text_of(engine, f"{name}{number}", prompt, deterministic=False, temperature=1.0)


PROMPT = "Once upon a time, in a town by the sea, there lived a keeper of " + "lights and of lamps " * 40


@pytest.mark.parametrize("sampling", [{"temperature": 0.0}, {"temperature": 1.2, "seed": 7}])
@pytest.mark.parametrize("kv_type", ["f16", "q8_0"])
async def test_the_same_text_alone_and_under_load(sample_models, tmp_path, kv_type, sampling):
    async with running(sample_models, tmp_path, kv_type=kv_type) as (engine, ready):
        assert ready.deterministic_rows >= 1
        assert ready.fingerprint.endswith(f"-d{ready.deterministic_rows}")
        alone = await text_of(engine, "alone", PROMPT, deterministic=True, **sampling)
        others = [asyncio.create_task(noise(engine, name)) for name in ("ann", "bob", "cid")]
        try:
            for first in range(0, RUNS_COUNT, 5):
                texts = await asyncio.gather(
                    *(
                        text_of(engine, f"run{first + at}", PROMPT, deterministic=True, **sampling)
                        for at in range(5)
                    )
                )
                assert set(texts) == {alone}
        finally:
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)


async def test_what_was_proved_is_not_proved_again(sample_models, tmp_path):
    async with running(sample_models, tmp_path) as (_, first):
        pass
    record = tmp_path / "deterministic_rows.json"
    written = record.stat().st_mtime_ns
    async with running(sample_models, tmp_path) as (_, second):
        pass
    assert second.deterministic_rows == first.deterministic_rows
    assert record.stat().st_mtime_ns == written
    record.write_bytes(b"rotten")
    async with running(sample_models, tmp_path) as (_, third):
        pass
    assert third.deterministic_rows == first.deterministic_rows
    assert record.stat().st_mtime_ns != written
