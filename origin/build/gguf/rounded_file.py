"""Writing a model with its matrices rounded to chosen types; what an interruption leaves is not rounded again."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import numpy as np

from origin.build.gguf.activations import HEADS, Activations, collect
from origin.build.gguf.blocks import BLOCK, BLOCK_TYPES
from origin.build.gguf.model_file import matrices
from origin.build.gguf.rounding import compensated, loss
from origin.build.gguf.writing import NewTensor, edited_fields, file_type, kept, write_model
from origin.build.step import StepProgress
from origin.errors import RecipeInvalidError, StepFailedError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from origin.build.gguf.model_file import ModelFile
    from origin.build.step import StepWork
    from registry.formats.gguf import GgufTensor

EMBEDDING = "token_embd.weight"
_LOOKUP_SHARE = 1.0
"""How much a row's error counts where it is looked up, against where it makes a logit."""


def write_rounded(
    model: ModelFile,
    types: Mapping[str, str],
    work: StepWork,
    *,
    tokens: int,
    sweeps: int,
    label: str,
    sums: Activations | None = None,
) -> dict[str, float]:
    """Write `model.gguf` with each matrix of `types` rounded to its type, for inputs as `data` gives them.

    `sums` are those inputs where they are known already. Returns the share of its output's power that each matrix lost.

    Raises:
        StepFailedError: llama.cpp cannot run the model, or it has numbers that are not finite.
    """
    places = {name: work.checkpoints / f"{name}.{element}.npz" for name, element in types.items()}
    missing = {name for name, place in places.items() if not _whole(place)}
    if sums is None:
        sums = grams_for(model, missing, work, tokens=tokens) if missing else Activations()
    losses: dict[str, float] = {}

    def content(name: str) -> NDArray[np.uint8]:
        if name in missing:
            values = model.values(name)
            gram = gram_of(sums, name, values.shape[1])
            _keep(places[name], *round_matrix(types[name], values, gram, sweeps))
        with np.load(places[name]) as stored:
            losses[name] = float(stored["lost"])
            rounded: NDArray[np.uint8] = stored["content"]
        return rounded

    def tensor(known: GgufTensor) -> NewTensor:
        if known.name not in types:
            return kept(model, known.name)
        return NewTensor(known.name, known.dimensions, types[known.name], lambda: content(known.name))

    write_model(
        work.directory / "model.gguf",
        edited_fields(model, {"general.file_type": file_type(label), "general.quantization_version": 2}),
        [tensor(known) for known in model],
        wrote=lambda done, total: work.report(StepProgress(done=done, total=total, unit="tensors")),
    )
    return losses


def grams_for(model: ModelFile, names: set[str], work: StepWork, *, tokens: int) -> Activations:
    """What flows into these matrices when the model reads `data`.

    Raises:
        StepFailedError: llama.cpp cannot run the model, or there is too little text.
    """
    return collect(
        model.path,
        work.texts["data"].texts,
        limit_tokens=tokens,
        threads_count=work.threads_count,
        report=work.report,
        wants_gram=names.__contains__,
    )


def round_matrix(
    element: str, values: NDArray[np.float32], gram: NDArray[np.float32], sweeps_count: int
) -> tuple[NDArray[np.uint8], float]:
    """The bytes of a rounded matrix, and what share of its output's power was lost.

    Raises:
        StepFailedError: the matrix has numbers that are not finite.
    """
    if not np.isfinite(values).all():
        raise StepFailedError("a matrix has numbers that are not finite; the source model is broken")
    blocks = compensated(BLOCK_TYPES[element], values, gram, sweeps_count=sweeps_count)
    power = max(loss(values, np.zeros_like(values), gram), 1e-30)
    return blocks.to_bytes(), round(loss(values, blocks.values(), gram) / power, 9)


def gram_of(sums: Activations, name: str, columns: int) -> NDArray[np.float32]:
    """The Gram matrix that `name` is rounded for; of a matrix that nothing flowed into, all columns count alike."""
    gram = sums.gram(name)
    if gram is None or len(gram) != columns:
        return np.eye(columns, dtype=np.float32)
    if name in HEADS[1:]:
        # A row of the embedding also enters the model as it is.
        scale = np.float32(columns / max(float(np.trace(gram)), 1e-30))
        gram = gram * scale + np.float32(_LOOKUP_SHARE) * np.eye(columns, dtype=np.float32)
    return gram


def roundable(step_id: str, model: ModelFile) -> list[GgufTensor]:
    """The matrices that can be rounded to blocks.

    Raises:
        RecipeInvalidError: there are none, or it is a mixture of experts, whose inputs are not seen one by one.
    """
    experts = next((tensor.name for tensor in model if len(tensor.dimensions) > 2), None)
    if experts:
        raise RecipeInvalidError(
            f"step {step_id}: {experts} holds the matrices of several experts, which cannot be rounded so; "
            "use quantize instead",
            param="from",
        )
    found = [tensor for tensor in matrices(model) if tensor.dimensions[0] % BLOCK == 0]
    if not found:
        raise RecipeInvalidError(
            f"step {step_id}: no matrix of this model has rows of whole blocks of {BLOCK}", param="from"
        )
    return found


def _keep(place: Path, content: NDArray[np.uint8], lost: float) -> None:
    # Not synced: after a power cut a file that is not whole is made again.
    part = place.with_name(f"{place.name}.part")
    with part.open("wb") as file:
        np.savez(file, content=content, lost=np.float64(lost))
    part.rename(place)


def _whole(place: Path) -> bool:
    try:
        with zipfile.ZipFile(place) as stored:
            return stored.testzip() is None
    except (OSError, zipfile.BadZipFile):
        return False
