"""The llama engine in its process, with a real model."""

import asyncio
import os
import random
import signal

import pytest

from edge_node.engines import (
    Delta,
    Finished,
    Generate,
    Progress,
    Sampling,
    Started,
)
from edge_node.engines.llama.engine import LlamaEngine
from edge_node.errors import OverloadedError, PromptTooLongError, RequestInvalidError
from tests.system.llama_engines import LONG, answer, chat, running, spec_of

pytestmark = pytest.mark.system

ENGINES_COUNT = int(os.environ.get("EDGEWARD_ENGINES_COUNT", "3"))


@pytest.fixture
async def engine(sample_models):
    async with running(spec_of(sample_models)) as engine:
        yield engine


async def test_a_chat_is_answered_and_greedy_answers_repeat(engine):
    question = "What is the capital of France? Answer in one sentence."
    first, text, finished = await answer(engine, chat("a", question, max_tokens=40))
    assert "Paris" in text
    assert finished.reason == "stop"
    assert first.cached_tokens == 0
    again, same_text, _ = await answer(engine, chat("b", question, max_tokens=40))
    assert same_text == text
    assert again.prompt_tokens == first.prompt_tokens
    assert again.cached_tokens == first.prompt_tokens - 1


async def test_a_seed_repeats_and_another_does_not(engine):
    texts = [
        (await answer(engine, chat(name, LONG, max_tokens=24, temperature=1.5, seed=seed)))[1]
        for name, seed in (("a", 7), ("b", 7), ("c", 8))
    ]
    assert texts[0] == texts[1] != texts[2]


async def test_text_and_tokens_are_continued(engine):
    _, text, finished = await answer(
        engine,
        Generate(
            request_id="t",
            text="One, two, three, four,",
            sampling=Sampling(temperature=0.0, max_tokens=4),
        ),
    )
    assert text.startswith(" five")
    assert (finished.reason, finished.completion_tokens) == ("length", 4)
    started, _, finished = await answer(
        engine, Generate(request_id="i", tokens=(1, 2, 3), sampling=Sampling(temperature=0.0, max_tokens=2))
    )
    assert started.prompt_tokens == 3
    with pytest.raises(RequestInvalidError, match="token id 49152") as caught:
        await answer(engine, Generate(request_id="j", tokens=(1, 49152)))
    assert caught.value.param == "prompt"


async def test_stop_strings_cut_exactly(engine):
    _, whole, _ = await answer(engine, chat("w", "Count from one to ten.", max_tokens=40))
    stop = whole[6:11]
    _, cut, finished = await answer(engine, chat("s", "Count from one to ten.", max_tokens=40, stop=(stop,)))
    assert cut == whole[: whole.index(stop)]
    assert finished.reason == "stop"


async def test_logit_bias_and_penalties_are_honoured(engine):
    command = Generate(
        request_id="b",
        text="The sky is",
        sampling=Sampling(temperature=0.0, max_tokens=3, logit_bias={30: 100.0}),
    )
    _, biased, _ = await answer(engine, command)
    assert len(set(biased)) == 1
    assert len(biased) == 3
    with pytest.raises(RequestInvalidError) as caught:
        await answer(engine, chat("c", "hi", logit_bias={1 << 20: 1.0}))
    assert caught.value.param == "logit_bias"
    _, plain, _ = await answer(
        engine,
        Generate(request_id="p", text="ha ha ha ha", sampling=Sampling(temperature=0.0, max_tokens=12)),
    )
    _, penalised, _ = await answer(
        engine,
        Generate(
            request_id="q",
            text="ha ha ha ha",
            sampling=Sampling(temperature=0.0, max_tokens=12, frequency_penalty=2.0, presence_penalty=2.0),
        ),
    )
    assert penalised.count("ha") < plain.count("ha")


async def test_more_requests_than_slots_all_complete_as_if_alone(engine):
    questions = [f"What is {number} plus {number}?" for number in range(6)]
    answers = await asyncio.gather(
        *(answer(engine, chat(f"q{i}", q, max_tokens=16)) for i, q in enumerate(questions))
    )
    assert all(finished.completion_tokens > 0 for _, _, finished in answers)
    assert all(text for _, text, _ in answers)


async def test_closing_the_iterator_frees_the_slot(engine):
    for number in range(17):  # one more than there are slots
        events = engine.generate(chat(f"c{number}", LONG))
        assert isinstance(await anext(events), Started)
        await events.aclose()
    # The cancels went ahead on the same socket, so a whole answer can only come from a free slot.
    started, _, _ = await answer(engine, chat("after", "Say hello.", max_tokens=5))
    assert started.queue_s < 5
    with pytest.raises(RequestInvalidError, match="at work already"):
        await asyncio.gather(*(answer(engine, chat("same", "Say hello.", max_tokens=5)) for _ in range(2)))


async def test_a_long_prefill_is_cancelled_on_the_way(engine):
    events = engine.generate(
        Generate(request_id="long", text="word " * 3500, sampling=Sampling(max_tokens=8))
    )
    task = asyncio.create_task(anext(events))
    await answer(engine, chat("short", "Say hello.", max_tokens=3))  # was not held up until the prefill's end
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    started, _, _ = await answer(engine, chat("after", "Say hello.", max_tokens=3))
    assert started.queue_s < 5


