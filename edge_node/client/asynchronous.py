"""AsyncClient: answers from the nearest node, for programs that run an event loop."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, overload

import aiohttp

from edge_node.client.answers import (
    ChatAnswer,
    Classes,
    Classified,
    Completion,
    Embeddings,
    Ranking,
    Served,
)
from edge_node.client.config import load_client_config, stated_place
from edge_node.client.opening import open_stream, served_by
from edge_node.client.payload import encode_body, vector_of
from edge_node.client.replies import ClassesReply, RankingReply, ReplyChoice, TextReply, VectorsReply
from edge_node.client.resumption import wants_marks
from edge_node.client.session import Session
from edge_node.client.spans import CallSpan, traced
from edge_node.client.stream import TextStream
from edge_node.client.tensors import BINARY_TYPE, JSON_BYTES_HEADER, decode_infer, encode_infer, infer_path
from edge_node.errors import AnswerInvalidError
from origin.api import Place, place_at
from origin.client import OriginClient
from origin.errors import ModelUnknownError
from registry.bodies import MSGPACK_TYPE
from registry.errors import InputInvalidError
from registry.wire import convert

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from types import TracebackType

    from edge_node.client.answers import Waiting
    from edge_node.client.call import Call
    from edge_node.client.config import ClientConfig
    from edge_node.client.resumption import Resumption
    from edge_node.client.stream import OpenStream
    from edge_node.client.tensors import Tensor, Tensors
    from origin.api import CatalogAnswer, RankedNode, RouteAnswer
    from origin.api_fleet import NodeView

Messages = str | list[dict[str, Any]]
Ability = Literal["chat", "embedding"]

_CHAT = "/v1/chat/completions"
_COMPLETIONS = "/v1/completions"
_EMBEDDINGS = "/v1/embeddings"
_RERANK = "/v1/rerank"
_CLASSIFY = "/v1/classify"
_SHORT = frozenset({_EMBEDDINGS, _RERANK, _CLASSIFY})
"""Work that may be done twice to save time."""
_KINDS: dict[Ability, tuple[str, ...]] = {"chat": ("gguf",), "embedding": ("onnx",)}
T = TypeVar("T")


class AsyncClient:
    """A client of the network; use it as an `async with` block or call `aclose`.

    Args:
        origin: the origin's URL, or several, the preferred one first; None takes it from the settings, at last `http://127.0.0.1:7700`.
        place: where this client is, as `(lat, lon)` or a `Place`; None lets the settings or the origin say.
        api_key: sent as a bearer token.
        timeout_s: how long a node may say nothing.
        config: all settings at once, instead of the settings files and the environment.

    Raises:
        ConfigError, InputInvalidError: a setting or the place does not fit.
    """

    def __init__(
        self,
        origin: str | Sequence[str] | None = None,
        *,
        place: Place | tuple[float, float] | None = None,
        api_key: str | None = None,
        timeout_s: float | None = None,
        config: ClientConfig | None = None,
    ) -> None:
        if config is None:
            config = load_client_config(flags={"origin": origin, "api_key": api_key, "timeout_s": timeout_s})
        elif origin is not None or api_key is not None or timeout_s is not None:
            raise InputInvalidError("give a client either its config or single settings, not both")
        self.config = config
        if place is None:
            self.place = stated_place(config.place)
        else:
            self.place = place_at(*((place.lat, place.lon) if isinstance(place, Place) else place))
        self._http: aiohttp.ClientSession | None = None
        self._to_origin: aiohttp.ClientSession | None = None
        self._origin: OriginClient | None = None
        self._session: Session | None = None
        self._only: dict[Ability, str] = {}

    async def __aenter__(self) -> Self:
        self._connected()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection; a later call opens new ones."""
        session, to_origin, http = self._session, self._to_origin, self._http
        self._session = self._to_origin = self._http = self._origin = None
        for opened in (session, to_origin, http):
            if opened is not None:
                await opened.close()

    @overload
    async def chat(
        self, messages: Messages, *, model: str | None = None, stream: Literal[False] = False, **sampling: Any
    ) -> ChatAnswer: ...
    @overload
    async def chat(
        self, messages: Messages, *, model: str | None = None, stream: Literal[True], **sampling: Any
    ) -> TextStream: ...
    async def chat(
        self, messages: Messages, *, model: str | None = None, stream: bool = False, **sampling: Any
    ) -> ChatAnswer | TextStream:
        """The next turn of a chat.

        Args:
            messages: a list of `{"role": …, "content": …}`, or the user's words alone.
            model: `chat`, `chat:canary` or `chat@1.2.0`; None takes the only chat model that there is.
            stream: give a `TextStream` once its first piece is there.
            sampling: any other field of OpenAI's request, such as `max_tokens` or `temperature`.

        Raises:
            EdgewardError: the origin or the last node refused, or cannot be reached.
        """
        if stream:
            streamed = self.stream_chat(messages, model=model, **sampling)
            await streamed.open()
            return streamed
        fields = {**sampling, "messages": _turns(messages)}
        reply, raw, served = await self._ask(_CHAT, "chat", model, fields, TextReply)
        choice = _first_choice(reply)
        return ChatAnswer(
            text=choice.message.content or "",
            finish_reason=choice.finish_reason,
            usage=reply.usage,
            model=reply.model,
            served=served,
            raw=raw,
        )

    def stream_chat(self, messages: Messages, *, model: str | None = None, **sampling: Any) -> TextStream:
        """The next turn of a chat, piece by piece: `async for piece in client.stream_chat(…)`.

        Breaking off early with `aclose` or `async with` stops the node, too.
        """
        return self._stream(_CHAT, model, {**sampling, "messages": _turns(messages)})

    async def complete(self, prompt: str, *, model: str | None = None, **sampling: Any) -> Completion:
        """The continuation of a text.

        Raises:
            EdgewardError: the origin or the last node refused, or cannot be reached.
        """
        reply, raw, served = await self._ask(
            _COMPLETIONS, "chat", model, {**sampling, "prompt": prompt}, TextReply
        )
        choice = _first_choice(reply)
        return Completion(
            text=choice.text or "",
            finish_reason=choice.finish_reason,
            usage=reply.usage,
            model=reply.model,
            served=served,
            raw=raw,
        )

    def stream_complete(self, prompt: str, *, model: str | None = None, **sampling: Any) -> TextStream:
        """The continuation of a text, piece by piece."""
        return self._stream(_COMPLETIONS, model, {**sampling, "prompt": prompt})

    async def embed(self, inputs: str | Sequence[str], *, model: str | None = None) -> Embeddings:
        """One vector for each input, all in one space; `embed#SPACE` as the model insists on it.

        Raises:
            EdgewardError: the origin or the last node refused, or cannot be reached.
        """
        texts = [inputs] if isinstance(inputs, str) else list(inputs)
        fields = {"input": texts, "encoding_format": "base64"}
        reply, _, served = await self._ask(_EMBEDDINGS, "embedding", model, fields, VectorsReply)
        in_order = sorted(reply.data, key=lambda vector: vector.index)
        if len(in_order) != len(texts):
            raise AnswerInvalidError(f"asked for {len(texts)} embeddings, the node gave {len(in_order)}")
        vectors = [vector_of(vector.embedding) for vector in in_order]
        return Embeddings(
            vectors, usage=reply.usage, model=reply.model, served=served, space_id=reply.space_id
        )

    async def rerank(
        self, query: str, documents: Sequence[str], *, model: str, top_n: int | None = None
    ) -> Ranking:
        """The documents by their relevance to a query, the most relevant first, or the best `top_n` alone.

        Raises:
            EdgewardError: the origin or the last node refused, or cannot be reached.
        """
        fields = {"query": query, "documents": list(documents)} | ({"top_n": top_n} if top_n else {})
        reply, _, served = await self._ask(_RERANK, None, model, fields, RankingReply)
        if any(not 0 <= ranked.index < len(documents) for ranked in reply.results):
            raise AnswerInvalidError("the node ranked documents that it was not sent")
        return Ranking(reply.results, usage=reply.usage, model=reply.model, served=served)

    async def classify(self, inputs: str | Sequence[str], *, model: str) -> Classes:
        """Each text's class.

        Raises:
            EdgewardError: the origin or the last node refused, or cannot be reached.
        """
        texts = [inputs] if isinstance(inputs, str) else list(inputs)
        reply, _, served = await self._ask(_CLASSIFY, None, model, {"input": texts}, ClassesReply)
        if len(reply.data) != len(texts) or any(len(one.probs) != len(reply.labels) for one in reply.data):
            raise AnswerInvalidError(f"asked for {len(texts)} classes, the node gave something else")
        found = [Classified(one.label, dict(zip(reply.labels, one.probs, strict=True))) for one in reply.data]
        return Classes(found, usage=reply.usage, model=reply.model, served=served)

    async def infer(
        self, inputs: Mapping[str, Tensor], *, model: str, outputs: Sequence[str] = ()
    ) -> Tensors:
        """What an ONNX model makes of tensors: these outputs, or all.

        Raises:
            EdgewardError: the origin or the last node refused, or cannot be reached.
        """
        session, message = self._connected()[1], encode_infer(inputs, outputs)

        async def attempt(call: Call, node: RankedNode) -> Tensors:
            path = infer_path(model)
            async with session.post(node, path, message, BINARY_TYPE, call=call) as response:
                first_s = session.now_s()
                body = await session.bytes_of(response)
                served = served_by(call, node, response, first_s, total_s=session.now_s() - call.started_s)
                return decode_infer(body, response.headers.get(JSON_BYTES_HEADER), served)

        with traced("/v2/models/infer", model) as span:
            tensors = await session.call(model, attempt)
            span.answered(tensors.served, tensors.served.release, None)
            return tensors

    async def route(self, model: str | None = None) -> RouteAnswer:
        """The nodes that can answer for a model, best first, with the terms of each score."""
        return await self._connected()[1].route(model or await self.only_model("chat"))

    async def nodes(self) -> tuple[NodeView, ...]:
        """Every node that the origin knows."""
        return (await self._connected()[0].nodes()).nodes

    async def models(self) -> CatalogAnswer:
        """Every published release, and where each channel points."""
        return await self._connected()[0].catalog()

    async def only_model(self, ability: Ability) -> str:
        """The one model that can do this; asked of the origin once.

        Raises:
            ModelUnknownError: there is none.
            InputInvalidError: there are several; the message lists them.
        """
        if ability not in self._only:
            catalog = await self.models()
            fitting = {release.name for release in catalog.releases if release.kind in _KINDS[ability]}
            names = sorted(name for name in fitting if catalog.channels.get(name))
            if not names:
                raise ModelUnknownError(
                    f"no {ability} model is published; `edgeward publish` does it", param="model"
                )
            if len(names) > 1:
                raise InputInvalidError(
                    f"there are several {ability} models, say which as model (on the command line --model): "
                    f"{', '.join(names)}",
                    param="model",
                )
            self._only[ability] = names[0]
        return self._only[ability]

    def _connected(self) -> tuple[OriginClient, Session]:
        if self._http is None or self._origin is None or self._session is None:
            self._http = aiohttp.ClientSession(connector=_connector())
            # The key goes to nodes one by one, and to none that the origin did not name.
            self._to_origin = aiohttp.ClientSession(
                headers={"authorization": f"Bearer {self.config.api_key}"} if self.config.api_key else {},
                connector=self._http.connector,
                connector_owner=False,
            )
            self._origin = OriginClient(self.config.origin, session=self._to_origin)
            self._session = Session(self._http, self._origin, self.config, self.place)
        return self._origin, self._session

    async def _ask(
        self, path: str, ability: Ability | None, model: str | None, fields: dict[str, Any], kind: type[T]
    ) -> tuple[T, dict[str, Any], Served]:
        session = self._connected()[1]
        named = model or await self.only_model(ability or "chat")
        message = encode_body({**fields, "model": named})

        async def attempt(call: Call, node: RankedNode) -> tuple[T, dict[str, Any], Served]:
            async with session.post(node, path, message, MSGPACK_TYPE, call=call) as response:
                first_s = session.now_s()
                raw = await session.body_of(response)
                served = served_by(call, node, response, first_s, total_s=session.now_s() - call.started_s)
                try:
                    return convert(raw, kind), raw, served
                except InputInvalidError as error:
                    raise AnswerInvalidError(f"the node's answer cannot be read: {error.message}") from error

        hedge = (path, len(message[0])) if path in _SHORT else None
        with traced(path, named) as span:
            reply, raw, served = await session.call(named, attempt, hedge=hedge)
            span.answered(served, served.release, getattr(reply, "usage", None))
            return reply, raw, served

    def _stream(self, path: str, model: str | None, fields: dict[str, Any]) -> TextStream:
        session = self._connected()[1]
        message = {"stream_options": {"include_usage": True}, **fields, "stream": True}
        if wants_marks(message):
            message["edgeward"] = {"resumable": True}

        async def start(
            tell: Callable[[Waiting], None],
            resumption: Resumption | None = None,
            avoid: Collection[str] = (),
        ) -> OpenStream:
            named = model or await self.only_model("chat")
            asked = {**message, "model": named}
            asked = resumption.asks(asked) if resumption is not None else asked
            attempt = partial(open_stream, session, path, asked, tell, resumption)
            with span.current(named):
                return await session.call(named, attempt, avoid=avoid)

        span = CallSpan(path)
        return TextStream(start, session.now_s, span)


def _connector() -> aiohttp.TCPConnector:
    return aiohttp.TCPConnector(
        limit=0,  # the nodes limit what they take on; a limit here would only hide where requests wait
        # Longer than probes are apart, so that connections stay open, and shorter than the 75 s of a node.
        keepalive_timeout=60.0,
        # A node's second address must have its turn within the time for a connection, which may be 150 ms.
        happy_eyeballs_delay=0.05,
    )


def _turns(messages: Messages) -> list[dict[str, Any]]:
    return [{"role": "user", "content": messages}] if isinstance(messages, str) else messages


def _first_choice(reply: TextReply) -> ReplyChoice:
    if not reply.choices:
        raise AnswerInvalidError("the node's answer has no choices")
    return reply.choices[0]
