"""One child process of the local network: started with its log in a file, stopped in order, never left behind."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from registry.errors import EdgewardError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_PR_SET_PDEATHSIG = 1
_LOG_TAIL_LINES = 12


class ChildFailedError(EdgewardError):
    """A process of the local network ended or did not become ready."""

    code = "local.child_failed"


class Child:
    """A running process; its output goes to `log_file`."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log_file: Path) -> None:
        self.name = name
        self.process = process
        self.log_file = log_file

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether the process has not ended."""
        return self.process.poll() is None

    def require_running(self) -> None:
        """Raise ChildFailedError, with the end of the log, if the process has ended."""
        if not self.running:
            raise ChildFailedError(
                f"{self.name} ended with code {self.process.returncode}; its log, {self.log_file}, ends with:\n"
                f"{self.log_tail()}"
            )

    def log_tail(self) -> str:
        """The last lines of the log."""
        with contextlib.suppress(OSError):
            lines = self.log_file.read_text("utf-8", "replace").splitlines()
            return "\n".join(f"    {line[:300]}" for line in lines[-_LOG_TAIL_LINES:])
        return ""

    def terminate(self) -> None:
        """Ask the process to stop."""
        if self.running:
            self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the process as a crash would."""
        if self.running:
            self.process.kill()
        self.process.wait()

    def wait(self, timeout_s: float) -> None:
        """Wait for the end; a process that does not end in time is killed."""
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()


def start_child(
    name: str, command: Sequence[str], *, log_file: Path, environ: Mapping[str, str], cwd: Path | None = None
) -> Child:
    """Start a process that dies when this one does, in a session of its own so that Ctrl-C reaches only us.

    Raises:
        ChildFailedError: the program cannot be started.
    """
    log_file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with log_file.open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environ},
                cwd=cwd,
                start_new_session=True,
                preexec_fn=_die_with_parent() if sys.platform == "linux" else None,  # noqa: PLW1509  # only system calls
            )
    except OSError as error:
        raise ChildFailedError(f"cannot start {name} ({command[0]}): {error}") from error
    return Child(name, process, log_file)


def _die_with_parent() -> Callable[[], None]:
    # Looked up before the fork: after it, in a process with threads, only system calls are safe.
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def set_death_signal() -> None:
        # Not SIGTERM: who is asked finishes its work first, and holds the ports that the next start needs.
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the parent died between the fork and the call
            os._exit(1)

    return set_death_signal


def stop_children(children: Sequence[Child], timeout_s: float) -> None:
    """Ask all to stop at once, then wait for each."""
    for child in children:
        child.terminate()
    for child in children:
        child.wait(timeout_s)
