"""Guessed tokens with a real model: the same answers, and some of them in fewer steps."""

import pytest

from edge_node.engines import Delta, EngineSpec, Finished, Generate, Sampling
from edge_node.engines.process import EngineProcess

pytestmark = pytest.mark.system

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
PROMPTS = (
    "one two three four five six seven eight nine ten " * 6,
    "The ships came in with the tide, and the harbour master",
)


async def answers(sample_models, guess_tokens):
    """The texts of all prompts, greedy and drawn."""
    spec = EngineSpec(
        kind="llama", name="m", version="1", model_dir=str(sample_models / "smollm2"), files=(GGUF,),
        kv_type="q8_0", guess_tokens=guess_tokens,
    )  # fmt: skip
    engine = EngineProcess(spec)
    await engine.start()
    texts = []
    try:
        for prompt in PROMPTS:
            for sampling in (
                {"temperature": 0.0},
                {"temperature": 0.9, "seed": 3},
                {"temperature": 0.9, "top_k": 20, "seed": 3},
            ):
                command = Generate(request_id="a", text=prompt, sampling=Sampling(max_tokens=60, **sampling))
                events = [event async for event in engine.generate(command)]
                assert isinstance(events[-1], Finished)
                texts.append("".join(event.text for event in events if isinstance(event, Delta)))
    finally:
        await engine.close(5)
    return texts


async def test_guesses_change_no_answer(sample_models):
    assert await answers(sample_models, 4) == await answers(sample_models, 0)
