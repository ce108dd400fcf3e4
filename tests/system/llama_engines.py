"""Real llama engines for tests, and questions to them."""

import contextlib

from edge_node.engines import ChatMessage, Delta, Finished, Generate, Sampling, Started
from edge_node.engines.process import EngineProcess
from edge_node.engines.spec import EngineSpec

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
LONG = "Write a long story about a lighthouse keeper and the sea."


def spec_of(sample_models, **more):
    return EngineSpec(
        kind="llama",
        name="smollm2",
        version="1.0.0",
        model_dir=str(sample_models / "smollm2"),
        files=(GGUF,),
        **more,
    )


@contextlib.asynccontextmanager
async def running(spec):
    engine = EngineProcess(spec)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close(5)


def chat(request_id, text, **sampling):
    return Generate(
        request_id=request_id,
        messages=(ChatMessage(role="user", content=text),),
        sampling=Sampling(**{"temperature": 0.0} | sampling),
    )


async def answer(engine, command):
    """(started, text, finished) of a whole generation."""
    events = [event async for event in engine.generate(command)]
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Finished)
    assert all(isinstance(event, Delta) for event in events[1:-1])
    return events[0], "".join(event.text for event in events[1:-1]), events[-1]
