"""Trim the vocabulary of a WordPiece encoder: tokens that texts never have go, with their rows of the table.

Special tokens, single characters and their continuations stay, so that every word that could be read still can, in more
and shorter tokens (https://arxiv.org/abs/1609.08144, section 4.1).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from origin.build.onnx.checkpoint import WORDS, Checkpoint, read_checkpoint, write_checkpoint
from origin.build.onnx.rows import open_tokenizer
from origin.errors import RecipeInvalidError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from origin.build.encoder_steps import TrimEncoderVocabulary
    from origin.build.step import Artifact, Fact, StepWork

VERSION = 1


def check(step: TrimEncoderVocabulary, source: Artifact) -> None:
    """Refuse a tokenizer of another kind. Raises RecipeInvalidError."""
    kind = _read(source.directory)["model"].get("type")
    if kind != "WordPiece":
        raise RecipeInvalidError(
            f"step {step.id}: the tokenizer is {kind}; only the vocabulary of WordPiece can be trimmed"
        )


def run(step: TrimEncoderVocabulary, work: StepWork) -> Mapping[str, Fact]:
    """Write the encoder with the smaller table and tokenizer."""
    checkpoint = read_checkpoint(work.inputs["source"].directory)
    tokenizer = open_tokenizer(checkpoint.directory)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    counts = np.zeros(checkpoint.config.vocab_size, np.int64)
    for encoding in tokenizer.encode_batch_fast(list(work.texts["data"].texts)):
        counts += np.bincount(encoding.ids, minlength=len(counts))
    settings = _read(checkpoint.directory)
    vocabulary: dict[str, int] = settings["model"]["vocab"]
    prefix = settings["model"].get("continuing_subword_prefix", "##")
    specials = {entry["id"] for entry in settings.get("added_tokens", ())}
    specials.add(vocabulary[settings["model"]["unk_token"]])
    keep = [
        (word, number)
        for word, number in sorted(vocabulary.items(), key=lambda entry: entry[1])
        if number in specials or counts[number] >= step.seen_count or len(word.removeprefix(prefix)) == 1
    ]
    numbers = {before: after for after, (_, before) in enumerate(keep)}
    (work.directory / "tokenizer.json").write_text(
        json.dumps(_renumbered(settings, numbers), ensure_ascii=False), "utf-8"
    )
    tensors = {**checkpoint.tensors, WORDS: checkpoint.tensors[WORDS][[number for _, number in keep]]}
    config = msgspec.structs.replace(checkpoint.config, vocab_size=len(keep))
    trimmed = Checkpoint(
        config, _with_padding(checkpoint.settings, numbers), tensors, checkpoint.directory, checkpoint.pooling
    )
    write_checkpoint(trimmed, work.directory)
    return {"tokens_count": len(keep), "before_count": len(vocabulary)}


def _renumbered(settings: dict[str, Any], numbers: Mapping[int, int]) -> dict[str, Any]:
    model = settings["model"]
    model["vocab"] = {word: numbers[number] for word, number in model["vocab"].items() if number in numbers}
    for entry in settings.get("added_tokens", ()):
        entry["id"] = numbers[entry["id"]]
    for entry in ((settings.get("post_processor") or {}).get("special_tokens") or {}).values():
        entry["ids"] = [numbers[number] for number in entry["ids"]]
    if settings.get("padding"):
        settings["padding"]["pad_id"] = numbers[settings["padding"]["pad_id"]]
    return settings


def _with_padding(settings: Mapping[str, Any], numbers: Mapping[int, int]) -> dict[str, Any]:
    pad = settings.get("pad_token_id")
    return {**settings, "pad_token_id": numbers[pad]} if isinstance(pad, int) else dict(settings)


def _read(directory: Path) -> dict[str, Any]:
    try:
        settings = json.loads((directory / "tokenizer.json").read_text("utf-8"))
        settings["model"]["vocab"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecipeInvalidError(f"cannot read {directory / 'tokenizer.json'}: {error!r}") from error
    assert isinstance(settings, dict)
    return settings
