"""Membership: up, suspect, down or held, by deadlines: looked at only when one passes, whatever the fleet's size.

Each member waits in a heap for the moment at which its silence would next mean something; a heartbeat moves that
moment on and touches nothing, so a fleet that reports costs a few pops a second. When more than half of the nodes
fall silent within 5 s, the likelier story is that we are the ones who are cut off: those nodes are held as suspect
instead of down (the quorum of Apache Traffic Control's monitors and the panic threshold of Envoy answer the same
question). The same holds for nodes that another origin told us of while that origin is not heard itself: it, or the
way to it, is what is known to be gone.
"""

from __future__ import annotations

import heapq
import itertools
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from origin.api import NodeState
    from origin.member import Member
    from origin.standing import FleetRules

_SPARE_COUNT = 64
_JUDGE_EVERY_S = 0.05
"""Who has vanished is found out at most so often: after half of a large fleet has gone, each look is some work."""


class Membership:
    """The states of all members; each change goes to `Member.become`.

    Attributes:
        held_count: how many members are held.
    """

    def __init__(self, rules: FleetRules) -> None:
        self._rules = rules
        self._heap: list[tuple[float, int, Member]] = []
        self._numbers = itertools.count()
        self._members: set[Member] = set()
        self._quiet: set[Member] = set()
        self._origins_heard: frozenset[str] = frozenset()
        self._leaving_count = 0
        self._unjudged = False
        self._judged_at_s = float("-inf")
        self.held_count = 0

    def join(self, member: Member) -> None:
        """A node that was not known has reported."""
        self._members.add(member)
        self._leaving_count += member.report.draining
        self._await(member, member.seen_s)
        self._unjudged = True

    def heard(self, member: Member, *, was_draining: bool) -> None:
        """A member has reported again."""
        self._leaving_count += member.report.draining - was_draining
        if member.quiet:
            self._quiet.discard(member)
            member.quiet = False
            self._unjudged = True
        if was_draining != member.report.draining:
            self._unjudged = True
        self._hold(member, held=False)
        state: NodeState = "draining" if member.report.draining else "up"
        if member.state != state:
            member.become(state)
        self._await(member, member.seen_s)

    def hear_origins(self, origin_ids: frozenset[str]) -> None:
        """Say which other origins are heard now."""
        if origin_ids != self._origins_heard:
            self._origins_heard = origin_ids
            self._unjudged = True

    def leave(self, member: Member) -> None:
        """A member is forgotten."""
        self._members.discard(member)
        self._quiet.discard(member)
        self._leaving_count -= member.report.draining
        self._hold(member, held=False)
        member.open = False
        self._unjudged = True

    def advance(self, now_s: float) -> list[Member]:
        """Let all deadlines pass that lie before now; gives the members that have been silent for too long to keep."""
        over: list[Member] = []
        while self._heap and self._heap[0][0] < now_s:
            due_s, _, member = heapq.heappop(self._heap)
            if due_s != member.awaits_s:
                continue  # an earlier one has come in its place since
            member.awaits_s = float("inf")
            if member in self._members:
                self._look_at(member, now_s)
                if now_s > member.seen_s + self._rules.forget_after_s:
                    over.append(member)
        if self._unjudged and now_s - self._judged_at_s >= _JUDGE_EVERY_S:
            self._judge(now_s)
        return over

    def _look_at(self, member: Member, now_s: float) -> None:
        """A deadline of this member may have passed; where it has reported since, its next one is awaited."""
        rules = self._rules
        if now_s > member.seen_s + rules.suspect_after_s and not member.quiet:
            member.quiet = True
            self._quiet.add(member)
            if member.state == "up":
                member.become("suspect")
            self._unjudged = True
        if now_s > member.seen_s + rules.down_after_s:
            self._unjudged = True
        self._await(member, now_s)

    def _await(self, member: Member, now_s: float) -> None:
        rules = self._rules
        steps_s = (rules.suspect_after_s, rules.down_after_s, rules.vanish_hold_s, rules.forget_after_s)
        coming_s = [due_s for step_s in steps_s if (due_s := member.seen_s + step_s) >= now_s]
        if coming_s and min(coming_s) < member.awaits_s:
            member.awaits_s = min(coming_s)
            heapq.heappush(self._heap, (member.awaits_s, next(self._numbers), member))
            if (
                len(self._heap) > 2 * len(self._members) + _SPARE_COUNT
            ):  # nodes that come and go leave some behind
                self._heap = [
                    entry
                    for entry in self._heap
                    if entry[0] == entry[2].awaits_s and entry[2] in self._members
                ]
                heapq.heapify(self._heap)

    def _judge(self, now_s: float) -> None:
        """Say of each silent member whether it is down or held."""
        self._judged_at_s = now_s
        self._unjudged = False
        vanished = self._vanished_together(now_s) | self._out_of_hearing(now_s)
        for member in self._quiet:
            if now_s <= member.seen_s + self._rules.down_after_s:
                continue
            self._hold(member, held=member in vanished)
            state: NodeState = "suspect" if member.held else "down"
            if member.state != state:
                member.become(state)

    def _hold(self, member: Member, *, held: bool) -> None:
        self.held_count += held - member.held
        member.held = held

    def _out_of_hearing(self, now_s: float) -> set[Member]:
        """Silent members that we know from an origin which is silent too."""
        return {
            member
            for member in self._quiet
            if member.heard_by
            and member.heard_by not in self._origins_heard
            and not member.report.draining
            and now_s - member.seen_s <= self._rules.vanish_hold_s
        }

    def _vanished_together(self, now_s: float) -> set[Member]:
        """Members that fell silent within one window of 5 s, where they were more than half of those alive then."""
        rules = self._rules
        # One that said it was leaving has not vanished.
        quiet = [member for member in self._quiet if not member.report.draining]
        loud_count = len(self._members) - self._leaving_count - len(quiet)
        if len(quiet) <= loud_count or len(quiet) < rules.vanish_least_count:
            return set()  # no part of them can be more than half
        quiet.sort(key=lambda member: member.seen_s)
        seen_s = [member.seen_s for member in quiet]
        vanished: set[Member] = set()
        reached = 0
        for first in range(bisect_left(seen_s, now_s - rules.vanish_hold_s), len(quiet)):
            last = bisect_right(seen_s, seen_s[first] + rules.vanish_window_s)
            gone_count, alive_count = last - first, len(quiet) - first + loud_count
            if gone_count >= rules.vanish_least_count and 2 * gone_count > alive_count:
                vanished.update(quiet[max(first, reached) : last])
                reached = last
        return vanished
