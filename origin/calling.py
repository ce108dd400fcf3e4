"""Calls: HTTP calls of the first of several origins that answers, each failure as an error of ours."""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import aiohttp
import msgspec

from origin.errors import OriginRefusedError, OriginUnreachableError, OriginUntrustedError
from origin.origins import Origins
from registry.errors import EdgewardError, InputInvalidError
from registry.refusals import kind_of_code, retry_after_in
from registry.trace_context import trace_headers
from registry.wire import from_json

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

_CONNECT_S = 3.0
_SILENCE_S = 30.0
# Where another origin can be asked, it is asked soon: heartbeats are missed after two seconds.
_CONNECT_ELSEWHERE_S = 1.0
_SILENCE_ELSEWHERE_S = 1.0
_GATEWAY_FAILURES = {502, 503, 504}
_OF_TIME = {9, 10}
"""X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED of OpenSSL."""


class _ErrorDetail(msgspec.Struct):
    message: str = ""
    param: str | None = None
    code: str | None = None


class _ErrorBody(msgspec.Struct):
    error: _ErrorDetail


class Calls:
    """One kept session for all calls, from one event loop.

    Args:
        urls: of the origins, the preferred one first.
        session: a session to share; it is left open. None makes one and closes it.
        timeout_s: how long a call may take.
        now_s: a clock that does not go back.
        tls: as `OriginClient` has it.
        api_key: as `OriginClient` has it.

    Attributes:
        origins: which one is called next.
        answering_url: the one that answered last.

    Raises:
        ConfigError: a url is not http:// or https://, or there is none.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        session: aiohttp.ClientSession | None,
        timeout_s: float,
        now_s: Callable[[], float] = time.monotonic,
        tls: Callable[[], ssl.SSLContext] | None = None,
        api_key: str = "",
    ) -> None:
        self._shown = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self.origins = Origins(urls)
        self.answering_url = self.origins.urls[0]
        self.now_s = now_s
        self._session = session
        self._owned = session is None
        self._tls = tls
        self.call_timeout = aiohttp.ClientTimeout(
            total=timeout_s, sock_connect=min(_CONNECT_S, timeout_s), sock_read=timeout_s
        )
        self.stream_timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=_SILENCE_S)

    async def close(self) -> None:
        """Close the session, unless it was given."""
        if self._owned and self._session is not None:
            await self._session.close()
            self._session = None

    @contextlib.asynccontextmanager
    async def answer(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  # aiohttp's own, for connecting and for silence
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A successful response of the first origin that gives one, its body unread; else an EdgewardError."""
        order = self.origins.order(self.now_s())
        begun = False
        for url in order:
            patience = timeout if url == order[-1] else hurried(timeout)
            try:
                async with self.answer_of(url, method, path, body, headers, patience) as reply:
                    self.origins.answered(url)
                    self.answering_url, begun = url, True
                    yield reply
                    return
            except EdgewardError as error:
                failed = isinstance(error, OriginUnreachableError) or _is_gateway_failure(error)
                if failed:
                    self.origins.failed(url, self.now_s())
                if begun or url == order[-1] or not (failed or error.retry == "elsewhere"):
                    raise

    @contextlib.asynccontextmanager
    async def answer_of(
        self,
        origin_url: str,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  # aiohttp's own, for connecting and for silence
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A successful response, its body unread; every failure on the way becomes an EdgewardError."""
        if self._session is None:
            self._session = aiohttp.ClientSession()
        try:
            async with self._session.request(
                method,
                origin_url + path,
                data=body,
                headers={**self._shown, **headers, **trace_headers()},
                timeout=timeout,
                allow_redirects=False,
                ssl=True if self._tls is None else self._tls(),
            ) as reply:
                if not reply.ok or reply.status in range(300, 400):
                    raise refusal(reply.status, await reply.read(), reply.headers, origin_url)
                yield reply
        except TimeoutError as error:
            raise OriginUnreachableError(
                f"the origin at {origin_url} did not answer in time; is it up?"
            ) from error
        except aiohttp.ClientConnectorCertificateError as error:
            raise OriginUntrustedError(
                f"what answers at {origin_url} does not prove that it is the origin: {_why(error.certificate_error)}"
            ) from error
        except aiohttp.ClientConnectorSSLError as error:
            raise OriginUnreachableError(
                f"{origin_url} does not speak TLS as it should ({error.strerror or error}); is it the port for nodes "
                "(origin.nodes_port)?"
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            raise OriginUnreachableError(
                f"the origin at {origin_url} cannot be reached ({error or type(error).__name__}); is it up?"
            ) from error


def _why(error: Exception) -> str:
    """OpenSSL's reason; for one of time, this machine's clock too, since it may be the clock that is wrong."""
    reason = getattr(error, "verify_message", "") or str(error)
    if getattr(error, "verify_code", 0) in _OF_TIME:
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"{reason}, by this machine's clock, which says {now}"
    return reason


def hurried(timeout: aiohttp.ClientTimeout) -> aiohttp.ClientTimeout:
    """The same with less patience for an origin that says nothing, since another one can be asked."""
    return aiohttp.ClientTimeout(
        total=timeout.total,
        sock_connect=min(timeout.sock_connect or _CONNECT_S, _CONNECT_ELSEWHERE_S),
        sock_read=min(timeout.sock_read or _SILENCE_S, _SILENCE_ELSEWHERE_S),
    )


def _is_gateway_failure(error: EdgewardError) -> bool:
    """Whether something before an origin says that it cannot be reached."""
    return (
        isinstance(error, OriginRefusedError)
        and not error.remote_code
        and error.remote_status in _GATEWAY_FAILURES
    )


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
