"""Calibration: what flows into each matrix product of a graph, seen on texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto, helper

from origin.build.onnx.editing import matrices
from origin.build.onnx.graph import load_graph
from origin.build.onnx.rows import in_batches, sample_rows
from origin.build.onnx.running import open_session, run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from origin.build.onnx.checkpoint import Floats
    from origin.build.step import Artifact


def input_squares(source: Artifact, texts: Sequence[str], *, threads_count: int) -> dict[str, Floats]:
    """Of each matrix product's input, by its name, the mean square of each column; filled-up places do not count."""
    model = load_graph(source.model_file)
    names = sorted({place.node.input[0] for place in matrices(model)})
    model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    session = open_session(model.SerializeToString(), threads_count=threads_count)
    rows = sample_rows(source.directory, texts)
    sums: dict[str, Floats] = {}
    tokens_count = 0
    for batch in in_batches(rows, batch_tokens=1024):
        values = run(session, batch, names)
        counts = batch.mask.astype(bool)
        tokens_count += int(counts.sum())
        for name, states in zip(names, values, strict=True):
            sums[name] = sums.get(name, 0) + np.square(states[counts]).sum(axis=0)
    return {name: (total / tokens_count).astype(np.float32) for name, total in sums.items()}
