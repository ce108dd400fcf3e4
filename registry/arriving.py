"""A request's body as it arrives: bounded in bytes and in time, and read aside where others would feel it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol, TypeVar

from registry.bodies import decode, unpack
from registry.errors import BodyTimeoutError

if TYPE_CHECKING:
    from registry.bodies import Form, Refusals

T = TypeVar("T")

# Decoding more than this takes long enough to be felt by the others on the same loop.
_INLINE_LIMIT_BYTES = 64 * 1024


class ByteStream(Protocol):
    """What arrives of a body; satisfied by `aiohttp.StreamReader`."""

    async def readany(self) -> bytes:
        """Some bytes; none at the end."""


async def read_bounded(
    stream: ByteStream, declared_bytes: int | None, limit_bytes: int, wait_s: float, refusals: Refusals
) -> bytes:
    """A body as it travels.

    Args:
        stream: where it comes from.
        declared_bytes: its Content-Length, where there is one.
        limit_bytes: the most to read.
        wait_s: how long it may take to arrive.
        refusals: what to raise.

    Raises:
        refusals.too_large: longer than the limit, declared or not.
        BodyTimeoutError: it takes too long.
    """
    too_large = refusals.too_large(
        f"{refusals.what} is larger than the {limit_bytes} bytes that are read here"
    )
    if (declared_bytes or 0) > limit_bytes:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(wait_s):
            while piece := await stream.readany():
                body += piece
                if len(body) > limit_bytes:
                    raise too_large
    except TimeoutError as error:
        raise BodyTimeoutError(f"{refusals.what} did not arrive within {wait_s:g} s") from error
    return bytes(body)


async def unpack_aside(body: bytes, limit_bytes: int, refusals: Refusals) -> bytes:
    """`unpack` in a thread."""
    return await asyncio.to_thread(unpack, body, limit_bytes, refusals)


async def decode_aside(body: bytes, form: Form, kind: type[T]) -> T:
    """`decode`, in a thread where the body is large."""
    if len(body) <= _INLINE_LIMIT_BYTES:
        return decode(body, form, kind)
    return await asyncio.to_thread(decode, body, form, kind)
