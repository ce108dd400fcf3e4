"""The request by which an instance on AWS proves its role: what a node signs, and what the origin sends to STS.

`sts:GetCallerIdentity` needs no permission and answers with whose signature a request carries, so a signed one that
somebody else sends is a proof of identity (HashiCorp Vault's aws-iam login is the model). Vault's clients hand over
URL, headers and body, which has let strangers in (CVE-2020-16250): here a node hands over the signature and what it
cannot be checked without, and both sides build the one request below. It names the fleet's authority by its pin, a
challenge of that very origin and the key that asks for a certificate, so it is good for one call, there, for that key.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from origin.api import NodeId
from origin.api_enrolment import Pem, Pin

BODY = b"Action=GetCallerIdentity&Version=2011-06-15"
CHALLENGE_HEADER = "x-edgeward-challenge"
KEY_HEADER = "x-edgeward-key-sha256"
SERVER_HEADER = "x-edgeward-server-id"

# No text of these can end a header or leave the host: whoever asks writes them.
Region = Annotated[str, Meta(pattern=r"^[a-z]{2}(-[a-z]{2,12}){1,3}-[0-9]\Z", max_length=32)]
Challenge = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{75}\Z")]


class AwsProof(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A signature of the request (AWS Signature Version 4), and what it names.

    Attributes:
        region: whose STS is asked.
        access_key_id: of the temporary credentials.
        session_token: of them, no secret without their key; "" for those of a user.
        signed_at: when, as AWS writes it: `20261123T092301Z`.
        signature: in hex.
    """

    region: Region
    access_key_id: Annotated[str, Meta(pattern=r"^[A-Z0-9]{16,128}\Z")]
    session_token: Annotated[str, Meta(pattern=r"^[A-Za-z0-9+/=_-]*\Z", max_length=8192)]
    signed_at: Annotated[str, Meta(pattern=r"^[0-9]{8}T[0-9]{6}Z\Z")]
    signature: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


class ChallengeAnswer(Struct, frozen=True, kw_only=True):
    """What a proof must name to be good here, once and for `ttl_s` seconds."""

    challenge: Challenge
    ttl_s: float


class AwsJoinQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A node on AWS asks to be let in.

    Attributes:
        challenge: as this origin gave it.
        pin: of the authority that the node has checked.
        node_id: the id of its instance.
        request: a certificate signing request (PKCS 10, PEM) by the key that the node made for itself.
    """

    challenge: Challenge
    pin: Pin
    node_id: NodeId
    request: Pem
    proof: AwsProof


def sts_host(region: str) -> str:
    """The host of a region's STS; always one of Amazon's."""
    return f"sts.{region}.amazonaws.com" + (".cn" if region.startswith("cn-") else "")


def proof_headers(
    *, region: str, signed_at: str, session_token: str, pin: str, challenge: str, key_sha256: str
) -> dict[str, str]:
    """Every header that is signed, in the order of the signature; `key_sha256` is of the node's key, in hex."""
    headers = {
        "content-type": "application/x-www-form-urlencoded; charset=utf-8",
        "host": sts_host(region),
        "x-amz-date": signed_at,
        "x-amz-security-token": session_token,
        CHALLENGE_HEADER: challenge,
        KEY_HEADER: key_sha256,
        SERVER_HEADER: pin,
    }
    return {name: text for name, text in headers.items() if text}


def credential_scope(region: str, service: str, signed_at: str) -> str:
    """What a key is derived for."""
    return f"{signed_at[:8]}/{region}/{service}/aws4_request"


def authorization(proof: AwsProof, headers: dict[str, str]) -> str:
    """The header that carries the signature."""
    scope = credential_scope(proof.region, "sts", proof.signed_at)
    return (
        f"AWS4-HMAC-SHA256 Credential={proof.access_key_id}/{scope}, SignedHeaders={';'.join(headers)}, "
        f"Signature={proof.signature}"
    )
