"""Bars: live on a terminal, a line now and then elsewhere."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from deploy.bars import BytesBar, ServingBars
from origin.api import ModelReport, NodeReport
from origin.api_fleet import NodeView
from registry.progress import Progress


class Clock:
    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def log():
    """A console that nobody watches."""
    return Console(file=StringIO(), width=40)


def view(node_id, **model):
    models = (ModelReport(name="chat", version="1.0", **model),) if model else ()
    report = NodeReport(node_id=node_id, incarnation=1, url="http://127.0.0.1:1", models=models)
    return NodeView(report=report, state="up", age_s=0.0)


def test_quick_work_leaves_nothing_in_a_log(log, clock):
    with BytesBar(log, "chat@1.0", now_s=clock) as bar:
        bar.show(Progress("upload", 1, 2))
        clock.now_s += 9.9
        bar.show(Progress("upload", 2, 2))
    with ServingBars(log, [("chat", "1.0")], now_s=clock) as bars:
        bars.show([view("paris")])
    with BytesBar(log, "never shown", now_s=clock):
        clock.now_s += 60
    assert log.file.getvalue() == ""


def test_long_work_leaves_a_line_every_ten_seconds_in_a_log(log, clock):
    with BytesBar(log, "[chat]@1.0 with a long title that is no reason to wrap", now_s=clock) as bar:
        for done_bytes in range(0, 26_000_000, 1_000_000):
            bar.show(Progress("upload", done_bytes, 98_362_432, source="origin"))
            clock.now_s += 1.0
        bar.show(Progress("verify", 5, 0))
    title = "   [chat]@1.0 with a long title that is no reason to wrap"
    assert log.file.getvalue().splitlines() == [
        f"{title} upload from origin: 10.0 MB of 98.4 MB",
        f"{title} upload from origin: 20.0 MB of 98.4 MB",
    ]
    clock.now_s += 10.0
    bar.show(Progress("verify", 5, 0))
    assert log.file.getvalue().splitlines()[2:] == [f"{title} verify: 5 B"]


def test_a_log_says_what_each_node_is_doing(log, clock):
    with ServingBars(log, [("chat", "1.0")], now_s=clock) as bars:
        for views in ([], [view("paris"), view("tokyo", state="fetching")], [view("paris", state="ready")]):
            clock.now_s += 10.0
            bars.show(views)
    assert log.file.getvalue().splitlines() == [
        "   no node has joined yet",
        "   paris: joined; tokyo: chat@1.0 fetching",
        "   paris: chat@1.0 ready",
    ]


def test_a_terminal_shows_bars_and_takes_them_away(clock):
    console = Console(file=StringIO(), force_terminal=True, force_interactive=True, width=100)
    with BytesBar(console, "[chat]@1.0", now_s=clock) as bar:
        bar.show(Progress("upload", 1_000_000, 2_000_000))
        clock.now_s += 60
        bar.show(Progress("upload", 2_000_000, 2_000_000))
    with ServingBars(console, [("chat", "1.0")], now_s=clock) as bars:
        bars.show([view("paris", state="fetching", fetched_bytes=1, fetch_total_bytes=2)])
        bars.show([view("paris", state="ready")])
    with ServingBars(console, [], now_s=clock) as bars:
        bars.show([view("paris")])
    shown = console.file.getvalue()
    assert "[chat]@1.0 upload" in shown
    assert "2.0/2.0 MB" in shown
    assert "chat@1.0 ready" in shown
    assert ": 2.0 MB" not in shown
    assert shown.rstrip("\n").endswith("\x1b[2K")
