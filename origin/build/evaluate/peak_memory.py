"""Peak memory: the most that this process has held at once, by the kernel's own count."""

from __future__ import annotations

import re
from pathlib import Path

_STATUS = Path("/proc/self/status")
_PEAK = re.compile(r"^VmHWM:\s*(\d+) kB$", re.MULTILINE)


def peak_bytes() -> int:
    """The peak of this process's resident set, mapped files included; 0 where the system does not tell.

    Not `ru_maxrss` of getrusage(2): that is kept over fork and exec, so a child of a large process gets its parent's.
    """
    try:
        return peak_in(_STATUS.read_text("ascii", "replace"))
    except OSError:
        return 0


def peak_in(status: str) -> int:
    """The peak in bytes that a `status` of proc_pid_status(5) tells, in kibibytes; 0 where it does not."""
    found = _PEAK.search(status)
    return int(found[1]) << 10 if found else 0
