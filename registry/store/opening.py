"""From settings to a store: a bucket of an S3 endpoint, or a directory where the endpoint is `file:///PATH`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.store.directory import SCHEME, open_directory

if TYPE_CHECKING:
    from registry.store import ObjectStore
    from registry.store.config import StoreConfig


def open_store(config: StoreConfig) -> ObjectStore:
    """The store that the settings name. Nothing is asked of it yet.

    Raises:
        ConfigError: the settings name none.
    """
    if config.endpoint.startswith(SCHEME):
        return open_directory(config.endpoint)
    from registry.store.s3 import open_s3  # noqa: PLC0415  # a directory needs no boto3

    return open_s3(config)
