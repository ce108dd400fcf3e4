"""Set-up: nothing to do the second time, one wheel for one machine, and clear words when something is missing."""

from __future__ import annotations

import json
import platform
import zipfile

import pytest

from deploy import bootstrap
from deploy.bundle.engine import portable_llama_wheel


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """Every pip call is noted instead of made; a `download` leaves a wheel with the sample in it."""
    noted = []

    def pip(_python, *arguments):
        noted.append(arguments)
        if arguments[0] == "download":
            target = arguments[arguments.index("--dest") + 1]
            with zipfile.ZipFile(f"{target}/sample.whl", "w") as wheel:
                for _, member, _ in bootstrap.SAMPLES:
                    wheel.writestr(member, f"bytes of {member}")

    monkeypatch.setattr(bootstrap, "_pip", pip)
    monkeypatch.setenv("EDGEWARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("EDGEWARD_LLAMA_WHEEL", raising=False)
    return noted


def prebuilt(monkeypatch, tmp_path):
    wheel = tmp_path / "llama_cpp_python-0-py3-none-any.whl"
    wheel.write_bytes(b"wheel")
    monkeypatch.setenv("EDGEWARD_LLAMA_WHEEL", str(wheel))
    return wheel


def test_the_second_set_up_does_nothing(calls, monkeypatch, tmp_path):
    prebuilt(monkeypatch, tmp_path)
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").touch()
    bootstrap.set_up(venv, force=False)
    assert calls
    assert json.loads((venv / "edgeward-setup.json").read_text())["python"] == platform.python_version()
    for _, member, target in bootstrap.SAMPLES:
        path = venv / "share" / "edgeward" / "models" / target
        assert path.read_text() == f"bytes of {member}"
    calls.clear()
    bootstrap.set_up(venv, force=False)
    assert calls == []
    bootstrap.set_up(venv, force=True)
    assert calls


def test_a_prebuilt_wheel_is_taken_and_a_missing_one_is_named(calls, monkeypatch, tmp_path):
    wheel = prebuilt(monkeypatch, tmp_path)
    assert bootstrap._llama_wheel(tmp_path / "python") == wheel
    monkeypatch.setenv("EDGEWARD_LLAMA_WHEEL", str(tmp_path / "none.whl"))
    with pytest.raises(bootstrap.SetupError, match=r"none\.whl"):
        bootstrap._llama_wheel(tmp_path / "python")


def test_a_compiled_wheel_is_kept_for_the_next_environment(calls, monkeypatch, tmp_path):
    compiled = []

    def compile_wheel(_python, pin, target, _choices):
        compiled.append(pin)
        (target / "llama_cpp_python-0.3.36-py3-none-any.whl").write_bytes(b"wheel")

    monkeypatch.setattr(bootstrap, "_compile", compile_wheel)
    first = bootstrap._llama_wheel(tmp_path / "python")
    assert bootstrap._llama_wheel(tmp_path / "python") == first
    assert first.read_bytes() == b"wheel"
    assert len(compiled) == 1
    assert [path.name for path in first.parent.iterdir()] == [first.name]  # no scratch is left


def test_a_wheel_for_any_processor_is_not_the_one_for_this(calls, monkeypatch, tmp_path):
    """A bundle got the engine that set-up had compiled for the very machine, while its manifest asked for less."""
    compiled = []

    def compile_wheel(_python, _pin, target, choices):
        compiled.append(choices)
        (target / "llama_cpp_python-0.3.36-py3-none-any.whl").write_bytes(repr(choices).encode())

    monkeypatch.setattr(bootstrap, "_compile", compile_wheel)
    native = bootstrap._llama_wheel(tmp_path / "python")
    portable = portable_llama_wheel()
    assert native != portable
    assert compiled == [(), ("-DGGML_NATIVE=OFF",)]
    assert portable_llama_wheel() == portable
    assert len(compiled) == 2


def test_every_pin_that_set_up_needs_is_there():
    for distribution, _, _ in bootstrap.SAMPLES:
        assert bootstrap._pinned(distribution).partition("==")[2]
    assert bootstrap._pinned("llama_cpp_python").startswith("llama-cpp-python==")
    with pytest.raises(bootstrap.SetupError, match="no version of nonsense"):
        bootstrap._pinned("nonsense")


def test_failure_is_one_clear_line(monkeypatch, capsys, tmp_path):
    def refuse(_venv, *, force):
        raise bootstrap.SetupError("a C++ compiler is needed")

    monkeypatch.setattr(bootstrap, "set_up", refuse)
    assert bootstrap.main(["--venv", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "set-up: a C++ compiler is needed\n"