async def test_too_long_is_refused_with_both_numbers(sample_models):
    async with running(spec_of(sample_models, context_tokens=64)) as engine:
        with pytest.raises(PromptTooLongError, match=r"has 200 tokens.* holds 64"):
            await answer(engine, Generate(request_id="a", tokens=(5,) * 200))
        with pytest.raises(PromptTooLongError, match=r"10 tokens and 60 .* 64"):
            await answer(engine, Generate(request_id="b", tokens=(5,) * 10, sampling=Sampling(max_tokens=60)))
        with pytest.raises(PromptTooLongError, match="at least"):
            await answer(engine, Generate(request_id="c", text="x" * 3_000_000))
        # Without a limit the answer ends where the context does.
        command = Generate(
            request_id="d",
            tokens=(5,) * 60,
            sampling=Sampling(temperature=0.0, logit_bias={0: -100.0, 2: -100.0}),
        )
        _, _, finished = await answer(engine, command)
        assert (finished.reason, finished.completion_tokens) == ("length", 4)


async def test_answers_that_outgrow_the_cells_together_all_complete(sample_models):
    async with running(spec_of(sample_models, context_tokens=256, kv_limit_bytes=1)) as engine:
        commands = [
            Generate(
                request_id=f"g{number}",
                tokens=(40 + number,) * 120,
                sampling=Sampling(temperature=0.0, max_tokens=60, logit_bias={0: -100.0, 2: -100.0}),
            )
            for number in range(3)
        ]  # 3 x 180 tokens in 512 cells: the youngest is put off
        together = await asyncio.gather(*(answer(engine, command) for command in commands))
        assert [finished.completion_tokens for _, _, finished in together] == [60, 60, 60]


def long_answer(request_id, client="", **more):
    sampling = Sampling(temperature=0.0, max_tokens=200, logit_bias={0: -100.0, 2: -100.0})
    return Generate(request_id=request_id, text=f"{request_id} and", client=client, sampling=sampling, **more)


async def test_a_client_with_many_requests_leaves_room_for_another(sample_models):
    async with running(spec_of(sample_models, slots_count=2)) as engine:
        greedy = [asyncio.create_task(answer(engine, long_answer(f"g{n}", "greedy"))) for n in range(4)]
        events = engine.generate(long_answer("first", "greedy"))
        other, _, _ = await answer(engine, chat("other", "Say hello.", max_tokens=3))
        assert other.prompt_tokens
        assert not any(task.done() for task in greedy)
        await events.aclose()
        for task in greedy:
            task.cancel()
        await asyncio.gather(*greedy, return_exceptions=True)


async def test_who_may_not_wait_is_refused_in_time(sample_models):
    async with running(spec_of(sample_models, slots_count=1)) as engine:
        events = engine.generate(long_answer("running"))
        await anext(events)
        with pytest.raises(OverloadedError, match="ask another node"):
            await answer(engine, long_answer("late", start_within_s=0.05))
        await events.aclose()


async def test_progress_is_told_until_the_answer_begins(sample_models):
    async with running(spec_of(sample_models, slots_count=1)) as engine:
        first = engine.generate(long_answer("running"))
        await anext(first)
        command = Generate(
            request_id="p", text="word " * 600, sampling=Sampling(max_tokens=2), reports_progress=True
        )
        task = asyncio.create_task(collected(engine, command))
        await asyncio.sleep(0)
        async for _ in first:  # to its end
            pass
        told = [event for event in await task if isinstance(event, Progress)]
        assert told[0].read_tokens == 0
        assert told[-1].read_tokens > 200
        assert {event.ahead_count for event in told} == {0}
        assert {event.prompt_tokens for event in told} == {told[0].prompt_tokens}


async def collected(engine, command):
    return [event async for event in engine.generate(command)]


async def test_cells_in_eight_bits_answer_alike(sample_models):
    async with running(spec_of(sample_models, kv_type="q8_0")) as engine:
        question = "What is the capital of France? Answer in one sentence."
        _, text, _ = await answer(engine, chat("q", question, max_tokens=30))
        assert "Paris" in text


async def interrupted(pid, chance):
    """Stop a process and let it go on at random moments, as a machine with too much to do does."""
    while True:
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(chance.uniform(0.001, 0.05))
        os.kill(pid, signal.SIGCONT)
        await asyncio.sleep(chance.uniform(0.001, 0.2))


async def test_fresh_engines_score_alike_to_the_last_bit_however_they_are_interrupted(sample_models):
    seen = set()
    for number in range(ENGINES_COUNT):
        async with running(spec_of(sample_models, kv_type="q8_0")) as engine:
            interrupting = asyncio.create_task(interrupted(engine.pid, random.Random(number)))
            question = "What is the capital of France? Answer in one sentence."
            command = chat("q", question, max_tokens=30, logprobs_count=20)
            deltas = [event for event in await collected(engine, command) if isinstance(event, Delta)]
            interrupting.cancel()
            os.kill(engine.pid, signal.SIGCONT)
            seen.add(str([(delta.text, delta.scores) for delta in deltas]))
    assert len(seen) == 1, seen


def test_a_state_that_was_put_off_is_put_back(sample_models):
    engine = LlamaEngine.load(spec_of(sample_models))
    engine.submit(long_answer("kept"))
    engine.submit(long_answer("other"))
    for _ in range(20):
        engine.step()
    *_, youngest = engine._admission.at_work
    computed_count = len(youngest.slot.cached)
    engine._admission._put_off(youngest)
    assert youngest.saved_tokens == computed_count
    engine._admission._changed = True
    engine._admission.admit(chunk_tokens=256, now_s=0.0)
    assert len(youngest.slot.cached) == computed_count
    ended = []
    while engine.busy:
        ended += [event for event in engine.step() if isinstance(event, Finished)]
    assert [event.completion_tokens for event in ended] == [200, 200]
