"""The root of every error of Edgeward, and the branches of artifacts, releases and stores.

An error states facts and knows nothing of transports. Each class carries a stable dotted `code`, the
`http_status` that fits it, and `retry`, which is read in exactly three places: store retries, the client
session, and the middleware that turns errors into response bodies. The message says what, which and what to do.
"""

from __future__ import annotations

from typing import ClassVar, Literal

Retry = Literal["never", "elsewhere", "later"]


class EdgewardError(Exception):
    """Any refusal or failure that Edgeward itself describes.

    Attributes:
        param: the path of the field at fault in the input (`messages[3].role`), where there is one.
        retry_after_s: when trying again makes sense, in seconds, where that is known.
    """

    code: ClassVar[str] = "internal"
    http_status: ClassVar[int] = 500
    retry: ClassVar[Retry] = "never"

    def __init__(self, message: str, *, param: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s


class ConfigError(EdgewardError):
    """A setting is unknown, of the wrong type or out of range."""

    code = "config.invalid"


class InputInvalidError(EdgewardError):
    """What a person or a program sent cannot be understood or is not allowed."""

    code = "input.invalid"
    http_status = 400


class BodyTooLargeError(InputInvalidError):
    """A request's body is larger than is read here, before or after decompression."""

    code = "request.too_large"
    http_status = 413


class BodyUnsupportedError(InputInvalidError):
    """A request's Content-Type or Content-Encoding is not one that is read here."""

    code = "request.unsupported_encoding"
    http_status = 415


class BodyTimeoutError(InputInvalidError):
    """A request's body does not arrive; the client may try again on a better connection."""

    code = "request.timeout"
    http_status = 408
    retry = "later"


class ClientKeyUnknownError(EdgewardError):
    """There is no client key of this id."""

    code = "client_key.unknown"
    http_status = 404


class DiskFullError(EdgewardError):
    """The disk has no room for what should be written."""

    code = "disk.full"
    http_status = 507
    retry = "elsewhere"


class ArtifactError(EdgewardError):
    """Bytes of a model are not what they should be."""

    code = "artifact.invalid"
    http_status = 422


class FormatInvalidError(ArtifactError):
    """A model file is truncated, damaged or not of the format that its name says."""

    code = "artifact.format_invalid"


class ManifestInvalidError(ArtifactError):
    """A manifest contradicts itself, its schema or the limits."""

    code = "artifact.manifest_invalid"


class ChunkMismatchError(ArtifactError):
    """The bytes of a chunk do not have the digest that names them."""

    code = "artifact.chunk_mismatch"
    http_status = 502
    retry = "elsewhere"


class UnpackLimitError(ArtifactError):
    """Compressed bytes unpack to more than was declared."""

    code = "artifact.unpack_limit"
    retry = "elsewhere"


class ReleaseUnknownError(EdgewardError):
    """No release of this name and version, or no such channel."""

    code = "release.unknown"
    http_status = 404


class ReleaseConflictError(EdgewardError):
    """This name and version is already published, with other bytes."""

    code = "release.conflict"
    http_status = 409


class StoreError(EdgewardError):
    """The object store did not do what was asked."""

    code = "store.failed"
    http_status = 502


class ObjectMissingError(StoreError):
    """The store has no object under this key."""

    code = "store.object_missing"
    http_status = 404


class PreconditionFailedError(StoreError):
    """Someone else wrote the object first: reload and redo."""

    code = "store.precondition_failed"
    http_status = 412


class StoreUnavailableError(StoreError):
    """The store cannot be reached or asks to slow down."""

    code = "store.unavailable"
    http_status = 503
    retry = "later"


class ReleaseYankedError(EdgewardError):
    """This release was withdrawn: it is not installed, and no channel may point at it."""

    code = "release.yanked"
    http_status = 410


class TrustError(EdgewardError):
    """Signed metadata were refused, or do not say what was claimed; nothing is installed on such a word."""

    code = "trust.refused"
    http_status = 502


class TrustRollbackError(TrustError):
    """Metadata older than what was seen before: somebody replays the past."""

    code = "trust.rolled_back"


class TrustExpiredError(TrustError):
    """Metadata past their date: renewals do not arrive, or somebody keeps them back."""

    code = "trust.expired"


class TrustMixedError(TrustError):
    """Pieces that are each genuine and do not belong together."""

    code = "trust.mixed"


class TrustSignatureError(TrustError):
    """Too few signatures by the keys that may sign this."""

    code = "trust.wrong_key"


class TrustTamperedError(TrustError):
    """Bytes that are not those that were signed, or no metadata at all."""

    code = "trust.tampered"


class TrustEndlessError(TrustError):
    """More bytes than such a file may have; the rest was not read."""

    code = "trust.endless"


class TrustMissingError(TrustError):
    """Metadata that must be there are kept back, or were never written."""

    code = "trust.missing"


class TrustUnsignedError(TrustError):
    """No signed statement vouches for this release, or for the channel that should point at it."""

    code = "trust.unsigned"


class TrustRootMissingError(TrustError):
    """There is no trusted root to check signatures against."""

    code = "trust.no_root"
    http_status = 503


class KeyUnusableError(EdgewardError):
    """The key directory lacks the key that must sign, or a key in it cannot be used."""

    code = "trust.key_unusable"
