"""NatsBus: origins reach each other through NATS: news on core publish/subscribe, records in a JetStream bucket.

The client of nats-py connects once and is thrown away when that connection breaks: its own reconnection would send
what was buffered meanwhile, and a heartbeat that comes late looks like a fresh one.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import nats.errors
import structlog

from origin.sharing.bus import BusStanding
from origin.sharing.config import shown
from origin.sharing.nats_entry import CONNECT_S, EntryClient, options_of, reason_of
from origin.sharing.nats_records import Records

if TYPE_CHECKING:
    from collections.abc import Callable

    from nats.aio.client import Client
    from nats.aio.msg import Msg

    from origin.sharing.bus import Member
    from origin.sharing.config import SharingConfig

log = structlog.get_logger()

_PULSE_S = 1.0
_PULSE_WAIT_S = 2.0
_CLOSE_S = 1.0
_FOR_EVER_S = 10**6
_AGAIN_FIRST_S = 0.1
_AGAIN_LAST_S = 2.0
_UNREAD_LIMIT_COUNT = 1024
_UNREAD_LIMIT_BYTES = 32 * 2**20
_UNSENT_LIMIT_COUNT = 64

_EXPECTED = (nats.errors.Error, OSError, TimeoutError)


class NatsBus:
    """A connection to NATS that comes back by itself.

    Args:
        config: where and how; it names at least one server.
        forget_after_s: how long records last.
        jitter: numbers between 0 and 1, so that origins that lost a server together do not come back together.

    Raises:
        ConfigError: as `nats_entry.options_of`.
    """

    alone = False

    def __init__(self, config: SharingConfig, *, forget_after_s: float, jitter: Callable[[], float]) -> None:
        self._options = options_of(config)
        self._servers = ", ".join(map(shown, config.servers))
        self._jitter = jitter
        self._subject = f"edgeward.{config.fleet}.news"
        self._problem = "not connected yet"
        self._failures_count = 0
        self._unsent: asyncio.Queue[bytes] | None = None
        self._records = Records(
            f"edgeward_{config.fleet}", forget_after_s=forget_after_s, replicas_count=config.replicas_count
        )

    @property
    def standing(self) -> BusStanding:
        """Connected from the first subscription to the first sign that nothing comes back."""
        connected = self._unsent is not None
        return BusStanding(
            connected,
            problem=self._problem,
            kept_problem=self._records.problem if connected else self._problem,
        )

    def tell(self, data: bytes) -> bool:
        """Publish, unless the connection is gone or does not keep up."""
        if self._unsent is None or self._unsent.full():
            return False
        self._unsent.put_nowait(data)
        return True

    def keep(self, key: str, data: bytes, outdated: Callable[[bytes], bool]) -> None:
        """Note a record to be written; only the last one of each key is."""
        if self._unsent is not None:
            self._records.note(key, data, outdated)

    async def run(self, member: Member) -> None:
        """Connect, listen, and begin again when that breaks."""
        while True:
            try:
                await self._session(member)
            except _EXPECTED as error:
                self._lost(reason_of(error))
            except Exception as error:  # a defect of ours or of nats-py must not leave us alone for good
                log.exception("nats.broke")
                self._lost(f"{type(error).__name__}: {error}")
            pause_s = min(_AGAIN_LAST_S, _AGAIN_FIRST_S * 2 ** min(self._failures_count, 8))
            self._failures_count += 1
            await asyncio.sleep(pause_s * (0.5 + self._jitter() / 2))

    async def _session(self, member: Member) -> None:
        """One connection, from its beginning to the error that ends it."""
        client, closed = EntryClient(needs_tls="tls" in self._options), asyncio.Event()

        async def end() -> None:
            closed.set()

        async def told(message: Msg) -> None:
            member.heard(message.data)

        tasks: list[asyncio.Task[Any]] = []
        pulses: set[asyncio.Task[None]] = set()
        try:
            async with asyncio.timeout(CONNECT_S + _PULSE_WAIT_S):
                await client.connect(**self._options, closed_cb=end, error_cb=self._errs)
                await client.subscribe(
                    self._subject,
                    cb=told,
                    pending_msgs_limit=_UNREAD_LIMIT_COUNT,
                    pending_bytes_limit=_UNREAD_LIMIT_BYTES,
                )
                await client.flush(timeout=int(_PULSE_WAIT_S))
            unsent = self._found()
            member.joined()
            tasks += [
                asyncio.create_task(self._send(client, unsent)),
                asyncio.create_task(_feel(client, pulses)),
                asyncio.create_task(closed.wait()),
                asyncio.create_task(self._records.run(client, member)),
            ]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
            raise client.last_error or ConnectionError("NATS closed the connection")
        finally:
            self._unsent = None
            self._problem = (
                self._problem or f"NATS at {self._servers} cannot be reached: the connection broke"
            )
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await _close(client)
            for pulse in pulses:
                pulse.cancel()

    async def _send(self, client: Client, unsent: asyncio.Queue[bytes]) -> None:
        while True:
            await client.publish(self._subject, await unsent.get())

    async def _errs(self, error: Exception) -> None:
        """What nats-py has to say beside: a message that it dropped because we are slow, a subject it may not use."""
        log.debug("nats.complained", detail=str(error) or type(error).__name__)

    def _found(self) -> asyncio.Queue[bytes]:
        log.info("nats.found", servers=self._servers)
        self._problem = ""
        self._failures_count = 0
        self._unsent = asyncio.Queue(_UNSENT_LIMIT_COUNT)
        return self._unsent

    def _lost(self, reason: str) -> None:
        problem = f"NATS at {self._servers} cannot be reached: {reason}"
        if problem != self._problem:  # once for each reason: a long outage is one line
            log.warning("nats.lost", servers=self._servers, reason=reason)
        self._problem = problem


async def _feel(client: Client, pulses: set[asyncio.Task[None]]) -> None:
    """Fail once the server does not answer any more: a connection can be dead without having been closed.

    What still waits then is left in `pulses`, to be cancelled when the reader is: an answer to nobody breaks it.
    """
    while True:
        await asyncio.sleep(_PULSE_S)
        pulse = asyncio.create_task(client.flush(timeout=_FOR_EVER_S))
        pulses.add(pulse)
        await asyncio.wait([pulse], timeout=_PULSE_WAIT_S)
        if not pulse.done():
            raise TimeoutError(f"no answer within {_PULSE_WAIT_S:.0f} s")
        pulses.discard(pulse)
        pulse.result()


def _abort(client: Client) -> None:
    writer = getattr(client._transport, "_io_writer", None)  # noqa: SLF001  # nats-py has no other way
    if writer is not None:
        writer.transport.abort()


async def _close(client: Client) -> None:
    """Let the connection go; nats-py would wait for a dead peer to take what is buffered, and leave tasks behind."""
    readers = [sub._wait_for_msgs_task for sub in client._subs.values()]  # noqa: SLF001
    tasks = [
        task
        for task in (client._reading_task, client._flusher_task, client._ping_interval_task, *readers)  # noqa: SLF001
        if task is not None
    ]
    _abort(client)
    client._pending, client._pending_data_size = [], 0  # noqa: SLF001  # so that it does not try to send it
    with contextlib.suppress(*_EXPECTED):
        async with asyncio.timeout(_CLOSE_S):
            await client.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
