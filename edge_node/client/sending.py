"""One request to one node, up to the head of its answer; a node may hand it on to another (307), twice at most."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
from yarl import URL

from edge_node.api.stream_forms import STREAM_ENCODING
from edge_node.client.call import Journey
from edge_node.client.payload import (
    decode_body,
    encode_body,
    error_in,
    error_of_status,
    read_body,
    reason_of,
)
from edge_node.errors import AnswerInvalidError, NodeUnreachableError
from registry.trace_context import trace_headers

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from edge_node.client.config import ClientConfig
    from edge_node.client.nearest import Nearest
    from origin.api import RankedNode

TIMEOUT_HEADER = "x-edgeward-timeout-ms"
TICKET_HEADER = "x-edgeward-ticket"  # as origin.tickets has it, which is too heavy for a client to import
HANDED_ON_MOST_COUNT = 2
_HANDED_ON = {307, 308}
_NOT_CONNECTED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)


class Sending:
    """Sends requests to nodes, each with the caller's key if the node is one that the origin named."""

    def __init__(
        self, http: aiohttp.ClientSession, config: ClientConfig, nearest: Nearest, now_s: Callable[[], float]
    ) -> None:
        self._http = http
        self._config = config
        self._nearest = nearest
        self._now_s = now_s

    @asynccontextmanager
    async def post(
        self,
        node: RankedNode,
        path: str,
        message: dict[str, Any] | tuple[bytes, dict[str, str]],
        accept: str,
        *,
        journey: Journey | None = None,
        patience_s: float | None = None,
        ticket: str = "",
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """Send one request; the response's head is read, and its status is 200.

        A message may be encoded already: its bytes, and the headers that describe them.

        The response is closed only when the block fails: who reads a stream closes it later.

        Raises:
            NodeUnreachableError: no connection, or silence.
            EdgewardError: what the node refused with.
        """
        journey = journey or Journey(node)
        data, headers = message if isinstance(message, tuple) else encode_body(message)
        waits_s = min(self._config.timeout_s, patience_s or self._config.timeout_s)
        headers = {
            **headers,
            **trace_headers(),
            # A node that cannot begin within that refuses at once, and another one is asked.
            TIMEOUT_HEADER: str(max(1, round(waits_s * 1000))),
            "accept": accept,
            "accept-encoding": "zstd",
            STREAM_ENCODING: "zstd",
        } | ({TICKET_HEADER: ticket} if ticket else {})
        url, response = URL(node.url.rstrip("/") + path, encoded=True), None
        try:
            while response is None or response.status in _HANDED_ON:
                if response is not None:
                    url = self._handed_on(response, journey)
                    headers.pop(TICKET_HEADER, None)  # the one in the URL says who has seen the request
                    response.release()
                response = await self._post_once(url, data, headers, journey)
            await self._refuse_unless_ok(response)
            yield response
        except (aiohttp.ClientError, OSError) as error:
            _close(response)
            journey.sent = journey.sent or not isinstance(error, _NOT_CONNECTED)
            who = f"node {journey.node.node_id}" if journey.node is not None else "a node"
            raise NodeUnreachableError(
                f"{who} at {_host_of(url)} does not answer: {reason_of(error)}", sent=journey.sent
            ) from error
        except BaseException:
            _close(response)
            raise

    async def body_of(self, response: aiohttp.ClientResponse) -> Any:
        """The whole body of a response as plain dicts and lists."""
        return decode_body(await self.bytes_of(response), response.content_type)

    async def bytes_of(self, response: aiohttp.ClientResponse) -> bytes:
        """The whole body of a response, unpacked."""
        encoding = response.headers.get("content-encoding", "")
        return await read_body(response.content, encoding, self._config.answer_limit_bytes)

    async def _post_once(
        self, url: URL, data: bytes, headers: Mapping[str, str], journey: Journey
    ) -> aiohttp.ClientResponse:
        node = journey.node
        if node is not None and self._config.api_key:
            headers = {**headers, "authorization": f"Bearer {self._config.api_key}"}
        connect_s = 1.0 if node is None else self._nearest.connect_s(node, self._now_s())
        response = await self._http.post(
            url,
            data=data,
            headers=headers,
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=connect_s, sock_read=self._config.timeout_s
            ),
            auto_decompress=False,  # aiohttp needs one more package for zstd, and has no limit
            allow_redirects=False,  # aiohttp's own would not know who may have the key
        )
        journey.sent = True
        return response

    def _handed_on(self, response: aiohttp.ClientResponse, journey: Journey) -> URL:
        """Where the node sends the request; the key goes along only to a node that the origin named."""
        journey.handed_on_count += 1
        if journey.handed_on_count > HANDED_ON_MOST_COUNT:
            raise AnswerInvalidError(f"the request was handed on more than {HANDED_ON_MOST_COUNT} times")
        try:
            url = response.url.join(URL(response.headers.get("location", ""), encoded=True))
        except ValueError as error:
            raise AnswerInvalidError("the node hands on to something that is no URL") from error
        host = _host_of(url)
        if url.scheme not in {"http", "https"} or (response.url.scheme, url.scheme) == ("https", "http"):
            raise AnswerInvalidError(f"the node hands on to {host}, which is not as safe as itself")
        named = self._nearest.lists.known().values()
        journey.node = next((node for node in named if _host_of(URL(node.url)) == host), None)
        return url

    async def _refuse_unless_ok(self, response: aiohttp.ClientResponse) -> None:
        if response.status == 200:
            return
        try:
            error = error_in(await self.body_of(response), response.status, response.headers)
        except AnswerInvalidError:
            error = None
        raise error or error_of_status(response.status, response.headers)


def _host_of(url: URL) -> str:
    """Scheme, host and port; what else there is says nothing of who answers."""
    return f"{url.scheme}://{url.host}:{url.port}"


def _close(response: aiohttp.ClientResponse | None) -> None:
    if response is not None:
        response.close()
