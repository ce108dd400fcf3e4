"""A text model: what its ONNX file says it is for, and a batch of rows through it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from edge_node.engines.text_encoding import Row, open_text_setup
from edge_node.engines.vectors import logistic, mask_of, pad, pool, softmax
from edge_node.errors import EngineFailedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edge_node.engines.onnx.runtime import Session
    from edge_node.engines.spec import EngineSpec
    from edge_node.engines.text_encoding import TextSetup
    from edge_node.engines.vectors import Floats

TextAbility = Literal["embedding", "rerank", "classification"]

_TEXT_INPUTS = {"input_ids", "attention_mask", "token_type_ids"}
_HEAD = "logits"
_FLOATS = {"FP16", "FP32", "FP64"}


@dataclass(frozen=True, slots=True)
class TextModel:
    """A model that reads token ids, ready to compute.

    Attributes:
        width: numbers for each row: a vector's length, one relevance, or a probability for each class.
    """

    session: Session
    setup: TextSetup
    output: str
    ability: TextAbility
    width: int

    def compute(self, rows: Sequence[Row]) -> Floats:
        """Unit vectors, relevances or probabilities: [rows, width]. Raises EngineFailedError."""
        raw, mask = _run(self.session, self.setup, self.output, rows)
        if self.ability == "embedding":
            return pool(raw, mask, self.setup.pooling)
        logits = raw.astype(np.float32, copy=False)
        if self.ability == "classification" and not self.setup.many_labels:
            return softmax(logits)
        return logistic(logits)

    def labels(self) -> tuple[str, ...]:
        """What the classes are called; nothing unless it classifies."""
        if self.ability != "classification":
            return ()
        named = self.setup.labels[: self.width]
        return named + tuple(f"LABEL_{index}" for index in range(len(named), self.width))


def open_text_model(session: Session, path: Path, spec: EngineSpec) -> TextModel | None:
    """The text model that a file is, found out by computing one text; None for a model of other tensors.

    Raises:
        EngineFailedError: it reads token ids, and its tokenizer is missing or unreadable, or it does not run.
    """
    names = {entry.name for entry in session.inputs}
    output = _output(session)
    if "input_ids" not in names or not names <= _TEXT_INPUTS or output is None:
        return None
    setup = open_text_setup(path.parent, spec)
    try:
        raw, _ = _run(session, setup, output, [setup.encoder.text("a", "text")])
    except EngineFailedError as error:
        raise EngineFailedError(f"the ONNX model loads and does not run: {error.message}") from error
    if raw.ndim not in {2, 3} or raw.shape[0] != 1 or (output == _HEAD and raw.ndim == 3):
        return None
    width = raw.shape[-1]
    ability: TextAbility = "embedding"
    if output == _HEAD:
        ability = "rerank" if width == 1 else "classification"
    return TextModel(session=session, setup=setup, output=output, ability=ability, width=width)


def onnx_path(spec: EngineSpec) -> Path:
    """The ONNX file to open: the only one, or the one named `model.onnx`.

    Raises:
        EngineFailedError: there is none, or it is not clear which.
    """
    names = [name for name in spec.files if name.lower().endswith(".onnx")]
    chosen = names if len(names) == 1 else [name for name in names if Path(name).name == "model.onnx"]
    if len(chosen) != 1:
        raise EngineFailedError(
            f"the release has {len(names)} .onnx files, which the ONNX engine cannot choose from; "
            "name the right one model.onnx"
        )
    return Path(spec.model_dir, chosen[0])


def _run(
    session: Session, setup: TextSetup, output: str, rows: Sequence[Row]
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    ids = pad([row.ids for row in rows], fill=setup.pad_token)
    mask = mask_of([len(row) for row in rows])
    feeds: dict[str, NDArray[Any]] = {}
    for entry in session.inputs:
        if entry.name == "input_ids":
            values = ids
        elif entry.name == "attention_mask":
            values = mask
        else:
            values = np.zeros_like(ids)
            for index, row in enumerate(rows):
                if row.types is not None:
                    values[index, : len(row)] = row.types
        feeds[entry.name] = values.astype(np.int32) if entry.datatype == "INT32" else values
    (raw,) = session.run(feeds, [output])
    return raw, mask


def _output(session: Session) -> str | None:
    """The output to read: the head's where there is one; else token vectors, before pooled ones."""
    floats = [entry for entry in session.outputs if entry.datatype in _FLOATS]
    for entry in floats:
        if entry.name == _HEAD:
            return entry.name
    return next((entry.name for rank in (3, 2) for entry in floats if len(entry.shape) == rank), None)
