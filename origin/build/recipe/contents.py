"""The tables of a recipe, each as TOML has it; unknown keys are refused where they are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from msgspec import Struct, field

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from origin.build.evaluate.tasks import AnyTaskSpec
    from origin.build.gates import Limit
    from origin.build.step import Step

SOURCE = "source"
"""What steps call the model that a recipe begins with."""


class _Table(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Any table but a step's."""


class ModelTable(_Table, frozen=True, kw_only=True):
    """`[model]`: what is made, and of what.

    Attributes:
        license: of the source, such as `Apache-2.0`; what is made of it inherits it.
        source: a GGUF file, an ONNX directory, or one with safetensors as Hugging Face lays them out; relative to
            the recipe. Empty where the command line names it.
        sha256: of the source's file of weights; "" takes any.
        parent: the release that it was made from, such as `chat@1.2.0`: nodes that hold it get a delta.
    """

    name: str
    version: str
    license: str
    source: str = ""
    sha256: str = ""
    parent: str = ""


class DataTable(_Table, frozen=True, kw_only=True):
    """`[data.NAME]`: documents, of `.txt` each paragraph, of `.jsonl` each line's `text`.

    Attributes:
        limit_count: as many are drawn at most; 0 is all.
        seed: by which they are drawn.
        sha256: that the documents must have, as a lineage names it; "" takes any.
    """

    files: tuple[str, ...]
    limit_count: int = 0
    seed: int = 0
    sha256: str = ""


class VariantTable(_Table, frozen=True, kw_only=True):
    """`[[variant]]`: one form of the model in the release.

    Attributes:
        source: the step that makes it.
        cpu: features that a node's CPU must have, in the kernel's words.
        space: the step whose vectors it gives, or as `source` those of the source: what was trained anew is a space
            of its own, and what was only quantized is not.
    """

    name: str
    source: str = field(name="from")
    cpu: tuple[str, ...] = ()
    space: str = SOURCE


class EvaluateTable(_Table, frozen=True, kw_only=True):
    """`[evaluate]`: what the variants are judged on.

    Attributes:
        texts: the `[data.NAME]`, of which no step may have learned.
        reference: the step, or the source, that the variants are compared with.
        tokens_count: how much text a chat model is judged on.
        speeds: measure them too, which takes a quiet machine and a minute for each variant.
    """

    texts: str
    reference: str = SOURCE
    tokens_count: int = 8192
    speeds: bool = True


class PublishTable(_Table, frozen=True, kw_only=True):
    """`[publish]`: whether a variant that its gate refuses keeps back the others, and the channel to point here."""

    require: Literal["all", "any"] = "all"
    channel: str = "stable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A recipe, as far as it can be checked without looking at any model.

    Attributes:
        path: where it was read; other paths are relative to its folder.
        sha256: of its bytes.
        seed: all randomness of all steps comes from it.
        tasks: labelled sets that an encoder is tried on.
        gate: what every variant must reach; None where the recipe has no `[gate]`: then the default holds.
        variant_gates: what takes the place of single limits of `gate`, by the variant's name.
        lines: of each step and variant by its name, for messages; see `place_of`.
    """

    path: Path
    sha256: str
    seed: int
    model: ModelTable
    data: Mapping[str, DataTable]
    steps: tuple[Step, ...]
    variants: tuple[VariantTable, ...]
    evaluate: EvaluateTable | None
    tasks: tuple[AnyTaskSpec, ...]
    gate: Mapping[str, Limit] | None
    variant_gates: Mapping[str, Mapping[str, Limit]]
    publish: PublishTable
    lines: Mapping[tuple[str, str], int]

    def gates_of(self, variant: str) -> Mapping[str, Limit] | None:
        """What a variant must reach; None is the default gate."""
        own = self.variant_gates.get(variant)
        return self.gate if own is None else {**(self.gate or {}), **own}

    def place_of(self, table: str, name: str) -> str:
        """Where something is said, such as `[[step]] qat (line 31)`."""
        brackets = f"[[{table}]]" if table in {"step", "variant"} else f"[{table}]"
        line = self.lines.get((table, name))
        words = " ".join(filter(None, (brackets, name)))
        return f"{words} (line {line})" if line else words
