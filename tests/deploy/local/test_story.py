"""The story: what did not happen is never told as if it had."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from deploy.local.story import StepFailedError, Story, expect


@pytest.fixture
def story():
    ticks = iter(range(100))
    return Story(Console(file=io.StringIO(), width=200), clock_s=lambda: float(next(ticks)))


async def good(step):
    step.summary = "seen"
    step.facts = {"bytes": 7}


async def bad(step):
    step.summary = "would have been seen"
    expect(step.ok, "one is not more than two")


async def test_a_story_that_happened(story):
    await story.tell("one", "First", good)
    assert story.ok
    assert json.loads(story.as_json()) == {
        "ok": True,
        "steps": [{"name": "one", "title": "First", "ok": True, "took_s": 1.0, "error": "", "bytes": 7}],
    }


async def test_a_step_that_did_not_happen_ends_it(story):
    await story.tell("one", "First", good)
    with pytest.raises(StepFailedError):
        await story.tell("two", "Second", bad)
    assert not story.ok
    assert json.loads(story.as_json())["steps"][1]["error"] == "one is not more than two"
    story.console.print(story.table())
    shown = story.console.file.getvalue()
    assert "one is not more than two" in shown
    assert "would have been seen" not in shown


async def test_an_unexpected_error_is_kept_too(story):
    async def broken(_step):
        raise RuntimeError("odd")

    with pytest.raises(RuntimeError):
        await story.tell("one", "First", broken)
    assert json.loads(story.as_json())["steps"][0]["error"] == "RuntimeError: odd"


def test_an_empty_story_is_no_success(story):
    assert not story.ok
