"""What a recipe says of operations on GGUF files; how each is done is in the module that it names."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec

from origin.build.step import ArtifactKind, Step

CompensatedType = Literal["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL"]
"""Types of blocks of 32 whose codes are chosen here."""
Count = Annotated[int, msgspec.Meta(ge=1)]
_GGUF: tuple[ArtifactKind, ...] = ("gguf",)


class Dequantize(Step, frozen=True, kw_only=True, tag="dequantize"):
    """Every matrix as F16: what the operations that change weights work on."""

    INPUTS: ClassVar = {"source": _GGUF}
    MAKES: ClassVar[ArtifactKind] = "gguf"
    MODULE: ClassVar[str] = "origin.build.gguf.dequantize"


class Importance(Step, frozen=True, kw_only=True, tag="importance"):
    """How large the numbers are that each column of each matrix is multiplied with, and how much each layer changes.

    Attributes:
        tokens: how many are read of `data`.
    """

    INPUTS: ClassVar = {"source": _GGUF}
    TEXTS: ClassVar = ("data",)
    MAKES: ClassVar[ArtifactKind] = "importance"
    MODULE: ClassVar[str] = "origin.build.gguf.importance"

    data: str
    tokens: Count = 32768


class Quantize(Step, frozen=True, kw_only=True, tag="quantize"):
    """As llama.cpp quantizes.

    Attributes:
        type: llama.cpp's name, such as `Q4_K_M` or `IQ4_NL`.
        importance: the id of an `importance` step; its figures weigh the rounding errors.
        embedding: another type for the token embedding, such as `Q5_1`.
        tensors: types for tensors whose name has this regular expression in it; the first that fits counts.
    """

    INPUTS: ClassVar = {"source": _GGUF, "importance": ("importance",)}
    MAKES: ClassVar[ArtifactKind] = "gguf"
    MODULE: ClassVar[str] = "origin.build.gguf.quantize"

    type: str
    importance: str = ""
    embedding: str = ""
    tensors: dict[str, str] = msgspec.field(default_factory=dict)


class Compensate(Step, frozen=True, kw_only=True, tag="compensate"):
    """Quantize to blocks of 32 so that what each matrix computes over `data` changes least.

    Attributes:
        type: of all matrices but the embedding.
        embedding: of the token embedding, which makes the logits where a model has no head of its own.
        tensors: types for matrices whose name has this regular expression in it; the first that fits counts.
        tokens: how many are read of `data`.
        sweeps: how often every code and scale is set to its best again.
    """

    INPUTS: ClassVar = {"source": _GGUF}
    TEXTS: ClassVar = ("data",)
    MAKES: ClassVar[ArtifactKind] = "gguf"
    MODULE: ClassVar[str] = "origin.build.gguf.compensate"

    type: CompensatedType
    data: str
    embedding: CompensatedType = "Q8_0"
    tensors: dict[str, CompensatedType] = msgspec.field(default_factory=dict)
    tokens: Count = 32768
    sweeps: Annotated[int, msgspec.Meta(ge=0, le=100)] = 8
