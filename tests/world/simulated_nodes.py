"""Nodes of the simulated world: slots, queues, loads and prefix caches, and the heartbeats that speak of them."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from dataclasses import dataclass

from edge_node.residency import Occupant, Prospect, faded, foresee, make_room
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
        self.queue = deque()  # they hold the model, and wait for a slot
        self.waiting = deque()  # they wait for the model
        self.arrived_count = 0
        self.used_s = 0.0
        self.recent_count = 0.0
        self.recent_at_s = 0.0
        self.loaded_s = -math.inf
        self.ready_at_s = 0.0
        self.service_s = None
        self.working = []  # when those at work will end
        self.marks = OrderedDict()
        self.gives_way = False

    @property
    def open(self):
        return self.state == "ready" and not self.gives_way

    def occupant(self):
        """As `edge_node.berth.Berth` says it; every model takes the same of the memory."""
        if self.state == "asleep":
            return None
        return Occupant(
            key=(self.model, "1"), memory_bytes=1,
            holders_count=self.busy + len(self.queue) + (0 if self.gives_way else len(self.waiting)),
            used_at_s=self.used_s, loaded_at_s=self.loaded_s, movable=self.state == "ready",
            recent_count=self.recent_count, recent_at_s=self.recent_at_s,
        )  # fmt: skip

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
        if self.open:
            return 0.0
        if self.state == "loading":
            return max(0.0, self.ready_at_s - now_s)
        return self.prospect(now_s).room_s + self.node.speeds.load_s

    def note_arrival(self, now_s):
        self.arrived_count += 1
        self.used_s = now_s
        self.recent_count = faded(self.recent_count, now_s - self.recent_at_s) + 1
        self.recent_at_s = now_s

    def prospect(self, now_s):
        if self.state == "loading" or self.open:
            return Prospect()
        ahead_count = sum(it.state == "asleep" and it is not self for it in self.node.waking)
        return foresee(
            [1] * (ahead_count + 1),
            limit_bytes=self.node.resident_count,
            occupants=self.node.occupants(),
            now_s=now_s,
        )


def _prospect(prospect):
    return {"room_s": prospect.room_s, "displaced_count": prospect.displaced_count}


class Node:
    """A machine somewhere that keeps some models in memory and the others asleep."""

    def __init__(self, number, city, place, *, slots, speeds, models, resident):
        self.number, self.city, self.place, self.slots, self.speeds = number, city, place, slots, speeds
        self.node_id = f"node-{number:02d}"
        self.resident_count = len(resident)
        self.lanes = {m: Lane(self, m, slots, "ready" if m in resident else "asleep") for m in models}
        self.waking = deque()  # models that are to be loaded, in turn
        self.alive = True
        self.incarnation = 1

    def restart(self):
        """Come back after a crash: nothing is known, nothing waits."""
        self.incarnation += 1
        self.waking.clear()
        for name, lane in self.lanes.items():
            self.lanes[name] = Lane(
                self, name, self.slots, lane.state if lane.state != "loading" else "asleep"
            )

    def report(self, now_s):
        return NodeReport(
            node_id=self.node_id, incarnation=self.incarnation, url=f"http://{self.node_id}.example",
            place=self.place,
            models=tuple(
                ModelReport(
                    name=name, version="1", slots=self.slots, busy=lane.busy,
                    state="asleep" if lane.gives_way else lane.state,
                    queued=len(lane.queue) + len(lane.waiting), service_s=lane.service_s,
                    prefill_tokens_per_s=self.speeds.prefill_tokens_per_s, load_s=self.speeds.load_s,
                    **_prospect(lane.prospect(now_s)),
                    arrived_count=lane.arrived_count, prefixes=pack_sketch(lane.marks) if lane.marks else b"",
                )
                for name, lane in self.lanes.items()
            ),
        )  # fmt: skip

    def occupants(self):
        return [it for lane in self.lanes.values() if (it := lane.occupant()) is not None]

    def make_room(self, now_s):
        """Put to sleep what the node's rule says; gives what it decided."""
        while True:
            room = make_room(1, limit_bytes=self.resident_count, occupants=self.occupants(), now_s=now_s)
            for name, _ in room.give_way:
                self.lanes[name].gives_way = True
            for name, _ in room.evict:
                self.lanes[name].state, self.lanes[name].gives_way = "asleep", False
            if room.fits or not room.evict:
                return room
