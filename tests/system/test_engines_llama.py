"""The llama engine in its process, with a real model."""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import pytest

from edge_node.engines import (
    ChatMessage,
    Delta,
    Embed,
    EngineSpec,
    Finished,
    Generate,
    Progress,
    Sampling,
    Started,
)
from edge_node.engines.llama.engine import LlamaEngine
from edge_node.engines.process import EngineProcess
from edge_node.errors import EngineFailedError, OverloadedError, PromptTooLongError, RequestInvalidError

pytestmark = pytest.mark.system

ROOT = str(Path(__file__).resolve().parents[2])
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


@pytest.fixture
async def engine(sample_models):
    async with running(spec_of(sample_models)) as engine:
        yield engine


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


def is_gone(pid):
    """No process of this id, not even a zombie."""
    return not Path(f"/proc/{pid}").exists()


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
from edge_node.engines import EngineSpec, Generate
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
