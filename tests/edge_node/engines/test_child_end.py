"""What the child gets, prints and dies of."""

import pytest

from edge_node.engines.child_end import LastLines, child_environment, death_in_words
from edge_node.engines.spec import EngineSpec

SPEC = EngineSpec(kind="onnx", name="m", version="1", model_dir="d", files=(), threads_count=3)


def test_secrets_stay_with_the_front():
    parent = {"EDGEWARD_STORE__SECRET_KEY": "s", "AWS_SECRET_ACCESS_KEY": "s", "HOME": "/h", "PATH": "/p"}
    environment = child_environment(parent, SPEC)
    assert {name for name in environment if name.startswith(("EDGEWARD_", "AWS_"))} == set()
    assert (environment["HOME"], environment["PATH"]) == ("/h", "/p")
    assert environment["ORT_DISABLE_TELEMETRY"] == environment["GGML_NO_BACKTRACE"] == "1"
    assert environment["OMP_NUM_THREADS"] == "3"


def test_waiting_threads_sleep_soon_unless_the_operator_says_otherwise():
    assert child_environment({}, SPEC)["GOMP_SPINCOUNT"] == "1000"
    assert child_environment({"GOMP_SPINCOUNT": "7"}, SPEC)["GOMP_SPINCOUNT"] == "7"


def test_an_existing_python_path_is_kept():
    assert child_environment({"PYTHONPATH": "/extra"}, SPEC)["PYTHONPATH"].endswith(":/extra")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (1, "exit code 1"),
        (0, "exit code 0"),
        (-9, "killed by SIGKILL"),
        (-6, "killed by SIGABRT"),
        (-250, "killed by signal 250"),
    ],
)
def test_deaths(code, words):
    assert death_in_words(code) == words


def test_last_lines_are_whole_bounded_and_text():
    printed = LastLines(lines_count=3)
    for data in (b"one\ntw", b"o\n\nthree\n", b"\xff" * 5000, b"\nfive\nsi", b"x"):
        printed.push(data)
    lines = printed.lines()
    assert lines[1:] == ("five", "six")
    assert lines[0] == "\ufffd" * 300
