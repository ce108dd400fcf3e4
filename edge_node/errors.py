"""What serving can refuse, in the words of the OpenAI error object."""

from __future__ import annotations

from registry.errors import ArtifactError, EdgewardError, InputInvalidError


class RequestInvalidError(InputInvalidError):
    """A request that can never succeed as it is; `param` names the field."""

    code = "request.invalid"


class PromptTooLongError(RequestInvalidError):
    """The prompt, with the answer asked for, does not fit the model's context."""

    code = "context_length_exceeded"


class ResumeMismatchError(RequestInvalidError):
    """An answer cannot go on here: its tokens are another release's, or are not what they claim to be."""

    code = "resume.mismatched"
    http_status = 409
    retry = "elsewhere"


class ModelNotHereError(EdgewardError):
    """This node does not serve the model; another may."""

    code = "model_not_found"
    http_status = 404
    retry = "elsewhere"


class ModelNotReadyError(EdgewardError):
    """The model is being fetched or loaded; `retry_after_s` says when to come back.

    `state` is in a word what is being done, `done_bytes` of `total_bytes` (0: not known) have been fetched.
    """

    code = "model.not_ready"
    http_status = 503
    retry = "elsewhere"

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: float | None = None,
        state: str = "loading",
        done_bytes: int = 0,
        total_bytes: int = 0,
    ) -> None:
        super().__init__(message, param=param, retry_after_s=retry_after_s)
        self.state = state
        self.done_bytes = done_bytes
        self.total_bytes = total_bytes


class OverloadedError(EdgewardError):
    """The queue is full; `retry_after_s` is computed from measured service times."""

    code = "node.overloaded"
    http_status = 429
    retry = "elsewhere"


class HandedOnError(EdgewardError):
    """No failure: another node of the request's ticket will answer sooner; clients see a redirect to it.

    Attributes:
        url: of that node.
        ticket: the ticket's text, with this node among those who have seen the request.
        why: for people, such as `busy; here_ms=2100; there_ms=180`.
    """

    code = "request.handed_on"
    http_status = 307
    retry = "elsewhere"

    def __init__(self, message: str, *, url: str, ticket: str, why: str) -> None:
        super().__init__(message)
        self.url = url
        self.ticket = ticket
        self.why = why


class AnswerNotKeptError(EdgewardError):
    """The request asks for a kept answer or none (`only-if-cached`), and there is none."""

    code = "cache.missing"
    http_status = 504
    retry = "elsewhere"


class DrainingError(EdgewardError):
    """The node is stopping and takes no new requests."""

    code = "node.draining"
    http_status = 503
    retry = "elsewhere"


class EngineFailedError(EdgewardError):
    """The engine's process died or broke while it worked on this request."""

    code = "engine.failed"
    http_status = 502
    retry = "elsewhere"


class EngineDiedError(EngineFailedError):
    """The engine's process died; it is started again by itself, and may be asked again then."""

    http_status = 503


class SpaceMismatchError(EdgewardError):
    """The vectors that this node gives for the model are not of the space that the request insists on."""

    code = "space.mismatch"
    http_status = 409
    retry = "elsewhere"


class VariantUnfitError(ArtifactError):
    """No variant of a release fits the node's memory and processor."""

    code = "variant.unfit"
    http_status = 507


class WrongPinError(EdgewardError):
    """What answers as the origin has another authority than the join token pins; it was sent no secret."""

    code = "enrolment.wrong_pin"
    http_status = 502


class InstanceUnknownError(EdgewardError):
    """This machine cannot say which instance on AWS it is: no credentials in the environment, no metadata service."""

    code = "enrolment.instance_unknown"
    http_status = 503
    retry = "later"


class NodeUnreachableError(EdgewardError):
    """A node accepts no connection, or says nothing for too long.

    `sent` is false when there was no connection: then the node cannot have done anything.
    """

    code = "node.unreachable"
    http_status = 503
    retry = "elsewhere"

    def __init__(
        self, message: str, *, param: str | None = None, retry_after_s: float | None = None, sent: bool = True
    ) -> None:
        super().__init__(message, param=param, retry_after_s=retry_after_s)
        self.sent = sent


class NodeSilentError(NodeUnreachableError):
    """A node took a request, and then answered neither it nor a probe: it hangs, or the way to it is cut."""


class DeadlinePassedError(EdgewardError):
    """No node had begun to answer when the caller's patience ended."""

    code = "call.deadline_passed"
    http_status = 504


class AnswerInvalidError(EdgewardError):
    """What a node answered cannot be understood."""

    code = "node.answer_invalid"
    http_status = 502
    retry = "elsewhere"


class StreamBrokenError(EdgewardError):
    """A stream broke after its first text; `text` is all that had arrived."""

    code = "stream.broken"
    http_status = 502

    def __init__(
        self, message: str, *, text: str = "", param: str | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message, param=param, retry_after_s=retry_after_s)
        self.text = text


class ChunkMissingError(EdgewardError):
    """This node does not have what another one asks for."""

    code = "chunk.missing"
    http_status = 404
    retry = "elsewhere"


class ChunksBusyError(EdgewardError):
    """This node sends as many chunks to other nodes as it can."""

    code = "chunk.busy"
    http_status = 503
    retry = "elsewhere"
