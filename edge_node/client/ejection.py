"""Which nodes are set aside because they fail, for how long, and who may try them again.

After three failures in a row a node is set aside for 10 s, then 20 s, 30 s and so on, at most 120 s, each a little
less by chance, so that not all clients come back at once. When the time is over, one request may try it (half open);
its outcome decides. At most 34 % of the nodes that a client knows are set aside, at least one, never all: whoever
finds more of them failing had better look at its own network. After Envoy's outlier detection.

Those beyond that are doubted: for 3 s at a time they come after the nodes that work, and then one request tries them.
Otherwise each call would begin with them for as long as they are listed, where most of the nodes of a list are cut off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

FAILURES_COUNT = 3
EJECTION_S = 10.0
EJECTION_MOST_S = 120.0
EJECTED_SHARE = 0.34
JITTER_SHARE = 0.25
DOUBTED_S = 3.0
TRIAL_MOST_S = 30.0
"""After this another request may try a node, if the one that does has not come to an end."""


@dataclass(slots=True)
class _Record:
    failures_count: int = 0
    ejections_count: int = 0
    until_s: float | None = None  # None: not set aside
    doubted_until_s: float | None = None
    trial_s: float | None = None
    restored_s: float | None = None

    def tried_for_s(self, now_s: float) -> float:
        """For how long others still wait for the one that tries the node."""
        return 0.0 if self.trial_s is None else max(0.0, self.trial_s + TRIAL_MOST_S - now_s)

    def may_be_tried(self, now_s: float) -> bool:
        """Whether its time is over."""
        until_s = self.doubted_until_s if self.until_s is None else self.until_s
        return until_s is not None and now_s >= until_s


class Ejections:
    """The standing of each node that has failed; `chance` gives numbers from 0 to below 1."""

    def __init__(self, chance: Callable[[], float]) -> None:
        self._chance = chance
        self._records: dict[str, _Record] = {}

    def aside_s(self, node_id: str, now_s: float) -> float:
        """For how long the node is still set aside; 0 when it may be asked, be it as a trial."""
        record = self._records.get(node_id)
        if record is None or record.until_s is None:
            return 0.0
        if now_s < record.until_s:
            return record.until_s - now_s
        return record.tried_for_s(now_s)

    def doubted(self, node_id: str, now_s: float) -> bool:
        """Whether the node keeps failing and is not set aside, because too many are; not for the one that tries it."""
        record = self._records.get(node_id)
        if record is None or record.doubted_until_s is None:
            return False
        return now_s < record.doubted_until_s or record.tried_for_s(now_s) > 0

    def failing(self, node_id: str) -> bool:
        """Whether the node's last answer was a failure."""
        record = self._records.get(node_id)
        return record is not None and record.failures_count > 0

    def keeps_failing(self, node_id: str) -> bool:
        """Whether the node failed so often in a row that it is set aside, or would be if fewer were."""
        record = self._records.get(node_id)
        return record is not None and record.failures_count >= FAILURES_COUNT

    def begin(self, node_id: str, now_s: float) -> None:
        """A request goes to the node: if its time is over, this one tries it, and others wait for the outcome."""
        record = self._records.get(node_id)
        if record is not None and record.may_be_tried(now_s):
            record.trial_s = now_s

    def succeeded(self, node_id: str, now_s: float) -> None:
        """The node answered, be it with a refusal: it is in good standing."""
        record = self._records.get(node_id)
        if record is None:
            return
        record.failures_count = 0
        record.trial_s = record.doubted_until_s = None
        if record.until_s is not None:
            record.until_s, record.restored_s = None, now_s

    def gave_up(self, node_id: str) -> None:
        """A request to the node ended without telling anything of it."""
        record = self._records.get(node_id)
        if record is not None:
            record.trial_s = None

    def failed(self, node_id: str, known: Collection[str], now_s: float) -> bool:
        """The node failed; whether it should now be replaced: it is set aside, or would be if fewer were.

        Args:
            node_id: which.
            known: ids of all nodes that the client knows.
            now_s: the time.
        """
        record = self._records.setdefault(node_id, _Record())
        record.failures_count += 1
        on_trial = record.until_s is not None and now_s >= record.until_s
        record.trial_s = None
        if record.until_s is not None and not on_trial:
            return False  # it was the last resort: it fails, which was known
        if record.failures_count < FAILURES_COUNT and not on_trial:
            return False
        others = {other for other in known if other != node_id and self.aside_s(other, now_s) > 0}
        if len(others) + 1 > allowed_count(len({*known, node_id})):
            record.until_s = None
            record.doubted_until_s = now_s + DOUBTED_S * (1 - JITTER_SHARE * self._chance())
            return True
        if record.restored_s is not None and now_s - record.restored_s > EJECTION_MOST_S:
            record.ejections_count = 0
        record.ejections_count += 1
        base_s = min(EJECTION_S * record.ejections_count, EJECTION_MOST_S)
        record.until_s = now_s + base_s * (1 - JITTER_SHARE * self._chance())
        record.doubted_until_s = None
        return True

    def unfit(self, now_s: float) -> frozenset[str]:
        """Ids of all nodes that are set aside or doubted now, be they in a list or not."""
        return frozenset(
            node_id
            for node_id in self._records
            if self.aside_s(node_id, now_s) > 0 or self.doubted(node_id, now_s)
        )

    def forget_all_but(self, known: Collection[str], now_s: float) -> None:
        """Forget the nodes that are in no list any more, but not those whose time is not over.

        An origin that does not know of their failures would name them again at once.
        """
        kept = {*known, *self.unfit(now_s)}
        self._records = {node_id: record for node_id, record in self._records.items() if node_id in kept}


def allowed_count(nodes_count: int) -> int:
    """How many of so many nodes may be set aside at once: 34 %, at least one, never all."""
    return min(max(1, int(EJECTED_SHARE * nodes_count)), max(0, nodes_count - 1))
