"""Who is let in: a bounded queue for each release, shared fairly, and an honest time to come back for who is not.

The engine's process works on `slots` requests at once and takes clients in turn; the front lets in as many requests
as there are slots, plus a queue that is bounded in requests and in tokens of prompt. How long a request will take
is what was measured of those before it: seconds a prompt token, and seconds of answering, both smoothed by
exponentially weighted means. A simulation of the slots by these figures says when there will be room
(`retry_after_s`), and whether a request would start before its client stops waiting.

One client alone may fill the queue; as soon as another one is active, each may hold its equal part, so that whoever
comes later finds room however many requests the first one sends.
"""

from __future__ import annotations

import bisect
import itertools
import math
from dataclasses import dataclass
from typing import NamedTuple

from edge_node.errors import OverloadedError
from edge_node.lane import Lane, Place, smoothed

_SPREAD_LIMIT = 4.0  # one outlier is not yet a rule
_RETRY_FLOOR_S = 0.05
_RETRY_CEILING_S = 600.0
_PROMPT_SAMPLE_MIN_TOKENS = 16  # shorter prompts measure the call, not the reading


class Load(NamedTuple):
    """How busy a model is; rates are None until measured.

    Attributes:
        busy: requests at work.
        queued: requests waiting for a slot.
        service_s: mean time a request holds a slot.
        prefill_tokens_per_s: prompt tokens read in a second, while nothing else is computed.
        arrived_count: requests let in since the start.
        read_s: mean time that reading takes in itself.
        unread_s: how long those at work, together, have still to read.
    """

    busy: int
    queued: int
    service_s: float | None
    prefill_tokens_per_s: float | None
    arrived_count: int
    read_s: float | None = None
    unread_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Service:
    """What the engine measured of one finished request.

    Attributes:
        read_tokens: those of the prompt that were not in its cache.
        prefill_s: from its admission until they were read.
        read_s: the part of it that went into reading them, and not into others at work.
    """

    service_s: float
    prompt_tokens: int = 0
    read_tokens: int = 0
    prefill_s: float = 0.0
    read_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Ticket:
    """A request's place inside; hand it back with `leave`, whatever happened."""

    number: int
    name: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """A request that wants in.

    Attributes:
        client: whose it is; the queue is shared equally among clients.
        prompt_bytes: its body's size, from which its tokens are guessed.
        start_within_s: how long its client waits for the first token; None is for ever.
    """

    prompt_bytes: int
    client: str = ""
    start_within_s: float | None = None


