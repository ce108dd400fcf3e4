"""Steps that make encoders smaller: what a recipe may say. They are done in `onnx/` and, by torch, `encoder/`."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - msgspec reads the annotations
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from origin.build.step import ArtifactKind, Step

_Count = Annotated[int, Meta(ge=1)]
_Ratio = Annotated[float, Meta(gt=0, lt=1)]
_Weight = Annotated[float, Meta(ge=0)]
_Bert: tuple[ArtifactKind, ...] = ("bert",)
_Onnx: tuple[ArtifactKind, ...] = ("onnx",)

TableForm = Literal["float", "rows8", "blocks4"]
"""How a table of token vectors is stored: as it is; 8 bits, a scale for each row; 4 bits, a scale for each block."""


class ExportOnnx(Step, frozen=True, kw_only=True, tag="export_onnx"):
    """A checkpoint as an ONNX graph, pooling and normalization inside."""

    INPUTS: ClassVar[Mapping[str, tuple[ArtifactKind, ...]]] = {"source": _Bert}
    MAKES: ClassVar[ArtifactKind] = "onnx"
    MODULE: ClassVar[str] = "origin.build.onnx.export"


class QuantizeDynamic(Step, frozen=True, kw_only=True, tag="quantize_dynamic"):
    """Matrices in 8 bits; their inputs are rounded as they come. The quickest form on processors with VNNI.

    Attributes:
        per_channel: a scale for each output instead of one for a matrix; only worse without.
    """

    INPUTS: ClassVar[Mapping[str, tuple[ArtifactKind, ...]]] = {"source": _Onnx}
    MAKES: ClassVar[ArtifactKind] = "onnx"
    MODULE: ClassVar[str] = "origin.build.onnx.quantize_dynamic"

    per_channel: bool = True
    embedding: TableForm = "blocks4"


class QuantizeStatic(Step, frozen=True, kw_only=True, tag="quantize_static"):
    """Matrices and their inputs in 8 bits, the ranges of the inputs seen on texts beforehand (QDQ).

    Attributes:
        method: how a range is taken from what was seen.
        texts_count: as many of the texts are run.
    """

    INPUTS: ClassVar[Mapping[str, tuple[ArtifactKind, ...]]] = {"source": _Onnx}
    TEXTS: ClassVar[tuple[str, ...]] = ("data",)
    MAKES: ClassVar[ArtifactKind] = "onnx"
    MODULE: ClassVar[str] = "origin.build.onnx.quantize_static"

    data: str
    method: Literal["minmax", "entropy", "percentile"] = "minmax"
    texts_count: _Count = 128
    embedding: TableForm = "blocks4"


class QuantizeBlocks(Step, frozen=True, kw_only=True, tag="quantize_blocks"):
    """Weights in 4 or 8 bits with a scale for each block (MatMulNBits).

    Attributes:
        rounds_inputs: each row of inputs is rounded to 8 bits by itself, block by block: several times as fast where
            integers are multiplied in hardware, and next to nothing is lost.
        levels_bits: of 8 stored bits so many are used: on the wire, where codes are packed by their entropy, the file
            is as small as its levels. 0 uses all.
        block_count: weights that share a scale; 0 is 64 of 8 bits and 32 of 4.
        data: texts, by whose inputs a column's error is weighed; "" weighs all columns alike.
        step_deviations: over 0: one scale for a whole matrix, of this many standard deviations of its weights, in
            place of blocks: the least error for bytes on the wire, not for bytes in memory. 8 bits only.
        embedding_step_deviations: the same for the table of token vectors, which is `rows8` then.
    """

    INPUTS: ClassVar[Mapping[str, tuple[ArtifactKind, ...]]] = {"source": _Onnx}
    TEXTS: ClassVar[tuple[str, ...]] = ("data",)
    MAKES: ClassVar[ArtifactKind] = "onnx"
    MODULE: ClassVar[str] = "origin.build.onnx.quantize_blocks"

    bits: Literal[4, 8] = 8
    levels_bits: Literal[0, 4, 5, 6, 7, 8] = 0
    block_count: Literal[0, 16, 32, 64, 128] = 0
    rounds_inputs: bool = True
    step_deviations: _Weight = 0.0
    embedding: TableForm = "blocks4"
    embedding_step_deviations: _Weight = 0.0
    data: str = ""


class DropEncoderLayers(Step, frozen=True, kw_only=True, tag="drop_encoder_layers"):
    """Fewer layers: those that are named are kept, or those that change their input least are dropped.

    Attributes:
        keep: numbers of layers from 0, in order.
        drop_count: as many are dropped, by block influence on `data`; in place of `keep`.
    """

    INPUTS: ClassVar[Mapping[str, tuple[ArtifactKind, ...]]] = {"source": _Bert}
    TEXTS: ClassVar[tuple[str, ...]] = ("data",)
    MAKES: ClassVar[ArtifactKind] = "bert"
    MODULE: ClassVar[str] = "origin.build.encoder.drop_layers"

    keep: tuple[int, ...] = ()
    drop_count: int = 0
    data: str = ""


class NarrowEncoderFfn(Step, frozen=True, kw_only=True, tag="narrow_encoder_ffn"):
    """Narrower feed-forward layers: the neurons with the largest outputs on `data` are kept.

    Attributes:
        inner_count: neurons of each layer that are kept.
    """

    INPUTS: ClassVar[Mapping[str, tuple[ArtifactKind, ...]]] = {"source": _Bert}
    TEXTS: ClassVar[tuple[str, ...]] = ("data",)
    MAKES: ClassVar[ArtifactKind] = "bert"
    MODULE: ClassVar[str] = "origin.build.encoder.narrow_ffn"

    inner_count: _Count
    data: str


class TrimEncoderVocabulary(Step, frozen=True, kw_only=True, tag="trim_encoder_vocabulary"):
    """Fewer tokens: those that `data` has at least `seen_count` times, single characters and special ones are kept.

    What was one token becomes several: never an unknown one that was known before.
    """

    INPUTS: ClassVar[Mapping[str, tuple[ArtifactKind, ...]]] = {"source": _Bert}
    TEXTS: ClassVar[tuple[str, ...]] = ("data",)
    MAKES: ClassVar[ArtifactKind] = "bert"
    MODULE: ClassVar[str] = "origin.build.onnx.trim_vocabulary"

    data: str
    seen_count: _Count = 1


class SparsifyEncoder(Step, frozen=True, kw_only=True, tag="sparsify_encoder"):
    """Zeros in place of the smallest weights: fewer bytes on the wire, and no speed.

    Attributes:
        share: of each matrix that becomes zero; where `of_each` is set, `zeros_count` of each `of_each` neighbours.
    """

    INPUTS: ClassVar[Mapping[str, tuple[ArtifactKind, ...]]] = {"source": _Bert}
    MAKES: ClassVar[ArtifactKind] = "bert"
    MODULE: ClassVar[str] = "origin.build.onnx.sparsify"

    share: _Ratio | None = None
    zeros_count: int = 0
    of_each: int = 0


class DistillEncoder(Step, frozen=True, kw_only=True, tag="distill_encoder"):
    """A student learns the vectors of a teacher, and its token vectors where `hidden_weight` is over 0.

    Attributes:
        source: the student, as it begins.
        similarity_weight: of the loss by how alike the batch's vectors are to each other.
        limit_tokens: texts are cut there.
    """

    INPUTS: ClassVar[Mapping[str, tuple[ArtifactKind, ...]]] = {"source": _Bert, "teacher": _Bert}
    TEXTS: ClassVar[tuple[str, ...]] = ("data",)
    MAKES: ClassVar[ArtifactKind] = "bert"
    MODULE: ClassVar[str] = "origin.build.encoder.distill"

    teacher: str = "source"
    data: str
    steps_count: _Count = 1000
    batch_rows_count: _Count = 128
    learning_rate: Annotated[float, Meta(gt=0)] = 5e-4
    hidden_weight: _Weight = 0.0
    similarity_weight: _Weight = 5.0
    limit_tokens: Annotated[int, Meta(ge=8)] = 96


class QatEncoder(Step, frozen=True, kw_only=True, tag="qat_encoder"):
    """Weights are trained on the grid that they are served on, towards the vectors of the teacher.

    What it makes is the served form itself: the codes and scales that were trained, not roundings of them.
    """

    INPUTS: ClassVar[Mapping[str, tuple[ArtifactKind, ...]]] = {"source": _Bert, "teacher": _Bert}
    TEXTS: ClassVar[tuple[str, ...]] = ("data",)
    MAKES: ClassVar[ArtifactKind] = "onnx"
    MODULE: ClassVar[str] = "origin.build.encoder.qat"

    teacher: str = "source"
    data: str
    bits: Literal[4, 8] = 4
    block_count: Literal[16, 32, 64, 128] = 32
    steps_count: _Count = 200
    batch_rows_count: _Count = 64
    learning_rate: Annotated[float, Meta(gt=0)] = 1e-4
    hidden_weight: _Weight = 1.0
    limit_tokens: Annotated[int, Meta(ge=8)] = 64


class DistillStatic(Step, frozen=True, kw_only=True, tag="distill_static"):
    """A student without attention: the mean of one vector a token. A lookup, for the first second of a cold node.

    Attributes:
        width: numbers of a vector.
        step_deviations: one scale for the whole table, of this many standard deviations of its numbers.
    """

    INPUTS: ClassVar[Mapping[str, tuple[ArtifactKind, ...]]] = {"source": _Bert}
    TEXTS: ClassVar[tuple[str, ...]] = ("data",)
    MAKES: ClassVar[ArtifactKind] = "onnx"
    MODULE: ClassVar[str] = "origin.build.encoder.distill_static"

    data: str
    width: _Count = 256
    steps_count: _Count = 4000
    batch_rows_count: _Count = 256
    learning_rate: Annotated[float, Meta(gt=0)] = 3e-3
    similarity_weight: _Weight = 5.0
    step_deviations: Annotated[float, Meta(gt=0)] = 0.7
    limit_tokens: Annotated[int, Meta(ge=8)] = 96
