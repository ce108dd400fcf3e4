"""From a command's flags to the parts it talks to: settings, client, object store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse

    from edge_node.client import AsyncClient
    from registry.store import ObjectStore
    from registry.store.config import StoreConfig


def add_client_arguments(parser: argparse.ArgumentParser, *, place: bool = True) -> None:
    """`--origin`, and `--from` where the client's place matters."""
    parser.add_argument(
        "--origin", metavar="URL", help="the origin (default: $EDGEWARD_ORIGIN, else http://127.0.0.1:7700)"
    )
    if place:
        parser.add_argument(
            "--from",
            dest="place",
            metavar="PLACE",
            help="where to ask from: LAT,LON in degrees, or a city such as tokyo",
        )


def add_store_arguments(parser: argparse.ArgumentParser) -> None:
    """`--endpoint` and `--bucket`; keys come from settings or from boto3's own chain only."""
    parser.add_argument(
        "--endpoint",
        metavar="URL",
        help="the S3 endpoint, or file:///PATH (default: [store] in the settings)",
    )
    parser.add_argument("--bucket", metavar="NAME", help="the bucket (default: [store] in the settings)")


def config_file(args: argparse.Namespace) -> Path | None:
    """The settings file: `--config`, else the one that is found."""
    from registry.settings import find_config_file

    return Path(args.config) if args.config else find_config_file()


def open_client(args: argparse.Namespace) -> AsyncClient:
    """A client as flags and settings say; raises ConfigError or InputInvalidError."""
    from deploy.cli.places import find_place
    from edge_node.client import AsyncClient
    from edge_node.client.config import load_client_config

    config = load_client_config(file=config_file(args), flags={"origin": args.origin})
    return AsyncClient(config=config, place=find_place(getattr(args, "place", None) or ""))


def store_settings(args: argparse.Namespace) -> StoreConfig:
    """The object store as flags and settings say; raises ConfigError."""
    from registry.settings import load_settings
    from registry.store.config import StoreConfig

    flags: dict[str, Any] = {
        "endpoint": getattr(args, "endpoint", None),
        "bucket": getattr(args, "bucket", None),
    }
    return load_settings(StoreConfig, "store", file=config_file(args), flags=flags)


def has_store(args: argparse.Namespace) -> bool:
    """Whether any setting or flag names an object store."""
    from registry.store.config import StoreConfig

    return store_settings(args) != StoreConfig()


def open_store(args: argparse.Namespace) -> ObjectStore:
    """The object store, with calls tried again. Does not connect yet."""
    from registry.store.opening import open_store as open_configured
    from registry.store.retrying import RetryingStore

    return RetryingStore(open_configured(store_settings(args)))
