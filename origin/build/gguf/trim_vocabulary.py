"""The operation `trim_vocabulary`: without tokens that texts of this kind hardly use.

Of a byte-level pair encoding every text can still be written: single bytes stay, tokens with a meaning of their own
stay, and of each token that stays so do the two that it is merged from, down to the bytes.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from origin.build.gguf.activations import HEADS
from origin.build.gguf.forward import open_forward
from origin.build.gguf.model_file import ModelFile
from origin.build.gguf.writing import NewTensor, edited_fields, kept, write_model
from origin.build.step import StepProgress
from origin.errors import RecipeInvalidError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from origin.build.gguf_steps import TrimVocabulary
    from origin.build.step import Artifact, Fact, StepWork
    from registry.formats.gguf import GgufTensor

VERSION = 1
_KIND, _TOKENS, _TYPES, _MERGES = (
    f"tokenizer.ggml.{name}" for name in ("model", "tokens", "token_type", "merges")
)
_NORMAL = 1
_ROUND_TO = 64  # rows that matrix kernels like
_REPORT_EVERY_COUNT = 256


def check(step: TrimVocabulary, source: Artifact) -> None:
    """Refuse tokenizers other than byte-level pair encoding.

    Raises:
        RecipeInvalidError: with the tokenizer's name.
    """
    model = ModelFile(source.model_file)
    kind = model.header.text(_KIND)
    if kind != "gpt2" or model.header.field(_MERGES) is None:
        raise RecipeInvalidError(
            f"step {step.id}: the vocabulary of a {kind or 'nameless'} tokenizer cannot be trimmed; "
            "that of a byte-level one (gpt2) can",
            param="from",
        )


def run(step: TrimVocabulary, work: StepWork) -> Mapping[str, Fact]:
    """Count tokens, decide which stay, and write the model with their rows."""
    model = ModelFile(work.inputs["source"].model_file)
    counts = _counts(model, step, work)
    tokens, merges = [str(t) for t in model.array(_TOKENS)], [str(m) for m in model.array(_MERGES)]
    types = np.asarray(model.array(_TYPES), np.int64)
    seen = {place for place, count in counts.items() if count >= step.min_count}
    left, merges_left = staying(tokens, merges, types, seen)
    changes = {**_changed_ids(model, left), _TOKENS: [tokens[old] for old in left], _MERGES: merges_left}
    changes[_TYPES] = [int(types[old]) for old in left]
    write_model(
        work.directory / "model.gguf",
        edited_fields(model, changes),
        [_trimmed(model, tensor, len(tokens), np.array(left)) for tensor in model],
    )
    stay = set(left)
    covered = sum(count for place, count in counts.items() if place in stay)
    return {
        "tokens_before": len(tokens),
        "tokens_after": len(left),
        "covered": round(covered / max(1, sum(counts.values())), 6),
    }


def staying(
    tokens: Sequence[str], merges: Sequence[str], types: NDArray[np.int64], seen: Iterable[int]
) -> tuple[list[int], list[str]]:
    """The places of the tokens that stay, ascending, and the merges that still make one of them.

    The first tokens that would go stay as well, up to the next multiple of 64.
    """
    place = {token: index for index, token in enumerate(tokens)}
    parts: dict[str, list[tuple[str, str]]] = {}
    for merge in merges:
        first, _, second = merge.partition(" ")
        parts.setdefault(first + second, []).append((first, second))
    stay = {index for index, token in enumerate(tokens) if types[index] != _NORMAL or len(token) == 1}
    waiting = [index for index in sorted(set(seen)) if index not in stay]
    spare = iter(range(len(tokens)))
    while waiting or (len(stay) % _ROUND_TO and len(stay) < len(tokens)):
        index = waiting.pop() if waiting else next(i for i in spare if i not in stay)
        stay.add(index)
        ancestors = (place[part] for pair in parts.get(tokens[index], ()) for part in pair if part in place)
        waiting += [ancestor for ancestor in ancestors if ancestor not in stay]
    kept_texts = {tokens[index] for index in stay}
    merges_left = [
        merge for merge in merges if kept_texts.issuperset((merge.replace(" ", "", 1), *merge.split(" ", 1)))
    ]
    return sorted(stay), merges_left


def _counts(model: ModelFile, step: TrimVocabulary, work: StepWork) -> Counter[int]:
    counts: Counter[int] = Counter()
    texts = work.texts["data"].texts
    with open_forward(model.path, chunk_tokens=32, threads_count=1) as forward:
        for done, text in enumerate(texts):
            if done % _REPORT_EVERY_COUNT == 0:
                work.report(StepProgress(done=done, total=len(texts), unit="texts"))
            counts.update(forward.tokens(text))
    if not any(count >= step.min_count for count in counts.values()):
        raise RecipeInvalidError(
            f"step {step.id}: no token is in the texts {step.min_count} times; lower min_count",
            param="min_count",
        )
    return counts


def _changed_ids(model: ModelFile, left: Sequence[int]) -> dict[str, Any]:
    """Fields that name a token by its place, and the size of the vocabulary."""
    new_place = {old: new for new, old in enumerate(left)}
    changes: dict[str, Any] = {}
    for field in model.header.kvs:
        if (
            field.key.startswith("tokenizer.ggml.")
            and field.key.endswith("_token_id")
            and type(field.value) is int
        ):
            changes[field.key] = new_place.get(field.value, 0)
    if model.header.number(f"{model.architecture}.vocab_size") is not None:
        changes[f"{model.architecture}.vocab_size"] = len(left)
    return changes


def _trimmed(model: ModelFile, tensor: GgufTensor, before_count: int, left: NDArray[np.int64]) -> NewTensor:
    if tensor.name not in HEADS or tensor.dimensions[1] != before_count:
        return kept(model, tensor.name)
    return NewTensor(
        tensor.name, (tensor.dimensions[0], len(left)), tensor.element, lambda: model.raw(tensor.name)[left]
    )
