"""Private keys on the disk: PKCS 8 PEM in files of their owner alone, encrypted where there is a passphrase."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from registry.durable import make_folders, write_durably
from registry.errors import ConfigError, KeyUnusableError

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

_DIRECTORY_MODE = 0o700
_FILE_MODE = 0o600
_OF_OTHERS = 0o077


def make_key_directory(directory: Path) -> None:
    """Make a directory for keys, of its owner alone, unless it is there.

    Raises:
        ConfigError: it cannot be made.
    """
    try:
        make_folders(directory, _DIRECTORY_MODE)
    except OSError as error:
        raise ConfigError(f"cannot keep keys in {directory}: {error.strerror}") from error


def private_pem(key: PrivateKeyTypes, passphrase: bytes = b"") -> bytes:
    """A key as it is kept; without a passphrase it is plain, guarded by its file's mode alone."""
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def write_private(place: Path, pem: bytes) -> None:
    """Keep a key durably; nobody else may read it, from before its first byte is there."""
    write_durably(place, pem, mode=_FILE_MODE)


def read_private(place: Path, passphrase: bytes = b"") -> PrivateKeyTypes:
    """A key that was kept.

    Raises:
        KeyUnusableError: it cannot be read or decrypted, or others can read it too.
    """
    try:
        if stat.S_IMODE(place.stat().st_mode) & _OF_OTHERS:
            raise KeyUnusableError(
                f"others may read {place}; run chmod 600 on it, or replace the key if they did"
            )
        return load_pem_private_key(place.read_bytes(), passphrase or None)
    except (OSError, ValueError, TypeError) as error:
        raise KeyUnusableError(
            f"{place} cannot be used ({error}); is store.keys_passphrase (EDGEWARD_STORE_KEYS_PASSPHRASE) right?"
        ) from error
