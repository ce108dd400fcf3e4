"""The child that measures encoders: `python -m origin.build.evaluate.encoder_child`; else as `chat_child`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from tokenizers import Tokenizer

from origin.build.evaluate.bert_vectors import BertModel
from origin.build.evaluate.child_end import serve
from origin.build.evaluate.encoder_jobs import (
    AnyEncoderJob,
    EncoderLap,
    EncoderRaceJob,
    EncoderWeighJob,
    VectorsJob,
)
from origin.build.evaluate.onnx_model import OnnxModel, check_numbers
from origin.build.evaluate.peak_memory import peak_bytes
from origin.build.evaluate.races import Raced, race_in_turns
from origin.build.onnx.rows import in_batches

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

TEXT_TOKENS = 256
_BATCH_TOKENS = 1024
"""The most that a node computes at once; a single longer text, too."""
_REPORTED_COUNT = 50


class _Limits(msgspec.Struct):
    max_position_embeddings: int = TEXT_TOKENS


class EncoderUnreadableError(Exception):
    """An encoder that does not load, or does not compute."""


def work(job: AnyEncoderJob, report: Callable[[int, int], None]) -> Any:
    """Do a job. Raises EncoderUnreadableError."""
    try:
        if isinstance(job, EncoderRaceJob):
            return race(job, report)
        return weigh(job, report) if isinstance(job, EncoderWeighJob) else vectors(job, report)
    except ModuleNotFoundError:
        raise
    except Exception as error:  # ONNX Runtime's binding and tokenizers have no class in common
        raise EncoderUnreadableError(f"{type(error).__name__}: {error}") from error


def vectors(job: VectorsJob, report: Callable[[int, int], None]) -> int:
    """Write the vectors of all texts; how long one is."""
    directory = Path(job.directory)
    inputs = _ids(directory, job.texts)

    def tell(done: int) -> None:
        if done % _REPORTED_COUNT == 0:
            report(done, len(inputs))

    if job.kind == "onnx":
        rows = _onnx_vectors(directory / "model.onnx", job.threads_count, inputs, tell)
    else:
        rows = BertModel(directory).vectors(inputs, tell)
    with Path(job.vectors_file).open("wb") as writer:
        np.save(writer, rows)
    return int(rows.shape[1])


def _onnx_vectors(
    path: Path, threads_count: int, inputs: list[NDArray[np.int64]], report: Callable[[int], None]
) -> NDArray[np.float32]:
    """Each text alone: 8-bit kernels give a text another vector in company."""
    check_numbers(path)
    model = OnnxModel(path, threads_count)
    rows = []
    for done, ids in enumerate(inputs):
        report(done)
        rows.append(model.vector(ids))
    return np.array(rows, np.float32)


def race(job: EncoderRaceJob, report: Callable[[int, int], None]) -> Raced[EncoderLap]:
    """Let both load and read all texts in turns."""
    directories = [Path(job.directory), Path(job.sibling)]
    models = [OnnxModel(directory / "model.onnx", 1) for directory in directories]
    inputs = [_ids(directory, job.texts) for directory in directories]

    def lap(index: int, _: int) -> EncoderLap:
        start_s = time.process_time()
        loaded = OnnxModel(directories[index] / "model.onnx", 1)
        loaded_s = time.process_time()
        del loaded
        read_s = time.process_time()
        for ids in inputs[index]:
            models[index].vector(ids)
        return EncoderLap(loaded_s - start_s, time.process_time() - read_s)

    race_in_turns(1, lap, lambda *_: report(0, job.rounds_count))  # to warm up
    return race_in_turns(job.rounds_count, lap, report)


def weigh(job: EncoderWeighJob, report: Callable[[int, int], None]) -> int:
    """Compute the longest of the texts side by side; the most that this process held, in bytes."""
    report(0, 1)
    directory = Path(job.directory)
    model = OnnxModel(directory / "model.onnx", job.threads_count)
    inputs = _ids(directory, job.texts)
    model.run(next(in_batches(inputs, batch_tokens=1 if model.lonely else _BATCH_TOKENS)).ids)
    return peak_bytes()


def _ids(directory: Path, texts: tuple[str, ...]) -> list[NDArray[np.int64]]:
    tokenizer = Tokenizer.from_str((directory / "tokenizer.json").read_text("utf-8"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(min(TEXT_TOKENS, _limit_tokens(directory)))
    return [np.array(encoding.ids, np.int64) for encoding in tokenizer.encode_batch(list(texts))]


def _limit_tokens(directory: Path) -> int:
    """The most that the model reads; without a configuration, as many as we give to any."""
    file = directory / "config.json"
    if not file.is_file():
        return TEXT_TOKENS
    return msgspec.json.decode(file.read_bytes(), type=_Limits).max_position_embeddings


if __name__ == "__main__":
    sys.exit(serve(AnyEncoderJob, work, EncoderUnreadableError))
