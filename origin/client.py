"""OriginClient: the one way to call an origin, or the first of several, for nodes, clients and commands."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

from origin.api import CatalogAnswer, Directive, NodeReport, RouteAnswer, RouteQuery, RttReceipt, RttReport
from origin.api_aws import ChallengeAnswer
from origin.api_enrolment import AuthorityAnswer, CertificateAnswer
from origin.api_fleet import NodeList
from origin.calling import Calls, hurried
from origin.errors import OriginRefusedError, OriginUnreachableError
from registry.bodies import MSGPACK_TYPE
from registry.errors import (
    EdgewardError,
    InputInvalidError,
    ObjectMissingError,
    TrustEndlessError,
)
from registry.wire import from_msgpack, to_msgpack

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence
    from typing import Self

    import aiohttp

    from origin.api_aws import AwsJoinQuery
    from origin.api_enrolment import JoinQuery, RenewQuery
    from registry.digest import Digest

T = TypeVar("T")

_PARTIAL_CONTENT = 206
_ABSENT = {403, 404}
MANIFEST_LIMIT_BYTES = 64 * 2**20  # as registry.manifest has it, which is too heavy for a client to import


class OriginClient:
    """Calls origins over one kept session; use it as an async context manager, from one event loop.

    Of several origins the first that answers is called (`origin.origins` has the order); all calls may be repeated
    elsewhere without harm. It is also a source of ranges and deltas for `registry.fetch` (`name`, `read_range`,
    `delta`).

    Args:
        url: where the origin listens, such as `http://127.0.0.1:7700`; several are tried in that order.
        session: a session to share; it is left open. None makes one and closes it.
        timeout_s: how long a call may take; downloads of ranges are bounded by silence instead.
        tls: gives what to speak HTTPS with, asked at each call, so that a renewed certificate counts from the next call
            on; None checks the origin's certificate by its host's name, with the authorities of this machine.
        now_s: a clock that does not go back.
        api_key: the client key to show; "" shows none.

    Raises:
        ConfigError: a url is not http:// or https://, or there is none.
    """

    name = "origin"

    def __init__(
        self,
        url: str | Sequence[str],
        *,
        session: aiohttp.ClientSession | None = None,
        timeout_s: float = 10.0,
        now_s: Callable[[], float] = time.monotonic,
        tls: Callable[[], ssl.SSLContext] | None = None,
        api_key: str = "",
    ) -> None:
        urls = [url] if isinstance(url, str) else url
        self._calls = Calls(urls, session=session, timeout_s=timeout_s, now_s=now_s, tls=tls, api_key=api_key)
        self._besides: dict[str, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()

    @property
    def url(self) -> str:
        """The origin that is preferred."""
        return self._calls.origins.urls[0]

    @property
    def answering_url(self) -> str:
        """The origin that answered last."""
        return self._calls.answering_url

    async def close(self) -> None:
        """Close the session, unless it was given."""
        for task in self._besides.values():
            task.cancel()
        await asyncio.gather(*self._besides.values(), return_exceptions=True)
        await self._calls.close()

    async def report(self, report: NodeReport) -> Directive:
        """Send a heartbeat; the answer says what the node should hold.

        Other origins that it names are called too from then on, when this one fails. While it says that it does not
        hear them, each of them gets the report as well.
        """
        path, body = f"/v1/nodes/{quote(report.node_id)}/report", to_msgpack(report)
        directive = self._read(await self._call("POST", path, body), Directive)
        self._calls.origins.learn(directive.origins)
        if directive.cut_off:
            self._report_besides(path, body)
        return directive

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

    async def authority(self) -> AuthorityAnswer:
        """The fleet's authority, worth nothing until its key was compared with a pin."""
        return self._read(await self._call("GET", "/v1/enrolment/authority"), AuthorityAnswer)

    async def join(self, query: JoinQuery) -> CertificateAnswer:
        """Ask to be let in.

        Raises:
            TokenInvalidError, TokenExpiredError, TokenUsedError, TokenRevokedError: the token lets nobody in.
            NodeIdTakenError: a node of this id is in with another key.
        """
        return self._read(
            await self._call("POST", "/v1/enrolment/join", to_msgpack(query)), CertificateAnswer
        )

    async def challenge(self) -> ChallengeAnswer:
        """What a proof of an instance's role must name. Raises ProofRefusedError: none is let in that way."""
        return self._read(await self._call("POST", "/v1/enrolment/challenge", b""), ChallengeAnswer)

    async def join_by_role(self, query: AwsJoinQuery) -> CertificateAnswer:
        """Ask to be let in as an instance on AWS.

        Raises:
            ProofRefusedError, ClockSkewError: not this one.
            ChallengeInvalidError, ProofUncheckedError: not now; begin again with another challenge.
            NodeIdTakenError, NodeRevokedError: it is in with another key, or was turned out.
        """
        return self._read(
            await self._call("POST", "/v1/enrolment/join-aws", to_msgpack(query)), CertificateAnswer
        )

    async def renew(self, query: RenewQuery) -> CertificateAnswer:
        """Ask for the next certificate.

        Raises:
            NodeRevokedError: this node was turned out.
            CertificateExpiredError: the last one ended too long ago.
        """
        return self._read(
            await self._call("POST", "/v1/enrolment/renew", to_msgpack(query)), CertificateAnswer
        )

    async def manifest(self, name: str, version: str) -> bytes:
        """The bytes of a release's manifest, to be checked against the digest that the origin names.

        Raises:
            ReleaseUnknownError: no such release.
        """
        path = f"/v1/manifests/{quote(name)}/{quote(version)}"
        async with self._calls.answer("GET", path, None, {}, self._calls.call_timeout) as reply:
            return await _read_at_most(reply, MANIFEST_LIMIT_BYTES, f"the manifest of {name}@{version}")

    async def trust_file(self, file: str, limit_bytes: int) -> bytes | None:
        """A file of signed metadata, to be verified; None when there is no such file.

        Raises:
            TrustEndlessError: it is longer than that; the rest was not read.
        """
        headers = {"Accept": "application/json"}
        try:
            async with self._calls.answer(
                "GET", f"/v1/trust/{quote(file)}", None, headers, self._calls.call_timeout
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
        async with self._calls.answer(
            "GET", f"/v1/blobs/{quote(key)}", None, headers, self._calls.stream_timeout
        ) as reply:
            if reply.status != _PARTIAL_CONTENT:
                raise OriginRefusedError(
                    f"{self.answering_url} answered {reply.status} to a ranged read of {key}; "
                    "something between here and the origin drops Range headers",
                    remote_status=reply.status,
                )
            data = await _read_at_most(reply, length_bytes, key)
        if len(data) != length_bytes:
            raise OriginRefusedError(
                f"{self.answering_url} sent {len(data)} bytes of {key} and was asked for {length_bytes}",
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
        async with self._calls.answer(
            "GET", f"/v1/deltas/{new}/{base}", None, headers, self._calls.stream_timeout
        ) as reply:
            total = reply.headers.get("Content-Range", "").rpartition("/")[2]
            if reply.status != _PARTIAL_CONTENT or not total.isdigit():
                raise OriginRefusedError(
                    f"{self.answering_url} answered {reply.status} to a ranged read of a delta; "
                    "something between here and the origin drops Range headers",
                    remote_status=reply.status,
                )
            data = await reply.read()
        if len(data) != min(limit_bytes, int(total) - offset_bytes):
            raise OriginRefusedError(
                f"{self.answering_url} sent {len(data)} bytes of a delta, not what was asked for",
                remote_status=reply.status,
            )
        return data, int(total)

    def _report_besides(self, path: str, body: bytes) -> None:
        for url in self._calls.origins.well(self._calls.now_s()):
            if url != self._calls.answering_url and url not in self._besides:
                task = asyncio.ensure_future(self._report_to(url, path, body))
                self._besides[url] = task
                task.add_done_callback(partial(self._reported, url))

    def _reported(self, url: str, _task: asyncio.Task[None]) -> None:
        self._besides.pop(url, None)

    async def _report_to(self, url: str, path: str, body: bytes) -> None:
        headers = {"Content-Type": MSGPACK_TYPE}
        try:
            async with self._calls.answer_of(
                url, "POST", path, body, headers, hurried(self._calls.call_timeout)
            ):
                self._calls.origins.answered(url)
        except OriginUnreachableError:
            self._calls.origins.failed(url, self._calls.now_s())
        except EdgewardError:  # it is up, and whatever it minds, the one that answers knows better
            self._calls.origins.answered(url)

    def _read(self, body: bytes, kind: type[T]) -> T:
        try:
            return from_msgpack(body, kind)
        except InputInvalidError as error:
            raise OriginRefusedError(
                f"what answers at {self.answering_url} is no origin, or not one of this age: {error.message}",
                remote_status=200,
            ) from error

    async def _call(self, method: str, path: str, body: bytes | None = None) -> bytes:
        headers = {"Accept": MSGPACK_TYPE} | ({"Content-Type": MSGPACK_TYPE} if body is not None else {})
        async with self._calls.answer(method, path, body, headers, self._calls.call_timeout) as reply:
            return await reply.read()


async def _read_at_most(reply: aiohttp.ClientResponse, limit_bytes: int, what: str) -> bytes:
    """The body, if it is no longer than that; whoever sends without end is cut off."""
    body = bytearray()
    async for piece in reply.content.iter_any():
        body += piece
        if len(body) > limit_bytes:
            reply.close()
            raise TrustEndlessError(f"{reply.url.host} sends more than the {limit_bytes} bytes of {what}")
    return bytes(body)
