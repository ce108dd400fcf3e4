"""A runner whose memory does not hold all of its releases."""

from __future__ import annotations

import asyncio
import random

import pytest

from edge_node.berth import estimated_bytes
from edge_node.engine_plan import RunnerLimits
from edge_node.engines import ChatMessage, Generate
from edge_node.errors import DrainingError, EngineFailedError, ModelNotReadyError
from edge_node.model_store import InstalledRelease
from edge_node.runner import Runner
from edge_node.supervisor import Clock

MB = 10**6


@pytest.fixture
def release(tmp_path):
    def release(name, version="1"):
        return InstalledRelease(
            name=name, version=version, directory=tmp_path / name / version, kind="gguf", files=("model.gguf",),
            total_bytes=100 * MB, created_unix_s=1_700_000_000, manifest_sha256="0" * 64,
            content_sha256="0" * 64,
        )  # fmt: skip

    return release


@pytest.fixture
async def make_runner(scripted_engines, virtual_clock, release):
    """Runners with room for so many releases at once."""
    runners = []

    def make(room_count, *, load_wait_s=30.0, **limits):
        each = estimated_bytes(release("any"))
        runners.append(
            Runner(
                build=scripted_engines,
                clock=Clock(now_s=virtual_clock.now_s, sleep=virtual_clock.sleep),
                channel="stable",
                limits=RunnerLimits(memory_limit_bytes=each * room_count, load_wait_s=load_wait_s, **limits),
            )
        )
        return runners[-1]

    yield make
    for runner in runners:
        await runner.close(0)


async def ask(runner, model, text="hello"):
    async with runner.lease(model) as lease:
        command = Generate(request_id="1", messages=(ChatMessage(role="user", content=text),))
        events = [event async for event in lease.generate(command)]
        return f"{lease.name}@{lease.version}", events[1].text


def states(runner):
    return {f"{name}@{version}": state for (name, version), state in runner.resident().items()}


async def test_what_finds_no_room_sleeps_and_is_in_service_all_the_same(make_runner, release):
    runner = make_runner(1)
    assert await runner.activate(release("a"))
    assert not await runner.activate(release("b"))
    assert states(runner) == {"a@1": "ready", "b@1": "asleep"}
    assert runner.current() == {"a": "1", "b": "1"}
    assert [(model.name, model.asleep) for model in runner.ready_models()] == [("a", False), ("b", True)]
    assert [report.state for report in runner.model_reports()] == ["ready", "asleep"]


async def test_a_request_wakes_a_sleeping_release_and_puts_an_idle_one_to_sleep(make_runner, release):
    runner = make_runner(1)
    for name in "ab":
        await runner.activate(release(name))
    assert await ask(runner, "b") == ("b@1", "by 1")
    assert states(runner) == {"a@1": "asleep", "b@1": "ready"}
    assert await ask(runner, "a") == ("a@1", "by 1")
    assert states(runner) == {"a@1": "ready", "b@1": "asleep"}
    # What it can do is known from when it was awake.
    assert {model.name: model.slots for model in runner.ready_models()} == {"a": 2, "b": 2}


async def test_with_room_for_two_the_one_unused_for_longest_goes(make_runner, release, virtual_clock):
    runner = make_runner(2)
    for name in "abc":
        await runner.activate(release(name))
    await virtual_clock.advance(1)
    await ask(runner, "a")
    await ask(runner, "c")
    assert states(runner) == {"a@1": "ready", "b@1": "asleep", "c@1": "ready"}


async def test_an_engine_that_grew_since_its_load_leaves_less_room(make_runner, release, scripted_engines):
    runner = make_runner(3)
    for name in "ab":
        await runner.activate(release(name))
    scripted_engines.made[0].held_bytes = 2 * estimated_bytes(release("any"))
    assert not await runner.activate(release("c"))
    assert states(runner) == {"a@1": "ready", "b@1": "ready", "c@1": "asleep"}
    scripted_engines.made[0].held_bytes = 0  # what it has had once it may have again
    await ask(runner, "c")
    assert states(runner) == {"a@1": "asleep", "b@1": "ready", "c@1": "ready"}


async def test_a_busy_release_is_never_put_to_sleep_and_gives_way_when_its_answers_are_done(
    make_runner, release, virtual_clock, let_go_on
):
    runner = make_runner(1)
    for name in "ab":
        await runner.activate(release(name))
    running = runner.lease("a")
    held = await running.__aenter__()
    other = asyncio.create_task(ask(runner, "b"))
    await let_go_on()
    await virtual_clock.advance(5)
    assert states(runner) == {"a@1": "ready", "b@1": "asleep"}
    sleeper = runner.model_reports()[1]
    assert (sleeper.state, sleeper.room_s) == ("asleep", 5.0), "routers hear how long that turn still is"
    assert 0 < sleeper.displaced_count <= 1
    assert runner.load_left_s("b") == 5.0 + 5.0, "and a load, which is guessed before the first"
    async with runner.lease("a"):  # its turn is not over
        pass
    await virtual_clock.advance(6)
    assert runner.model_reports()[0].state == "asleep", "it takes no new requests"
    late = asyncio.create_task(ask(runner, "a"))  # from now on it takes no new requests
    await let_go_on()
    assert not other.done()
    assert not late.done()
    assert [e async for e in held.generate(Generate(request_id="2", text="x"))][1].text == "by 1"
    await running.__aexit__(None, None, None)
    assert (await other)[0] == "b@1"
    assert (await late)[0] == "a@1"


