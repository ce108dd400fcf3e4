"""Children: their log is shown when they fail, they stop when asked, and they do not outlive us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.local.child import ChildFailedError, start_child, stop_children


def child_of(tmp_path, code, name="part"):
    return start_child(
        name, [sys.executable, "-c", code], log_file=tmp_path / f"{name}.log", environ={"MARK": "here"}
    )


def test_a_failed_child_shows_the_end_of_its_log(tmp_path):
    child = child_of(tmp_path, "import os, sys; print('because', os.environ['MARK']); sys.exit(3)")
    child.process.wait(20)
    with pytest.raises(ChildFailedError, match=r"(?s)part ended with code 3.*because here"):
        child.require_running()


def test_a_program_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(ChildFailedError, match=r"cannot start part \(/no/such/program\)"):
        start_child("part", ["/no/such/program"], log_file=tmp_path / "log", environ={})


def test_all_stop_when_asked_and_a_deaf_one_is_killed(tmp_path):
    ignore = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    deaf_code = f"{ignore}; print('deaf', flush=True); time.sleep(60)"
    deaf, good = (
        child_of(tmp_path, deaf_code, "deaf"),
        child_of(tmp_path, "import time; time.sleep(60)", "good"),
    )
    wait_for(lambda: "deaf" in deaf.log_tail())
    stop_children([deaf, good], timeout_s=0.2)
    assert deaf.process.returncode == -signal.SIGKILL
    assert good.process.returncode == -signal.SIGTERM


@pytest.mark.skipif(sys.platform != "linux", reason="the death signal of the parent is a call of Linux")
def test_a_child_does_not_outlive_its_killed_parent(tmp_path):
    """Not even one that would finish its work first: whoever starts the network again needs its ports."""
    code = f"""
import sys
from pathlib import Path
from deploy.local.child import start_child
deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
command = [sys.executable, "-c", deaf]
child = start_child("inner", command, log_file=Path({str(tmp_path)!r}) / "log", environ={{}})
import time
while not child.log_tail():
    time.sleep(0.01)
print(child.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        inner_pid = int(parent.stdout.readline())
        parent.kill()
    wait_for(lambda: not alive(inner_pid))


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie that nobody has reaped yet has ended all the same.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def wait_for(condition, timeout_s=20.0):
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "it did not happen in time"
        time.sleep(0.01)
