"""Renewal: the node's certificate is replaced when two thirds of its life are over, and tried until it works."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, NoReturn

import structlog
from msgspec.structs import replace

from edge_node.api.health import EnrolmentStatus
from edge_node.enrolment.membership import check_ours, context_of, keep_membership, signing_request
from origin.api_enrolment import RenewQuery
from registry.errors import EdgewardError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from pathlib import Path
    from typing import Protocol

    from edge_node.enrolment.membership import Membership
    from edge_node.supervisor import Clock
    from origin.api_enrolment import CertificateAnswer

    class Renewing(Protocol):
        """What is needed of `origin.client.OriginClient`."""

        async def renew(self, query: RenewQuery) -> CertificateAnswer:
            """The next certificate; raises EdgewardError."""


log = structlog.get_logger()

_SHARE = 2 / 3
_JITTER = 0.1
_FIRST_PAUSE_S = 10.0
_LONGEST_PAUSE_S = 600.0
_LOOK_S = 60.0
"""The longest sleep: the wall clock may be set while we sleep."""


def renew_at_unix_s(begins_unix_s: float, ends_unix_s: float, jitter: float) -> float:
    """When to renew: after two thirds of the life and up to a tenth of it more, so that a fleet does not come at once.

    Args:
        begins_unix_s: when the certificate's life begins.
        ends_unix_s: when it ends.
        jitter: between 0 and 1.
    """
    return begins_unix_s + (_SHARE + _JITTER * jitter) * (ends_unix_s - begins_unix_s)


def renewal_of(data_dir: Path, membership: Membership | None, clock: Clock) -> Renewal | None:
    """What keeps a member's certificate good, by the wall clock and by chance; None for a node that is no member."""
    if membership is None:
        return None
    jitter = random.SystemRandom().random
    return Renewal(data_dir, membership, clock=clock, now_unix_s=time.time, jitter=jitter)


class Renewal:
    """Keeps a membership's certificate good.

    Args:
        data_dir: where the membership is kept.
        jitter: a number between 0 and 1, for the life of one certificate.
    """

    def __init__(
        self,
        data_dir: Path,
        membership: Membership,
        *,
        clock: Clock,
        now_unix_s: Callable[[], float],
        jitter: Callable[[], float],
    ) -> None:
        self.membership = membership
        self.problem = ""
        self._data_dir = data_dir
        self._clock = clock
        self._now_unix_s = now_unix_s
        self._jitter = jitter
        self._context = context_of(data_dir, membership)

    def tls(self) -> ssl.SSLContext:
        """What to speak with the origin with, as of now."""
        return self._context

    def status(self) -> EnrolmentStatus:
        """For `/readyz` and metrics."""
        return EnrolmentStatus(
            fleet=self.membership.fleet,
            not_after_unix_s=self.membership.lifetime()[1],
            problem=self.problem,
        )

    async def keep_renewed(self, origin: Renewing) -> NoReturn:
        """Renew for ever; also a certificate that has ended, which the origin renews for 30 days."""
        while True:
            at_unix_s = renew_at_unix_s(*self.membership.lifetime(), self._jitter())
            while (left_s := at_unix_s - self._now_unix_s()) > 0:
                await self._clock.sleep(min(left_s, _LOOK_S))
            pause_s = _FIRST_PAUSE_S
            while not await self.renew(origin):
                await self._clock.sleep(pause_s * (1 + self._jitter()) / 2)
                pause_s = min(_LONGEST_PAUSE_S, 2 * pause_s)

    async def renew(self, origin: Renewing) -> bool:
        """Renew now; whether it worked."""
        kept = self.membership
        query = RenewQuery(certificate=kept.certificate, request=signing_request(kept.key))
        try:
            answer = await origin.renew(query)
            check_ours(answer.certificate, kept.key)
        except EdgewardError as error:
            if error.message != self.problem:
                log.warning("renewal.failed", reason=error.message, code=error.code)
            self.problem = error.message
            return False
        renewed = replace(
            kept, certificate=answer.certificate, authorities=answer.certificates, fleet=answer.fleet
        )
        try:
            await asyncio.to_thread(keep_membership, self._data_dir, renewed)
            self._context = await asyncio.to_thread(context_of, self._data_dir, renewed)
        except OSError as error:  # on a full disk: the origin would renew again
            log.warning("renewal.not_kept", reason=str(error))
            self.problem = f"the renewed certificate cannot be kept: {error}"
            return False
        self.membership, self.problem = renewed, ""
        log.info("certificate.renewed", not_after_unix_s=renewed.lifetime()[1])
        return True
