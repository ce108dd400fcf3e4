"""Who is let in: a bounded queue for each release, and an honest time to come back for who is not.

The engine's process has `slots` places and serves first come, first served; the front lets in as many
requests as there are slots, plus a queue that is bounded in requests and in bytes of prompt. So the first
`slots` of those inside are the ones at work. Service times are what the engine measured, smoothed by an
exponentially weighted mean; `retry_after_s` is when, by those times, enough of the queue will have moved on
(a simulation of the slots).
"""

from __future__ import annotations

import heapq
import itertools
import math
from dataclasses import dataclass, field
from typing import NamedTuple

from edge_node.errors import OverloadedError

_WEIGHT = 0.2  # of the newest sample: the mean follows a change within about ten requests
_UNMEASURED_SERVICE_S = 2.0  # only until the first request has finished
_RETRY_FLOOR_S = 0.05
_RETRY_CEILING_S = 600.0
_PREFILL_SAMPLE_MIN_TOKENS = 16  # shorter prompts measure the call, not the reading


class Load(NamedTuple):
    """How busy a model is; rates are None until measured.

    Attributes:
        busy: requests at work.
        queued: requests waiting for a slot.
        service_s: mean time a request holds a slot.
        prefill_tokens_per_s: prompt tokens read in a second.
    """

    busy: int
    queued: int
    service_s: float | None
    prefill_tokens_per_s: float | None


@dataclass(frozen=True, kw_only=True)
class Service:
    """What the engine measured of one finished request; `read_tokens` were not in its cache."""

    service_s: float
    read_tokens: int = 0
    prefill_s: float = 0.0


@dataclass(frozen=True)
class Ticket:
    """A request's place inside; hand it back with `leave`, whatever happened."""

    number: int
    name: str
    version: str


@dataclass(slots=True)
class _Place:
    prompt_bytes: int
    working_since_s: float | None


@dataclass(slots=True)
class _Lane:
    slots: int
    service_s: float | None = None
    prefill_tokens_per_s: float | None = None
    places: dict[int, _Place] = field(default_factory=dict)  # in order of arrival

    def waiting(self) -> list[_Place]:
        return list(self.places.values())[self.slots :]

    def promote(self, now_s: float) -> None:
        """Whoever is now among the first `slots` is at work."""
        for place in itertools.islice(self.places.values(), self.slots):
            if place.working_since_s is None:
                place.working_since_s = now_s


class Scheduler:
    """Admission for all resident releases.

    Args:
        queue_limit_count: requests that may wait for each release.
        queue_limit_bytes: prompt bytes that may wait for each release; one request alone may always wait.
    """

    def __init__(self, *, queue_limit_count: int = 64, queue_limit_bytes: int = 16 * 2**20) -> None:
        self._queue_limit_count = queue_limit_count
        self._queue_limit_bytes = queue_limit_bytes
        self._lanes: dict[tuple[str, str], _Lane] = {}
        self._numbers = itertools.count(1)

    def admit(self, name: str, version: str, *, slots: int, prompt_bytes: int, now_s: float) -> Ticket:
        """Let a request in.

        Raises:
            OverloadedError: the queue is full; `retry_after_s` says when there should be room.
        """
        lane = self._lane(name, version, max(1, slots))
        departures_count = self._departures_needed(lane, prompt_bytes)
        if departures_count:
            waiting_count = len(lane.places) - lane.slots
            raise OverloadedError(
                f"{name} is at its limit here: {lane.slots} at work and {waiting_count} waiting; "
                "come back after the time in Retry-After, or ask another node",
                retry_after_s=_retry_after_s(lane, departures_count, now_s),
            )
        ticket = Ticket(next(self._numbers), name, version)
        lane.places[ticket.number] = _Place(prompt_bytes, None)
        lane.promote(now_s)
        return ticket

    def leave(self, ticket: Ticket, *, now_s: float, service: Service | None) -> None:
        """Give a place back; `service` is None when nothing was measured (refused, failed, gone early)."""
        lane = self._lanes[ticket.name, ticket.version]
        del lane.places[ticket.number]
        lane.promote(now_s)
        if service is None:
            return
        lane.service_s = _smoothed(lane.service_s, service.service_s)
        if service.read_tokens >= _PREFILL_SAMPLE_MIN_TOKENS and service.prefill_s > 0:
            rate = service.read_tokens / service.prefill_s
            lane.prefill_tokens_per_s = _smoothed(lane.prefill_tokens_per_s, rate)

    def load(self, name: str, version: str | None = None) -> Load:
        """How busy a release is, or all releases of a model with the rates of the one used last."""
        lanes = [lane for key, lane in self._lanes.items() if key[0] == name and version in {None, key[1]}]
        if not lanes:
            return Load(0, 0, None, None)
        busy = sum(min(len(lane.places), lane.slots) for lane in lanes)
        inside = sum(len(lane.places) for lane in lanes)
        return Load(busy, inside - busy, lanes[-1].service_s, lanes[-1].prefill_tokens_per_s)

    def names(self) -> tuple[str, ...]:
        """Every model that has had a request."""
        return tuple(dict.fromkeys(name for name, _ in self._lanes))

    def _lane(self, name: str, version: str, slots: int) -> _Lane:
        lane = self._lanes.get((name, version))
        if lane is None:
            lane = _Lane(slots)
            older = [key for key in self._lanes if key[0] == name]
            if older:  # the release before is the best guess until this one is measured
                lane.service_s = self._lanes[older[-1]].service_s
                lane.prefill_tokens_per_s = self._lanes[older[-1]].prefill_tokens_per_s
            for key in older:
                if not self._lanes[key].places:
                    del self._lanes[key]
            self._lanes[name, version] = lane
        lane.slots = slots
        return lane

    def _departures_needed(self, lane: _Lane, prompt_bytes: int) -> int:
        """How many of those waiting must first go to work before this request may wait (0: come in)."""
        if len(lane.places) < lane.slots:
            return 0
        waiting = [place.prompt_bytes for place in lane.waiting()]
        departures_count = 0
        while waiting and (
            len(waiting) >= self._queue_limit_count or sum(waiting) + prompt_bytes > self._queue_limit_bytes
        ):
            waiting.pop(0)
            departures_count += 1
        # With no queue at all, the next to leave is one at work.
        return departures_count if self._queue_limit_count else 1


def _retry_after_s(lane: _Lane, departures_count: int, now_s: float) -> float:
    """When the slots will have taken so many out of the queue, each request lasting the mean."""
    service_s = lane.service_s if lane.service_s is not None else _UNMEASURED_SERVICE_S
    free_at_s = [
        max(now_s, place.working_since_s + service_s)
        for place in lane.places.values()
        if place.working_since_s is not None
    ]
    heapq.heapify(free_at_s)
    at_s = now_s
    for _ in range(departures_count):
        at_s = heapq.heappop(free_at_s)
        heapq.heappush(free_at_s, at_s + service_s)
    return min(max(at_s - now_s, _RETRY_FLOOR_S), _RETRY_CEILING_S)


def _smoothed(mean: float | None, sample: float) -> float | None:
    if not math.isfinite(sample) or sample < 0:
        return mean
    return sample if mean is None else mean + _WEIGHT * (sample - mean)
