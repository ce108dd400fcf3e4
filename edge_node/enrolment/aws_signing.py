"""AWS Signature Version 4 of one request with no query, and the proof of a role that is made of it; pure.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from origin.api_aws import BODY, AwsProof, credential_scope, proof_headers

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class AwsCredentials:
    """Temporary credentials; neither key nor token shows in representations and logs."""

    access_key_id: str
    secret_key: str = field(repr=False)
    session_token: str = field(default="", repr=False)


def prove(
    credentials: AwsCredentials, region: str, *, pin: str, challenge: str, key_sha256: str, now_unix_s: float
) -> AwsProof:
    """The proof of whose credentials these are, for one origin's challenge and one key of ours."""
    signed_at = amazon_time(now_unix_s)
    headers = proof_headers(
        region=region,
        signed_at=signed_at,
        session_token=credentials.session_token,
        pin=pin,
        challenge=challenge,
        key_sha256=key_sha256,
    )
    return AwsProof(
        region=region,
        access_key_id=credentials.access_key_id,
        session_token=credentials.session_token,
        signed_at=signed_at,
        signature=signature(
            credentials.secret_key, credential_scope(region, "sts", signed_at), headers, BODY
        ),
    )


def amazon_time(unix_s: float) -> str:
    """A moment as AWS writes it: `20261123T092301Z`."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y%m%dT%H%M%SZ")


def signature(secret_key: str, scope: str, headers: Mapping[str, str], body: bytes) -> str:
    """The signature of `POST /`, in hex.

    Args:
        secret_key: of the credentials.
        scope: `DATE/REGION/SERVICE/aws4_request`.
        headers: all that are signed, in lower case and in order; one is `x-amz-date`.
        body: what is sent.
    """
    lines = [f"{name}:{text.strip()}\n" for name, text in headers.items()]
    request = "\n".join(
        ["POST", "/", "", "".join(lines), ";".join(headers), hashlib.sha256(body).hexdigest()]
    )
    told = "\n".join(
        ["AWS4-HMAC-SHA256", headers["x-amz-date"], scope, hashlib.sha256(request.encode()).hexdigest()]
    )
    key = b"AWS4" + secret_key.encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.new(key, told.encode(), "sha256").hexdigest()
