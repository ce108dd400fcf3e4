"""Nodes of the simulated world: slots, queues, loads and prefix caches, and the heartbeats that speak of them."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass

from origin.api import ModelReport, NodeReport
from origin.prefixes import SKETCH_LIMIT_COUNT, kept_bytes, pack_sketch

_WEIGHT = 0.2  # of the newest sample, as in a node's own scheduler


@dataclass(frozen=True, kw_only=True)
class Speeds:
    """What a node with one model does, as measured of a real one (`tests/bench/node_speeds.py`) or as a test says.

    Attributes:
        answer_token_s: the time to write a token while all slots write.
    """

    prefill_tokens_per_s: float
    answer_token_s: float
    load_s: float


class Lane:
    """One model on one node."""

    def __init__(self, node, model, slots, state):
        self.node, self.model, self.slots, self.state = node, model, slots, state
        self.busy = 0
        self.queue = deque()
        self.arrived_count = 0
        self.used_s = 0.0
        self.ready_at_s = 0.0
        self.service_s = None
        self.working = []  # when those at work will end
        self.marks = OrderedDict()
        self.gives_way = False

    def unread_tokens(self, request):
        kept = kept_bytes(request.marks, self.marks.keys()) if request.marks else 0
        return request.prompt_tokens * (1 - kept / request.prompt_bytes)

    def remember(self, request):
        for mark in request.marks:
            self.marks[mark.number] = None
            self.marks.move_to_end(mark.number)
        while len(self.marks) > SKETCH_LIMIT_COUNT:
            self.marks.popitem(last=False)

    def measured(self, service_s):
        before = self.service_s
        self.service_s = service_s if before is None else before + _WEIGHT * (service_s - before)

    def wait_s(self, now_s):
        """When a slot would be free for one who comes now, as the node's scheduler reckons it."""
        if len(self.queue) + self.busy < self.slots:
            return 0.0
        service_s = self.service_s or 1.0
        free = sorted(max(now_s, end_s) for end_s in self.working)[: self.slots]
        while len(free) < self.slots:
            free.append(now_s)
        for _ in self.queue:
            free.sort()
            free[0] += service_s
        return min(free) - now_s

    def load_left_s(self, now_s):
        if self.state == "ready":
            return 0.0
        if self.state == "loading":
            return max(0.0, self.ready_at_s - now_s)
        awake = [lane for lane in self.node.lanes.values() if lane.state != "asleep"]
        room = len(awake) < self.node.resident_count or any(
            not lane.busy and not lane.queue for lane in awake
        )
        return self.node.speeds.load_s + (
            0.0 if room else min(max(lane.working, default=now_s) for lane in awake) - now_s
        )


class Node:
    """A machine somewhere that keeps some models in memory and the others asleep."""

    def __init__(self, number, city, place, *, slots, speeds, models, resident):
        self.number, self.city, self.place, self.slots, self.speeds = number, city, place, slots, speeds
        self.node_id = f"node-{number:02d}"
        self.resident_count = len(resident)
        self.lanes = {m: Lane(self, m, slots, "ready" if m in resident else "asleep") for m in models}
        self.alive = True
        self.incarnation = 1

    def restart(self):
        """Come back after a crash: nothing is known, nothing waits."""
        self.incarnation += 1
        for name, lane in self.lanes.items():
            self.lanes[name] = Lane(
                self, name, self.slots, lane.state if lane.state != "loading" else "asleep"
            )

    def report(self):
        return NodeReport(
            node_id=self.node_id, incarnation=self.incarnation, url=f"http://{self.node_id}.example",
            place=self.place,
            models=tuple(
                ModelReport(
                    name=name, version="1", state=lane.state, slots=self.slots, busy=lane.busy,
                    queued=len(lane.queue), service_s=lane.service_s,
                    prefill_tokens_per_s=self.speeds.prefill_tokens_per_s, load_s=self.speeds.load_s,
                    arrived_count=lane.arrived_count, prefixes=pack_sketch(lane.marks) if lane.marks else b"",
                )
                for name, lane in self.lanes.items()
            ),
        )  # fmt: skip

    def make_room(self):
        """Put the model to sleep that was not used for longest; one in use takes no more until it is idle.

        Returns whether there is room now.
        """
        awake = [lane for lane in self.lanes.values() if lane.state != "asleep"]
        if len(awake) < self.resident_count:
            return True
        idle = [lane for lane in awake if lane.state == "ready" and not lane.busy and not lane.queue]
        if idle:
            min(idle, key=lambda lane: lane.used_s).state = "asleep"
            return True
        if not any(lane.gives_way or lane.state == "loading" for lane in awake):
            min(awake, key=lambda lane: len(lane.queue) + lane.busy).gives_way = True
        return False