class Scheduler:
    """Admission for all resident releases.

    Args:
        queue_limit_count: requests that may wait for each release.
        queue_limit_tokens: prompt tokens that may wait for each release; one request alone may always wait.
    """

    def __init__(self, *, queue_limit_count: int = 64, queue_limit_tokens: int = 2**17) -> None:
        self._queue_limit_count = queue_limit_count
        self._queue_limit_tokens = queue_limit_tokens
        self._lanes: dict[tuple[str, str], Lane] = {}
        self._numbers = itertools.count(1)

    def admit(self, name: str, version: str, *, slots: int, asking: Asking, now_s: float) -> Ticket:
        """Let a request in.

        Raises:
            OverloadedError: no room, or it would start too late; `retry_after_s` says when that should be over.
        """
        lane = self._lane(name, version, max(1, slots))
        refusal = self._refusal(name, lane, asking, now_s)
        if refusal is not None:
            lane.note_refused(asking.client, now_s)
            raise refusal
        lane.refused_s.pop(asking.client, None)
        lane.arrived_count += 1
        ticket = Ticket(next(self._numbers), name, version)
        lane.places[ticket.number] = lane.place(asking.client, lane.guessed_tokens(asking.prompt_bytes))
        lane.promote(now_s)
        return ticket

    def refusal(
        self, name: str, version: str, *, slots: int, asking: Asking, now_s: float
    ) -> OverloadedError | None:
        """What `admit` would raise now; nothing is changed."""
        lane = self._lanes.get((name, version))
        if lane is None:
            return None
        lane.slots = max(1, slots)
        return self._refusal(name, lane, asking, now_s)

    def newcomer_wait_s(self, name: str, version: str, *, slots: int, client: str, now_s: float) -> float:
        """How long a request that came now would wait until it is read, if it were let in; nothing is changed.

        It waits for a slot, or, where one is free, for those at work to be read.
        """
        lane = self._lanes.get((name, version))
        if lane is None:
            return 0.0
        lane.slots = max(1, slots)
        if len(lane.places) < lane.slots:
            return lane.unread_s(now_s)
        return _newcomer_wait_s(lane, client, now_s)

    def started(self, ticket: Ticket, *, prompt_tokens: int, prompt_bytes: int, now_s: float) -> None:
        """A request's prompt has been counted, and read."""
        lane = self._lanes[ticket.name, ticket.version]
        place = lane.places[ticket.number]
        place.prompt_tokens, place.read = prompt_tokens, True
        lane.read_at_s = now_s
        if prompt_bytes > 0 and prompt_tokens > 0:
            lane.tokens_per_byte = smoothed(lane.tokens_per_byte, prompt_tokens / prompt_bytes)

    def leave(self, ticket: Ticket, *, now_s: float, service: Service | None) -> None:
        """Give a place back; `service` is None when nothing was measured (refused, failed, gone early)."""
        lane = self._lanes[ticket.name, ticket.version]
        place = lane.places.pop(ticket.number)
        lane.promote(now_s)
        if service is None or not math.isfinite(service.service_s) or service.service_s < 0:
            return
        if lane.answer_s is not None and (expected_s := lane.expected_s(place)) > 0:
            missed = (service.service_s - expected_s) / expected_s
            lane.spread = smoothed(lane.spread, min(missed * missed, _SPREAD_LIMIT))
        read_s = service.read_s or service.prefill_s  # not every engine says what went into others
        lane.service_s = smoothed(lane.service_s, service.service_s)
        lane.answer_s = smoothed(lane.answer_s, max(0.0, service.service_s - service.prefill_s))
        if service.prompt_tokens:
            lane.read_s = smoothed(lane.read_s, read_s)
        if service.prompt_tokens >= _PROMPT_SAMPLE_MIN_TOKENS:
            lane.prompt_token_s = smoothed(lane.prompt_token_s, service.prefill_s / service.prompt_tokens)
            lane.read_token_s = smoothed(lane.read_token_s, read_s / service.prompt_tokens)
        if service.read_tokens >= _PROMPT_SAMPLE_MIN_TOKENS and read_s > 0:
            lane.prefill_tokens_per_s = smoothed(lane.prefill_tokens_per_s, service.read_tokens / read_s)

    def load(self, name: str, version: str | None = None, *, now_s: float) -> Load:
        """How busy a release is, or all releases of a model with the rates of the one used last."""
        lanes = [lane for key, lane in self._lanes.items() if key[0] == name and version in {None, key[1]}]
        if not lanes:
            return Load(0, 0, None, None, 0)
        busy = sum(min(len(lane.places), lane.slots) for lane in lanes)
        inside = sum(len(lane.places) for lane in lanes)
        last = lanes[-1]
        arrived_count = sum(lane.arrived_count for lane in lanes)
        return Load(
            busy,
            inside - busy,
            last.service_s,
            last.prefill_tokens_per_s,
            arrived_count,
            last.read_s,
            sum(lane.unread_s(now_s) for lane in lanes),
        )

    def wait_s(self, ticket: Ticket, *, now_s: float) -> float | None:
        """How long one who waits will still wait; None before anything was measured."""
        lane = self._lanes[ticket.name, ticket.version]
        if lane.answer_s is None:
            return None
        place = lane.places[ticket.number]
        if place.working_since_s is not None:
            return 0.0
        waiting = lane.waiting()
        return max(0.0, lane.starts_s(waiting, now_s)[waiting.index(place)] - now_s)

    def names(self) -> tuple[str, ...]:
        """Every model that has had a request."""
        return tuple(dict.fromkeys(name for name, _ in self._lanes))

    def _lane(self, name: str, version: str, slots: int) -> Lane:
        lane = self._lanes.get((name, version))
        if lane is None:
            lane = Lane(slots)
            older = [key for key in self._lanes if key[0] == name]
            if older:  # the release before is the best guess until this one is measured
                last = self._lanes[older[-1]]
                lane.service_s, lane.answer_s = last.service_s, last.answer_s
                lane.prompt_token_s, lane.tokens_per_byte = last.prompt_token_s, last.tokens_per_byte
                lane.prefill_tokens_per_s, lane.spread = last.prefill_tokens_per_s, last.spread
                lane.read_s, lane.read_token_s = last.read_s, last.read_token_s
            for key in older:
                if not self._lanes[key].places:
                    del self._lanes[key]
            self._lanes[name, version] = lane
        lane.slots = slots
        return lane

    def _refusal(self, name: str, lane: Lane, asking: Asking, now_s: float) -> OverloadedError | None:
        if len(lane.places) < lane.slots:
            return None
        waiting = lane.waiting()
        starts_s = lane.starts_s(waiting, now_s)
        tokens = lane.guessed_tokens(asking.prompt_bytes)
        parts_count = lane.active_count(asking.client, now_s)
        if self._has_room(waiting, asking.client, tokens, parts_count):
            return _too_late(name, lane, asking, now_s)
        room_at_s = starts_s[0]  # with no queue at all, the next to leave is one at work
        left = list(waiting)
        while left:
            room_at_s = starts_s[len(waiting) - len(left)]
            left.pop(0)
            if self._has_room(left, asking.client, tokens, parts_count):
                break
        return OverloadedError(
            f"{name} is at its limit here: {lane.slots} at work and {len(waiting)} waiting; "
            "come back after the time in Retry-After, or ask another node",
            retry_after_s=_bounded(room_at_s - now_s),
        )

    def _has_room(self, waiting: list[Place], client: str, tokens: float, parts_count: int) -> bool:
        """Whether one more may wait beside these: in the queue, and in its client's part of it."""
        if not self._queue_limit_count:
            return False
        own = [place for place in waiting if place.client == client]
        for places, parts in ((waiting, 1), (own, parts_count)):
            if not places:  # one request alone may always wait
                continue
            count = len(places) + 1
            total_tokens = sum(place.prompt_tokens for place in places) + tokens
            if count > max(1, self._queue_limit_count // parts):
                return False
            if total_tokens > self._queue_limit_tokens / parts:
                return False
        return True


def _too_late(name: str, lane: Lane, asking: Asking, now_s: float) -> OverloadedError | None:
    """A refusal for one who would have stopped waiting before it is his turn."""
    if asking.start_within_s is None or lane.answer_s is None:
        return None
    wait_s = _newcomer_wait_s(lane, asking.client, now_s)
    if wait_s <= asking.start_within_s:
        return None
    return OverloadedError(
        f"{name} would begin with this in {wait_s:.1f} s, and its client waits {asking.start_within_s:g} s; "
        "come back after the time in Retry-After, or ask another node",
        retry_after_s=_bounded(wait_s - asking.start_within_s),
    )


def _newcomer_wait_s(lane: Lane, client: str, now_s: float) -> float:
    newcomer = lane.place(client, 0.0)
    waiting = lane.waiting()
    bisect.insort_right(waiting, newcomer, key=lambda place: place.turn)
    return lane.starts_s(waiting, now_s)[waiting.index(newcomer)] - now_s


def _bounded(retry_after_s: float) -> float:
    return min(max(retry_after_s, _RETRY_FLOOR_S), _RETRY_CEILING_S)
