"""Settings of the object store: section `store`."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """Where the object store is and who we are to it.

    Attributes:
        endpoint: such as `http://127.0.0.1:8333`; empty is AWS S3 itself.
        access_key: with `secret_key`; both empty take boto3's own chain (environment, profile, instance role).
        connect_timeout_s: how long a connection may take to open.
        read_timeout_s: how long the store may be silent during an answer.
    """

    endpoint: str = ""
    bucket: str = "edgeward"
    region: str = "us-east-1"
    access_key: str = ""
    secret_key: str = field(default="", repr=False)
    connect_timeout_s: float = 3.0
    read_timeout_s: float = 20.0
    connections_limit_count: int = 32
