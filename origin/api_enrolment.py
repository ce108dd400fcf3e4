"""The messages of enrolment: join tokens, certificates asked for and given, and who was let in.

A token is `ejt1.<id>.<secret>.<pin>`: what the origin looks it up by, what proves it, and the SHA-256 of the public key
(SubjectPublicKeyInfo, RFC 5280, 4.1.2.7; pinned as in RFC 7469, 2.4) of the fleet's authority, which a node compares
before it sends the secret to anybody.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated

from msgspec import Meta, Struct

from origin.api import NodeId
from registry.errors import InputInvalidError

_TOKEN = re.compile(r"ejt1\.(?P<id>[0-9a-f]{12})\.(?P<secret>[A-Za-z0-9_-]{43})\.(?P<pin>[A-Za-z0-9_-]{43})")
_PEM_LIMIT = 16 * 1024

Pem = Annotated[str, Meta(max_length=_PEM_LIMIT)]
TokenId = Annotated[str, Meta(pattern=r"^[0-9a-f]{12}\Z")]
ShortText = Annotated[str, Meta(max_length=120)]
Pin = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{43}\Z")]

_INSTANCE = re.compile(r"aws-iam\.(?P<pin>[A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class JoinToken:
    """What an operator hands to a new node; the secret stays out of representations and logs."""

    token_id: str
    secret: str = field(repr=False)
    pin: str

    def __str__(self) -> str:
        return f"ejt1.{self.token_id}.{self.secret}.{self.pin}"


def parse_join_token(text: str) -> JoinToken:
    """The token that a text spells.

    Raises:
        InputInvalidError: it is none; the message does not repeat it.
    """
    match = _TOKEN.fullmatch(text.strip())
    if match is None:
        raise InputInvalidError(
            "this is not a join token: one reads ejt1.ID.SECRET.PIN, and `edgeward token create` shows it once, whole",
            param="token",
        )
    return JoinToken(match["id"], match["secret"], match["pin"])


@dataclass(frozen=True, slots=True)
class InstanceJoin:
    """The other way to join: an instance on AWS proves its role (`origin.api_aws`) to the authority that is pinned."""

    pin: str

    def __str__(self) -> str:
        return f"aws-iam.{self.pin}"


def parse_way_in(text: str) -> JoinToken | InstanceJoin:
    """How a node joins: by a token, or as `aws-iam.PIN` by the role of its instance.

    Raises:
        InputInvalidError: it is neither; the message does not repeat it.
    """
    match = _INSTANCE.fullmatch(text.strip())
    if match is not None:
        return InstanceJoin(match["pin"])
    if text.strip().startswith("aws-iam"):
        raise InputInvalidError(
            "an instance on AWS joins with aws-iam.PIN: the pin of the fleet's authority is the last part of any join "
            "token, and `edgeward token pin` shows it",
            param="token",
        )
    return parse_join_token(text)


class AuthorityAnswer(Struct, frozen=True, kw_only=True):
    """The fleet's authority, told to anybody; worth nothing before its key was compared with a pin.

    Attributes:
        certificates: of the authority, PEM; two while it is being replaced, the one that signs first.
        now_unix_s: the origin's clock.
    """

    fleet: ShortText
    certificates: tuple[Pem, ...]
    now_unix_s: float


class JoinQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A node asks to be let in.

    Attributes:
        request: a certificate signing request (PKCS 10, PEM) by the key that the node made for itself.
    """

    token_id: TokenId
    secret: Annotated[str, Meta(max_length=64)]
    node_id: NodeId
    request: Pem


class RenewQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A node asks for a new certificate for the key of its last one, which may have expired a while ago.

    Attributes:
        certificate: the last one, PEM.
        request: a certificate signing request (PKCS 10, PEM) by the same key.
    """

    certificate: Pem
    request: Pem


class CertificateAnswer(Struct, frozen=True, kw_only=True):
    """A node's certificate, and the authority as it is now.

    Attributes:
        certificate: PEM.
        certificates: of the authority, as in AuthorityAnswer.
        pool: what the token said that the node belongs to; "" when nothing.
        region: the same of where it stands.
    """

    node_id: NodeId
    fleet: ShortText
    certificate: Pem
    certificates: tuple[Pem, ...]
    pool: ShortText = ""
    region: ShortText = ""
