"""The child's end of a measurement: one job in, lines of progress and one answer out; it ends when its parent does."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import msgspec

from origin.build.orphan import end_with_parent

if TYPE_CHECKING:
    from collections.abc import Callable

    Report = Callable[[int, int], None]


def serve(job_type: Any, work: Callable[[Any, Report], Any], unreadable: type[Exception]) -> int:
    """Do the one job that standard input brings; the exit status."""
    # Libraries write to descriptor 1: the answers get a descriptor of their own.
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    line = sys.stdin.buffer.readline()
    end_with_parent()
    job = msgspec.json.decode(line, type=job_type)
    try:
        answer = {"answer": work(job, lambda done, total: _say(answers, {"done": done, "total": total}))}
    except unreadable as error:
        answer = {"unreadable": str(error)}
    _say(answers, answer)
    return 0


def _say(answers: Any, message: dict[str, Any]) -> None:
    answers.write(msgspec.json.encode(message) + b"\n")
