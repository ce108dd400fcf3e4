"""The operation `importance`, and its file: mean squares by matrix and column, and each layer's influence.

`importance.safetensors` holds a float32 vector under the name of each matrix, and `layer_influence`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from origin.build.gguf.activations import collect
from origin.errors import StepFailedError
from registry.durable import sync

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from origin.build.gguf_steps import Importance
    from origin.build.step import Artifact, Fact, StepWork

VERSION = 1
INFLUENCE = "layer_influence"


def run(step: Importance, work: StepWork) -> Mapping[str, Fact]:
    """Read the texts with the model and write what was seen."""
    sums = collect(
        work.inputs["source"].model_file,
        work.texts["data"].texts,
        limit_tokens=step.tokens,
        threads_count=work.threads_count,
        report=work.report,
    )
    vectors = {name: found for name in sums.inputs if (found := sums.importance(name)) is not None}
    target = work.directory / "importance.safetensors"
    save_file({**vectors, INFLUENCE: sums.influences()}, target, {"tokens": str(sums.tokens_count)})
    sync(target)
    return {"tokens_count": sums.tokens_count, "matrices_count": len(vectors)}


def read_importance(artifact: Artifact) -> dict[str, NDArray[np.float32]]:
    """What `run` wrote, by matrix, without the layers' influence.

    Raises:
        StepFailedError: the file is damaged.
    """
    vectors = _load(artifact.model_file)
    vectors.pop(INFLUENCE, None)
    return vectors


def read_influence(artifact: Artifact) -> NDArray[np.float32]:
    """One minus the mean cosine of each layer.

    Raises:
        StepFailedError: the file is damaged or has none.
    """
    vectors = _load(artifact.model_file)
    if INFLUENCE not in vectors:
        raise StepFailedError("the importance file says nothing of layers; measure it again")
    return vectors[INFLUENCE]


def _load(path: Path) -> dict[str, NDArray[np.float32]]:
    try:
        return {name: np.asarray(vector, np.float32) for name, vector in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise StepFailedError(f"cannot read {path.name} of an importance step: {error}") from error
