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
    sweeps: Annotated[int, msgspec.Meta(ge=0, le=100)] = 4


class DropLayers(Step, frozen=True, kw_only=True, tag="drop_layers"):
    """Leave out whole layers: `layers`, or the `count` that are missed least.

    Attributes:
        importance: the id of an `importance` step; its influences rank the layers.
        data: texts to judge on; then the layers are chosen by KL divergence, one after the other.
        candidates: with both, how many of the least influential layers are tried.
        tokens: how many are read of `data` in each trial.
    """

    INPUTS: ClassVar = {"source": _GGUF, "importance": ("importance",)}
    TEXTS: ClassVar = ("data",)
    MAKES: ClassVar[ArtifactKind] = "gguf"
    MODULE: ClassVar[str] = "origin.build.gguf.drop_layers"

    count: Annotated[int, msgspec.Meta(ge=0)] = 0
    layers: list[Annotated[int, msgspec.Meta(ge=0)]] = msgspec.field(default_factory=list)
    importance: str = ""
    data: str = ""
    candidates: Count = 8
    tokens: Count = 2048


class NarrowFfn(Step, frozen=True, kw_only=True, tag="narrow_ffn"):
    """Feed-forward layers of `width` neurons each, the most important ones.

    Attributes:
        importance: the id of an `importance` step on this model.
    """

    INPUTS: ClassVar = {"source": _GGUF, "importance": ("importance",)}
    MAKES: ClassVar[ArtifactKind] = "gguf"
    MODULE: ClassVar[str] = "origin.build.gguf.narrow_ffn"

    importance: str
    width: Count


class Mix(Step, frozen=True, kw_only=True, tag="mix"):
    """Blocks of 32 as `compensate` makes them, the types chosen by what they cost this model, in a budget of bytes.

    Attributes:
        budget_mb: the most that the file may take, in millions of bytes.
        types: what a matrix may become.
        embedding_types: what the token embedding may become.
        bands: how many bands of layers are told apart.
        tokens: how many of `data` are read for the Gram matrices.
        trial_tokens: how many of `data` each group is judged on.
        sweeps: as of `compensate`.
    """

    INPUTS: ClassVar = {"source": _GGUF}
    TEXTS: ClassVar = ("data",)
    MAKES: ClassVar[ArtifactKind] = "gguf"
    MODULE: ClassVar[str] = "origin.build.gguf.mix"

    budget_mb: Annotated[float, msgspec.Meta(gt=0)]
    data: str
    types: Annotated[list[CompensatedType], msgspec.Meta(min_length=1)] = msgspec.field(
        default_factory=lambda: ["IQ4_NL", "Q5_0", "Q8_0"]
    )
    embedding_types: Annotated[list[CompensatedType], msgspec.Meta(min_length=1)] = msgspec.field(
        default_factory=lambda: ["Q4_0", "Q5_1", "Q8_0"]
    )
    bands: Count = 3
    tokens: Count = 32768
    trial_tokens: Count = 1024
    sweeps: Annotated[int, msgspec.Meta(ge=0, le=100)] = 4


class TrimVocabulary(Step, frozen=True, kw_only=True, tag="trim_vocabulary"):
    """Without the tokens that are in `data` fewer than `min_count` times, for a model of one domain."""

    INPUTS: ClassVar = {"source": _GGUF}
    TEXTS: ClassVar = ("data",)
    MAKES: ClassVar[ArtifactKind] = "gguf"
    MODULE: ClassVar[str] = "origin.build.gguf.trim_vocabulary"

    data: str
    min_count: Count = 1


class Sparsify(Step, frozen=True, kw_only=True, tag="sparsify"):
    """Zeros in the place of the weights that matter least; smaller on the wire, not faster.

    Attributes:
        method: `magnitude`, or `wanda`, which weighs with the `importance`.
        share: of each row that becomes zero.
        pattern: instead of a share, `2:4` keeps 2 of every 4.
    """

    INPUTS: ClassVar = {"source": _GGUF, "importance": ("importance",)}
    MAKES: ClassVar[ArtifactKind] = "gguf"
    MODULE: ClassVar[str] = "origin.build.gguf.sparsify"

    method: Literal["magnitude", "wanda"] = "magnitude"
    share: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0
    pattern: Annotated[str, msgspec.Meta(pattern=r"^([0-9]{1,3}:[0-9]{1,3})?$")] = ""
    importance: str = ""


class ImportSafetensors(Step, frozen=True, kw_only=True, tag="import_safetensors"):
    """A llama model of Hugging Face's layout as GGUF.

    Attributes:
        pre: llama.cpp's word for how the tokenizer cuts text; empty to tell it from tokenizer.json.
    """

    INPUTS: ClassVar = {"source": ("llama",)}
    MAKES: ClassVar[ArtifactKind] = "gguf"
    MODULE: ClassVar[str] = "origin.build.gguf.import_safetensors"

    pre: str = ""
