"""Heard: what clients, their networks, ASes, cells and countries have measured to nodes; bounded, and it ages."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from origin.geo.rolling import Voices

if TYPE_CHECKING:
    from origin.api import Place
    from origin.geo.rolling import Agreed

Scope = tuple[str, str]
"""Whom a round trip is of: `("client", address)`, `("prefix", network)`, `("as", …)`, `("cell", …)`, `("region", …)`.
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """A measured round trip.

    Attributes:
        reporter: who says so: a client's address; "" for the node's own kernel.
        at_s: when it was measured.
    """

    node_id: str
    node_place: Place | None
    rtt_ms: float
    count: int
    reporter: str
    at_s: float


@dataclass(frozen=True, slots=True)
class HeardRules:
    """How long measurements count, and how much is kept.

    Attributes:
        narrow_span_s: samples of a client and of a network count for one to two of these.
        wide_span_s: the same for an AS, a country and a cell: routes between cities change in days.
        scopes_limit_count: how many of each kind are remembered; who was heard least recently makes room.
        nodes_limit_count: of how many nodes each of them remembers round trips.
        claims_least_count: so many must claim something before others go by it, where no kernel has seen it.
        voices_limit_count: how many reporters of one round trip are told apart.
    """

    narrow_span_s: float = 1800.0
    wide_span_s: float = 2 * 86_400.0
    scopes_limit_count: int = 20_000
    nodes_limit_count: int = 64
    voices_limit_count: int = 9
    claims_least_count: int = 3


class Heard:
    """Round trips by scope and node."""

    def __init__(self, rules: HeardRules) -> None:
        self._rules = rules
        self._kinds: dict[str, OrderedDict[str, dict[str, tuple[Place | None, Voices]]]] = {}

    def say(
        self,
        scope: Scope,
        sample: Sample,
        voice: str,
        now_s: float,
        *,
        claim: bool = True,
        rtt_ms: float | None = None,
    ) -> tuple[float | None, float]:
        """Take in a sample; what was agreed on before and after, in ms.

        Args:
            scope: of whom it speaks.
            sample: what was measured.
            voice: who says so among the scope's; "" is a node's kernel.
            now_s: the time.
            claim: whether this voice has only its word for it.
            rtt_ms: what this voice says, where that is not the sample itself.
        """
        rules = self._rules
        scopes = self._kinds.setdefault(scope[0], OrderedDict())
        nodes = scopes.pop(scope[1], None)
        if nodes is None:
            nodes = {}
            if len(scopes) >= rules.scopes_limit_count:
                scopes.popitem(last=False)
        scopes[scope[1]] = nodes
        place, voices = nodes.pop(sample.node_id, (None, None))
        if voices is None or place != sample.node_place:  # a node that has moved begins anew
            narrow = scope[0] in {"client", "prefix"}
            voices = Voices(
                rules.narrow_span_s if narrow else rules.wide_span_s,
                rules.voices_limit_count,
                1 if scope[0] == "client" else rules.claims_least_count,
            )
            if len(nodes) >= rules.nodes_limit_count:
                del nodes[next(iter(nodes))]
        nodes[sample.node_id] = (sample.node_place, voices)
        before = voices.agreed(now_s)
        said_ms = sample.rtt_ms if rtt_ms is None else rtt_ms
        if voice:
            voices.say(voice, said_ms, sample.count, sample.at_s, claim=claim)
        else:
            voices.say_surely(said_ms, sample.count, sample.at_s)
        after = voices.agreed(now_s)
        return (
            None if before is None else before.rtt_ms,
            said_ms if after is None else after.rtt_ms,
        )

    def of(self, scope: Scope, node_id: str, now_s: float) -> Agreed | None:
        """What is agreed on for a node now."""
        found = self._nodes(scope).get(node_id)
        return found[1].agreed(now_s) if found is not None else None

    def all_of(self, scope: Scope, now_s: float) -> list[tuple[str, Place | None, Agreed]]:
        """What is agreed on now for each node."""
        nodes = self._nodes(scope).items()
        agreed = [(node_id, place, voices.agreed(now_s)) for node_id, (place, voices) in nodes]
        return [(node_id, place, said) for node_id, place, said in agreed if said is not None]

    def knows(self, scope: Scope) -> bool:
        """Whether anything was ever heard of it that is still remembered."""
        return bool(self._nodes(scope))

    def _nodes(self, scope: Scope) -> dict[str, tuple[Place | None, Voices]]:
        kind = self._kinds.get(scope[0])
        return {} if kind is None else kind.get(scope[1], {})
