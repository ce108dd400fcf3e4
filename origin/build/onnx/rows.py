"""Rows: texts as token ids, cut to the model's limit, in batches of like length so that little is filled up."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from origin.errors import RecipeInvalidError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

Ids = NDArray[np.int64]
_POSITIONS_COUNT = 512
_SAMPLE_COUNT = 256
_SAMPLE_TOKENS = 128


@dataclass(frozen=True, slots=True)
class RowBatch:
    """Some rows side by side.

    Attributes:
        places: where each row is in the list it was taken from.
        ids: [rows, tokens], filled up on the right.
        mask: 1 where a row has a token of its own.
    """

    places: Ids
    ids: Ids
    mask: Ids


def read_rows(directory: Path, texts: Sequence[str], *, limit_tokens: int) -> list[Ids]:
    """Token ids of each text, special tokens included, by the tokenizer.json in `directory`.

    Texts are cut to `limit_tokens`, and to what the model beside it reads.

    Raises:
        RecipeInvalidError: the tokenizer cannot be read.
    """
    tokenizer = open_tokenizer(directory)
    tokenizer.no_padding()
    tokenizer.enable_truncation(min(limit_tokens, _positions_count(directory)))
    return [np.asarray(encoding.ids, np.int64) for encoding in tokenizer.encode_batch_fast(list(texts))]


def sample_rows(directory: Path, texts: Sequence[str]) -> list[Ids]:
    """Rows of the first texts, cut short: enough to see what flows through a model. Raises RecipeInvalidError."""
    return read_rows(directory, texts[:_SAMPLE_COUNT], limit_tokens=_SAMPLE_TOKENS)


def _positions_count(directory: Path) -> int:
    file = directory / "config.json"
    known = json.loads(file.read_text("utf-8")).get("max_position_embeddings") if file.is_file() else None
    return known if isinstance(known, int) else _POSITIONS_COUNT


def open_tokenizer(directory: Path) -> Tokenizer:
    """The tokenizer in `directory`. Raises RecipeInvalidError."""
    file = directory / "tokenizer.json"
    try:
        return Tokenizer.from_str(file.read_text("utf-8"))
    except Exception as error:  # tokenizers raises the bare class, and nothing else
        raise RecipeInvalidError(f"cannot read {file}: {error}") from error


def in_batches(rows: Sequence[Ids], *, batch_tokens: int, pad_token: int = 0) -> Iterator[RowBatch]:
    """All rows, the longest first, so many at a time that filled up they have at most `batch_tokens`."""
    order = np.argsort([-len(row) for row in rows], kind="stable")
    start = 0
    while start < len(order):
        longest = len(rows[order[start]])
        places = order[start : start + max(1, batch_tokens // longest)]
        yield batch_of(rows, places, pad_token=pad_token)
        start += len(places)


def batch_of(rows: Sequence[Ids], places: Sequence[int] | Ids, *, pad_token: int = 0) -> RowBatch:
    """The rows at these places."""
    lengths = np.asarray([len(rows[place]) for place in places])
    ids = np.full((len(places), int(lengths.max())), pad_token, np.int64)
    for index, place in enumerate(places):
        ids[index, : lengths[index]] = rows[place]
    mask = (np.arange(ids.shape[1]) < lengths[:, np.newaxis]).astype(np.int64)
    return RowBatch(np.asarray(places, np.int64), ids, mask)


def shuffled_batches(
    rows: Sequence[Ids], chance: np.random.Generator, *, rows_count: int, pad_token: int = 0
) -> Iterator[RowBatch]:
    """One pass over all rows in the order of chance, rows of like length side by side.

    Rows are drawn into groups of fifty batches; within a group they are sorted by length, and its batches come in the
    order of chance: little is filled up, and no batch comes by its length alone.
    """
    order = chance.permutation(len(rows))
    group_count = rows_count * 50
    for start in range(0, len(order), group_count):
        group = order[start : start + group_count]
        group = group[np.argsort([len(rows[place]) for place in group], kind="stable")]
        pieces = [group[first : first + rows_count] for first in range(0, len(group), rows_count)]
        for piece in chance.permutation(len(pieces)):
            yield batch_of(rows, pieces[piece], pad_token=pad_token)
