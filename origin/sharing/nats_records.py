"""Records: the last-known states in a bucket of NATS' key-value store, written by those who hear the nodes.

A record is replaced only by a newer one: each write names the revision that it replaces, and where that is not the
last one any more, what is there is looked at first.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import TYPE_CHECKING

import nats.errors
import structlog
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, KeyValueConfig
from nats.js.errors import BadRequestError, KeyNotFoundError, KeyWrongLastSequenceError

from origin.sharing.bus import MESSAGE_LIMIT_BYTES, Kept

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.js import JetStreamContext
    from nats.js.kv import KeyValue

    from origin.sharing.bus import Member

log = structlog.get_logger()

_CALL_S = 5.0
_AGAIN_S = 2.0
_LIMIT_COUNT = 20_000
_TRIES_COUNT = 3
_AT_ONCE_COUNT = 16
_HAND_ON_COUNT = 100
_CLOCK_KEY = "clock"


class Records:
    """One bucket, made when it is missing.

    Args:
        bucket: its name.
        forget_after_s: how long a record lasts that nobody writes again.
        replicas_count: on how many servers it is kept.

    Attributes:
        problem: why records are not kept; "" when they are.
    """

    def __init__(self, bucket: str, *, forget_after_s: float, replicas_count: int) -> None:
        self.problem = "not opened yet"
        self._bucket = bucket
        self._forget_after_s = forget_after_s
        self._replicas_count = replicas_count
        self._unwritten: dict[str, tuple[bytes, Callable[[bytes], bool]]] = {}
        self._revisions: dict[str, int] = {}
        self._noted = asyncio.Event()

    def note(self, key: str, data: bytes, outdated: Callable[[bytes], bool]) -> None:
        """Write this soon, in place of what was to be written there."""
        if key in self._unwritten or len(self._unwritten) < _LIMIT_COUNT:
            self._unwritten[key] = (data, outdated)
            self._noted.set()

    async def run(self, client: Client, member: Member) -> None:
        """Open the bucket, hand on what it holds, then write; again after each failure, until cancelled."""
        stream = client.jetstream(timeout=_CALL_S)
        while True:
            try:
                bucket = await self._open(stream)
                await _hand_on(await _all(stream, self._bucket), member)
                self.problem = ""
                await self._write_for_ever(bucket)
            except (nats.errors.Error, TimeoutError) as error:
                problem = f"NATS keeps no records: {str(error) or type(error).__name__}"
                if problem != self.problem:
                    log.warning(
                        "records.lost", bucket=self._bucket, reason=str(error) or type(error).__name__
                    )
                self.problem = problem
            await asyncio.sleep(_AGAIN_S)

    async def _open(self, stream: JetStreamContext) -> KeyValue:
        config = KeyValueConfig(
            bucket=self._bucket,
            history=1,
            ttl=self._forget_after_s,
            replicas=self._replicas_count,
            max_value_size=MESSAGE_LIMIT_BYTES,
        )
        try:
            return await stream.create_key_value(config)
        except BadRequestError:  # it is there, made with other settings: those stand
            return await stream.key_value(self._bucket)

    async def _write_for_ever(self, bucket: KeyValue) -> None:
        while True:
            await self._noted.wait()
            self._noted.clear()
            while self._unwritten:
                keys = list(itertools.islice(self._unwritten, _AT_ONCE_COUNT))
                taken = [(key, *self._unwritten.pop(key)) for key in keys]
                await asyncio.gather(*(self._write(bucket, *record) for record in taken))

    async def _write(
        self, bucket: KeyValue, key: str, data: bytes, outdated: Callable[[bytes], bool]
    ) -> None:
        if len(self._revisions) > _LIMIT_COUNT:
            self._revisions.clear()
        for _ in range(_TRIES_COUNT):
            try:
                self._revisions[key] = await bucket.update(key, data, last=self._revisions.get(key, 0))
            except KeyWrongLastSequenceError:
                try:
                    entry = await bucket.get(key)
                except KeyNotFoundError:  # it has expired
                    self._revisions.pop(key, None)
                    continue
                self._revisions[key] = entry.revision or 0
                if entry.value is not None and not outdated(entry.value):
                    return
            else:
                return


async def _hand_on(records: Sequence[Kept], member: Member) -> None:
    """A few at a time: a large fleet's records must not hold up its heartbeats."""
    for first in range(0, len(records), _HAND_ON_COUNT):
        member.remembered(records[first : first + _HAND_ON_COUNT])
        await asyncio.sleep(0)


async def _all(stream: JetStreamContext, bucket_name: str) -> list[Kept]:
    """Every record; their ages are by the server's clock, which a record of our own reads.

    A consumer without order and acknowledgements: nats-py's own watcher asks for both, which nobody needs here.
    """
    prefix = f"$KV.{bucket_name}."
    messages: list[Msg] = []
    complete = asyncio.Event()

    async def take(message: Msg) -> None:
        messages.append(message)
        if message.metadata.num_pending == 0 or len(messages) >= _LIMIT_COUNT:
            complete.set()

    async with asyncio.timeout(_CALL_S):
        await stream.publish(f"{prefix}{_CLOCK_KEY}", b"")
        reading = await stream.subscribe(
            f"{prefix}>",
            stream=f"KV_{bucket_name}",
            cb=take,
            manual_ack=True,
            config=ConsumerConfig(
                ack_policy=AckPolicy.NONE,
                deliver_policy=DeliverPolicy.LAST_PER_SUBJECT,
                inactive_threshold=_CALL_S,
            ),
        )
        try:
            await complete.wait()
        finally:
            # The connection may be gone: its error must not take the place of a cancellation.
            with contextlib.suppress(nats.errors.Error):
                await reading.unsubscribe()
    now = max(message.metadata.timestamp for message in messages)  # at least the clock's
    return [
        Kept(
            message.subject.removeprefix(prefix),
            message.data,
            (now - message.metadata.timestamp).total_seconds(),
        )
        for message in messages
        if message.subject != f"{prefix}{_CLOCK_KEY}"
    ]
