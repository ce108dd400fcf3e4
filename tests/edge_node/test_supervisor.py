from __future__ import annotations

import asyncio

import pytest

from edge_node.blame import Blame, fingerprint
from edge_node.engines import ChatMessage, Embed, Finished, Generate
from edge_node.engines.spec import EngineSpec
from edge_node.errors import EngineDiedError, EngineFailedError, ModelNotReadyError, RequestInvalidError
from edge_node.supervisor import Clock, Supervisor


def ask(text="hello", request_id="1"):
    return Generate(request_id=request_id, messages=(ChatMessage(role="user", content=text),))


@pytest.fixture
async def make(scripted_engines, virtual_clock):
    made = []

    def make(blame=None):
        spec = EngineSpec(kind="llama", name="chat", version="1", model_dir="", files=("model.gguf",))
        states = []
        supervisor = Supervisor(
            spec,
            build=scripted_engines,
            blame=blame or Blame(),
            clock=Clock(now_s=virtual_clock.now_s, sleep=virtual_clock.sleep),
            changed=lambda it: states.append(it.state),
        )
        supervisor.states = states
        supervisor.start()
        made.append(supervisor)
        return supervisor

    yield make
    for supervisor in made:
        await supervisor.close(0)


async def answer(supervisor, command):
    return [event async for event in supervisor.generate(command)]


async def test_it_loads_warms_and_measures_before_it_is_ready(make, scripted_engines):
    supervisor = make()
    await supervisor.decided.wait()
    assert supervisor.state == "ready"
    (warm_up,) = scripted_engines.made[0].commands
    assert (warm_up.sampling.max_tokens, warm_up.sampling.temperature) == (8, 0.0)
    assert supervisor.prefill_tokens_per_s == 200.0
    events = await answer(supervisor, ask())
    assert isinstance(events[-1], Finished)


async def test_an_embedding_model_is_warmed_by_embedding(make, scripted_engines):
    scripted_engines.abilities = ("embedding",)
    supervisor = make()
    await supervisor.decided.wait()
    assert isinstance(scripted_engines.made[0].commands[0], Embed)
    embedded = await supervisor.compute(Embed(request_id="1", inputs=("a", "b")))
    assert len(embedded.vectors) == 8


async def test_a_dead_engine_is_started_again_after_ever_longer_pauses(
    make, scripted_engines, virtual_clock, let_go_on
):
    supervisor = make()
    await supervisor.decided.wait()
    scripted_engines.made[-1].die()
    await let_go_on()
    assert supervisor.state == "ready"  # at once, the first time
    for pause_s in (0.2, 0.4, 0.8):
        scripted_engines.made[-1].die()
        await let_go_on()
        assert supervisor.state == "loading"
        with pytest.raises(ModelNotReadyError) as refused:
            await answer(supervisor, ask())
        assert refused.value.retry_after_s >= 1
        assert virtual_clock.pauses_s[-1] == pytest.approx(pause_s)
        await virtual_clock.advance(pause_s)
        assert supervisor.state == "ready"
    assert len(scripted_engines.made) == 5
    assert all(engine.closed_with_s == 0 for engine in scripted_engines.made[:4])


async def test_an_engine_that_worked_for_a_while_is_restarted_at_once_however_many_died_before(
    make, scripted_engines, virtual_clock, let_go_on
):
    supervisor = make()
    await supervisor.decided.wait()
    for _ in range(3):
        scripted_engines.made[-1].die()
        await let_go_on()
        await virtual_clock.advance(1)
    for _ in range(5):
        await virtual_clock.advance(6)
        scripted_engines.made[-1].die()
        await let_go_on()
        assert supervisor.state == "ready"
    assert len(scripted_engines.made) == 9


async def test_a_load_that_fails_says_why_and_is_tried_again_slowly(make, scripted_engines, virtual_clock):
    scripted_engines.load_failures["1"] = [EngineFailedError("bad magic"), ValueError("a defect")]
    supervisor = make()
    await supervisor.decided.wait()
    assert (supervisor.state, supervisor.detail) == ("failed", "bad magic")
    await virtual_clock.advance(5)
    assert (supervisor.state, supervisor.detail) == ("failed", "ValueError: a defect")
    await virtual_clock.advance(10)
    assert supervisor.state == "ready"
    assert virtual_clock.pauses_s == [5.0, 10.0]


async def test_requests_in_flight_fail_when_the_engine_dies(make, scripted_engines, let_go_on):
    supervisor = make()
    await supervisor.decided.wait()
    scripted_engines.work_gate = asyncio.Event()
    asked = asyncio.create_task(answer(supervisor, ask()))
    await let_go_on()
    scripted_engines.made[-1].die()
    with pytest.raises(EngineFailedError):
        await asked


async def test_a_request_that_was_at_work_in_two_deaths_is_refused_and_others_are_not(
    make, scripted_engines, virtual_clock, let_go_on
):
    supervisor = make()
    await supervisor.decided.wait()
    for number in range(2):
        with pytest.raises(EngineFailedError):
            await answer(supervisor, ask("poison", request_id=f"r{number}"))
        await let_go_on()
        await virtual_clock.advance(1)
    engines_count = len(scripted_engines.made)
    with pytest.raises(RequestInvalidError, match="refused"):
        await answer(supervisor, ask("poison", request_id="r3"))
    assert len(await answer(supervisor, ask())) == 3
    assert len(scripted_engines.made) == engines_count


