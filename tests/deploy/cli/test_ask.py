"""`edgeward ask` before anybody is asked: schemas, and words for waiting."""

import json

import pytest

from deploy.cli import ask
from deploy.cli.terminal import passing
from edge_node.client import Waiting


@pytest.mark.parametrize(
    ("text", "words"), [(None, "No such file"), ("{", "is not JSON"), ("[" * 9999, "not JSON")]
)
def test_a_schema_that_cannot_be_read_is_one_line(tmp_path, edgeward, text, words):
    file = tmp_path / "schema.json"
    if text is not None:
        file.write_text(text)
    code, out, err = edgeward("ask", "x", "--json-schema", str(file))
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert words in err


async def test_what_is_asked(tmp_path, monkeypatch):
    file = tmp_path / "schema.json"
    file.write_text(json.dumps({"type": "integer"}))
    assert ask._format(str(file)) == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": {"type": "integer"}, "strict": True},
    }


@pytest.mark.parametrize(
    ("waiting", "words"),
    [
        (Waiting(state="queued"), "queued"),
        (Waiting(state="queued", place=3, eta_s=12.4), "queued, 3 before this one, about 12 s"),
        (Waiting(state="reading", percent=40), "reading the question: 40 %"),
    ],
)
def test_waiting_in_words(waiting, words):
    assert ask._waiting_in_words(waiting) == words


def test_a_passing_line_is_for_terminals_alone(capsys, monkeypatch):
    passing("queued")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    passing("queued\x1b[2J")
    passing("")
    shown = capsys.readouterr().err
    assert "queued" in shown
    assert "\x1b[2J" not in shown
    assert shown.endswith("\r\x1b[K")
