import os
import signal
import subprocess
import sys
import time

import msgspec
import pytest

from origin.build.evaluate.children import CandidateUnfitError, measure
from origin.errors import BuildPartMissingError, StepFailedError

HEAD = """
import os, sys, time
import msgspec
from origin.build.evaluate.child_end import serve
class Job(msgspec.Struct):
    path: str
class UnreadableError(Exception): ...
"""
TAIL = "\nsys.exit(serve(Job, work, UnreadableError))\n"


class Job(msgspec.Struct):
    path: str


@pytest.fixture
def child(tmp_path, monkeypatch):
    """Runs a job by the body of `work(job, report)`."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))

    def run(body, answer_type=int, report=lambda *_: None):
        lines = "\n".join(f"    {line}" for line in body.splitlines())
        (tmp_path / "tried_child.py").write_text(f"{HEAD}\ndef work(job, report):\n{lines}\n{TAIL}")
        return measure("tried_child", Job(path=str(tmp_path)), answer_type, report, threads_count=3)

    return run


def test_gives_back_what_the_child_answers_and_tells_how_far_it_is(child):
    heard = []
    body = "report(1, 2)\nprint('noise of a library')\nreport(2, 2)\nreturn [job.path, os.environ['OMP_NUM_THREADS']]"
    path, threads = child(body, list[str], lambda *said: heard.append(said))
    assert path
    assert threads == "3"
    assert heard == [(1, 2), (2, 2)]


def test_a_model_that_cannot_be_read_is_said_with_what_the_library_said(child):
    with pytest.raises(CandidateUnfitError, match=r"no header \(library: bad magic\)"):
        child("sys.stderr.write('library: bad magic\\n')\nraise UnreadableError('no header')")


def test_a_model_that_ends_the_process_is_at_fault_itself(child):
    with pytest.raises(CandidateUnfitError, match="signal 6"):
        child("sys.stderr.write('GGML_ASSERT\\n')\nsys.stderr.flush()\nos.abort()")


def test_a_bug_of_ours_is_no_fault_of_the_model(child):
    with pytest.raises(StepFailedError, match="ZeroDivisionError"):
        child("return 1 // 0")


def test_a_missing_package_is_named(child):
    with pytest.raises(BuildPartMissingError, match="no_such_package"):
        child("import no_such_package")


def test_an_interruption_ends_the_child(child, tmp_path):
    def interrupt(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        child(
            "open(job.path + '/pid', 'w').write(str(os.getpid()))\nreport(0, 1)\ntime.sleep(60)",
            int,
            interrupt,
        )
    assert not alive(int((tmp_path / "pid").read_text()))


def test_the_child_ends_when_its_parent_is_killed(child, tmp_path):
    (tmp_path / "tried_child.py").write_text(
        f"{HEAD}\ndef work(job, report):\n    open(job.path + '/pid', 'w').write(str(os.getpid()))\n"
        f"    time.sleep(60)\n{TAIL}"
    )
    program = (
        "from tests.origin.build.evaluate.test_children import Job\n"
        "from origin.build.evaluate.children import measure\n"
        f"measure('tried_child', Job(path={str(tmp_path)!r}), int, print, threads_count=1)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program]) as parent:
        until(lambda: (tmp_path / "pid").is_file() and (tmp_path / "pid").read_text())
        parent.send_signal(signal.SIGKILL)
    pid = int((tmp_path / "pid").read_text())
    until(lambda: not alive(pid))


def until(holds):
    for _ in range(600):
        if holds():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come to that")


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
