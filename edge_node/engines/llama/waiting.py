"""The line before the slots: clients take turns by what they have used, each one's requests in order of arrival.

Virtual token counters after Sheng et al., "Fairness in Serving Large Language Models" (OSDI 2024): the client that
has been served least is next, and one that comes back has no claim on what it did not use meanwhile.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

# Clients whose use is remembered while they are away.
_REMEMBERED_COUNT = 1024


class OfClient(Protocol):
    """Whatever waits is somebody's."""

    client: str


T = TypeVar("T", bound=OfClient)


class WaitingLine(Generic[T]):
    """Who waits for a slot, and how much each client has used."""

    def __init__(self) -> None:
        self._lines: dict[str, deque[T]] = {}
        self._used_tokens: OrderedDict[str, float] = OrderedDict()
        self._floor_tokens = 0.0

    def __len__(self) -> int:
        return sum(len(line) for line in self._lines.values())

    def __iter__(self) -> Iterator[T]:
        """All that wait, as they would be served if nobody used anything meanwhile: the clients by turns."""
        lines = [tuple(self._lines[client]) for client in self._turns()]
        for place in range(max((len(line) for line in lines), default=0)):
            for line in lines:
                if place < len(line):
                    yield line[place]

    def heads(self) -> list[T]:
        """The first of each client, the one whose client has used least first."""
        return [self._lines[client][0] for client in self._turns()]

    def append(self, item: T, *, at_work: bool) -> None:
        """A request has come; `at_work`: its client has others at work."""
        client = item.client
        if client not in self._lines:
            if not at_work:
                self._used_tokens[client] = max(self._used_tokens.get(client, 0.0), self._floor_tokens)
            self._lines[client] = deque()
        self._lines[client].append(item)

    def put_back(self, item: T) -> None:
        """One that was served is first of its client again."""
        self._lines.setdefault(item.client, deque()).appendleft(item)

    def remove(self, item: T) -> None:
        """It is served, or gone."""
        line = self._lines[item.client]
        line.remove(item)
        if not line:
            del self._lines[item.client]

    def charge(self, client: str, tokens: float) -> None:
        """A client has used this much of the engine."""
        used = self._used_tokens
        used[client] = used.get(client, self._floor_tokens) + tokens
        used.move_to_end(client)
        while len(used) > _REMEMBERED_COUNT:
            used.popitem(last=False)

    def lift(self, clients: set[str]) -> None:
        """Say who is at work: who comes anew starts no lower than the least used of those who are here."""
        here = [self._used_tokens.get(client, 0.0) for client in clients | self._lines.keys()]
        if here:
            self._floor_tokens = max(self._floor_tokens, min(here))

    def _turns(self) -> list[str]:
        return sorted(self._lines, key=lambda client: self._used_tokens.get(client, 0.0))
