"""How people name a release: `chat`, `chat:canary` or `chat@1.2.0`; `embed#SPACE` asks for one space of vectors."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from registry.errors import InputInvalidError

DEFAULT_CHANNEL = "stable"

_PART = r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?"
_NAME = re.compile(rf"{_PART}(?:/{_PART})?")
_VERSION = re.compile(r"[0-9A-Za-z](?:[0-9A-Za-z.+-]{0,62}[0-9A-Za-z])?")
_CHANNEL = re.compile(_PART)
_SPACE = re.compile(r"[A-Za-z0-9._-]{1,64}")
_VARIANT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
_KEY_ENDINGS = (".eaf", ".msgpack")


@dataclass(frozen=True, slots=True)
class Reference:
    """A model's name with a version, or with the channel that points at one.

    Exactly one of `version` and `channel` is set.

    Attributes:
        space: the space that vectors must be in, whichever release makes them; "" where a request does not say.
    """

    name: str
    version: str | None
    channel: str | None
    space: str = ""

    def __str__(self) -> str:
        """The form that `parse_asked` reads."""
        release = f"{self.name}@{self.version}" if self.version else f"{self.name}:{self.channel}"
        return f"{release}#{self.space}" if self.space else release


def parse_reference(text: str) -> Reference:
    """`name`, `name:channel` or `name@version`; a bare name means the channel `stable`.

    Raises:
        InputInvalidError: the name, version or channel has a form that is not allowed.
    """
    name, at, version = text.partition("@")
    if at:
        return Reference(check_name(name), check_version(version), None)
    name, colon, channel = text.partition(":")
    return Reference(check_name(name), None, check_channel(channel) if colon else DEFAULT_CHANNEL)


def parse_asked(text: str) -> Reference:
    """What a request's `model` says: a reference, and after `#` the space that its vectors must be in.

    Raises:
        InputInvalidError: as `parse_reference`, or what follows `#` cannot be the name of a space.
    """
    release, hash_sign, space = text.partition("#")
    return replace(parse_reference(release), space=check_space(space) if hash_sign else "")


def bare_name(model: str) -> str:
    """The name alone of what a request's `model` says."""
    return model.partition("#")[0].partition("@")[0].partition(":")[0]


def check_name(name: str) -> str:
    """The name itself if it is a model's name: `chat` or `team/chat`.

    Raises:
        InputInvalidError: anything else, `../` in any form included.
    """
    # Stores that keep keys as files could not hold `team/1.eaf` both as a manifest and as a folder.
    kept_for_keys = any(part.endswith(_KEY_ENDINGS) for part in name.split("/"))
    if not _NAME.fullmatch(name) or ".." in name or kept_for_keys:
        raise InputInvalidError(
            f"{name[:80]!r} is not a model name: use lower-case letters, digits, '.', '_' and '-', "
            "at most 64 characters, with at most one '/' (for example chat or team/chat); no part may end in "
            "'.eaf' or '.msgpack'",
            param="name",
        )
    return name


def check_version(version: str) -> str:
    """The version itself if it has a version's form, such as `1.2.0` or `2026.11-rc1`.

    Raises:
        InputInvalidError: anything else.
    """
    if not _VERSION.fullmatch(version) or ".." in version:
        raise InputInvalidError(
            f"{version[:80]!r} is not a version: use letters, digits, '.', '+' and '-', "
            "at most 64 characters (for example 1.2.0)",
            param="version",
        )
    return version


def check_variant(variant: str) -> str:
    """The variant's name itself if it has the form of one, such as `q4_k_m`.

    Raises:
        InputInvalidError: anything else.
    """
    if not _VARIANT.fullmatch(variant) or ".." in variant:
        raise InputInvalidError(
            f"{variant[:80]!r} is not a variant's name: use letters, digits, '.', '_' and '-', "
            "at most 64 characters (for example q4_k_m)",
            param="variant",
        )
    return variant


def check_space(space: str) -> str:
    """The name of a space of vectors itself if it has the form of one, such as `53aa51172d14bb2a`.

    Raises:
        InputInvalidError: anything else.
    """
    if not _SPACE.fullmatch(space):
        raise InputInvalidError(
            f"{space[:80]!r} is not a space of vectors: use letters, digits, '.', '_' and '-', at most 64; an "
            "embedding's answer names its own as space_id, and embed#SPACE asks for it",
            param="space",
        )
    return space


def check_channel(channel: str) -> str:
    """The channel itself if it has a channel's form, such as `stable`.

    Raises:
        InputInvalidError: anything else.
    """
    if not _CHANNEL.fullmatch(channel) or ".." in channel:
        raise InputInvalidError(
            f"{channel[:80]!r} is not a channel: use lower-case letters, digits, '.', '_' and '-' "
            "(for example stable)",
            param="channel",
        )
    return channel
