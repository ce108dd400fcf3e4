"""An ONNX encoder for measuring: its tokenizer, its session on the processor, and the vector of a text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from origin.build.onnx.running import open_session

if TYPE_CHECKING:
    from pathlib import Path

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


def check_numbers(path: Path) -> None:
    """Refuse weights that are no numbers: those of words that no text has would not be seen otherwise.

    Raises:
        ValueError: names the first such tensor.
    """
    import onnx  # noqa: PLC0415 - of the extra for builds
    from onnx import numpy_helper  # noqa: PLC0415

    for entry in onnx.load(str(path)).graph.initializer:
        values = numpy_helper.to_array(entry)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ValueError(f"{entry.name} has values that are not numbers")


class OnnxModel:
    """An open session; what ONNX Runtime raises comes through, but for a file that it cannot load: StepFailedError.

    Attributes:
        lonely: it was exported for one text at a time.
    """

    def __init__(self, path: Path, threads_count: int) -> None:
        self._session: Any = open_session(str(path), threads_count=threads_count)
        inputs = self._session.get_inputs()
        self._inputs = [(entry.name, entry.type) for entry in inputs]
        self.lonely = any(isinstance(rows, int) for entry in inputs for rows in (entry.shape or ())[:1])
        ranks = {len(entry.shape): entry.name for entry in reversed(self._session.get_outputs())}
        # As the node chooses: token vectors, which are pooled, before what is pooled already.
        self._output = ranks.get(3) or ranks.get(2)

    def vector(self, ids: Integers) -> Floats:
        """The vector of a text, of whatever length it is."""
        raw = self.run(ids[np.newaxis])
        return np.asarray(raw[0].mean(axis=0) if raw.ndim == 3 else raw[0], np.float32)

    def run(self, ids: Integers) -> Any:
        """What it gives for texts of one length side by side."""
        feeds = {}
        for name, kind in self._inputs:
            values = {"input_ids": ids, "attention_mask": np.ones_like(ids)}.get(name, np.zeros_like(ids))
            feeds[name] = values.astype(np.int32 if kind == "tensor(int32)" else np.int64)
        (raw,) = self._session.run([self._output], feeds)
        return raw
