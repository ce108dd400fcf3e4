"""`edgeward node drain`, `uncordon`, `doctor`, and what is refused to those who are not root."""

from __future__ import annotations

import json
import os

import pytest

from deploy.cli import main


@pytest.fixture
def words(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return ("--data-dir", str(tmp_path / "node"), "--port", "1")


def test_a_node_that_is_down_stands_aside_when_it_starts(words, tmp_path, capsys):
    assert main(["node", "drain", "--wait-s", "1", *words]) == 0
    assert "no node answers here" in capsys.readouterr().out
    assert (tmp_path / "node" / "cordoned").exists()
    assert main(["node", "uncordon", *words]) == 0
    assert not (tmp_path / "node" / "cordoned").exists()


def test_the_doctor_says_what_is_bad(words, capsys):
    assert main(["node", "doctor", "--json", "--origin", "http://127.0.0.1:9", *words]) == 1
    found = {it["what"]: it["verdict"] for it in json.loads(capsys.readouterr().out)}
    assert found["process"] == "bad"
    assert found["origin"] == "bad"


@pytest.mark.parametrize("action", ["install", "uninstall"])
def test_changes_of_the_machine_are_for_root(words, capsys, monkeypatch, action):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(["node", action, *words]) == 1
    assert "run it as root" in capsys.readouterr().err


def test_rejoining_needs_a_token(words, capsys):
    assert main(["node", "rejoin", *words]) == 1
    assert "edgeward node rejoin TOKEN" in capsys.readouterr().err
