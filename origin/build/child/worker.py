"""The child: reads a job, does it, says how far it is and how it ended; ends itself when its builder is gone."""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
import traceback
from contextlib import suppress
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from origin.build.child.messages import CheckJob, Done, EvaluationJob, Failed, Job, Progressed, StepJob
from origin.build.orphan import end_with_parent
from origin.build.step import StepProgress, StepWork
from origin.errors import BuildPartMissingError, StepFailedError
from registry.errors import EdgewardError

if TYPE_CHECKING:
    from origin.build.child.messages import Message, StepWords
    from origin.build.step import Step

_IN_CHILDREN = {"llama_cpp"}
"""What operations run in children of their own, so that it is not seen here."""
_PROGRESS_EVERY_S = 0.1
_OURS = ("origin", "registry")
_TOOLS = {
    "gguf": "gguf", "llama_cpp": "llama-cpp-python", "numpy": "numpy", "onnx": "onnx", "onnxruntime": "onnxruntime",
    "safetensors": "safetensors", "tokenizers": "tokenizers", "torch": "torch",
}  # fmt: skip


class _Outlet:
    """The pipe to the builder."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._told_s = 0.0

    def send(self, message: Message) -> None:
        data = msgspec.json.encode(message) + b"\n"
        while data:
            data = data[os.write(self._descriptor, data) :]

    def progress(self, progress: StepProgress) -> None:
        now_s = time.monotonic()
        if now_s - self._told_s >= _PROGRESS_EVERY_S or progress.done >= progress.total:
            self._told_s = now_s
            self.send(
                Progressed(done=progress.done, total=progress.total, unit=progress.unit, note=progress.note)
            )


def main() -> None:
    """Do the job on standard input; `argv[1]` is the descriptor of the pipe to the builder."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the builder decides what Ctrl-C means
    outlet = _Outlet(int(sys.argv[1]))
    job = msgspec.json.decode(sys.stdin.buffer.readline(), type=Job)
    end_with_parent()
    try:
        result = _do(job, outlet)
        outlet.send(Done(result=result, tools=_tools()))
    except BaseException as error:  # noqa: BLE001 - whatever it is, the builder has to be told
        traceback.print_exc()
        outlet.send(_failure(error))


def _do(job: Job, outlet: _Outlet) -> dict[str, Any]:
    if isinstance(job, StepJob):
        return _run(job, outlet)
    if isinstance(job, EvaluationJob):
        return _evaluate(job, outlet)
    return _check(job, outlet)


def _run(job: StepJob, outlet: _Outlet) -> dict[str, Any]:
    step = _step(job.step)
    module = import_module(step.MODULE)
    work = StepWork(
        directory=Path(job.directory),
        checkpoints=Path(job.checkpoints),
        inputs={name: words.artifact() for name, words in job.inputs.items()},
        texts={name: words.texts() for name, words in job.texts.items()},
        seed=job.seed,
        report=outlet.progress,
        threads_count=job.threads_count,
    )
    if hasattr(module, "check") and "source" in work.inputs:
        module.check(step, work.inputs["source"])
    facts = dict(module.run(step, work))
    if not any(work.directory.iterdir()):
        raise StepFailedError(f"the operation {step.__struct_config__.tag} made no file")
    return facts


def _check(job: CheckJob, outlet: _Outlet) -> dict[str, Any]:
    for words, source in job.steps:
        step = _step(words)
        module = import_module(step.MODULE)
        try:
            if source is None and hasattr(module, "check_words"):
                module.check_words(step)
            elif source is not None and hasattr(module, "check"):
                module.check(step, source.artifact())
        except EdgewardError as error:
            outlet.send(Failed(code=error.code, message=error.message, step=words.id))
            break
    return {}


def _evaluate(job: EvaluationJob, outlet: _Outlet) -> dict[str, Any]:
    # A step has no use for what an evaluation loads.
    from origin.build.evaluate.evaluation import EvaluationWork, evaluate  # noqa: PLC0415
    from origin.build.evaluate.tasks import AnyTaskSpec, read_tasks  # noqa: PLC0415

    specs = tuple(msgspec.convert(table, AnyTaskSpec) for table in job.tasks)
    evaluation = evaluate(
        job.candidate.artifact(),
        job.reference.artifact(),
        job.texts.texts(),
        read_tasks(specs, Path(job.folder)) if specs else (),
        EvaluationWork(
            kept=Path(job.kept),
            seed=job.seed,
            report=outlet.progress,
            threads_count=job.threads_count,
            siblings={name: words.artifact() for name, words in job.siblings.items()},
            learned_from=[words.texts() for words in job.learned_from],
            new_space=job.new_space,
            tokens_count=job.tokens_count,
            speeds=job.speeds,
        ),
    )
    plain: dict[str, Any] = msgspec.to_builtins(evaluation)
    return plain


def _step(words: StepWords) -> Step:
    kind: type[Step] = getattr(import_module(words.kind_module), words.kind_name)
    return msgspec.convert(words.table, kind)


def _tools() -> dict[str, str]:
    """Versions of the packages that may have had a say in the result."""
    versions = {"python": ".".join(map(str, sys.version_info[:3]))}
    for module, package in _TOOLS.items():
        if module in sys.modules or module in _IN_CHILDREN:
            with suppress(metadata.PackageNotFoundError):
                versions[package] = metadata.version(package)
    return versions


def _failure(error: BaseException) -> Failed:
    if isinstance(error, EdgewardError):
        return Failed(code=error.code, message=error.message)
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] not in _OURS:
        message = f"this needs the extra: pip install 'edgeward[build]' ({error.name} is not installed)"
        return Failed(code=BuildPartMissingError.code, message=message)
    if isinstance(error, MemoryError):
        return Failed(code=StepFailedError.code, message="there is not enough memory for it")
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return Failed(code=StepFailedError.code, message=f"the disk is full ({error.filename})")
    return Failed(code=StepFailedError.code, message=f"{type(error).__name__}: {str(error)[:500]}")


if __name__ == "__main__":
    main()
