"""Step: what one entry of a recipe says, and what an operation is given and gives back.

An operation is a subclass of Step, in `origin/build/operations.py`'s table, and a module that does it:

    VERSION: int                                             grows when the same inputs would give other bytes
    def check_words(step) -> None                            refuse what means nothing for any model; optional
    def check(step, source: Artifact) -> None                that, and what this model cannot have; optional
    def run(step, work: StepWork) -> Mapping[str, Fact]      write `work.directory`; facts go into the lineage

The module is imported when the operation runs, so a recipe without training needs no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from origin.build.texts import TextSet

ArtifactKind = Literal["gguf", "bert", "llama", "onnx", "importance"]
"""`gguf`: model.gguf. `bert`, `llama`: config.json, model.safetensors, tokenizer.json as Hugging Face lays them out.
`onnx`: model.onnx with tokenizer.json and config.json. `importance`: importance.safetensors, a mean square for each
column of each matrix."""

MODEL_FILES: dict[ArtifactKind, str] = {
    "gguf": "model.gguf",
    "bert": "model.safetensors",
    "llama": "model.safetensors",
    "onnx": "model.onnx",
    "importance": "importance.safetensors",
}
"""Of each kind of artifact the file with the weights."""

Fact = str | int | float | bool | list["Fact"] | dict[str, "Fact"]


@dataclass(frozen=True, slots=True)
class Artifact:
    """What a step made, or the source: a directory that is never written again.

    Attributes:
        key: SHA-256 in hex; the same key is the same work on the same inputs.
    """

    key: str
    kind: ArtifactKind
    directory: Path

    @property
    def model_file(self) -> Path:
        """The file with the weights."""
        return self.directory / MODEL_FILES[self.kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepProgress:
    """How far a step is: `done` of `total` units, and a figure worth showing, such as a loss."""

    done: int
    total: int
    unit: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepWork:
    """What a running operation is given.

    Attributes:
        directory: empty; becomes the artifact, whole, when `run` returns.
        checkpoints: survives an interruption, is emptied after success. Write in it by `write_durably` or by a rename.
        inputs: by the name of the step's attribute, such as `source` or `teacher`.
        texts: by the name of the step's attribute.
        seed: the one of the recipe; all randomness comes from it.
        report: called often; cheap. Raises KeyboardInterrupt nowhere by itself.
        threads_count: how many threads may compute.
    """

    directory: Path
    checkpoints: Path
    inputs: Mapping[str, Artifact]
    texts: Mapping[str, TextSet]
    seed: int
    report: Callable[[StepProgress], None]
    threads_count: int


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="op"):
    """One entry `[[step]]`.

    Attributes:
        id: names what it makes, in the recipe.
        source: the id of the step it works on, or `source`.
    """

    INPUTS: ClassVar[Mapping[str, tuple[ArtifactKind, ...]]] = {}
    """Attributes that name a step, and the kinds that they may be; an empty name is left out."""
    TEXTS: ClassVar[tuple[str, ...]] = ()
    """Attributes that name a `[data.NAME]`; an empty name is left out."""
    MAKES: ClassVar[ArtifactKind]
    MODULE: ClassVar[str]

    id: str
    source: str = msgspec.field(name="from", default="source")
