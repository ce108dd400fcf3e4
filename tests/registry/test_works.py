"""A daemon's tasks: begun again, told of when they break, ended together; and waiting for the first of two."""

import asyncio

import pytest
import structlog

from registry.errors import StoreError
from registry.works import Works, first_of, problem_of


@pytest.fixture
async def works():
    made = Works()
    yield made
    await made.end()


async def eventually(true):
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110  # what is waited for sets no event
            await asyncio.sleep(0)


def tasks_count(name):
    return sum(task.get_name() == name for task in asyncio.all_tasks())


async def break_off():
    raise ValueError("broken")


async def nothing():
    pass


async def test_work_that_breaks_begins_again(works, monkeypatch):
    monkeypatch.setattr("registry.works._REVIVE_S", 0)
    runs = []

    async def work():
        runs.append(1)
        raise ValueError("broken")

    with structlog.testing.capture_logs() as lines:
        works.begin("upkeep", work)
        await eventually(lambda: len(runs) >= 3)
    assert {(line["event"], line["task"]) for line in lines} == {("task.broke", "upkeep")}


async def test_work_done_once_that_breaks_is_told_of(works):
    with structlog.testing.capture_logs() as lines:
        works.once("last words", break_off)
        await eventually(lambda: lines)
    assert [(line["event"], line["task"], line["log_level"]) for line in lines] == [
        ("task.broke", "last words", "error")
    ]


async def test_what_has_ended_is_not_kept(works):
    for _ in range(100):
        works.once("last words", nothing)
    await eventually(lambda: not tasks_count("last words"))
    await asyncio.sleep(0)
    assert not works._tasks


async def test_all_end_together_and_may_begin_anew(works):
    ended = []

    async def work():
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(1)

    for _ in range(2):
        works.begin("upkeep", work)
        works.once("once", work)
        await asyncio.sleep(0)
        await works.end()
    assert len(ended) == 4
    assert not tasks_count("upkeep")
    assert not tasks_count("once")


@pytest.mark.parametrize("first", ["event", "pause"])
async def test_whichever_is_first_ends_the_wait_and_the_other(first):
    event, pause, cut = asyncio.Event(), asyncio.Event(), []

    async def paused():
        try:
            await pause.wait()
        except asyncio.CancelledError:
            cut.append(1)
            raise

    waiting = asyncio.create_task(first_of(event, paused()))
    await asyncio.sleep(0.001)
    assert not waiting.done()
    (event if first == "event" else pause).set()
    async with asyncio.timeout(1):
        await waiting
    await asyncio.sleep(0)
    assert len(cut) == (first == "event")
    assert len(asyncio.all_tasks()) == 1


async def test_without_a_pause_the_event_alone_ends_the_wait():
    event = asyncio.Event()
    waiting = asyncio.create_task(first_of(event, None))
    await asyncio.sleep(0.001)
    assert not waiting.done()
    event.set()
    async with asyncio.timeout(1):
        await waiting


async def test_who_is_cancelled_leaves_nothing_behind():
    waiting = asyncio.create_task(first_of(asyncio.Event(), asyncio.sleep(60)))
    await asyncio.sleep(0.001)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == 1


async def test_a_problem_is_told_in_words_and_a_defect_is_logged_too():
    async def refuse():
        raise StoreError("the store is away")

    with structlog.testing.capture_logs() as lines:
        assert await problem_of("catalog", nothing) == ""
        assert await problem_of("catalog", refuse) == "the store is away"
        assert lines == []
        assert await problem_of("catalog", break_off) == "ValueError: broken"
    assert [(line["event"], line["task"]) for line in lines] == [("task.broke", "catalog")]


async def test_who_is_cancelled_meanwhile_is_cancelled():
    task = asyncio.create_task(problem_of("catalog", lambda: asyncio.sleep(60)))
    await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