async def test_a_request_waits_for_a_load_so_long_and_no_longer(
    make_runner, release, scripted_engines, virtual_clock, let_go_on
):
    runner = make_runner(1, load_wait_s=10.0)
    await runner.activate(release("a"))
    await runner.activate(release("b", "slow"))
    scripted_engines.load_gates["slow"] = asyncio.Event()
    asked = asyncio.create_task(ask(runner, "b"))
    await let_go_on()
    await virtual_clock.advance(9)
    assert not asked.done()
    await virtual_clock.advance(1)
    with pytest.raises(ModelNotReadyError, match="being loaded") as refused:
        await asked
    assert refused.value.retry_after_s >= 1
    scripted_engines.load_gates["slow"].set()
    await let_go_on()
    assert await ask(runner, "b") == ("b@slow", "by slow")


async def test_only_so_many_wait_for_a_load(make_runner, release, scripted_engines, let_go_on):
    runner = make_runner(1, load_wait_limit_count=2)
    await runner.activate(release("a"))
    await runner.activate(release("b", "slow"))
    scripted_engines.load_gates["slow"] = asyncio.Event()
    waiting = [asyncio.create_task(ask(runner, "b")) for _ in range(2)]
    await let_go_on()
    with pytest.raises(ModelNotReadyError):
        await ask(runner, "b")
    scripted_engines.load_gates["slow"].set()
    assert [name for name, _ in await asyncio.gather(*waiting)] == ["b@slow", "b@slow"]


async def test_a_new_version_without_room_beside_the_old_comes_when_the_old_has_answered(
    make_runner, release, let_go_on
):
    runner = make_runner(1)
    await runner.activate(release("a", "1"))
    running = runner.lease("a")
    held = await running.__aenter__()
    activation = asyncio.create_task(runner.activate(release("a", "2")))
    await let_go_on()
    late = asyncio.create_task(ask(runner, "a"))
    await let_go_on()
    assert not activation.done()
    assert not late.done()
    assert [e async for e in held.generate(Generate(request_id="2", text="x"))][1].text == "by 1"
    await running.__aexit__(None, None, None)
    assert await activation
    assert await late == ("a@2", "by 2")
    await runner.gone(("a", "1"))
    assert states(runner) == {"a@2": "ready"}


async def test_a_new_version_that_does_not_load_brings_the_old_one_back(
    make_runner, release, scripted_engines
):
    runner = make_runner(1)
    await runner.activate(release("a", "1"))
    scripted_engines.load_failures["2"] = [EngineFailedError("broken")] * 9
    assert not await runner.activate(release("a", "2"))
    assert await ask(runner, "a") == ("a@1", "by 1")
    assert runner.resident()["a", "2"] == "failed"


async def test_the_version_of_a_sleeping_model_changes_in_its_sleep(make_runner, release):
    runner = make_runner(1)
    await runner.activate(release("a"))
    await runner.activate(release("b", "1"))
    await runner.activate(release("b", "2"))
    await runner.gone(("b", "1"))
    assert states(runner) == {"a@1": "ready", "b@2": "asleep"}
    assert await ask(runner, "b") == ("b@2", "by 2")


async def test_who_waits_for_a_load_is_told_when_the_node_stops(
    make_runner, release, scripted_engines, let_go_on
):
    runner = make_runner(1)
    await runner.activate(release("a"))
    await runner.activate(release("b", "slow"))
    scripted_engines.load_gates["slow"] = asyncio.Event()
    asked = asyncio.create_task(ask(runner, "b"))
    await let_go_on()
    runner.drain()
    with pytest.raises(DrainingError):
        await asked


@pytest.mark.parametrize("seed", range(10))
async def test_many_models_in_little_memory_answer_every_request(
    make_runner, release, virtual_clock, let_go_on, seed
):
    chance = random.Random(seed)
    runner = make_runner(chance.randint(1, 2), load_wait_s=10_000.0)
    for name in "abcd":
        await runner.activate(release(name))

    async def client(name):
        async with runner.lease(name) as lease:
            for _ in range(chance.randint(1, 3)):
                assert lease.ready.slots == 2
                await asyncio.sleep(0)
            events = [event async for event in lease.generate(Generate(request_id=name, text="x"))]
            return lease.name, events[1].text

    names = [chance.choice("abcd") for _ in range(40)]
    asked = []
    for name in names:
        asked.append(asyncio.create_task(client(name)))
        if chance.random() < 0.3:
            await virtual_clock.advance(chance.uniform(0, 8))
        awake = [state for state in runner.resident().values() if state != "asleep"]
        assert len(awake) <= 2
    for _ in range(60):
        await virtual_clock.advance(10)
        if all(task.done() for task in asked):
            break
    await let_go_on()
    assert [task.result() for task in asked] == [(name, "by 1") for name in names]
