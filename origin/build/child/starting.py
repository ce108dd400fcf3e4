"""Starting a child with a job, listening to it, and saying how it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

import origin
from origin.build.child.messages import Done, Failed, Message, Progressed
from origin.build.step import StepProgress
from origin.errors import BuildPartMissingError, RecipeInvalidError, StepFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from origin.build.child.messages import Job
    from registry.errors import EdgewardError

_LAST_LINES_COUNT = 3
_LAST_BYTES = 4096
_DEATH_WAIT_S = 10.0
# Operations read files of strangers; what they have no use for they do not get.
_SECRET_PREFIXES = ("EDGEWARD_", "AWS_")


def run_job(
    job: Job,
    *,
    what: str,
    log: Path,
    threads_count: int,
    report: Callable[[StepProgress], None],
    lock: int | None = None,
) -> Done:
    """Do a job in a child; blocks until it has ended. A KeyboardInterrupt ends the child first.

    Args:
        job: what to do.
        what: it is called in messages.
        log: gets what the child prints.
        threads_count: how many threads native libraries may take.
        report: hears how far it is.
        lock: a descriptor that the child keeps open as long as it lives.

    Raises:
        RecipeInvalidError: the operation cannot be done to this model.
        BuildPartMissingError: a package that it takes is not installed.
        StepFailedError: it failed, or the child died.
    """
    reading, writing = os.pipe()
    command = [sys.executable, "-P", "-m", "origin.build.child.worker", str(writing)]
    with log.open("wb") as printed, os.fdopen(reading, "rb") as messages:
        try:
            child = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=printed, stderr=printed,
                pass_fds=(writing, lock) if lock is not None else (writing,),
                env=_environment(threads_count), process_group=0,
            )  # fmt: skip
        finally:
            os.close(writing)
        assert child.stdin is not None, "it was asked for"
        try:
            _send(child, job)
            ended = _listen(messages, report)
            if ended is None:  # its end of the pipe closes before its death is known
                with suppress(subprocess.TimeoutExpired):
                    child.wait(_DEATH_WAIT_S)
        finally:
            child.kill()  # after its last message there is nothing left to do
            child.wait()
            child.stdin.close()
    if isinstance(ended, Done):
        return ended
    if ended is None:
        raise StepFailedError(
            f"{what}: its process died ({_death(child.returncode)}){_last_words(log)}; what was done before is kept. "
            f"All that it printed is in {log}"
        )
    raise _error(ended, what, log)


def _send(child: subprocess.Popen[bytes], job: Job) -> None:
    assert child.stdin is not None, "it was asked for"
    try:
        child.stdin.write(msgspec.json.encode(job) + b"\n")
        child.stdin.flush()
    except BrokenPipeError:
        return  # it is dead, and what it said of it is read next


def _listen(messages: Iterator[bytes], report: Callable[[StepProgress], None]) -> Done | Failed | None:
    for line in messages:
        try:
            message: Message = msgspec.json.decode(line, type=Message)
        except msgspec.DecodeError:
            return None  # cut off in the middle
        if not isinstance(message, Progressed):
            return message
        report(StepProgress(done=message.done, total=message.total, unit=message.unit, note=message.note))
    return None


def _environment(threads_count: int) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_SECRET_PREFIXES)}
    threads = str(threads_count)
    root = str(Path(origin.__file__).resolve().parent.parent)
    return kept | {
        # The same code as the builder's, wherever that was imported from.
        "PYTHONPATH": os.pathsep.join(filter(None, (root, kept.get("PYTHONPATH", "")))),
        "PYTHONUNBUFFERED": "1",
        "ORT_DISABLE_TELEMETRY": "1",
        "GGML_NO_BACKTRACE": "1",
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "RAYON_NUM_THREADS": threads,
        "TOKENIZERS_PARALLELISM": "false",
    }


def _error(failed: Failed, what: str, log: Path) -> EdgewardError:
    where = f"{what} {failed.step}" if failed.step else what
    message = failed.message.removeprefix(f"{where}: ")  # operations may name their step, too
    for kind in (RecipeInvalidError, BuildPartMissingError):
        if failed.code == kind.code:
            return kind(f"{where}: {message}")
    printed = f". What it printed is in {log}" if failed.code == StepFailedError.code else ""
    return StepFailedError(f"{where}: {message}{printed}")


def _death(return_code: int) -> str:
    if return_code >= 0:
        return f"exit code {return_code}"
    try:
        name = signal.Signals(-return_code).name
    except ValueError:
        name = f"signal {-return_code}"
    return f"{name}: out of memory, or somebody killed it" if name == "SIGKILL" else name


def _last_words(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _LAST_BYTES))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    return f", saying: {' / '.join(lines[-_LAST_LINES_COUNT:])}" if lines else ""
