"""How an origin enters NATS: what it shows, whom it believes, and in words why it was not let in."""

from __future__ import annotations

import importlib.util
import itertools
import ssl
from typing import TYPE_CHECKING, Any

import nats.errors
from nats.aio.client import Client

from registry.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from origin.sharing.config import SharingConfig

CONNECT_S = 2.0


class EntryClient(Client):
    """nats-py's client, but one that says nothing to a server without TLS where TLS was asked for.

    nats-py goes by what the server says first, in the clear: whoever stands between could say that it wants no TLS, and
    be sent the token.
    """

    def __init__(self, *, needs_tls: bool) -> None:
        super().__init__()
        self._needs_tls = needs_tls

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if initial_connection and self._needs_tls and not info.get("tls_required"):
            raise nats.errors.Error("it offers no TLS, and without TLS nothing is said to it")
        await super()._process_info(info, initial_connection)


def options_of(config: SharingConfig) -> dict[str, Any]:
    """What `Client.connect` is told.

    Raises:
        ConfigError: the credentials are none or need a package that is not installed; `tls_ca` holds no certificates.
    """
    options: dict[str, Any] = {
        "servers": list(config.servers),
        "name": "edgeward origin",
        "no_echo": True,
        "allow_reconnect": False,
        "max_reconnect_attempts": 1,
        "reconnect_time_wait": 0.1,
        "connect_timeout": CONNECT_S,
        "ping_interval": 3600,  # the bus does that, and does not wait for a dead peer to take the rest
    }
    if config.token:
        options["token"] = config.token
    if config.creds is not None:
        _check_creds(config.creds)
        options["user_credentials"] = str(config.creds)
    if config.tls_ca is not None or any(server.startswith("tls://") for server in config.servers):
        options["tls"] = _trusting(config.tls_ca)
    return options


def reason_of(error: Exception) -> str:
    """Why there is no connection, with the setting to look at."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message}); sharing.tls_ca says whose are"
    if isinstance(error, nats.errors.AuthorizationError) or "authorization violation" in str(error).lower():
        return "it refuses what sharing.creds or sharing.token says (Authorization Violation)"
    if isinstance(error, nats.errors.NoServersError):
        return "each of them refused the connection or did not answer"
    return str(error) or type(error).__name__


def _trusting(tls_ca: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if tls_ca is not None:
        try:
            context.load_verify_locations(tls_ca)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"sharing.tls_ca: {tls_ca} holds no certificates: {error}") from error
    return context


def _check_creds(file: Path) -> None:
    """Refuse at the start what nats-py would break over at each connection. Raises ConfigError."""
    if importlib.util.find_spec("nkeys") is None:
        raise ConfigError("sharing.creds needs the package nkeys: install edgeward[fleet]")
    import nkeys  # noqa: PLC0415  # only where credentials are asked for

    try:
        lines = file.read_text("ascii").splitlines()
        nkeys.from_seed(bytearray(_after(lines, "BEGIN USER NKEY SEED"), "ascii")).wipe()
        fits = _after(lines, "BEGIN NATS USER JWT").count(".") == 2
    except (OSError, ValueError, nkeys.NkeysError):
        fits = False
    if not fits:  # nothing of what is in it belongs in a message
        raise ConfigError(
            f"sharing.creds: {file} is not a credentials file (a user's JWT and key, as nsc makes it)"
        )


def _after(lines: list[str], words: str) -> str:
    """The line after the one with these words; empty where there is none."""
    found = (later.strip() for line, later in itertools.pairwise(lines) if words in line)
    return next(found, "")
