"""The child that measures chat models: `python -m origin.build.evaluate.chat_child`, a job in, an answer out.

It reads one job as a line of JSON from standard input and ends with it when its parent does. On standard output it
writes lines: `{"done": 3, "total": 17}` while it works, then `{"answer": …}`, or `{"unreadable": "why"}`.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from origin.build.evaluate.chat_jobs import (
    AnyChatJob,
    Chunk,
    Compared,
    CompareJob,
    Lap,
    PrepareJob,
    RaceJob,
    WeighJob,
)
from origin.build.evaluate.child_end import serve
from origin.build.evaluate.divergence import Rows, candidate_rows, reference_rows
from origin.build.evaluate.llama_model import LlamaModel, ModelUnreadableError
from origin.build.evaluate.peak_memory import peak_bytes
from origin.build.evaluate.races import Raced, race_in_turns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

CHUNK_TOKENS = 512
_LEAST_CHUNK_TOKENS = 64
_BYTES_PER_TOKEN = 16
_PROMPT_TOKENS = 256
_WRITTEN_TOKENS = 24
_WEIGHED_TOKENS = 512


def work(job: AnyChatJob, report: Callable[[int, int], None]) -> Any:
    """Do a job. Raises ModelUnreadableError."""
    if isinstance(job, PrepareJob):
        return prepare(job, report)
    if isinstance(job, CompareJob):
        return compare(job, report)
    if isinstance(job, WeighJob):
        return weigh(job, report)
    return race(job, report)


def cut(model: LlamaModel, texts: tuple[str, ...], tokens_count: int) -> list[Chunk]:
    """As many chunks as have so many tokens: the first of each text, then the second of each, and so on.

    Documents speak of different things, so taking many of them a little says more than few of them at length.
    """
    sources = [_chunks_of(model, text) for text in texts]
    chunks: list[Chunk] = []
    found = 0
    while sources and found < tokens_count:
        for source in list(sources):
            chunk = next(source, None)
            if chunk is None:
                sources.remove(source)
            elif found < tokens_count:
                chunks.append(chunk)
                found += len(chunk.tokens)
    return chunks


def _chunks_of(model: LlamaModel, text: str) -> Iterator[Chunk]:
    rest = text
    while rest:
        piece = rest[: CHUNK_TOKENS * _BYTES_PER_TOKEN]
        tokens = model.tokenize(piece)
        while len(tokens) > CHUNK_TOKENS:
            shorter = piece[: max(1, len(piece) * CHUNK_TOKENS // len(tokens))]
            piece = shorter.rsplit(maxsplit=1)[0] if " " in shorter.strip() else shorter
            tokens = model.tokenize(piece)
        rest = rest[len(piece) :].lstrip()
        if len(tokens) >= _LEAST_CHUNK_TOKENS:
            yield Chunk(piece, tokens, _scored_bytes(model, piece, tokens))


def _scored_bytes(model: LlamaModel, text: str, tokens: list[int]) -> int:
    """All bytes of the text but those of the first token, which nothing predicts, unless that marks a start."""
    return len(text.encode()) - (0 if model.adds_bos else len(model.piece(tokens[0])))


def prepare(job: PrepareJob, report: Callable[[int, int], None]) -> dict[str, int]:
    """Leave `chunks.json`, `vocabulary.json`, `scores.npy` (16-bit log-probabilities) and `rows.npz`."""
    directory = Path(job.directory)
    with LlamaModel(Path(job.reference), job.threads_count, checked=True) as model:
        chunks = cut(model, job.texts, job.tokens_count)
        total = sum(len(chunk.tokens) - 1 for chunk in chunks)
        scores = np.lib.format.open_memmap(
            directory / "scores.npy", mode="w+", dtype=np.float16, shape=(total, model.tokens_count)
        )
        rows = _scored(model, chunks, scores, reference_rows, report)
        scores.flush()
        known = [model.vocabulary(), model.special_tokens()]
    _save(directory / "rows.npz", rows)
    (directory / "vocabulary.mp").write_bytes(msgspec.msgpack.encode(known))
    (directory / "chunks.json").write_bytes(msgspec.json.encode(chunks))
    return {"tokens_count": total, "chunks_count": len(chunks)}


def compare(job: CompareJob, report: Callable[[int, int], None]) -> Compared:
    """Score a candidate on the very same tokens, and its own tokens of the same texts where they are others."""
    directory = Path(job.directory)
    chunks = msgspec.json.decode((directory / "chunks.json").read_bytes(), type=list[Chunk])
    pieces, special = msgspec.msgpack.decode(
        (directory / "vocabulary.mp").read_bytes(), type=tuple[list[tuple[bytes, int]], list[int]]
    )
    scores = np.load(directory / "scores.npy", mmap_mode="r")
    with LlamaModel(Path(job.candidate), job.threads_count, checked=True) as model:
        own_pieces = model.vocabulary()
        own_tokens = [model.tokenize(chunk.text) for chunk in chunks]
        same_length = model.tokens_count == scores.shape[1]
        same_texts = sum(own == chunk.tokens for own, chunk in zip(own_tokens, chunks, strict=True))
        compared = Compared(
            same_texts=same_texts,
            same_pieces=sum(map(_same, pieces, own_pieces)),
            pieces_count=max(len(pieces), len(own_pieces)),
            same_special=model.special_tokens() == special,
            same_length=same_length,
        )
        if same_length:
            _save(Path(job.rows_file), _scored(model, chunks, scores, candidate_rows, report))
        if same_texts < len(chunks):
            for done, (chunk, tokens) in enumerate(zip(chunks, own_tokens, strict=True)):
                report(done, len(chunks))
                compared.own_bits.append(_bits(model, tokens))
                compared.own_bytes.append(_scored_bytes(model, chunk.text, tokens))
    return compared


def _scored(
    model: LlamaModel,
    chunks: list[Chunk],
    scores: NDArray[np.float16],
    rows_of: Callable[[NDArray[np.float32], NDArray[np.int64], NDArray[np.float16]], Rows],
    report: Callable[[int, int], None],
) -> list[Rows]:
    """Read every chunk, and hold its logits and the tokens that came next against its part of the scores."""
    rows, start = [], 0
    for done, chunk in enumerate(chunks):
        report(done, len(chunks))
        logits = model.logits(chunk.tokens)[:-1]
        kept = scores[start : start + len(logits)]
        rows.append(rows_of(logits, np.array(chunk.tokens[1:]), kept))
        start += len(logits)
    return rows


def _same(one: tuple[bytes, int], other: tuple[bytes, int]) -> bool:
    return tuple(one) == tuple(other)


def _bits(model: LlamaModel, tokens: list[int]) -> float:
    if len(tokens) < 2:
        return float("nan")
    nll = candidate_rows(model.logits(tokens)[:-1], np.array(tokens[1:]), None).nll
    return float(nll.sum(dtype=np.float64) / np.log(2))


def _save(file: Path, rows: list[Rows]) -> None:
    joined = Rows(*(np.concatenate(column) for column in zip(*rows, strict=True)))
    with file.open("wb") as writer:
        np.savez(writer, **joined._asdict())


def race(job: RaceJob, report: Callable[[int, int], None]) -> Raced[Lap]:
    """Load both, then let them read and write in turns."""
    chunks = msgspec.json.decode(Path(job.directory, "chunks.json").read_bytes(), type=list[Chunk])
    tokens = max((chunk.tokens for chunk in chunks), key=len)[:_PROMPT_TOKENS]
    paths = [Path(job.candidate), Path(job.sibling)]
    loads = [[_load_s(path) for _ in range(job.rounds_count)] for path in paths]
    with LlamaModel(paths[0], 1) as candidate, LlamaModel(paths[1], 1) as sibling:
        models = (candidate, sibling)
        if max(tokens) >= min(model.tokens_count for model in models):
            tokens = [token % min(model.tokens_count for model in models) for token in tokens]
        for model in models:
            model.race(tokens, 2)  # weights come into memory

        def lap(index: int, done: int) -> Lap:
            read_s, written_s = models[index].race(tokens, _WRITTEN_TOKENS)
            return Lap(loads[index][done], read_s, written_s / _WRITTEN_TOKENS)

        return race_in_turns(job.rounds_count, lap, report)


def _load_s(path: Path) -> float:
    start_s = time.process_time()
    with LlamaModel(path, 1):
        return time.process_time() - start_s


def weigh(job: WeighJob, report: Callable[[int, int], None]) -> int:
    """Read a prompt of 512 tokens, or of as many as fit; the most that this process held, in bytes.

    Nodes map the file. But pages that llama.cpp has laid out anew for its kernels are needed no more: they would count
    twice, and are the first that the system takes back.
    """
    report(0, 1)
    with LlamaModel(
        Path(job.candidate), job.threads_count, mapped=False, limit_tokens=job.context_tokens
    ) as model:
        prompt = range(min(_WEIGHED_TOKENS, model.context_tokens))
        model.read([place % model.tokens_count for place in prompt])
        return peak_bytes()


if __name__ == "__main__":
    sys.exit(serve(AnyChatJob, work, ModelUnreadableError))
