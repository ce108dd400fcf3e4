"""The fleet's authority: its keys in a directory of their owner alone, made once, replaced by way of a bundle of two.

`fleet.pem` beside the keys has the certificates, the one that signs first. It is replaced in three steps: `staged`, a
second one is there, which nodes come to know with their next renewal; `switched`, it signs; `retired`, the old one is
gone.
"""

from __future__ import annotations

import fcntl
import functools
import os
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding

from origin.identity.certificates import (
    BACKDATED_S,
    fleet_of,
    key_digest,
    lifetime_of,
    make_authority,
    make_leaf,
    pin_of,
    read_certificates,
)
from registry.durable import write_durably
from registry.errors import ConfigError, EdgewardError, KeyUnusableError
from registry.trust.private_keys import make_key_directory, private_pem, read_private, write_private

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from cryptography import x509

BUNDLE_FILE = "fleet.pem"
_LOCK_FILE = ".fleet.lock"
_SHOWN_LENGTH = 8


Step = Literal["staged", "switched", "retired"]


class FleetAuthority:
    """Certificates of the authority, and the key of the first.

    Attributes:
        certificates: of the authority; two while it is being replaced, the one that signs first.
    """

    def __init__(self, certificates: tuple[x509.Certificate, ...], key: ec.EllipticCurvePrivateKey) -> None:
        self.certificates = certificates
        self._key = key

    @property
    def fleet(self) -> str:
        """The fleet's name, a SPIFFE trust domain."""
        return fleet_of(self.certificates[0])

    @property
    def pin(self) -> str:
        """What join tokens pin."""
        return pin_of(self.certificates[0])

    @property
    def pems(self) -> tuple[str, ...]:
        """The certificates in PEM."""
        return tuple(pem_of(certificate) for certificate in self.certificates)

    @functools.cached_property
    def mark_salt(self) -> bytes:
        """The fleet's salt for marks of prompts, 32 bytes: all origins that hold the key have the same (RFC 5869)."""
        derive = HKDF(SHA256(), length=32, salt=None, info=b"edgeward marks of prompts")
        return derive.derive(self._key.private_numbers().private_value.to_bytes(32, "big"))

    def certify_node(self, key: ec.EllipticCurvePublicKey, node_id: str, now_unix_s: float) -> str:
        """A node's certificate, PEM."""
        return pem_of(make_leaf(self.certificates[0], self._key, key, node_id=node_id, now_unix_s=now_unix_s))

    def certify_origin(self, now_unix_s: float) -> bytes:
        """A new key and certificate for this origin's listener, PEM, in one text."""
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = make_leaf(
            self.certificates[0], self._key, key.public_key(), node_id=None, now_unix_s=now_unix_s
        )
        return private_pem(key) + pem_of(leaf).encode()


class AuthorityDirectory:
    """The authority's keys and certificates in a directory.

    Args:
        directory: made when something is written, for its owner alone.
        passphrase: encrypts new keys and decrypts old ones; empty keeps them plain, guarded by their mode alone.
    """

    def __init__(self, directory: Path, passphrase: str = "") -> None:
        self.directory = directory
        self._passphrase = passphrase.encode()

    @property
    def begun(self) -> bool:
        """Whether there is an authority here."""
        return (self.directory / BUNDLE_FILE).is_file()

    def open(self) -> FleetAuthority:
        """The authority with its key.

        Raises:
            KeyUnusableError: there is none, its key is not here, or cannot be used.
        """
        certificates = self.certificates()
        return FleetAuthority(certificates, self._load(self._place(certificates[0])))

    def open_or_begin(self, *, fresh_fleet: str, now_unix_s: float) -> FleetAuthority:
        """The authority, made where there is none. Raises KeyUnusableError, ConfigError."""
        if not self.begun:
            with self._alone():
                if not self.begun:  # another process was quicker
                    self._write((self._make(fresh_fleet, now_unix_s),))
        return self.open()

    def certificates(self) -> tuple[x509.Certificate, ...]:
        """The authority's certificates, which are public.

        Raises:
            KeyUnusableError: there are none.
        """
        place = self.directory / BUNDLE_FILE
        try:
            return read_certificates(place.read_text("ascii"))
        except (OSError, UnicodeDecodeError, EdgewardError) as error:
            why = error.message if isinstance(error, EdgewardError) else str(error)
            raise KeyUnusableError(
                f"{place} cannot be read ({why}); `edgeward keys init` or the first start of an origin makes it"
            ) from error

    def advance(self, now_unix_s: float) -> Step:
        """Take the next of three steps of replacing the authority, and say which.

        Raises:
            KeyUnusableError: there is no authority, or the successor's key is not here.
        """
        with self._alone():
            match self.certificates():
                case (only,):
                    # Certificates tell seconds apart, and the younger one must be seen to be.
                    youngest_unix_s = lifetime_of(only)[0] + BACKDATED_S + 1
                    self._write((only, self._make(fleet_of(only), max(now_unix_s, youngest_unix_s))))
                    return "staged"
                case (old, new) if lifetime_of(old) < lifetime_of(new):
                    self._load(self._place(new))
                    self._write((new, old))
                    return "switched"
                case (new, *_):
                    self._write((new,))
                    return "retired"
                case _:
                    raise KeyUnusableError(f"{self.directory / BUNDLE_FILE} holds no certificate")

    def lend(self, directory: Path) -> None:
        """Copy what an origin needs, the signing key among it, to another directory."""
        other = AuthorityDirectory(directory)
        with other._alone():
            certificates = self.certificates()
            for certificate in certificates:
                place = self._place(certificate)
                if place.is_file():
                    write_private(directory / place.name, place.read_bytes())
            other._write(certificates)

    def _make(self, fleet: str, now_unix_s: float) -> x509.Certificate:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = make_authority(key, fleet, now_unix_s)
        write_private(self._place(certificate), private_pem(key, self._passphrase))
        return certificate

    def _write(self, certificates: tuple[x509.Certificate, ...]) -> None:
        write_durably(self.directory / BUNDLE_FILE, "".join(map(pem_of, certificates)).encode())

    def _place(self, certificate: x509.Certificate) -> Path:
        return self.directory / f"fleet-{key_digest(certificate.public_key())[:_SHOWN_LENGTH]}.key"

    @contextmanager
    def _alone(self) -> Iterator[None]:
        make_key_directory(self.directory)
        try:
            lock = os.open(self.directory / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"cannot keep keys in {self.directory}: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _load(self, place: Path) -> ec.EllipticCurvePrivateKey:
        key = read_private(place, self._passphrase)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise KeyUnusableError(f"{place} is not the key of an authority")
        return key


def fresh_fleet() -> str:
    """A name for a new fleet, which no other has."""
    return f"fleet-{secrets.token_hex(6)}"


def find_authority(places: Sequence[Path | None], passphrase: str) -> AuthorityDirectory:
    """The first of these directories that holds an authority; where none does, the first, to make it in."""
    directories = [AuthorityDirectory(place, passphrase) for place in places if place is not None]
    return next((directory for directory in directories if directory.begun), directories[0])


def pem_of(certificate: x509.Certificate) -> str:
    """A certificate in PEM."""
    return certificate.public_bytes(Encoding.PEM).decode()
