"""ClientConfig: what a client needs to know, from the section `client` of the settings."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from origin.api import parse_place
from registry.errors import ConfigError
from registry.settings import find_config_file, load_settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from origin.api import Place


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """Where the origin is, where the client is, and how patient it is.

    Attributes:
        origin: URLs of the origins, the preferred one first; the first that answers is asked.
        place: `LAT,LON` in degrees; empty lets the origin guess.
        api_key: sent as a bearer token; empty sends none.
        timeout_s: how long a node may say nothing before the client gives up on it.
        deadline_s: how long a call may take until its first text, over all nodes and pauses.
        idle_after_s: how long after the last request the list of nodes is still renewed and nodes are probed.
        answer_limit_bytes: the most that one answer may unpack to.
    """

    origin: tuple[str, ...] = ("http://127.0.0.1:7700",)
    place: str = ""
    api_key: str = ""
    timeout_s: float = 120.0
    deadline_s: float = 180.0
    idle_after_s: float = 120.0
    answer_limit_bytes: int = 64 * 2**20


def load_client_config(
    *,
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
) -> ClientConfig:
    """The settings of a client; `$EDGEWARD_ORIGIN` is short for `$EDGEWARD_CLIENT_ORIGIN`.

    Args:
        file: a TOML file; None takes the one that `find_config_file` finds.
        environ: the environment; None takes the process's own.
        flags: set by the program or on the command line; None is one that was not given.

    Raises:
        ConfigError: an unknown key, a value that does not fit, or a file that cannot be read.
    """
    variables = dict(os.environ if environ is None else environ)
    if "EDGEWARD_ORIGIN" in variables:
        variables.setdefault("EDGEWARD_CLIENT_ORIGIN", variables["EDGEWARD_ORIGIN"])
    config = load_settings(
        ClientConfig, "client", file=file or find_config_file(variables), environ=variables, flags=flags
    )
    if not config.origin:
        raise ConfigError("client.origin is empty: give the URL of at least one origin")
    for url in config.origin:
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"the origin's address must start with http:// or https://, and is {url!r}")
    for name in ("timeout_s", "deadline_s"):
        if not 0 < getattr(config, name) < math.inf:
            raise ConfigError(f"client.{name} must be positive, and is {getattr(config, name)}")
    if not config.idle_after_s >= 0:
        raise ConfigError(f"client.idle_after_s must be 0 or more, and is {config.idle_after_s}")
    return config


def stated_place(text: str) -> Place | None:
    """A place from `LAT,LON` in degrees, such as `48.85,2.35`; None from an empty text.

    Raises:
        InputInvalidError: not two numbers, or not on the earth.
    """
    return parse_place(text) if text.strip() else None
