"""A measurement in a process of its own: native libraries end their process when a model breaks their assumptions."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from origin.errors import BuildPartMissingError, StepFailedError

if TYPE_CHECKING:
    from collections.abc import Callable

Answer = TypeVar("Answer")

_TAIL_CHARACTERS = 400
_LINES_COUNT = 3
_THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class CandidateUnfitError(Exception):
    """A model that cannot be measured: it does not load, or ended the process that tried."""


class _Line(msgspec.Struct):
    done: int = 0
    total: int = 0
    answer: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    unreadable: str = ""


def measure(
    module: str,
    job: msgspec.Struct,
    answer_type: type[Answer],
    report: Callable[[int, int], None],
    *,
    threads_count: int,
) -> Answer:
    """Run `python -m MODULE` with a job; what it answers. numpy computes in so many threads.

    Raises:
        CandidateUnfitError: the model is at fault.
        BuildPartMissingError: a package is missing.
        StepFailedError: the program itself failed.
    """
    with tempfile.TemporaryFile() as complaints:
        with subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            env=os.environ | dict.fromkeys(_THREAD_SETTINGS, str(threads_count)),
        ) as child:
            try:
                answer = _converse(child, job, report)
            except BaseException:
                child.kill()
                raise
        if answer is not None and answer.answer:
            return msgspec.json.decode(answer.answer, type=answer_type)
        complaints.seek(0)
        said = complaints.read().decode(errors="replace").strip()
    if answer is not None:
        raise CandidateUnfitError(f"{answer.unreadable}{_last_words(said)}")
    missing = re.search(r"ModuleNotFoundError: No module named '([\w.]+)'", said)
    if missing:
        raise BuildPartMissingError(
            f"judging needs {missing[1]}, which is not installed: pip install 'edgeward[build]'"
        )
    if child.returncode < 0:
        raise CandidateUnfitError(f"it ended the process by signal {-child.returncode}{_last_words(said)}")
    raise StepFailedError(f"measuring ended with status {child.returncode}: {said[-_TAIL_CHARACTERS:]}")


def _converse(child: subprocess.Popen[bytes], job: Any, report: Callable[[int, int], None]) -> _Line | None:
    assert child.stdin is not None
    assert child.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        child.stdin.write(msgspec.json.encode(job) + b"\n")
        child.stdin.flush()
    for raw in child.stdout:
        line = msgspec.json.decode(raw, type=_Line)
        if line.answer or line.unreadable:
            return line
        report(line.done, line.total)
    return None


def _last_words(said: str) -> str:
    """What the library complained of last: the first of a few lines mostly has the cause."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return f" ({'; '.join(lines[-_LINES_COUNT:])[:_TAIL_CHARACTERS]})" if lines else ""
