"""Bus: the one interface between origins, whatever carries it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MESSAGE_LIMIT_BYTES = 512 * 1024
"""The longest message that is told or listened to; NATS takes 1 MiB unless it is set otherwise."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A record of the last-known states and how long ago it was written, by the clock of whoever keeps it."""

    key: str
    data: bytes
    age_s: float


@dataclass(frozen=True, slots=True)
class BusStanding:
    """Whether the bus works.

    Attributes:
        connected: what is told now reaches those who are connected too.
        problem: why it is not connected; "" when it is.
        kept_problem: why last-known states are not kept; "" when they are.
    """

    connected: bool
    problem: str = ""
    kept_problem: str = ""


class Member(Protocol):
    """An origin on the bus."""

    def joined(self) -> None:
        """The connection stands, for the first time or again; what was told meanwhile is lost."""

    def heard(self, data: bytes) -> None:
        """Another member told this; whoever can reach the bus can have written it."""

    def remembered(self, records: Sequence[Kept]) -> None:
        """All records, after each connection, as far as they can be read."""


class Bus(Protocol):
    """Carries messages between origins and keeps small records for those who come later.

    Nothing here blocks, and nothing waits for a connection: what cannot be told now is of no use later.
    """

    @property
    def alone(self) -> bool:
        """Nobody else can be on this bus."""

    @property
    def standing(self) -> BusStanding:
        """Whether it works."""

    def tell(self, data: bytes) -> bool:
        """Send to every other member; False when it was dropped."""

    def keep(self, key: str, data: bytes, outdated: Callable[[bytes], bool]) -> None:
        """Write a record, soon.

        Args:
            key: of letters, digits, `-`, `_`, `=` and single dots.
            data: the record.
            outdated: given what another member has written there, whether `data` may replace it.
        """

    async def run(self, member: Member) -> None:
        """Connect, and connect again whenever that breaks, until cancelled."""
