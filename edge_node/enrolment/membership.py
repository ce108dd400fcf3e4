"""Membership: the node's key, its certificate and the fleet's authority, kept as one file, replaced as a whole."""

from __future__ import annotations

import hashlib
import ssl
from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from msgspec import Struct

from origin.errors import CertificateUnfitError
from registry.durable import make_folders, write_durably
from registry.errors import ConfigError, EdgewardError
from registry.wire import from_json, to_json

if TYPE_CHECKING:
    from pathlib import Path

_KEPT_FILE = "enrolment.json"
_PENDING_FILE = "joining.key"
_PAIR_FILE = "node.pem"
_OWNER_ALONE = 0o600


class Membership(Struct, frozen=True, kw_only=True):
    """What a node that was let in knows; it holds the private key.

    Attributes:
        origins: the URLs where it joined.
        key: PEM.
        certificate: PEM.
        authorities: the certificates of the fleet's authority, PEM.
        pool: what the token said that the node belongs to.
        region: where it said that the node stands.
    """

    node_id: str
    fleet: str
    origins: tuple[str, ...]
    key: str
    certificate: str
    authorities: tuple[str, ...]
    pool: str = ""
    region: str = ""

    def lifetime(self) -> tuple[float, float]:
        """From when to when the certificate is good, in seconds of the Unix clock."""
        certificate = _read(self.certificate)
        return certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()


def load_membership(data_dir: Path) -> Membership | None:
    """What was kept; None for a node that never joined.

    Raises:
        ConfigError: it is damaged.
    """
    place = data_dir / _KEPT_FILE
    try:
        kept = from_json(place.read_bytes(), Membership)
        kept.lifetime()
    except FileNotFoundError:
        return None
    except (OSError, EdgewardError) as error:
        why = error.message if isinstance(error, EdgewardError) else str(error)
        raise ConfigError(
            f"{place} cannot be used ({why}): delete it and join again, with a new token"
        ) from error
    return kept


def keep_membership(data_dir: Path, membership: Membership) -> None:
    """Keep it durably, readable by its owner alone; a key that waited for it is not pending any more."""
    write_durably(data_dir / _KEPT_FILE, to_json(membership), mode=_OWNER_ALONE)
    (data_dir / _PENDING_FILE).unlink(missing_ok=True)


def drop_membership(data_dir: Path) -> None:
    """Forget it: with a token the node joins anew, with a new key."""
    (data_dir / _KEPT_FILE).unlink(missing_ok=True)


def pending_key(data_dir: Path) -> str:
    """The key to join with, PEM: made once and kept until the node is in, so that a lost answer can be asked for again.

    Raises:
        ConfigError: the directory cannot be written, or holds something else under that name.
    """
    place = data_dir / _PENDING_FILE
    try:
        make_folders(data_dir)
        if not place.is_file():
            key = ec.generate_private_key(ec.SECP256R1())
            pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            write_durably(place, pem, mode=_OWNER_ALONE)
        text = place.read_text("ascii")
        _load_key(text)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"cannot keep a key in {place} ({error}); is the directory this user's?") from error
    return text


def signing_request(key: str) -> str:
    """A certificate signing request by this key, PEM; the origin alone decides what the certificate says."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(_load_key(key), hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def check_ours(certificate: str, key: str) -> None:
    """Refuse a certificate for another key. Raises CertificateUnfitError."""
    if _spki(_read(certificate).public_key()) != _spki(_load_key(key).public_key()):
        raise CertificateUnfitError("the origin gave a certificate for another key than ours")


def key_digest(key: str) -> str:
    """The SHA-256 of a key's public half (SubjectPublicKeyInfo), in hex."""
    return hashlib.sha256(_spki(_load_key(key).public_key())).hexdigest()


def pin_of(certificate: str) -> str:
    """The pin of a certificate's key, as join tokens have it. Raises CertificateUnfitError."""
    digest = hashlib.sha256(_spki(_read(certificate).public_key())).digest()
    return urlsafe_b64encode(digest).rstrip(b"=").decode()


def context_for(authorities: tuple[str, ...], pair: Path | None = None) -> ssl.SSLContext:
    """To speak with origins of one fleet: TLS 1.3, no authority but the fleet's, and our certificate from `pair`.

    The host's name is not compared: a certificate of this authority that may act as a server is an origin's, wherever
    it is reached, and nodes' certificates may not.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.load_verify_locations(cadata="".join(authorities))
    if pair is not None:
        context.load_cert_chain(pair)
    return context


def context_of(data_dir: Path, membership: Membership) -> ssl.SSLContext:
    """To speak with origins as this node."""
    place = data_dir / _PAIR_FILE
    write_durably(place, (membership.key + membership.certificate).encode(), mode=_OWNER_ALONE)
    return context_for(membership.authorities, place)


def _read(pem: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem.encode())
    except Exception as error:  # the library has many ways to refuse what strangers send
        raise CertificateUnfitError("this is not a certificate in PEM", param="certificate") from error


def _load_key(pem: str) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(pem.encode(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("not an elliptic-curve key")
    return key


def _spki(key: object) -> bytes:
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise CertificateUnfitError("the key is not an elliptic-curve key", param="certificate")
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