async def test_a_bystander_that_is_answered_later_is_not_blamed(
    make, scripted_engines, virtual_clock, let_go_on
):
    blame = Blame()
    supervisor = make(blame)
    await supervisor.decided.wait()
    for _ in range(3):
        scripted_engines.work_gate = asyncio.Event()
        asked = asyncio.create_task(answer(supervisor, ask()))
        await let_go_on()
        scripted_engines.made[-1].die()
        await asyncio.wait([asked])
        assert isinstance(asked.exception(), EngineFailedError)
        await let_go_on()
        await virtual_clock.advance(5)
        scripted_engines.work_gate = None
        assert len(await answer(supervisor, ask())) == 3


async def test_closing_cuts_off_but_blames_nobody(make, scripted_engines, let_go_on):
    blame = Blame()
    for _ in range(2):
        supervisor = make(blame)
        scripted_engines.work_gate = None
        await supervisor.decided.wait()
        scripted_engines.work_gate = asyncio.Event()
        asked = asyncio.create_task(answer(supervisor, ask()))
        await let_go_on()
        await supervisor.close(2.5)
        await asyncio.wait([asked])
        assert isinstance(asked.exception(), EngineFailedError)
        assert scripted_engines.made[-1].closed_with_s == 2.5
    scripted_engines.work_gate = None
    supervisor = make(blame)
    await supervisor.decided.wait()
    assert len(await answer(supervisor, ask())) == 3


async def test_closing_while_it_loads_decides_and_leaves_no_engine(make, scripted_engines, let_go_on):
    scripted_engines.load_gates["1"] = asyncio.Event()
    supervisor = make()
    await let_go_on()
    await supervisor.close(0)
    assert supervisor.decided.is_set()
    assert supervisor.state == "closed"
    assert scripted_engines.made[0].closed_with_s == 0


async def test_leaving_an_answer_early_closes_the_engines_generator(make, scripted_engines):
    supervisor = make()
    await supervisor.decided.wait()
    ended = []
    engine = scripted_engines.made[0]
    generate = engine.generate

    async def watched(command):
        try:
            async for event in generate(command):
                yield event
        finally:
            ended.append(command.request_id)

    engine.generate = watched
    answering = supervisor.generate(ask(request_id="left"))
    await anext(answering)
    await answering.aclose()
    assert ended == ["left"]


async def test_who_waits_for_the_next_engine_hears_when_it_is_there(
    make, scripted_engines, virtual_clock, let_go_on
):
    supervisor = make()
    await supervisor.decided.wait()
    assert await supervisor.back(0.0)
    scripted_engines.made[-1].die()
    await let_go_on()  # the first one comes back at once, a second one after a pause
    scripted_engines.made[-1].die()
    waiting = asyncio.create_task(supervisor.back(10.0))  # before the supervisor has seen the death
    await let_go_on()
    assert not waiting.done()
    assert not await supervisor.back(0.4)  # the pause is 0.2 s and the load took 0.25 s
    await virtual_clock.advance(0.2)
    assert await waiting
    assert await answer(supervisor, ask())


async def test_nobody_waits_for_an_engine_that_does_not_come(
    make, scripted_engines, virtual_clock, let_go_on
):
    supervisor = make()
    await supervisor.decided.wait()
    scripted_engines.load_failures["1"] = [EngineFailedError("the file is gone")]
    scripted_engines.made[-1].die()
    waiting = asyncio.create_task(supervisor.back(10.0))
    await let_go_on()
    await virtual_clock.advance(0.2)
    assert not await waiting
    assert not await supervisor.back(10.0)


async def test_waiting_ends_with_the_time_and_with_the_supervisor(
    make, scripted_engines, virtual_clock, let_go_on
):
    supervisor = make()
    await supervisor.decided.wait()
    scripted_engines.load_gates["1"] = asyncio.Event()
    scripted_engines.made[-1].die()
    short, long = asyncio.create_task(supervisor.back(3.0)), asyncio.create_task(supervisor.back(10.0))
    await let_go_on()
    await virtual_clock.advance(0.2)
    await virtual_clock.advance(3.0)
    assert not await short
    assert not long.done()
    await supervisor.close(0)
    assert not await long


async def test_the_death_of_an_engine_is_told_apart_from_a_failure(make, scripted_engines):
    supervisor = make()
    await supervisor.decided.wait()
    with pytest.raises(EngineDiedError) as died:
        await answer(supervisor, ask("poison"))
    assert died.value.http_status == 503
    assert died.value.retry_after_s >= 1


async def test_an_answer_clears_its_request_though_nobody_reads_beyond_its_end(
    make, scripted_engines, virtual_clock, let_go_on
):
    blame = Blame()
    blame.died([fingerprint("chat@1", ask())])
    supervisor = make(blame)
    await supervisor.decided.wait()
    events = supervisor.generate(ask())
    async for event in events:
        if isinstance(event, Finished):
            break  # as the node's front does
    await events.aclose()
    blame.died([fingerprint("chat@1", ask())])
    assert await answer(supervisor, ask())
