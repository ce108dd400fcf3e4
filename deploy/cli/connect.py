"""From a command's flags to the parts it talks to: settings, client, object store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse

    from edge_node.client import AsyncClient
    from origin.identity.authority import AuthorityDirectory
    from origin.identity.register import Register
    from registry.store import ObjectStore
    from registry.store.config import StoreConfig
    from registry.trust.keys import KeyDirectory
    from registry.trust.signed_store import SignedStore


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
    from dataclasses import replace

    from registry.store.config import StoreConfig

    config, usual = store_settings(args), StoreConfig()
    # Keys and roots say whom to trust, not where the store is.
    return replace(config, keys_dir=usual.keys_dir, keys_passphrase="", trusted_root=None) != usual


def open_store(args: argparse.Namespace) -> SignedStore:
    """The object store with its trust, calls tried again. Does not connect yet.

    Raises:
        TrustRootMissingError: there are neither keys nor a trusted root.
    """
    from registry.store.opening import open_store as open_objects
    from registry.store.retrying import RetryingStore

    config = store_settings(args)
    return with_trust(args, RetryingStore(open_objects(config)), config)


def with_trust(args: argparse.Namespace, store: ObjectStore, config: StoreConfig) -> SignedStore:
    """A store with its trust, as flags and settings say; `config` says which store it is."""
    from registry.trust.signed_store import open_signed

    return open_signed(
        store,
        scope=config.scope,
        keys=open_keys(args),
        trusted_root=config.trusted_root,
        kept_dir=config.keys_dir / "trusted",
    )


def open_keys(args: argparse.Namespace) -> KeyDirectory:
    """The key directory as flags and settings say."""
    from registry.trust.keys import KeyDirectory

    config = store_settings(args)
    directory = getattr(args, "dir", None)
    return KeyDirectory(
        Path(directory).expanduser() if directory else config.keys_dir, config.keys_passphrase
    )


def authority_in(args: argparse.Namespace) -> AuthorityDirectory:
    """The fleet's authority as flags and settings say: `--dir`, else where the origin finds it."""
    from origin.config import OriginConfig
    from origin.identity.authority import AuthorityDirectory, find_authority
    from registry.settings import load_settings

    config = store_settings(args)
    directory = getattr(args, "dir", None)
    if directory:
        return AuthorityDirectory(Path(directory).expanduser(), config.keys_passphrase)
    origin = load_settings(OriginConfig, "origin", file=config_file(args))
    return find_authority((origin.keys_dir, config.keys_dir), config.keys_passphrase)


def open_register(args: argparse.Namespace) -> Register:
    """Tokens and nodes in the object store, calls tried again. Does not connect yet."""
    from origin.identity.register import Register
    from registry.store.opening import open_store as open_objects
    from registry.store.retrying import RetryingStore

    return Register(RetryingStore(open_objects(store_settings(args))))


def trusted_root(args: argparse.Namespace) -> Path:
    """Where the first root is that this machine trusts."""
    from registry.trust.keys import ROOT_FILE

    config = store_settings(args)
    return config.trusted_root or config.keys_dir / ROOT_FILE
