"""Builds: what is done, what is not done again, and what is left when something goes wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest

from origin.build.evaluate.figures import Evaluation
from origin.build.workspace import Workspace
from origin.errors import BuildPartMissingError, RecipeInvalidError, StepFailedError
from registry.errors import InputInvalidError
from tests.origin.build.toy_builds import HEAD, Heard

ROOT = Path(__file__).parents[3]
TWO = """\
[[step]]
id = "seen"
op = "measure"
data = "calib"
[[step]]
id = "a"
op = "copy"
text = "+a"
[[step]]
id = "b"
op = "copy"
from = "a"
importance = "seen"
text = "+b"
[[variant]]
name = "q"
from = "b"
"""
ONE = """\
[[step]]
id = "a"
op = "copy"
text = "+a"
[[variant]]
name = "q"
from = "a"
"""


def test_steps_are_done_in_order_and_once(toys):
    heard = Heard()
    (built,) = toys.build(TWO, heard)
    assert built.artifact.model_file.read_bytes() == b"GGUF root+a+b"
    assert built.verdict is None
    assert not built.passed
    assert [step_id for step_id, _ in built.records] == ["a", "b"]
    assert toys.runs() == ["seen", "a", "b"]
    assert heard.words[:2] == ["begun step seen", "ended step seen"]
    toys.build(TWO)
    assert not (toys.workspace.root / "runs.txt").exists()


@pytest.mark.parametrize(
    ("old", "new", "again"),
    [
        ('text = "+b"', 'text = "+c"', ["b"]),
        ('text = "+a"', 'text = "+A"', ["a", "b"]),
        ('id = "seen"', 'id = "seen"', []),
        ("seed = 7", "seed = 8", ["seen", "a", "b"]),
        ('version = "1.0.0"', 'version = "2.0.0"', []),
        ('importance = "seen"\n', "", ["b"]),
        ('name = "q"', 'name = "r"', []),
    ],
)
def test_a_change_redoes_only_what_follows(toys, old, new, again, monkeypatch):
    toys.build(TWO)
    toys.runs()
    monkeypatch.setattr("tests.origin.build.toy_builds.HEAD", HEAD.replace(old, new))
    toys.build(TWO.replace(old, new))
    assert (toys.workspace.root / "runs.txt").exists() == bool(again)
    assert not again or toys.runs() == again


def test_a_step_under_another_name_is_the_same_work(toys):
    toys.build(ONE)
    toys.runs()
    toys.build(ONE.replace('"a"', '"other"'))
    assert not (toys.workspace.root / "runs.txt").exists()


def test_other_texts_and_another_source_are_other_work(toys):
    toys.build(TWO)
    toys.runs()
    (toys.folder / "calib.txt").write_text("one\n\ntwo")
    toys.build(TWO)
    assert toys.runs() == ["seen", "b"]
    (toys.folder / "model.gguf").write_bytes(b"GGUF other")
    (built,) = toys.build(TWO)
    assert toys.runs() == ["seen", "a", "b"]
    assert built.artifact.model_file.read_bytes() == b"GGUF other+a+b"


def test_a_record_says_how_it_was_made(toys):
    (built,) = toys.build(TWO)
    _, record = built.records[-1]
    assert (record.op, record.version, record.seed, record.kind) == ("copy", 3, 7, "gguf")
    assert record.parameters == {"text": "+b", "slow_count": 0, "fail": ""}
    assert record.files["model.gguf"].size_bytes == len(b"GGUF root+a+b")
    assert record.facts["threads_count"] == 1
    assert record.tools["python"]


def test_an_operation_gets_no_secrets(toys, monkeypatch):
    monkeypatch.setenv("AWS_SECRET", "x")
    (built,) = toys.build(ONE)
    assert built.records[0][1].facts["secret"] == ""


def test_what_was_made_cannot_be_written_to(toys):
    (built,) = toys.build(ONE)
    assert built.artifact.model_file.stat().st_mode & 0o222 == 0


@pytest.mark.parametrize(
    ("fail", "kind", "words"),
    [
        ("check", RecipeInvalidError, "this toy cannot be copied"),
        ("abort", StepFailedError, r"its process died \(SIGABRT\), saying: .*ggml says no"),
        ("raise", StepFailedError, "ValueError: a toy broke"),
        ("missing", BuildPartMissingError, r"edgeward\[build\].*no_such_package is not installed"),
        ("nothing", StepFailedError, "made no file"),
    ],
)
def test_a_step_that_fails_says_so_and_leaves_what_was_done(toys, fail, kind, words):
    broken = TWO.replace('text = "+b"', f'fail = "{fail}"')
    with pytest.raises(kind, match=words) as caught:
        toys.build(broken)
    assert "b" in caught.value.message
    assert list((toys.workspace.root / "incoming").iterdir()) == []
    toys.runs()
    toys.build(TWO)
    assert toys.runs() == ["b"]


def test_what_the_source_cannot_have_is_refused_before_any_work(toys):
    broken = TWO.replace('text = "+a"', 'fail = "check"')
    with pytest.raises(RecipeInvalidError, match="step a: this toy"):
        toys.build(broken)
    assert not (toys.workspace.root / "runs.txt").exists()


def test_words_that_mean_nothing_are_refused_before_what_the_step_works_on_is_made(toys):
    with pytest.raises(RecipeInvalidError, match="step b: no toy is called this"):
        toys.build(TWO.replace('text = "+b"', 'fail = "words"'))
    assert not (toys.workspace.root / "runs.txt").exists()


def test_ctrl_c_ends_the_child_and_the_next_build_goes_on(toys):
    slow = ONE.replace('text = "+a"', "slow_count = 200")
    heard = Heard()

    class Impatient(Heard):
        def progressed(self, progress):
            if progress.done > 5:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        toys.build(slow, Impatient())
    assert list((toys.workspace.root / "incoming").iterdir()) == []
    assert toys.plan(slow).steps[0].begun
    (built,) = toys.build(slow, heard)
    assert built.records[0][1].facts["resumed_at"] > 5
    assert list((toys.workspace.root / "checkpoints").iterdir()) == []
    assert heard.progress[-1].note == "loss 1"


BUILDER = """
import sys
from pathlib import Path
from tests.origin.build.toy_builds import Heard, ToyBuilds
ToyBuilds(Path(sys.argv[1])).build(sys.argv[2])
"""


def test_a_killed_builder_takes_its_child_along_and_the_next_one_goes_on(toys):
    slow = ONE.replace('text = "+a"', 'text = "!"\nslow_count = 100')
    last = 0
    for wait_s in (0.3, 0.5, 0.7):
        builder = subprocess.Popen([sys.executable, "-c", BUILDER, str(toys.folder), slow], cwd=ROOT)
        checkpoint = toys.workspace.root / "checkpoints" / toys.plan(slow).steps[0].key / "done"
        deadline_s = time.monotonic() + 20
        while not (checkpoint.exists() and int(checkpoint.read_text()) > last):
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
        time.sleep(wait_s / 10)
        builder.send_signal(signal.SIGKILL)
        builder.wait()
        time.sleep(0.1)
        last = int(checkpoint.read_text())
        time.sleep(0.1)
        assert int(checkpoint.read_text()) == last, "the child lives on"
    (built,) = toys.build(slow)
    assert built.artifact.model_file.read_bytes() == b"GGUF root!"
    assert built.records[0][1].facts["resumed_at"] >= last
    assert list((toys.workspace.root / "incoming").iterdir()) == []


def test_two_builds_of_the_same_make_it_once(toys):
    slow = ONE.replace('text = "+a"', "slow_count = 30")
    heard = [Heard(), Heard()]
    threads = [threading.Thread(target=toys.build, args=(slow, one)) for one in heard]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert toys.runs() == ["a"]
    words = [word for one in heard for word in one.words]
    assert words.count("begun step a") == 1


def test_texts_that_change_under_a_build_are_noticed(toys):
    recipe = TWO.replace('text = "+a"', "slow_count = 2")

    class Meddler(Heard):
        def ended(self, what, took_s):
            (toys.folder / "calib.txt").write_text("something else")

    changed = recipe.replace('importance = "seen"\ntext = "+b"', 'data = "calib"')
    with pytest.raises(StepFailedError, match=r"\[data.calib\] were changed"):
        toys.build(changed.replace('id = "seen"\nop = "measure"', 'id = "seen"\nop = "measure"'), Meddler())


def test_cleaning_keeps_what_a_recipe_needs(toys):
    toys.build(TWO)
    other = TWO.replace("+b", "+c")
    toys.build(other)
    before = toys.workspace.size_bytes()
    freed = toys.workspace.clean(toys.plan(other).kept_keys)
    assert freed > 0
    assert toys.workspace.size_bytes() == before - freed
    assert all(step.done for step in toys.plan(other).steps)
    assert [step.done for step in toys.plan(TWO).steps] == [True, True, False]


JUDGED = """\
[data.eval]
files = ["eval.txt"]
[evaluate]
texts = "eval"
"""
EVALUATION = Evaluation(
    candidate="c", reference="r", kind="gguf", texts_sha256="t", seed=7, new_space=False, figures={}, sizes={},
    faults=(), versions={},
)  # fmt: skip


@pytest.mark.parametrize(
    "other", ["tokens_count = 1024\n", '[[task]]\nkind = "retrieval"\nfile = "r.jsonl"\n']
)
def test_cleaning_takes_what_the_reference_gave_for_another_judgement(toys, other):
    (toys.folder / "r.jsonl").write_text("{}")
    first, second = toys.plan(ONE + JUDGED), toys.plan(ONE + JUDGED + other)
    for plan in (first, second):
        (toys.workspace.kept_reference(plan.reference_key()) / "scores.npy").write_bytes(bytes(1000))
    assert toys.workspace.clean(second.kept_keys) == 1000
    assert (toys.workspace.kept_reference(second.reference_key()) / "scores.npy").is_file()


def test_one_build_at_a_time_reads_with_a_reference(toys):
    plan = toys.plan(ONE + JUDGED)
    heard, built = Heard(), []
    work = threading.Thread(target=lambda: built.extend(toys.build(ONE + JUDGED, heard)))
    with toys.workspace.alone(plan.reference_key(), lambda: None):
        work.start()
        deadline_s = time.monotonic() + 60
        while "waiting judging q" not in heard.words:
            assert time.monotonic() < deadline_s, heard.words
            time.sleep(0.01)
        place = toys.workspace.evaluation(plan.variants[0].evaluation)
        place.parent.mkdir(parents=True)
        place.write_bytes(msgspec.json.encode(EVALUATION))
    work.join(60)
    assert built[0].evaluation == EVALUATION
    assert "begun judging q" not in heard.words


def test_a_workspace_in_use_is_not_cleaned(toys):
    class Cleaner(Heard):
        def begun(self, what):
            with pytest.raises(InputInvalidError, match="a build is at work"):
                toys.workspace.clean(())

    toys.build(ONE, Cleaner())
    assert toys.workspace.clean(()) > 0
    assert not toys.plan(ONE).steps[0].done
    with pytest.raises(InputInvalidError, match="there is no workspace"):
        Workspace(toys.folder / "none").clean(())


def test_a_damaged_record_is_said(toys):
    toys.build(ONE)
    key = toys.plan(ONE).steps[0].key
    (toys.workspace.root / "artifacts" / key / "record.json").write_bytes(b"{")
    with pytest.raises(StepFailedError, match="is damaged"):
        toys.plan(ONE)


def test_nothing_of_ours_is_left_running(toys):
    toys.build(ONE)
    children = subprocess.run(
        ["ps", "--ppid", str(os.getpid()), "-o", "args="], capture_output=True, text=True, check=False
    )
    assert "origin.build.child" not in children.stdout
