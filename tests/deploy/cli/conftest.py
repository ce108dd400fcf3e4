"""The `edgeward` command in this process and as a process, cut off from the settings of whoever runs the tests."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from deploy.cli import main


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """No settings but those that a test makes; no logging set up beyond the test."""
    import logging

    import structlog

    for name in list(os.environ):
        if name.startswith(("EDGEWARD_", "AWS_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.chdir(tmp_path)
    before = logging.getLogger().handlers[:]
    configure = structlog.configure
    # A logger that is kept would write to this test's standard error for ever.
    monkeypatch.setattr(
        structlog, "configure", lambda **said: configure(**{**said, "cache_logger_on_first_use": False})
    )
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    logging.getLogger().handlers[:] = before


@pytest.fixture(autouse=True)
def signing(alone, tmp_path):
    """Keys where the command looks for them, so that a test fails for what it is about; gives their directory."""
    from registry.trust.ceremony import begin
    from registry.trust.keys import KeyDirectory

    keys = KeyDirectory(tmp_path / ".config/edgeward/keys")
    begin(keys, now_unix_s=time.time())
    return keys.directory


@pytest.fixture
def edgeward(capsys):
    """Run the command; gives (exit code, standard output, standard error)."""

    def run(*words):
        code = main(list(words))
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


@pytest.fixture
def program(tmp_path):
    """The command as a process of its own."""

    def start(*words, **more):
        return subprocess.Popen(
            [sys.executable, *more.pop("python", ()), "-m", "deploy.cli", *words],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
            **more,
        )  # fmt: skip

    return start


@pytest.fixture
def nowhere(unused_tcp_port):
    """A URL that nobody answers."""
    return f"http://127.0.0.1:{unused_tcp_port}"
