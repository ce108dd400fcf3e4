"""A process's settings: a frozen dataclass filled from defaults, a TOML file, the environment and flags, in that order.

A TOML file has one table per section (`[store]`, `[origin]`, `[sharing]`, `[node]`, `[client]`), so one file can serve
several processes. The environment variable of a setting is `EDGEWARD_<SECTION>_<KEY>`. An unknown key is an
error that names the nearest known one. No other file reads the environment for a setting.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

import msgspec

from registry.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

T = TypeVar("T")

SECTIONS = ("store", "origin", "sharing", "node", "client")
_PREFIX = "EDGEWARD_"
_FILES = (
    Path(".edgeward/edgeward.toml"),
    Path("~/.config/edgeward/edgeward.toml"),
    Path("/etc/edgeward/edgeward.toml"),
)
_BYTES = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12} | {
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_QUANTITY = re.compile(r"\s*(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[A-Za-z]+)\s*")


def find_config_file(environ: Mapping[str, str] = os.environ) -> Path | None:
    """The file that settings come from when no flag names one: `$EDGEWARD_CONFIG`, else the first that exists.

    Raises:
        ConfigError: `$EDGEWARD_CONFIG` names a file that does not exist.
    """
    named = environ.get(f"{_PREFIX}CONFIG")
    if named:
        if not Path(named).is_file():
            raise ConfigError(f"EDGEWARD_CONFIG names {named}, and there is no such file")
        return Path(named)
    return next((path for raw in _FILES if (path := raw.expanduser()).is_file()), None)


def load_settings(
    kind: type[T],
    section: str,
    *,
    file: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    flags: Mapping[str, Any] | None = None,
) -> T:
    """One section's settings.

    Args:
        kind: a frozen dataclass with a default for every field.
        section: its table in the file and its part of the variables' names.
        file: a TOML file; None reads none.
        environ: the environment.
        flags: from the command line; a None is a flag that was not given.

    Raises:
        ConfigError: an unknown key, a wrong type, or a file that cannot be read.
    """
    types = get_type_hints(kind)
    values: dict[str, Any] = {}
    if file is not None:
        values.update(_from_file(file, section, types))
    values.update(_from_environment(environ, section, types))
    values.update({key: value for key, value in (flags or {}).items() if value is not None})
    checked = {key: _checked(f"{section}.{key}", value, types[key]) for key, value in values.items()}
    return dataclasses.replace(kind(), **checked)  # type: ignore[type-var]  # every section is a dataclass


def seconds_of(text: str, name: str) -> float:
    """A time such as `90`, `30 m` or `1h`, in seconds.

    Raises:
        ConfigError: it is none; the message says `name`.
    """
    seconds: float = _checked(f"{name}_s", text, float)
    return seconds


def _from_file(file: Path, section: str, types: Mapping[str, Any]) -> dict[str, Any]:
    try:
        document = tomllib.loads(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cannot read the settings in {file}: {error}") from error
    for name in document:
        _known(name, SECTIONS, f"table in {file}")
    table = document.get(section, {})
    if not isinstance(table, dict):
        raise ConfigError(f"[{section}] in {file} must be a table")
    for key in table:
        _known(key, types, f"key of [{section}] in {file}")
    return table


def _from_environment(environ: Mapping[str, str], section: str, types: Mapping[str, Any]) -> dict[str, Any]:
    prefix = f"{_PREFIX}{section.upper()}_"
    found = {
        name.removeprefix(prefix).lower(): value for name, value in environ.items() if name.startswith(prefix)
    }
    for key in found:
        _known(key, types, f"setting in the environment variable {prefix}{key.upper()}")
    return found


def _known(key: str, allowed: Iterable[str], what: str) -> None:
    names = list(allowed)
    if key not in names:
        near = difflib.get_close_matches(key, names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}"
        raise ConfigError(f"unknown {what}: {key!r}; {hint}")


def _checked(name: str, value: Any, kind: Any) -> Any:
    if isinstance(value, str):
        value = _quantity(name, value)
    if isinstance(value, str) and kind in {tuple[str, ...], tuple[float, ...]}:
        value = [part.strip() for part in value.split(",") if part.strip()]
    try:
        return msgspec.convert(value, type=kind, strict=False, dec_hook=_path)
    except (msgspec.ValidationError, ValueError) as error:
        raise ConfigError(f"{name} = {value!r} does not fit: {error}") from error


def _path(kind: type[Any], value: Any) -> Any:
    if kind is Path:
        return Path(str(value)).expanduser()
    raise TypeError(f"a setting cannot be of type {kind}")


def _quantity(name: str, text: str) -> Any:
    """`"200 GiB"` for a `_bytes` key and `"30 s"` for an `_s` key become numbers."""
    units: dict[str, float] = {}
    if name.endswith("_bytes"):
        units = {unit: float(factor) for unit, factor in _BYTES.items()}
    elif name.endswith("_s"):
        units = _SECONDS
    match = _QUANTITY.fullmatch(text)
    if not units or match is None:
        return text
    factor = units.get(match["unit"].lower())
    if factor is None:
        raise ConfigError(f"{name} = {text!r}: unknown unit {match['unit']!r}; known: {', '.join(units)}")
    number = float(match["number"]) * factor
    return int(number) if name.endswith("_bytes") else number
