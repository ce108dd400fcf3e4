"""What the control plane can refuse."""

from __future__ import annotations

from registry.errors import BodyTooLargeError, BodyUnsupportedError, EdgewardError


class NodeUnknownError(EdgewardError):
    """No node of this id has reported."""

    code = "node.unknown"
    http_status = 404


class ModelUnknownError(EdgewardError):
    """No release of this model is on any channel, and no node serves it."""

    code = "model.unknown"
    http_status = 404


class NoNodeAvailableError(EdgewardError):
    """The model exists, but no node that is up can answer for it now."""

    code = "node.none_available"
    http_status = 503
    retry = "later"


class OriginUnreachableError(EdgewardError):
    """The origin does not answer."""

    code = "origin.unreachable"
    http_status = 503
    retry = "later"


class NodeSupersededError(EdgewardError):
    """A younger process with the same node id is reporting; this one is not listened to."""

    code = "node.superseded"
    http_status = 409


class FleetFullError(EdgewardError):
    """More nodes report than this origin is willing to remember."""

    code = "fleet.full"
    http_status = 503
    retry = "elsewhere"


class OriginBodyTooLargeError(BodyTooLargeError):
    """A request's body is larger than the origin reads, before or after decompression."""

    code = "origin.body_too_large"


class OriginBodyUnsupportedError(BodyUnsupportedError):
    """A request's Content-Type or Content-Encoding is not one that the origin reads."""

    code = "origin.body_unsupported"


class RangeUnsatisfiableError(EdgewardError):
    """The range asked for lies outside the object, or is not a range."""

    code = "origin.range_unsatisfiable"
    http_status = 416


class OriginRefusedError(EdgewardError):
    """The origin refused with a code that this program does not know, or with something that is no answer.

    Attributes:
        remote_status: the HTTP status that came.
        remote_code: the code in the body, or "" where there was none.
    """

    code = "origin.refused"
    http_status = 502

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: float | None = None,
        remote_status: int = 502,
        remote_code: str = "",
    ) -> None:
        super().__init__(message, param=param, retry_after_s=retry_after_s)
        self.remote_status = remote_status
        self.remote_code = remote_code


class GeoDownloadError(EdgewardError):
    """A database of addresses cannot be had, or what came is none."""

    code = "geo.download_failed"
    http_status = 502
    retry = "later"
