"""`edgeward route` and `edgeward nodes` against a real origin that has heard of a few nodes."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import pty
import re
import select
import signal
import sys
import threading
import time

import pytest
import structlog

from deploy.cli.fleet_table import COLUMNS, GAP, fitted, handed_on, load_of, row_of, summary
from origin.api import ModelReport, NodeReport, Place
from origin.api_fleet import NodeView
from origin.client import OriginClient
from origin.config import OriginConfig
from origin.daemon import running_origin
from registry.trust.in_memory import signed_in_memory

READY = ModelReport(name="chat", version="1.0", state="ready", slots=4, busy=1, service_s=0.5)


def report(node_id, place, *models, **more):
    return NodeReport(
        node_id=node_id, incarnation=1, url=f"http://{node_id}.example:1", place=place, label=node_id.title(),
        models=models, **more,
    )  # fmt: skip


REPORTS = (
    report("paris", Place(48.86, 2.35), READY, handed_on={"busy": 3, "full": 1}),
    report("tokyo", Place(35.68, 139.65), READY),
    report("oslo", Place(59.9, 10.7), READY, draining=True),
    report("rome", Place(41.9, 12.5), READY, channel="canary"),
    report("lima", Place(-12.0, -77.0)),
    report(
        "cairo",
        Place(30.0, 31.2),
        ModelReport(name="chat", version="1.0", state="failed", detail="no memory"),
    ),
)


@pytest.fixture
def origin_url(monkeypatch):
    """An origin in a thread of its own, with nodes that report as long as the test lasts."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    monkeypatch.setattr(structlog, "configure", lambda **_: None)  # the origin's lines are not the command's
    ready, ends, found = threading.Event(), threading.Event(), []

    async def serve():
        config = OriginConfig(port=0, heartbeat_s=1.0)
        async with running_origin(config, signed_in_memory()) as url, OriginClient(url) as client:
            while not ends.is_set():
                for each in REPORTS:
                    await client.report(each)
                found.append(url)
                ready.set()
                await asyncio.sleep(0.2)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(20)
    yield found[0]
    ends.set()
    thread.join(20)


class TestRoute:
    def test_a_decision_term_by_term(self, edgeward, origin_url):
        code, out, err = edgeward("route", "--model", "chat", "--from", "Paris", "--origin", origin_url)
        assert code == 0
        head, first, second = out.splitlines()
        assert head.split()[:9] == ["NODE", "LABEL", "VERSION", "KM", "RTT", "ms", "BY", "SCORE", "ms"]
        assert "network ms" in head
        assert "queue ms" in head
        assert first.split()[:4] == ["paris", "Paris", "1.0", "0"]
        assert second.split()[0] == "tokyo"
        assert "from 48.86,2.35 (as it says); paris is first: it is the nearest; good for 60 s" in err
        assert "4 nodes left out; --all says why" in err

    def test_all_says_of_every_other_node_why_it_is_none(self, edgeward, origin_url):
        code, out, _ = edgeward(
            "route", "--model", "chat", "--from", "paris", "--all", "--origin", origin_url
        )
        assert code == 0
        left = [re.split(r" {2,}", line) for line in out.partition("LEFT OUT")[2].splitlines()[1:]]
        assert left == [
            ["cairo", "Cairo", "could not load 1.0 (no memory)"],
            ["lima", "Lima", "does not hold chat"],
            ["oslo", "Oslo", "is draining"],
            ["rome", "Rome", "follows the channel canary, and others on stable answer"],
        ]

    def test_json_has_it_all(self, edgeward, origin_url):
        _, out, _ = edgeward(
            "route", "--model", "chat@1.0", "--from", "tokyo", "--json", "--origin", origin_url
        )
        answer = json.loads(out)
        assert (answer["reason"], answer["place_source"]) == ("nearest", "stated")
        node = answer["nodes"][0]
        assert sum(node["terms_s"].values()) == pytest.approx(node["score_s"])
        assert {it["node_id"] for it in answer["left_out"]} == {"cairo", "lima", "oslo"}

    def test_asking_sends_nothing_anywhere(self, edgeward, origin_url):
        queues_s = []
        for _ in range(12):
            _, out, _ = edgeward(
                "route", "--model", "chat", "--from", "paris", "--json", "--origin", origin_url
            )
            queues_s.append(json.loads(out)["nodes"][0]["terms_s"]["queue"])
        assert len(set(queues_s)) == 1

    def test_without_a_place_it_says_how_to_say_one(self, edgeward, origin_url):
        _, _, err = edgeward("route", "--model", "chat", "--origin", origin_url)
        assert "from an unknown place (say one with --from)" in err
        assert "load alone decides" in err

    def test_a_negative_prompt_is_refused(self, edgeward):
        code, _, err = edgeward("route", "--prompt-tokens", "-1")
        assert code == 1
        assert "0 or more" in err


