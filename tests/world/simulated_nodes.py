"""Nodes of the simulated world: batches, queues, loads and prefix caches, and the heartbeats that speak of them.

Whoever is at work in a model shares its batches as in `edge_node.engines.llama`: steps of answers, one token for each,
and steps of prompts take turns, and a step takes as long as was measured of a real one with so many rows. Models that
are at work on one node share its processor.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import OrderedDict, deque
from dataclasses import dataclass

from edge_node.engines.llama.slots import prompt_rows
from edge_node.residency import Occupant, Prospect, faded, foresee, make_room
from origin.api import ModelReport, NodeReport
from origin.prefixes import SKETCH_LIMIT_COUNT, kept_bytes, pack_sketch

_WEIGHT = 0.2  # of the newest sample, as in a node's own scheduler


@dataclass(frozen=True, kw_only=True)
class Speeds:
    """What a node with one model does, as measured of a real one (`tests/bench/node_speeds.py`) or as a test says.

    Attributes:
        prefill_tokens_per_s: rows of prompts computed in a second, however many prompts they are of.
        answer_steps_s: how long a step of answers takes, by how many it is of: (count, seconds), in rising order.
    """

    prefill_tokens_per_s: float
    answer_steps_s: tuple[tuple[int, float], ...]
    load_s: float

    def answer_step_s(self, rows_count):
        """A straight line between the sizes that were measured, and on beyond the last."""
        steps = self.answer_steps_s
        number = min(max(1, bisect_left(steps, (rows_count,))), len(steps) - 1)
        (less, less_s), (more, more_s) = steps[number - 1 : number + 1]
        return less_s + (more_s - less_s) * (rows_count - less) / (more - less)

    def seconds_a_request(self, *, prompt_tokens, answer_tokens, rows_count):
        """Of the processor, when so many are always at work together."""
        step_s = self.answer_step_s(rows_count) / rows_count
        return prompt_tokens / self.prefill_tokens_per_s + answer_tokens * step_s


class Work:
    """A request at work: what there is to read, then what there is to write."""

    __slots__ = ("began_s", "left_tokens", "read_s", "request", "unread_tokens")

    def __init__(self, request, unread_tokens, now_s):
        self.request, self.began_s = request, now_s
        self.unread_tokens = max(1, round(unread_tokens))
        self.left_tokens = request.answer_tokens
        self.read_s = 0.0

    @property
    def client(self):
        return self.request.client

    @property
    def missing_count(self):
        return self.unread_tokens


CHUNK_TOKENS = 256
SLOTS_COUNT = 4
"""Of the node that was measured."""


class Lane:
    """One model on one node."""

    def __init__(self, node, model, slots, state):
        self.node, self.model, self.slots, self.state = node, model, slots, state
        self.at_work = []
        self.stepping = self.answers_had_turn = False
        self.queue = deque()  # they hold the model, and wait for a slot
        self.waiting = deque()  # they wait for the model
        self.arrived_count = 0
        self.used_s = 0.0
        self.recent_count = 0.0
        self.recent_at_s = 0.0
        self.loaded_s = -math.inf
        self.ready_at_s = 0.0
        self.service_s = self.row_s = self.read_s = None
        self.marks = OrderedDict()
        self.gives_way = False

    @property
    def open(self):
        return self.state == "ready" and not self.gives_way

    @property
    def busy(self):
        return len(self.at_work)

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

    def measured(self, work, now_s):
        """What came of a request that is over, as the node's scheduler takes it."""
        self.service_s = _smoothed(self.service_s, now_s - work.began_s)

    def read(self, work):
        self.read_s = _smoothed(self.read_s, work.read_s)

    def unread_s(self):
        """How long those at work still read, together."""
        rows = sum(work.unread_tokens for work in self.at_work)
        return rows * (self.row_s or 1 / self.node.speeds.prefill_tokens_per_s)

    def wait_s(self, now_s):
        """When one who comes now would begin to read: there is a slot, and those at work have read."""
        if len(self.queue) + self.busy < self.slots:
            return self.unread_s()
        service_s = self.service_s or 1.0
        free = sorted(max(now_s + service_s / 4, work.began_s + service_s) for work in self.at_work)[
            : self.slots
        ]
        while len(free) < self.slots:
            free.append(now_s)
        for _ in self.queue:
            free.sort()
            free[0] += service_s
        return min(free) - now_s

    # ---- steps

    def next_step(self):
        """Whether it is one of answers, who takes part with how many rows, and how long it takes; None without work."""
        reading = [work for work in self.at_work if work.unread_tokens]
        writing = [work for work in self.at_work if not work.unread_tokens]
        if not self.at_work:
            return None
        crowd = sum(lane.stepping for lane in self.node.lanes.values() if lane is not self) + 1
        slowed = crowd / self.node.power
        speeds = self.node.speeds
        if writing and not (reading and self.answers_had_turn):
            self.answers_had_turn = True
            return True, [(work, 1) for work in writing], slowed * speeds.answer_step_s(len(writing))
        self.answers_had_turn = False
        rows = prompt_rows(reading, CHUNK_TOKENS)
        took_s = slowed * sum(rows) / speeds.prefill_tokens_per_s
        return False, [(work, count) for work, count in zip(reading, rows, strict=True) if count], took_s

    def stepped(self, answers, parts, took_s):
        """Take a step that is over; gives whose first token it gave, and who is done."""
        first, done = [], []
        rows_count = sum(count for _, count in parts)
        if not answers:
            self.row_s = _smoothed(self.row_s, took_s / rows_count)
        for work, count in parts:
            if answers:
                work.left_tokens -= 1
            else:
                work.unread_tokens -= count
                work.read_s += took_s * count / rows_count
                if work.unread_tokens:
                    continue
                work.left_tokens -= 1
                self.read(work)
                first.append(work)
            if work.left_tokens <= 0:
                done.append(work)
        return first, done

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
    """A machine somewhere that keeps some models in memory and the others asleep.

    Attributes:
        power: how many times as quick as the measured one it is: more slots stand for more processors.
    """

    def __init__(self, number, city, place, *, slots, speeds, models, resident):
        self.power = slots / SLOTS_COUNT
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
                    read_s=lane.read_s, unread_s=lane.unread_s(),
                    prefill_tokens_per_s=lane.row_s and 1 / lane.row_s, load_s=self.speeds.load_s,
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


def _smoothed(mean, sample):
    return sample if mean is None else mean + _WEIGHT * (sample - mean)
