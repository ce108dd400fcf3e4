"""Lane: those at work and those waiting for one release, what was measured of them, and when each will begin."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field

_WEIGHT = 0.2  # of the newest sample: the mean follows a change within about ten requests
_UNMEASURED_SERVICE_S = 2.0  # only until the first request has finished
_TOKENS_PER_BYTE_GUESS = 0.25  # English in common vocabularies; only until the first prompt has been counted
_OVERDUE_SHARE = 0.25  # of the expected time is what a request is given that has outlasted it
_ACTIVE_S = 10.0
"""So long after a refusal a client counts as one who wants a part of the queue."""
_REFUSED_LIMIT_COUNT = 1024


@dataclass(slots=True, eq=False)
class Place:
    """One request inside.

    Attributes:
        prompt_tokens: guessed from its bytes until they are counted.
        turn: whoever has the lower one is served first.
        working_since_s: None while it waits.
        read: its prompt has been read, and it answers.
    """

    client: str
    prompt_tokens: float
    turn: int
    working_since_s: float | None = None
    read: bool = False


@dataclass(slots=True)
class Lane:
    """One release: its places, and the means of what its requests took; None until measured.

    Attributes:
        service_s: how long a request holds a slot: `answer_s`, and for each token of its prompt `prompt_token_s`.
        read_s: how long an engine that does nothing else reads a prompt, for each of its tokens `read_token_s`; what is
            in its cache takes no time.
        read_at_s: when a prompt was read last.
        spread: the mean square of how far requests missed what was expected of them, as a part of that.
        places: in order of arrival.
    """

    slots: int
    arrived_count: int = 0
    read_at_s: float = -math.inf
    read_s: float | None = None
    read_token_s: float | None = None
    service_s: float | None = None
    answer_s: float | None = None
    prompt_token_s: float | None = None
    prefill_tokens_per_s: float | None = None
    tokens_per_byte: float | None = None
    spread: float | None = None
    turn: int = 0
    places: dict[int, Place] = field(default_factory=dict)
    refused_s: dict[str, float] = field(default_factory=dict)

    def guessed_tokens(self, prompt_bytes: int) -> float:
        """How many tokens a prompt of so many bytes has."""
        return prompt_bytes * (self.tokens_per_byte or _TOKENS_PER_BYTE_GUESS)

    def expected_s(self, place: Place) -> float:
        """How long a request will hold its slot, by what was measured of others."""
        if self.answer_s is None:
            return _UNMEASURED_SERVICE_S
        return self.answer_s + place.prompt_tokens * (self.prompt_token_s or 0.0)

    def remaining_s(self, now_s: float) -> list[float]:
        """How long each one at work still has, the first to leave first.

        Where requests take what is expected, that is the rest of it. Where chance rules (a spread of 1, as of the
        exponential distribution), having worked for long says nothing, and n slots are left one n-th of the
        expected time after each other.
        """
        rests_s = []
        for place in self.places.values():
            if place.working_since_s is not None:
                expected_s = self.expected_s(place)
                worked_s = now_s - place.working_since_s
                rests_s.append((max(expected_s - worked_s, _OVERDUE_SHARE * expected_s), expected_s))
        chance = min(1.0, self.spread or 0.0)
        return [
            (1 - chance) * rest_s + chance * expected_s * (number + 1) / len(rests_s)
            for number, (rest_s, expected_s) in enumerate(sorted(rests_s))
        ]

    def unread_s(self, now_s: float) -> float:
        """How long those at work, together, have still to read: an engine reads one prompt after the other."""
        unread = [
            place for place in self.places.values() if place.working_since_s is not None and not place.read
        ]
        if not unread or not self.read_token_s:
            return 0.0
        since_s = max(self.read_at_s, min(place.working_since_s or now_s for place in unread))
        whole_s = self.read_token_s * sum(place.prompt_tokens for place in unread)
        return max(whole_s - max(0.0, now_s - since_s), _OVERDUE_SHARE * whole_s)

    def promote(self, now_s: float) -> None:
        """Slots that are free take who is next."""
        free_count = self.slots - sum(place.working_since_s is not None for place in self.places.values())
        for place in self.waiting()[: max(0, free_count)]:
            place.working_since_s = now_s
            self.turn = max(self.turn, place.turn)

    def place(self, client: str, prompt_tokens: float) -> Place:
        """A place for a newcomer; a client's requests have turns one after the other.

        Start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996) with requests of equal weight.
        """
        last = max((place.turn for place in self.places.values() if place.client == client), default=0)
        return Place(client, prompt_tokens, max(self.turn, last + 1))

    def waiting(self) -> list[Place]:
        """Those who wait, in the order in which an engine that takes clients in turn will serve them."""
        waiting = [place for place in self.places.values() if place.working_since_s is None]
        return sorted(waiting, key=lambda place: place.turn)  # of the same turn, in order of arrival

    def active_count(self, client: str, now_s: float) -> int:
        """How many clients want a part of the queue, this one among them."""
        wanting = {place.client for place in self.places.values()}
        wanting.update(name for name, at_s in self.refused_s.items() if now_s - at_s < _ACTIVE_S)
        return len(wanting | {client})

    def note_refused(self, client: str, now_s: float) -> None:
        """Remember for a while that somebody wanted a part of the queue."""
        self.refused_s.pop(client, None)
        self.refused_s[client] = now_s
        if len(self.refused_s) > _REFUSED_LIMIT_COUNT:
            del self.refused_s[next(iter(self.refused_s))]

    def starts_s(self, waiting: list[Place], now_s: float) -> list[float]:
        """When each of those waiting will go to work, and then when one more would."""
        free_at_s = [now_s] * self.slots
        for slot, rest_s in enumerate(self.remaining_s(now_s)[: self.slots]):
            free_at_s[slot] = now_s + rest_s
        heapq.heapify(free_at_s)
        starts_s = []
        for place in waiting:
            starts_s.append(free_at_s[0])
            heapq.heapreplace(free_at_s, free_at_s[0] + self.expected_s(place))
        return [*starts_s, free_at_s[0]]


def smoothed(mean: float | None, sample: float) -> float | None:
    """The exponentially weighted mean with one sample more; what is no time is left out."""
    if not math.isfinite(sample) or sample < 0:
        return mean
    return sample if mean is None else mean + _WEIGHT * (sample - mean)
