"""Sharing: keeps one origin's fleet and the other origins' in step, over whatever bus there is."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import msgspec
import structlog

from origin.api_fleet import OriginView, SharingView
from origin.errors import FleetFullError, NodeSupersededError
from origin.sharing.messages import kept_node, node_key, outdates, read_kept, read_news, read_report
from origin.sharing.outgoing import Outgoing
from origin.sharing.peers import Peers
from registry.errors import InputInvalidError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from origin.api import NodeReport
    from origin.fleet import Fleet, ReleaseKey
    from origin.sharing.bus import Bus, Kept
    from origin.sharing.messages import News, OriginCard, Probed

log = structlog.get_logger()

_TELL_AFTER_S = 0.02
"""What comes within this time travels in one message."""
_SILENT_AFTER_BEATS = 1.5  # less than the 2 that make a node suspect: its origin is missed before it is
_FORGET_ORIGIN_AFTER_S = 600.0
_KEEP_AGAIN_S = 30.0
_SAY_AGAIN_S = 60.0
_HINTS_LIMIT_COUNT = 8192  # of one message: more than a core can decide within the time that one gathers


class Sharing:
    """An origin among the others of its fleet.

    Args:
        bus: how they are reached.
        fleet: what is kept in step; what is routed by it is told by itself.
        card: who this origin is; its URL may be set later, with `announce`.
        route_keys: the public keys that this origin's tickets are checked with now.
        now_s: a clock that does not go back.
        taken: called with every report that another origin heard and the fleet took in.
        probed: called with what another origin's clients have measured.
        refused: called with the reason for each thing that was told and could not be taken.
    """

    def __init__(
        self,
        bus: Bus,
        fleet: Fleet,
        card: OriginCard,
        now_s: Callable[[], float],
        *,
        route_keys: Callable[[], tuple[bytes, ...]] = tuple,
        taken: Callable[[NodeReport], None] = lambda _report: None,
        probed: Callable[[Probed], None] = lambda _probed: None,
        refused: Callable[[str], None] = lambda _reason: None,
    ) -> None:
        beat_s = fleet.rules.heartbeat_s
        self._own = card
        self._own_keys = route_keys
        self._bus = bus
        self._fleet = fleet
        self._now_s = now_s
        self._taken = taken
        self._probed = probed
        self._refused = refused
        self._beat_s = beat_s
        self._peers = Peers(
            silent_after_s=_SILENT_AFTER_BEATS * beat_s, forget_after_s=_FORGET_ORIGIN_AFTER_S
        )
        self._outgoing = Outgoing()
        self._kept: dict[str, tuple[object, float]] = {}
        self._wake = asyncio.Event()
        self._said_s: dict[str, float] = {}
        if not bus.alone:
            fleet.on_routed = self._tell_routed

    def announce(self, url: str, nodes_url: str = "") -> None:
        """Say where this origin is reached, and where nodes with certificates are heard."""
        self._own = msgspec.structs.replace(self._own, url=url, nodes_url=nodes_url)

    @property
    def alone(self) -> bool:
        """Whether there can be no other origin: then there is nothing to run."""
        return self._bus.alone

    @property
    def card(self) -> OriginCard:
        """Who this origin is, as the others are told."""
        return msgspec.structs.replace(self._own, route_keys=self._own_keys())

    def accept(self, report: NodeReport) -> None:
        """Take in a heartbeat that was sent here, and tell the others.

        Raises:
            NodeSupersededError, FleetFullError: as `Fleet.accept`.
        """
        now_s = self._now_s()
        if not self._fleet.accept(report, now_s) or self._bus.alone:
            return
        self._outgoing.add_report(report)
        self._wake.set()
        lasting = _lasting(report)
        before, kept_s = self._kept.get(report.node_id, (None, 0.0))
        if lasting != before or now_s - kept_s >= _KEEP_AGAIN_S:
            self._keep(report, now_s)

    def tell_probed(self, probed: Probed) -> None:
        """Tell the others what a client has measured, soon."""
        if not self._bus.alone:
            self._outgoing.add_probed(probed)
            self._wake.set()

    def _tell_routed(self, node_id: str, release: ReleaseKey, travel_s: float) -> None:
        self._outgoing.add_routed(node_id, release, travel_s=travel_s)
        self._wake.set()

    def origin_urls(self, *, with_certificate: bool = False) -> tuple[str, ...]:
        """The origins that a node may report to, this one first; empty when it is alone."""
        if self._bus.alone:
            return ()
        cards = (self._own, *(card for card, _ in self._peers.known(self._now_s())))
        urls = (card.nodes_url if with_certificate else card.url for card in cards)
        return tuple(url for url in urls if url)

    def route_keys(self) -> tuple[bytes, ...]:
        """The keys that tickets of any origin are checked with, this one's first."""
        others = (key for card, _ in self._peers.known(self._now_s()) for key in card.route_keys)
        return tuple(dict.fromkeys((*self._own_keys(), *others)))

    @property
    def cut_off(self) -> bool:
        """Whether others cannot be told anything now."""
        return not self._bus.standing.connected

    def view(self) -> SharingView | None:
        """What `/readyz` and the list of nodes say of it; None when this origin is alone."""
        if self._bus.alone:
            return None
        now_s, standing = self._now_s(), self._bus.standing
        heard = self._peers.heard(now_s)
        return SharingView(
            connected=standing.connected,
            problem=standing.problem,
            kept_problem=standing.kept_problem,
            origins=tuple(
                OriginView(origin_id=card.origin_id, url=card.url, heard=card.origin_id in heard, age_s=age_s)
                for card, age_s in self._peers.known(now_s)
            ),
        )

    def joined(self) -> None:
        """Connected (again): the others get a first word, and all that reports here is kept anew."""
        self._outgoing.clear()  # what could not be told is old by now
        now_s = self._now_s()
        for report in self._fleet.reports_heard_here(now_s):
            self._keep(report, now_s)
        self._wake.set()

    def heard(self, data: bytes) -> None:
        """Take in what another origin tells."""
        try:
            news = read_news(data)
        except InputInvalidError as error:
            self._refuse("message", error.message)
            return
        if news.card.origin_id == self._own.origin_id:
            return
        now_s = self._now_s()
        if self._peers.hear(news.card, now_s):
            log.info("origin.heard", origin_id=news.card.origin_id, url=news.card.url)
        self._hear_origins(now_s)
        self._take_in(news, now_s)

    def remembered(self, records: Sequence[Kept]) -> None:
        """Take in last-known states of nodes; what the fleet has heard since then stands."""
        now_s = self._now_s()
        for record in records:
            try:
                kept = read_kept(record.data)
                report = read_report(kept.report)
            except InputInvalidError as error:
                self._refuse("record", error.message)
                continue
            if record.age_s <= self._fleet.rules.forget_after_s and kept.origin_id != self._own.origin_id:
                self._accept_told(report, now_s, kept.origin_id, age_s=max(record.age_s, 1e-9))

    async def run(self) -> None:
        """Be among the others until cancelled, and say goodbye then; whatever breaks is raised."""
        tasks = [asyncio.create_task(self._bus.run(self)), asyncio.create_task(self._tell_for_ever())]
        try:
            # Cancelled, it leaves them running.
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            try:
                self._bus.tell(self._goodbye())
                await asyncio.sleep(_TELL_AFTER_S)  # for the bus to send it
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _tell_for_ever(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):  # then there is nothing to tell but that we are here
                async with asyncio.timeout(self._beat_s / 2):
                    await self._wake.wait()
                await asyncio.sleep(min(_TELL_AFTER_S, self._beat_s / 10))
            self._wake.clear()
            self._hear_origins(self._now_s())
            if self.cut_off:
                self._outgoing.clear()
                continue
            for message in self._outgoing.messages(self.card):
                self._bus.tell(message)
                await asyncio.sleep(0)

    def _goodbye(self) -> bytes:
        leaving = msgspec.structs.replace(self.card, leaving=True)
        return next(iter(Outgoing().messages(leaving)))

    def _hear_origins(self, now_s: float) -> None:
        self._fleet.hear_origins(self._peers.heard(now_s))

    def _take_in(self, news: News, now_s: float) -> None:
        for data in news.reports:
            try:
                report = read_report(data)
            except InputInvalidError as error:
                self._refuse("report", error.message)
                continue
            if self._accept_told(report, now_s, news.card.origin_id):
                self._taken(report)
        for probed in news.probed:
            self._probed(probed)
        left_count = _HINTS_LIMIT_COUNT
        for hint in news.routed:
            for _ in range(min(hint.count, left_count)):
                release, travel_s = (hint.name, hint.version), hint.travel_ms / 1000
                self._fleet.note_told(hint.node_id, release, now_s, travel_s=travel_s)
            left_count -= min(hint.count, left_count)

    def _accept_told(self, report: NodeReport, now_s: float, origin_id: str, *, age_s: float = 0.0) -> bool:
        try:
            return self._fleet.accept(report, now_s, heard_by=origin_id, age_s=age_s)
        except NodeSupersededError:
            self._refused("superseded")  # word of an earlier start, overtaken on the way
        except FleetFullError as error:
            self._refuse("fleet_full", error.message)
        return False

    def _keep(self, report: NodeReport, now_s: float) -> None:
        self._kept[report.node_id] = (_lasting(report), now_s)
        if len(self._kept) > self._fleet.rules.nodes_limit_count:
            del self._kept[min(self._kept, key=lambda node_id: self._kept[node_id][1])]
        self._bus.keep(
            node_key(report.node_id),
            kept_node(report, self._own.origin_id),
            lambda stored: outdates(report, stored),
        )

    def _refuse(self, reason: str, detail: str) -> None:
        self._refused(reason)
        now_s = self._now_s()
        if now_s - self._said_s.get(reason, float("-inf")) >= _SAY_AGAIN_S:  # whoever floods us fills no log
            self._said_s[reason] = now_s
            log.warning("news.refused", reason=reason, detail=detail[:200])


def _lasting(report: NodeReport) -> object:
    """What of a report is worth a record by itself; the rest changes every second."""
    models = tuple((m.name, m.version, m.state, m.variant) for m in report.models)
    return (
        report.incarnation,
        report.url,
        report.draining,
        report.place,
        report.channel,
        report.follows,
        models,
    )
