"""Guessed tokens with a real model: the same answers, some of them in fewer steps, and none where they do not pay."""

import contextlib
import random

import pytest

from edge_node.engines import Delta, Finished, Generate, Sampling
from edge_node.engines.process import EngineProcess
from edge_node.engines.spec import EngineSpec

pytestmark = pytest.mark.system

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
REPEATING = "one two three four five six seven eight nine ten " * 6
PROMPTS = (REPEATING, "The ships came in with the tide, and the harbour master")
SAMPLINGS = (
    Sampling(temperature=0.0, max_tokens=60),
    Sampling(temperature=0.9, seed=3, max_tokens=60),
    Sampling(temperature=0.9, top_k=20, seed=3, max_tokens=60),
)
# Any four: the answer is drawn among them alone, each as likely as the next, whatever came before.
DICE = (300, 400, 500, 600)


@contextlib.asynccontextmanager
async def running(sample_models, **more):
    engine = EngineProcess(
        EngineSpec(
            kind="llama", name="m", version="1", model_dir=str(sample_models / "smollm2"), files=(GGUF,), **more
        )
    )  # fmt: skip
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close(5)


async def answer(engine, sampling, **prompt):
    """(text, tokens that were guessed for it)."""
    events = [event async for event in engine.generate(Generate(request_id="a", sampling=sampling, **prompt))]
    assert isinstance(events[-1], Finished)
    text = "".join(event.text for event in events if isinstance(event, Delta))
    return text, events[-1].guessed_tokens


@pytest.mark.parametrize("kv_type", ["f16", "q8_0"])
async def test_guesses_change_no_answer(sample_models, kv_type):
    texts, guessed = {}, {}
    for guess_tokens in (0, 4):
        async with running(sample_models, kv_type=kv_type, guess_tokens=guess_tokens) as engine:
            answers = [
                await answer(engine, sampling, text=prompt) for prompt in PROMPTS for sampling in SAMPLINGS
            ]
        texts[guess_tokens], guessed[guess_tokens] = zip(*answers, strict=True)
    assert texts[4] == texts[0]
    assert sum(guessed[0]) == 0
    assert guessed[4][0] > 0


async def test_thrown_dice_are_soon_not_guessed_any_more(sample_models):
    draw = random.Random(1)
    throws = tuple(draw.choice(DICE) for _ in range(300))
    guessed = []
    async with running(sample_models, guess_tokens=4) as engine:
        while guessed[-8:] != [0] * 8 and len(guessed) < 120:
            sampling = Sampling(
                temperature=50.0, seed=len(guessed), max_tokens=16, logit_bias=dict.fromkeys(DICE, 3000.0)
            )
            guessed.append((await answer(engine, sampling, tokens=throws))[1])
    assert sum(guessed) > 0
    assert guessed[-8:] == [0] * 8
