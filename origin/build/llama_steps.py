"""The steps that train a model of the llama family."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from origin.build.step import ArtifactKind, Step

_GGUF: tuple[ArtifactKind, ...] = ("gguf",)
StepsCount = Annotated[int, Meta(ge=1, le=1_000_000)]
RowTokens = Annotated[int, Meta(ge=16, le=8192)]
RowsCount = Annotated[int, Meta(ge=1, le=1024)]
Rate = Annotated[float, Meta(ge=0.0, le=1.0)]


class Distill(Step, frozen=True, kw_only=True, tag="distill"):
    """Train a model until it says what its teacher says: a pruned one is healed, a smaller one is taught.

    Attributes:
        teacher: the step whose model is to be equalled; the same vocabulary.
        layers: the layers of `source` to begin with, by number; none given is all of them.
        steps_count: how often weights are moved.
        rows_per_step: how many rows of text are read for one step.
        row_tokens: length of a row.
        rate: how far a weight moves in a step at the most, about, as a share of its tensor's root mean square.
        hidden_share: weight of the distance between the layers' outputs next to the divergence of the predictions.
        bridge_rows: how many rows of text are read to let the layers before missing ones take over what those added,
            in closed form, before training; of a model whose layers are no copies of the teacher's nothing is.
    """

    INPUTS: ClassVar = {"source": _GGUF, "teacher": _GGUF}
    TEXTS: ClassVar = ("data",)
    MAKES: ClassVar[ArtifactKind] = "gguf"
    MODULE: ClassVar[str] = "origin.build.llama.distill"

    data: str
    teacher: str = "source"
    layers: tuple[int, ...] = ()
    bridge_rows: Annotated[int, Meta(ge=0, le=65536)] = 32
    steps_count: Annotated[int, Meta(ge=0, le=1_000_000)] = 150
    rows_per_step: RowsCount = 2
    row_tokens: RowTokens = 512
    rate: Rate = 0.001
    hidden_share: Annotated[float, Meta(ge=0.0)] = 0.0


class Qat(Step, frozen=True, kw_only=True, tag="qat"):
    """Train a quantized model on the codes and scales that its file keeps: what was trained is what runs.

    The types of the tensors are those of `source`; blocks of Q4_0, Q4_1, Q5_0, Q5_1 and IQ4_NL are trained, and so
    are norms; all else stays as it is.

    Attributes:
        teacher: the step whose model is to be equalled.
        weights: the step whose model was quantized, which tells where between two codes a weight is; the teacher
            where nothing is given.
        code_rate: how far a weight moves in a step at the most, about, as a share of the way to the next code.
        scale_rate: the same of scales and norms, as a share of themselves.
        embedding_rate: as `code_rate`, for the embedding, most of whose rows are seen seldom.
    """

    INPUTS: ClassVar = {"source": _GGUF, "teacher": _GGUF, "weights": _GGUF}
    TEXTS: ClassVar = ("data",)
    MAKES: ClassVar[ArtifactKind] = "gguf"
    MODULE: ClassVar[str] = "origin.build.llama.qat"

    data: str
    teacher: str = "source"
    weights: str = ""
    steps_count: StepsCount = 150
    rows_per_step: RowsCount = 2
    row_tokens: RowTokens = 512
    code_rate: Rate = 0.005
    scale_rate: Rate = 0.0003
    embedding_rate: Rate = 0.002
