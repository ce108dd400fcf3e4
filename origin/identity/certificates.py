"""Certificates of a fleet: the authority's own, a node's, an origin's; made and read, the time given.

P-256 throughout: every TLS library and every hardware or cloud key store verifies and makes it, which is not yet so of
Ed25519. A node is `spiffe://<fleet>/node/<id>` and may act as a TLS client alone, an origin is
`spiffe://<fleet>/origin` and may be a server alone (RFC 5280, 4.2.1.12): so no node can pass for an origin, and hosts
need no names.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from origin.errors import CertificateUnfitError

if TYPE_CHECKING:
    from cryptography.x509.oid import ObjectIdentifier

DAY_S = 86_400.0
AUTHORITY_LIFE_S = 10 * 365 * DAY_S
LEAF_LIFE_S = DAY_S
BACKDATED_S = 300.0
"""A certificate begins this long before it is made: clocks that are a little behind must not refuse it."""


@dataclass(frozen=True, slots=True)
class NodeCertificate:
    """What a node's certificate says; times in seconds of the Unix clock."""

    fleet: str
    node_id: str
    key_sha256: str
    not_before_unix_s: float
    not_after_unix_s: float


def pin_of(certificate: x509.Certificate) -> str:
    """The pin of a certificate's key: the SHA-256 of its SubjectPublicKeyInfo in base64url."""
    return urlsafe_b64encode(bytes.fromhex(key_digest(certificate.public_key()))).rstrip(b"=").decode()


def key_digest(key: object) -> str:
    """The SHA-256 of a public key's SubjectPublicKeyInfo, in hex."""
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise CertificateUnfitError("the key must be an ECDSA key on P-256", param="request")
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def make_authority(key: ec.EllipticCurvePrivateKey, fleet: str, now_unix_s: float) -> x509.Certificate:
    """A self-signed certificate that can sign nodes' and origins', and nothing below it."""
    name = _name(f"Edgeward fleet {fleet}")
    return (
        _begun(name, name, key.public_key(), now_unix_s, AUTHORITY_LIFE_S)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{fleet}")]), critical=False
        )
        .sign(key, hashes.SHA256())
    )


def make_leaf(
    authority: x509.Certificate,
    signing: ec.EllipticCurvePrivateKey,
    key: ec.EllipticCurvePublicKey,
    *,
    node_id: str | None,
    now_unix_s: float,
) -> x509.Certificate:
    """The certificate of a node, or of an origin where `node_id` is None; good for a day."""
    fleet = fleet_of(authority)
    path, role = (f"node/{node_id}", ExtendedKeyUsageOID.CLIENT_AUTH) if node_id is not None else (
        "origin", ExtendedKeyUsageOID.SERVER_AUTH,
    )  # fmt: skip
    subject = x509.Name([]) if node_id is not None else _name("Edgeward origin")
    return (
        _begun(subject, authority.subject, key, now_unix_s, LEAF_LIFE_S)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(_extended(role), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False
        )
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{fleet}/{path}")]),
            critical=node_id is not None,  # as RFC 5280, 4.2.1.6 wants it where the subject is empty
        )
        .sign(signing, hashes.SHA256())
    )


def read_request(pem: str) -> ec.EllipticCurvePublicKey:
    """The key of a certificate signing request that was signed with it; nothing else in it counts.

    Raises:
        CertificateUnfitError: not a request, of another kind of key, or signed by another.
    """
    try:
        request = x509.load_pem_x509_csr(pem.encode())
        key = request.public_key()
        sound = request.is_signature_valid
    except Exception as error:  # the library has a dozen ways to refuse what strangers send
        raise CertificateUnfitError(
            "this is not a certificate signing request (PKCS 10 in PEM)", param="request"
        ) from error
    key_digest(key)
    if not sound or not isinstance(key, ec.EllipticCurvePublicKey):
        raise CertificateUnfitError("the request was not signed with the key in it", param="request")
    return key


def read_certificates(pem: str) -> tuple[x509.Certificate, ...]:
    """The certificates in a PEM text, as they follow.

    Raises:
        CertificateUnfitError: there is none, or one is damaged.
    """
    try:
        return tuple(x509.load_pem_x509_certificates(pem.encode()))
    except Exception as error:
        raise CertificateUnfitError("these are not certificates in PEM", param="certificate") from error


def read_node_certificate(
    certificate: x509.Certificate, authorities: tuple[x509.Certificate, ...]
) -> NodeCertificate:
    """What a node's certificate says, if one of these authorities signed it; its time is not judged here.

    Raises:
        CertificateUnfitError: it is not one of this fleet's.
    """
    for authority in authorities:
        try:
            certificate.verify_directly_issued_by(authority)
        except (ValueError, TypeError, InvalidSignature):
            continue
        fleet, _, path = _identity(certificate).partition("/")
        kind, _, node_id = path.partition("/")
        if fleet == fleet_of(authority) and kind == "node" and node_id:
            return NodeCertificate(
                fleet, node_id, key_digest(certificate.public_key()), *lifetime_of(certificate)
            )
    raise CertificateUnfitError(
        "this certificate was not given to a node by the authority of this fleet", param="certificate"
    )


def fleet_of(authority: x509.Certificate) -> str:
    """The fleet that an authority's certificate names. Raises CertificateUnfitError."""
    return _identity(authority)


def lifetime_of(certificate: x509.Certificate) -> tuple[float, float]:
    """From when to when a certificate is good, in seconds of the Unix clock."""
    return certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()


def _identity(certificate: x509.Certificate) -> str:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except (x509.ExtensionNotFound, ValueError):
        uris = []
    if len(uris) != 1 or not uris[0].startswith("spiffe://"):  # SPIFFE X509-SVID, 2: exactly one
        raise CertificateUnfitError("this certificate names nobody of a fleet", param="certificate")
    return uris[0].removeprefix("spiffe://")


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now_unix_s: float, life_s: float
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_moment(now_unix_s - BACKDATED_S))
        .not_valid_after(_moment(now_unix_s + life_s))
    )


def _moment(unix_s: float) -> datetime:
    return datetime.fromtimestamp(int(unix_s), UTC)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _extended(role: ObjectIdentifier) -> x509.ExtendedKeyUsage:
    return x509.ExtendedKeyUsage([role])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=signs_certificates,
        crl_sign=signs_certificates, encipher_only=False, decipher_only=False,
    )  # fmt: skip
