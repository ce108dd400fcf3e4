"""An engine's process with a real model: wrong requests, kills, ends, and models that do not load."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from edge_node.engines import Embed, Generate
from edge_node.engines.process import EngineProcess
from edge_node.engines.spec import EngineSpec
from edge_node.errors import EngineFailedError, RequestInvalidError
from tests.system.llama_engines import GGUF, LONG, answer, chat, running, spec_of

pytestmark = pytest.mark.system

ROOT = str(Path(__file__).resolve().parents[2])


@pytest.fixture
async def engine(sample_models):
    async with running(spec_of(sample_models)) as engine:
        yield engine


def is_gone(pid):
    """No process of this id, not even a zombie."""
    return not Path(f"/proc/{pid}").exists()


async def test_wrong_requests_are_refused_and_harm_nothing(engine):
    with pytest.raises(RequestInvalidError, match="empty"):
        await answer(engine, Generate(request_id="a", text=""))
    with pytest.raises(RequestInvalidError, match="Unicode"):
        await answer(engine, Generate(request_id="b", text="\ud800"))
    with pytest.raises(RequestInvalidError, match="does not embed"):
        await engine.compute(Embed(request_id="c", inputs=("x",)))
    _, text, _ = await answer(engine, chat("d", "Say hello.", max_tokens=5))
    assert text


async def test_a_killed_engine_fails_its_requests_and_leaves_no_zombie(sample_models):
    engine = EngineProcess(spec_of(sample_models))
    await engine.start()
    pid = engine.pid
    events = engine.generate(chat("a", LONG))
    await anext(events)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(EngineFailedError, match="SIGKILL"):
        async for _ in events:
            pass
    await engine.exited.wait()
    assert not engine.alive
    assert is_gone(pid)
    with pytest.raises(EngineFailedError, match="not running"):
        await answer(engine, chat("b", "hi"))
    await engine.close(0)


async def test_closing_ends_what_is_at_work(sample_models):
    engine = EngineProcess(spec_of(sample_models))
    await engine.start()
    pid = engine.pid
    events = engine.generate(chat("a", LONG))
    await anext(events)
    await engine.close(5)
    with pytest.raises(EngineFailedError, match="was closed"):
        async for _ in events:
            pass
    assert engine.exited.is_set()
    assert is_gone(pid)


@pytest.mark.parametrize("damage", ["truncated", "text", "empty", "missing"])
async def test_a_model_that_cannot_be_loaded_says_so(sample_models, tmp_path, damage):
    data = (sample_models / "smollm2" / GGUF).read_bytes()
    content = {"truncated": data[:3_000_000], "text": b"not a model at all\n" * 100, "empty": b""}.get(damage)
    if content is not None:
        (tmp_path / "model.gguf").write_bytes(content)
    files = () if damage == "missing" else ("model.gguf",)
    engine = EngineProcess(
        EngineSpec(kind="llama", name="bad", version="1", model_dir=str(tmp_path), files=files)
    )
    with pytest.raises(EngineFailedError, match=r"cannot load model\.gguf|no \.gguf file"):
        await engine.start()
    assert engine.exited.is_set()
    assert not engine.alive


async def test_a_start_that_takes_too_long_leaves_nothing(sample_models):
    engine = EngineProcess(spec_of(sample_models), start_timeout_s=0.01)
    with pytest.raises(EngineFailedError, match="within"):
        await engine.start()
    assert engine.exited.is_set()
    assert is_gone(engine.pid)


FRONT = """
import asyncio, sys
from edge_node.engines import Generate
from edge_node.engines.spec import EngineSpec
from edge_node.engines.process import EngineProcess

async def main():
    spec = EngineSpec(kind="llama", name="m", version="1", model_dir=sys.argv[1], files=(sys.argv[2],))
    engine = EngineProcess(spec)
    await engine.start()
    await anext(engine.generate(Generate(request_id="r", text="Once")))
    print("PID", engine.pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_the_child_ends_when_the_front_dies(sample_models):
    front = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        FRONT,
        str(sample_models / "smollm2"),
        GGUF,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": ROOT},
    )
    line = b""
    while not line.startswith(b"PID"):
        line = await front.stdout.readline()
        assert line, "the front ended by itself"
    watch = os.pidfd_open(int(line.split()[1]))
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(watch, ended.set)
    try:
        front.kill()
        await front.wait()
        await asyncio.wait_for(ended.wait(), 20)
    finally:
        asyncio.get_running_loop().remove_reader(watch)
        os.close(watch)
