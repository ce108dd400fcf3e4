"""The operation `quantize`: llama.cpp's types, with importance and types for single tensors."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

from origin.build.gguf.llama_quantize import Order, quantize_apart
from origin.build.gguf.model_file import TYPE_IDS, ModelFile
from origin.build.gguf.unquantized import refuse_quantized
from origin.build.gguf.writing import FILE_TYPE_IDS
from origin.build.step import StepProgress
from origin.errors import RecipeInvalidError
from registry.durable import sync

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from origin.build.gguf_steps import Quantize
    from origin.build.step import Artifact, Fact, StepWork

VERSION = 1


def check_words(step: Quantize) -> None:
    """Refuse types and expressions that mean nothing.

    Raises:
        RecipeInvalidError: with what is wrong and the nearest right word.
    """
    _known(step.id, "type", step.type, FILE_TYPE_IDS)
    if step.embedding:
        _known(step.id, "embedding", step.embedding, TYPE_IDS)
    for pattern, element in step.tensors.items():
        _known(step.id, f'tensors."{pattern}"', element, TYPE_IDS)
    check_patterns(step.id, step.tensors)


def check(step: Quantize, source: Artifact) -> None:
    """Refuse words that mean nothing, and a source that is quantized already.

    Raises:
        RecipeInvalidError: with what is wrong.
    """
    check_words(step)
    refuse_quantized(step.id, ModelFile(source.model_file))


def run(step: Quantize, work: StepWork) -> Mapping[str, Fact]:
    """Quantize by llama.cpp in a child process."""
    target = work.directory / "model.gguf"
    work.report(StepProgress(done=0, total=1, unit="models"))
    quantize_apart(
        Order(
            source=str(work.inputs["source"].model_file),
            target=str(target),
            file_type=FILE_TYPE_IDS[step.type],
            embedding_type=TYPE_IDS[step.embedding] if step.embedding else -1,
            tensors=[(pattern, TYPE_IDS[element]) for pattern, element in step.tensors.items()],
            importance=str(work.inputs["importance"].model_file) if step.importance else "",
            threads_count=work.threads_count,
        )
    )
    sync(target)
    work.report(StepProgress(done=1, total=1, unit="models"))
    return tensor_types(ModelFile(target))


def check_patterns(step_id: str, patterns: Iterable[str]) -> None:
    """Refuse what is no regular expression, of those that say which tensors get a type of their own.

    Raises:
        RecipeInvalidError: with the pattern and what is wrong with it.
    """
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise RecipeInvalidError(
                f'step {step_id}: tensors."{pattern}" is no regular expression: {error}', param="tensors"
            ) from error


def tensor_types(model: ModelFile) -> dict[str, Fact]:
    """How many bytes of the matrices are of which type: what a quantized file really is."""
    sizes: dict[str, Fact] = {}
    for tensor in model:
        if len(tensor.dimensions) > 1:
            before = sizes.get(tensor.element, 0)
            sizes[tensor.element] = (before if isinstance(before, int) else 0) + tensor.end - tensor.start
    return {"bytes_by_type": sizes}


def _known(step_id: str, key: str, name: str, names: Mapping[str, int]) -> None:
    if name not in names:
        near = difflib.get_close_matches(name.upper(), names, n=1)
        raise RecipeInvalidError(
            f"step {step_id}: {key} {name!r} is no type of llama.cpp"
            + (f"; did you mean {near[0]}?" if near else ""),
            param=key,
        )