class TestNodes:
    def test_once_as_a_table(self, edgeward, origin_url):
        code, out, err = edgeward("nodes", "--origin", origin_url)
        assert code == 0
        rows = {line.split()[0]: line for line in out.splitlines()[1:]}
        assert rows.keys() == {each.node_id for each in REPORTS}
        assert re.search(r" 1/4 +0 +4 \(busy…\)", rows["paris"])
        assert " draining " in rows["oslo"]
        assert "chat@1.0 failed (no memory)" in rows["cairo"]
        assert "6 nodes: 5 up, 1 draining; 4 of 16 slots busy, 0 waiting; 4 handed on" in err

    def test_as_json(self, edgeward, origin_url):
        _, out, _ = edgeward("nodes", "--json", "--origin", origin_url)
        views = {view["report"]["node_id"]: view for view in json.loads(out)["nodes"]}
        assert views["paris"]["report"]["handed_on"] == {"busy": 3, "full": 1}
        assert views["oslo"]["state"] == "draining"


@pytest.mark.parametrize("width", ["160", "60"])
def test_live_on_a_terminal_ends_clean(origin_url, width):
    """Rows are drawn again in place, and Ctrl-C leaves the cursor visible and no traceback."""
    child, terminal = pty.fork()
    if child == 0:  # pragma: no cover
        os.environ.update(TERM="xterm", COLUMNS=width, LINES="40")
        words = ["-m", "deploy.cli", "nodes", "--watch", "--origin", origin_url]
        os.execv(sys.executable, [sys.executable, *words])
    shown = b""
    deadline_s = time.monotonic() + 60
    told = False
    while time.monotonic() < deadline_s:
        if select.select([terminal], [], [], 0.5)[0]:
            try:
                data = os.read(terminal, 65536)
            except OSError:
                break
            if not data:
                break
            shown += data
        if not told and shown.count(b"paris") >= 2:
            os.write(terminal, b"\x03")
            told = True
    else:
        os.kill(child, signal.SIGKILL)  # the status then fails the test, which must not wait for ever
    _, status = os.waitpid(child, 0)
    text = shown.decode()
    assert told, text
    assert os.waitstatus_to_exitcode(status) == 130
    assert "Traceback" not in text
    assert "6 nodes: 5 up, 1 draining" in text
    assert re.search(r"oslo +(Oslo +)?\S*draining", text)
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l")


class TestRows:
    def test_what_nodes_say_of_themselves_cannot_break_the_table(self):
        odd = NodeReport(node_id="odd", incarnation=1, url="http://x", label="[bold]\x1b[2J", models=(READY,))
        row = row_of(NodeView(report=odd, state="up", age_s=0.04))
        cells = dict(zip(COLUMNS, row, strict=True))
        assert (cells["NODE"], cells["LABEL"], cells["STATE"]) == ("odd", "[bold]\x1b[2J", "up")
        assert (cells["SEEN"], cells["BUSY"], cells["QUEUED"], cells["PLACE"]) == ("0.0 s", "1/4", "0", "?")

    @pytest.mark.parametrize("width", range(40, 400, 7))
    def test_a_narrow_terminal_shows_which_node_is_how_and_leaves_out_the_rest(self, width):
        models = tuple(
            ModelReport(name=f"model-{n}", version="1.0", state="ready", slots=4) for n in range(5)
        )
        rows = [row_of(NodeView(report=report("frankfurt", None, *models), state="up", age_s=0.1))]
        shown, models_width = fitted(rows, width)
        names = [COLUMNS[number] for number in shown]
        assert {"NODE", "STATE", "SEEN", "BUSY", "MODELS"} <= set(names)
        widths = [max(len(rows[0][number]), len(COLUMNS[number])) for number in shown]
        widths[names.index("MODELS")] = models_width
        assert sum(widths) + GAP * (len(shown) - 1) <= width
        assert len(shown) == len(COLUMNS) or width < 200
        assert models_width >= 24 or len(shown) == 5

    def test_only_ready_models_have_slots(self):
        asleep = ModelReport(name="b", version="1", state="asleep", slots=4)
        views = [NodeView(report=report("a", None, READY, asleep), state="up", age_s=0.0)]
        assert load_of(views) == (1, 4, 0)
        assert summary(views).startswith("1 node: 1 up; 1 of 4 slots busy")

    @pytest.mark.parametrize(
        ("counts", "text"), [({}, "0"), ({"busy": 2}, "2 (busy)"), ({"busy": 1, "full": 5}, "6 (full…)")]
    )
    def test_what_was_handed_on(self, counts, text):
        assert handed_on(counts) == text
