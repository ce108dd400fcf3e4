"""OriginClient: the one way to call an origin, for nodes, clients and commands."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec

from origin.api import (
    CatalogAnswer,
    Directive,
    NodeList,
    NodeReport,
    RouteAnswer,
    RouteQuery,
    RttReceipt,
    RttReport,
)
from origin.errors import OriginRefusedError, OriginUnreachableError
from registry.bodies import MSGPACK_TYPE
from registry.errors import (
    ConfigError,
    EdgewardError,
    InputInvalidError,
    ObjectMissingError,
    TrustEndlessError,
)
from registry.refusals import kind_of_code, retry_after_in
from registry.wire import from_json, from_msgpack, to_msgpack

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from typing import Self

    from registry.digest import Digest

T = TypeVar("T")

_CONNECT_S = 3.0
_SILENCE_S = 30.0
_PARTIAL_CONTENT = 206
_ABSENT = {403, 404}
MANIFEST_LIMIT_BYTES = 64 * 2**20  # as registry.manifest has it, which is too heavy for a client to import


class _ErrorDetail(msgspec.Struct):
    message: str = ""
    param: str | None = None
    code: str | None = None


class _ErrorBody(msgspec.Struct):
    error: _ErrorDetail


class OriginClient:
    """Calls one origin over one kept session; use it as an async context manager, from one event loop.

    It is also a source of ranges and deltas for `registry.fetch` (`name`, `read_range`, `delta`).

    Args:
        url: where the origin listens, such as `http://127.0.0.1:7700`.
        session: a session to share; it is left open. None makes one and closes it.
        timeout_s: how long a call may take; downloads of ranges are bounded by silence instead.

    Raises:
        ConfigError: the url is not http:// or https://.
    """

    name = "origin"

    def __init__(
        self, url: str, *, session: aiohttp.ClientSession | None = None, timeout_s: float = 10.0
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"{url!r} is not the URL of an origin: it starts with http:// or https://")
        self.url = url.rstrip("/")
        self._session = session
        self._owned = session is None
        self._call_timeout = aiohttp.ClientTimeout(
            total=timeout_s, sock_connect=min(_CONNECT_S, timeout_s), sock_read=timeout_s
        )
        self._stream_timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=_CONNECT_S, sock_read=_SILENCE_S
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the session, unless it was given."""
        if self._owned and self._session is not None:
            await self._session.close()
            self._session = None

    async def report(self, report: NodeReport) -> Directive:
        """Send a heartbeat; the answer says what the node should hold."""
        path = f"/v1/nodes/{quote(report.node_id)}/report"
        return self._read(await self._call("POST", path, to_msgpack(report)), Directive)

    async def route(self, query: RouteQuery) -> RouteAnswer:
        """Ask which nodes should answer, best first.

        Raises:
            ModelUnknownError: no such model.
            NoNodeAvailableError: no node can answer now; `retry_after_s` is set.
        """
        return self._read(await self._call("POST", "/v1/route", to_msgpack(query)), RouteAnswer)

    async def report_rtts(self, report: RttReport) -> RttReceipt:
        """Tell how far nodes are from here, as measured; the origin learns from it for clients nearby."""
        return self._read(await self._call("POST", "/v1/rtts", to_msgpack(report)), RttReceipt)

    async def nodes(self) -> NodeList:
        """The fleet as the origin sees it."""
        return self._read(await self._call("GET", "/v1/nodes"), NodeList)

    async def catalog(self) -> CatalogAnswer:
        """Every release and every channel."""
        return self._read(await self._call("GET", "/v1/catalog"), CatalogAnswer)

    async def manifest(self, name: str, version: str) -> bytes:
        """The bytes of a release's manifest, to be checked against the digest that the origin names.

        Raises:
            ReleaseUnknownError: no such release.
        """
        path = f"/v1/manifests/{quote(name)}/{quote(version)}"
        async with self._answer("GET", path, None, {}, self._call_timeout) as reply:
            return await _read_at_most(reply, MANIFEST_LIMIT_BYTES, f"the manifest of {name}@{version}")

    async def trust_file(self, file: str, limit_bytes: int) -> bytes | None:
        """A file of signed metadata, to be verified; None when there is no such file.

        Raises:
            TrustEndlessError: it is longer than that; the rest was not read.
        """
        headers = {"Accept": "application/json"}
        try:
            async with self._answer(
                "GET", f"/v1/trust/{quote(file)}", None, headers, self._call_timeout
            ) as reply:
                return await _read_at_most(reply, limit_bytes, file)
        except ObjectMissingError:
            return None
        except OriginRefusedError as error:
            if error.remote_status in _ABSENT:  # a plain web server or a bucket that mirrors an origin
                return None
            raise

    async def read_range(self, key: str, offset_bytes: int, length_bytes: int) -> bytes:
        """Exactly that range of a pack.

        Raises:
            ObjectMissingError: no such pack.
            RangeUnsatisfiableError: the pack is shorter.
            OriginUnreachableError: the connection broke or went silent for 30 s.
            TrustEndlessError: the origin sends more than was asked for.
        """
        if length_bytes == 0:
            return b""
        headers = {"Range": f"bytes={offset_bytes}-{offset_bytes + length_bytes - 1}"}
        async with self._answer(
            "GET", f"/v1/blobs/{quote(key)}", None, headers, self._stream_timeout
        ) as reply:
            if reply.status != _PARTIAL_CONTENT:
                raise OriginRefusedError(
                    f"{self.url} answered {reply.status} to a ranged read of {key}; "
                    "something between here and the origin drops Range headers",
                    remote_status=reply.status,
                )
            data = await _read_at_most(reply, length_bytes, key)
        if len(data) != length_bytes:
            raise OriginRefusedError(
                f"{self.url} sent {len(data)} bytes of {key} and was asked for {length_bytes}",
                remote_status=reply.status,
            )
        return data

    async def delta(self, new: Digest, base: str, offset_bytes: int, limit_bytes: int) -> tuple[bytes, int]:
        """At most so many bytes of the delta between two manifests from an offset on, and how long it is.

        Raises:
            ObjectMissingError: there is no such delta.
            OriginUnreachableError: the connection broke or went silent for 30 s.
        """
        headers = {"Range": f"bytes={offset_bytes}-{offset_bytes + limit_bytes - 1}"}
        async with self._answer(
            "GET", f"/v1/deltas/{new}/{base}", None, headers, self._stream_timeout
        ) as reply:
            total = reply.headers.get("Content-Range", "").rpartition("/")[2]
            if reply.status != _PARTIAL_CONTENT or not total.isdigit():
                raise OriginRefusedError(
                    f"{self.url} answered {reply.status} to a ranged read of a delta; "
                    "something between here and the origin drops Range headers",
                    remote_status=reply.status,
                )
            data = await reply.read()
        if len(data) != min(limit_bytes, int(total) - offset_bytes):
            raise OriginRefusedError(
                f"{self.url} sent {len(data)} bytes of a delta, not what was asked for",
                remote_status=reply.status,
            )
        return data, int(total)

    def _read(self, body: bytes, kind: type[T]) -> T:
        try:
            return from_msgpack(body, kind)
        except InputInvalidError as error:
            raise OriginRefusedError(
                f"what answers at {self.url} is no origin, or not one of this age: {error.message}",
                remote_status=200,
            ) from error

    async def _call(self, method: str, path: str, body: bytes | None = None) -> bytes:
        headers = {"Accept": MSGPACK_TYPE} | ({"Content-Type": MSGPACK_TYPE} if body is not None else {})
        async with self._answer(method, path, body, headers, self._call_timeout) as reply:
            return await reply.read()

    @contextlib.asynccontextmanager
    async def _answer(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  # aiohttp's own, for connecting and for silence
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A successful response, its body unread; every failure on the way becomes an EdgewardError."""
        if self._session is None:
            self._session = aiohttp.ClientSession()
        url = self.url + path
        try:
            async with self._session.request(
                method, url, data=body, headers=headers, timeout=timeout, allow_redirects=False
            ) as reply:
                if not reply.ok or reply.status in range(300, 400):
                    raise refusal(reply.status, await reply.read(), reply.headers, self.url)
                yield reply
        except TimeoutError as error:
            raise OriginUnreachableError(
                f"the origin at {self.url} did not answer in time; is it up?"
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            raise OriginUnreachableError(
                f"the origin at {self.url} cannot be reached ({error or type(error).__name__}); is it up?"
            ) from error


async def _read_at_most(reply: aiohttp.ClientResponse, limit_bytes: int, what: str) -> bytes:
    """The body, if it is no longer than that; whoever sends without end is cut off."""
    body = bytearray()
    async for piece in reply.content.iter_any():
        body += piece
        if len(body) > limit_bytes:
            reply.close()
            raise TrustEndlessError(f"{reply.url.host} sends more than the {limit_bytes} bytes of {what}")
    return bytes(body)


def refusal(status: int, body: bytes, headers: Mapping[str, str], url: str) -> EdgewardError:
    """The error that an origin's answer names, as the class of that code.

    Codes are looked for among the error classes that this program has imported; any other becomes an
    OriginRefusedError that carries the status and the code.
    """
    try:
        detail = from_json(body, _ErrorBody).error
    except InputInvalidError:
        detail = _ErrorDetail()
    message = detail.message or f"{url} answered {status} with a body that is no error of an origin"
    retry_after_s = retry_after_in(headers)
    kind = kind_of_code(detail.code or "")
    if kind is None:
        return OriginRefusedError(
            message,
            param=detail.param,
            retry_after_s=retry_after_s,
            remote_status=status,
            remote_code=detail.code or "",
        )
    return kind(message, param=detail.param, retry_after_s=retry_after_s)
