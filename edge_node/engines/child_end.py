"""What an engine's process inherits from the front, what it prints, and how its death reads."""

from __future__ import annotations

import os
import signal
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

import edge_node

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_node.engines.spec import EngineSpec

# A runtime that parses downloaded files has no business with our secrets.
_SECRET_PREFIXES = ("EDGEWARD_", "AWS_")
_LINE_CHARACTERS = 300
# How often a thread looks before it sleeps at one of the hundreds of barriers of a step. libgomp's own 300,000 are
# milliseconds: on a machine that does something else as well, they take the core from the very thread waited for.
_SPIN_COUNT = "1000"


def child_environment(parent: Mapping[str, str], spec: EngineSpec) -> dict[str, str]:
    """The environment of the child: the parent's without its settings and secrets, with the runtimes' switches."""
    kept = {name: value for name, value in parent.items() if not name.startswith(_SECRET_PREFIXES)}
    threads = str(spec.threads_count)
    # The child runs the same code as the front, wherever that was imported from.
    package_root = str(Path(edge_node.__file__).resolve().parent.parent)
    path = os.pathsep.join(part for part in (package_root, parent.get("PYTHONPATH", "")) if part)
    return kept | {
        "PYTHONPATH": path,
        "PYTHONUNBUFFERED": "1",
        "ORT_DISABLE_TELEMETRY": "1",
        # Otherwise an abort first attaches a debugger to dump the stack.
        "GGML_NO_BACKTRACE": "1",
        "OMP_NUM_THREADS": threads,
        "GOMP_SPINCOUNT": parent.get("GOMP_SPINCOUNT", _SPIN_COUNT),
        "OPENBLAS_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        # The tokenizer's own pool would come on top of the threads that the node was given.
        "RAYON_NUM_THREADS": threads,
        "TOKENIZERS_PARALLELISM": "false",
    }


def memory_bytes(pid: int) -> int:
    """What a process holds in memory, mapped files included; 0 where the system does not tell."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0
    return sum(int(line.split()[1]) << 10 for line in rollup.splitlines() if line.startswith("Pss:"))


def death_in_words(return_code: int) -> str:
    """A return code of `subprocess` as a person reads it."""
    if return_code >= 0:
        return f"exit code {return_code}"
    try:
        return f"killed by {signal.Signals(-return_code).name}"
    except ValueError:
        return f"killed by signal {-return_code}"


class LastLines:
    """The last lines that a process printed, each cut to a readable length."""

    def __init__(self, *, lines_count: int = 20) -> None:
        self._lines: deque[str] = deque(maxlen=lines_count)
        self._open = b""

    def push(self, data: bytes) -> None:
        """Take bytes as they come."""
        *whole, rest = (self._open + data).split(b"\n")
        self._open = rest[: 4 * _LINE_CHARACTERS]
        for line in whole:
            self._keep(line)

    def lines(self) -> tuple[str, ...]:
        """The last lines, oldest first, an unfinished one included."""
        if self._open:
            self._keep(self._open)
            self._open = b""
        return tuple(self._lines)

    def _keep(self, line: bytes) -> None:
        text = line.decode(errors="replace").strip()[:_LINE_CHARACTERS]
        if text:
            self._lines.append(text)
