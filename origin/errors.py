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


class BundleUnknownError(EdgewardError):
    """This origin has no such installer or bundle."""

    code = "bundle.unknown"
    http_status = 404


class NodeSupersededError(EdgewardError):
    """A younger process with the same node id is reporting; this one is not listened to."""

    code = "node.superseded"
    http_status = 409


class FleetFullError(EdgewardError):
    """More nodes report than this origin is willing to remember."""

    code = "fleet.full"
    http_status = 503
    retry = "elsewhere"


class EnrolmentOffError(EdgewardError):
    """This origin lets no nodes in: it does not hold the key of the fleet's authority."""

    code = "enrolment.off"
    http_status = 503
    retry = "elsewhere"


class TokenInvalidError(EdgewardError):
    """No join token has this id and this secret."""

    code = "enrolment.token_invalid"
    http_status = 403


class TokenExpiredError(EdgewardError):
    """A join token past its time."""

    code = "enrolment.token_expired"
    http_status = 403


class TokenUsedError(EdgewardError):
    """A join token that has let in as many nodes as it may."""

    code = "enrolment.token_used"
    http_status = 403


class TokenRevokedError(EdgewardError):
    """A join token that was withdrawn."""

    code = "enrolment.token_revoked"
    http_status = 403


class TokenUnknownError(EdgewardError):
    """There is no join token of this id."""

    code = "enrolment.token_unknown"
    http_status = 404


class ChallengeInvalidError(EdgewardError):
    """A proof names a challenge that this origin did not give, that was used, or whose time is over."""

    code = "enrolment.challenge_invalid"
    http_status = 403
    retry = "later"


class ProofRefusedError(EdgewardError):
    """A proof of an instance's role that lets nobody in: AWS refuses it, or it is of a role that is not admitted."""

    code = "enrolment.proof_refused"
    http_status = 403


class ProofUncheckedError(EdgewardError):
    """AWS could not be asked whose proof this is."""

    code = "enrolment.proof_unchecked"
    http_status = 503
    retry = "later"


class NodeIdTakenError(EdgewardError):
    """A node of this id was let in with another key."""

    code = "enrolment.node_id_taken"
    http_status = 409


class CertificateExpiredError(EdgewardError):
    """A node's certificate is past its time, or its time has not come."""

    code = "node.certificate_expired"
    http_status = 403


class CertificateUnfitError(EdgewardError):
    """A certificate, or a request for one, that is not what a node of this fleet would show."""

    code = "node.certificate_unfit"
    http_status = 400


class NodeRevokedError(EdgewardError):
    """This node's key was withdrawn from the fleet."""

    code = "node.revoked"
    http_status = 403


class NodeNotEnrolledError(EdgewardError):
    """Only nodes that show a certificate of this fleet are heard here."""

    code = "node.not_enrolled"
    http_status = 403


class NodeIdentityMismatchError(EdgewardError):
    """A node speaks for another one than its certificate names."""

    code = "node.identity_mismatch"
    http_status = 403


class ApiKeyInvalidError(EdgewardError):
    """No client key is shown, or one that lets nobody in; in OpenAI's word, which their clients know."""

    code = "invalid_api_key"
    http_status = 401


class ModelOutOfScopeError(EdgewardError):
    """This client key may not ask this model."""

    code = "client_key.model_refused"
    http_status = 403


class KeyRateError(EdgewardError):
    """This client key sends more than its rate; `retry_after_s` says when the next request may come."""

    code = "rate_limit_exceeded"
    http_status = 429
    retry = "later"


class KeyBusyError(EdgewardError):
    """As many requests of this client key are at work here as may be at a time."""

    code = "client_key.busy"
    http_status = 429
    retry = "later"


class ClientKeysUnknownError(EdgewardError):
    """No client key can be checked here: their list was never read, or is older than it may be."""

    code = "client_key.list_unknown"
    http_status = 503
    retry = "elsewhere"


class OriginUntrustedError(EdgewardError):
    """What answers where the origin should be does not prove that it is one."""

    code = "origin.untrusted"
    http_status = 502
    retry = "elsewhere"


class ClockSkewError(EdgewardError):
    """Two clocks are too far apart for certificates to be judged."""

    code = "enrolment.clock_skew"
    http_status = 403


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


class RecipeInvalidError(EdgewardError):
    """A recipe that says something unknown, or something that cannot be done to this model."""

    code = "build.recipe_invalid"
    http_status = 400


class StepFailedError(EdgewardError):
    """A step of a build could not be done; what was done before it is kept."""

    code = "build.step_failed"
    http_status = 500


class GateRefusedError(EdgewardError):
    """A built variant is not as good as its recipe demands; nothing was published."""

    code = "build.gate_refused"
    http_status = 409


class BuildPartMissingError(EdgewardError):
    """A step needs a package that is not installed."""

    code = "build.part_missing"
    http_status = 501
