"""Settings of the object store: section `store`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path  # the settings loader reads the real types


def _default_keys_dir() -> Path:
    return Path("~/.config/edgeward/keys").expanduser()


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """Where the object store is and who we are to it.

    Attributes:
        endpoint: such as `http://127.0.0.1:8333`; empty is AWS S3 itself.
        access_key: with `secret_key`; both empty take boto3's own chain (environment, profile, instance role).
        keys_dir: the keys to sign releases and channels with, and the first root beside them.
        keys_passphrase: encrypts new keys and decrypts old ones; empty keeps them plain.
        trusted_root: the first root, for those who read and do not sign; None takes the one in `keys_dir`.
        connect_timeout_s: how long a connection may take to open.
        read_timeout_s: how long the store may be silent during an answer.
    """

    endpoint: str = ""
    bucket: str = "edgeward"
    region: str = "us-east-1"
    access_key: str = ""
    secret_key: str = field(default="", repr=False)
    keys_dir: Path = field(default_factory=_default_keys_dir)
    keys_passphrase: str = field(default="", repr=False)
    trusted_root: Path | None = None
    connect_timeout_s: float = 3.0
    read_timeout_s: float = 20.0
    connections_limit_count: int = 32

    @property
    def scope(self) -> str:
        """Which store this is, for what is remembered of it."""
        return f"{self.endpoint}|{self.bucket}"
