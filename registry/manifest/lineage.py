"""Lineage: what a variant was made from, by which steps, on which texts, and what it was measured to be.

It lies in the manifest as packed bytes and is unpacked when somebody asks: who fetches and serves has no use for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

from registry import wire
from registry.errors import InputInvalidError, ManifestInvalidError

if TYPE_CHECKING:
    from registry.manifest.contents import Variant

LINEAGE_LIMIT_BYTES = 256 * 1024
SOURCE = "source"

Reproducible = Literal["exact", "same_tools", "no"]
"""Whether the same step on the same inputs gives the same bytes: anywhere; with the same builds of the same tools; or
not for certain, as with what was trained."""


class LineageStep(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One step, after those that it worked on.

    Attributes:
        version: of the operation.
        inputs: by attribute the id of the step, or `source`.
        texts: by attribute the name of the texts.
        made_sha256: of the file with the weights that it made.
        facts: what the operation found worth saying.
        tools: versions of the packages that computed.
    """

    id: str
    op: str
    version: int
    parameters: dict[str, Any]
    inputs: dict[str, str]
    texts: dict[str, str] = {}
    made_sha256: str
    reproducible: Reproducible = "same_tools"
    facts: dict[str, Any] = {}
    tools: dict[str, str] = {}


class LineageFigure(Struct, frozen=True, kw_only=True):
    """A measured number and the interval that it lies in with 95 % confidence; None is not a number."""

    value: float | None
    low: float | None
    high: float | None


class LineageGate(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A limit that held, or did not: `figure` with `@SIBLING` where it is against one."""

    figure: str
    min: float | str | None = None
    max: float | str | None = None
    passed: bool


class Lineage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a variant comes from.

    Attributes:
        root_sha256: of the file with the weights that the recipe began with.
        parent_sha256: of the file that the last step worked on.
        recipe_sha256: of the recipe's bytes.
        seed: all randomness came from it.
        steps: in the order of the work; the last made the variant.
        texts_sha256: of the documents of each set of texts, by name.
        reference: the step, or `source`, that it was compared with.
        figures: what was measured, by name.
        gates: what was demanded.
        tools: versions of the packages that measured.
    """

    root_sha256: str
    parent_sha256: str
    recipe_sha256: str
    seed: int
    steps: tuple[LineageStep, ...]
    texts_sha256: dict[str, str] = {}
    reference: str = ""
    figures: dict[str, LineageFigure] = {}
    gates: tuple[LineageGate, ...] = ()
    tools: dict[str, str] = {}


def pack_lineage(lineage: Lineage) -> bytes:
    """The bytes that a manifest carries.

    Raises:
        InputInvalidError: they would be over 256 KiB.
    """
    packed = wire.to_msgpack(lineage)
    if len(packed) > LINEAGE_LIMIT_BYTES:
        raise InputInvalidError(
            f"the lineage takes {len(packed)} bytes, and a manifest has room for {LINEAGE_LIMIT_BYTES}: "
            "an operation states too many facts"
        )
    return packed


def lineage_of(variant: Variant) -> Lineage | None:
    """Where a variant comes from; None when its publisher did not say.

    Raises:
        ManifestInvalidError: what it carries is no lineage.
    """
    if not variant.lineage:
        return None
    try:
        return wire.from_msgpack(variant.lineage, Lineage)
    except InputInvalidError as error:
        raise ManifestInvalidError(
            f"the lineage of {variant.name} cannot be read: {error.message}"
        ) from error
