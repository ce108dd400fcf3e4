"""Which of a node's releases a request's `model` means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_node.errors import ModelNotHereError, RequestInvalidError, SpaceMismatchError
from registry.errors import InputInvalidError
from registry.reference import parse_asked

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_node.berth import Berth
    from edge_node.reconcile import ReleaseKey
    from registry.reference import Reference


def read_asked(model: str, channel: str) -> Reference:
    """What a request asks of a node on this channel.

    Raises:
        RequestInvalidError: not a model's name.
        ModelNotHereError: it asks for another channel.
    """
    try:
        reference = parse_asked(model)
    except InputInvalidError as error:
        raise RequestInvalidError(error.message, param="model") from error
    # A bare name means whatever this node serves, on any channel.
    if ":" in model and reference.channel != channel:
        raise ModelNotHereError(
            f"this node takes its models from the channel {channel!r}, not {reference.channel!r}",
            param="model",
        )
    return reference


def find_meant(
    reference: Reference, berths: Mapping[ReleaseKey, Berth], current: Mapping[str, str]
) -> Berth | None:
    """The release that is meant; None when it is not here.

    Raises:
        SpaceMismatchError: vectors of one space are insisted on, and what is here gives others.
    """
    name = reference.name
    version = reference.version or current.get(name)
    berth = berths.get((name, version)) if version else None
    if not reference.space or berth is None or berth.release.space_id == reference.space:
        return berth
    raise SpaceMismatchError(
        f"{name}@{version} gives vectors of the space {berth.release.space_id or 'that nobody named'} here, and not of "
        f"{reference.space}; ask another node, or take vectors of one space anew",
        param="model",
    )
