"""Whether a certificate's holder may speak, or may have another certificate: pure, by the time and the revocations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from origin.errors import CertificateExpiredError, CertificateUnfitError, NodeRevokedError
from origin.identity.tokens import stamp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from origin.identity.certificates import NodeCertificate

GRACE_S = 30 * 86_400.0
"""How long after its end a certificate can still be renewed: a site that was cut off for weeks comes back by itself."""


def check_standing(
    shown: NodeCertificate,
    revoked: Mapping[str, tuple[str, float]],
    now_unix_s: float,
    *,
    grace_s: float = 0.0,
) -> None:
    """Refuse who was turned out, or whose certificate is not good now.

    `revoked` has, by the SHA-256 of the key, whose it was and when it was revoked; `grace_s` is how long after its end
    the certificate is still good for this.

    Raises:
        NodeRevokedError: the key was revoked.
        CertificateExpiredError: the certificate is not good yet, or not any more; both clocks are in the message.
    """
    turned_out = revoked.get(shown.key_sha256)
    if turned_out is not None:
        raise NodeRevokedError(
            f"the node {shown.node_id} was revoked at {stamp(turned_out[1])}; to join again it needs a new token and a "
            "new key (`edgeward node join --again` makes one)"
        )
    here = f"the origin's clock says {stamp(now_unix_s)}"
    if now_unix_s < shown.not_before_unix_s:
        raise CertificateExpiredError(
            f"the certificate of {shown.node_id} is good from {stamp(shown.not_before_unix_s)} on, and {here}: "
            "one of the two clocks is wrong"
        )
    if now_unix_s >= shown.not_after_unix_s + grace_s:
        how = "can be renewed no more: join again with a new token" if grace_s else "must be renewed"
        raise CertificateExpiredError(
            f"the certificate of {shown.node_id} ended at {stamp(shown.not_after_unix_s)}, {here}, and it {how}"
        )


def check_same_key(shown: NodeCertificate, key_sha256: str) -> None:
    """Refuse a renewal for another key. Raises CertificateUnfitError."""
    if shown.key_sha256 != key_sha256:
        raise CertificateUnfitError(
            f"the request is for another key than the certificate of {shown.node_id}: a new key needs a new token",
            param="request",
        )


def may_report_unenrolled(*, loopback: bool, insecure: bool) -> bool:
    """Whether nodes without certificates are heard: where only this machine can reach us, or where that was said."""
    return loopback or insecure
