"""publish, pull, verify --repair, mirror, yank and gc by the command, on a store in a directory."""

import json
import random

import pytest

from deploy.cli import main


@pytest.fixture
def edgeward(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "store").mkdir()
    monkeypatch.setenv("EDGEWARD_STORE_KEYS_DIR", str(tmp_path / "keys"))
    assert main(["keys", "init"]) == 0
    capsys.readouterr()

    def edgeward(*words, code=0, store=True):
        url = f"file://{tmp_path}/store"
        flags = (["--store", url] if words[0] in {"pull", "verify"} else ["--endpoint", url]) if store else []
        assert main([*words, *flags, "--json"]) == code
        out = capsys.readouterr()
        return json.loads(out.out) if out.out else out.err

    return edgeward


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(random.Random(1).randbytes(50_000))
    return path


def test_the_life_of_a_release(edgeward, model, tmp_path):
    edgeward("publish", str(model), "--name", "chat", "--version", "1")
    edgeward("pull", "chat", "--to", "here")
    damaged = tmp_path / "here/files/model.bin"
    damaged.write_bytes(b"X" + damaged.read_bytes()[1:])
    assert edgeward("verify", "here", store=False, code=1)["damaged"] == [
        {"path": "model.bin", "chunks_count": 1}
    ]
    assert edgeward("verify", "here", "--repair")["replaced"] == ["model.bin"]
    assert damaged.read_bytes() == model.read_bytes()

    copied = edgeward("mirror", "usb", "--name", "chat")
    assert (copied["releases_count"], copied["copied_packs_count"]) == (1, 1)
    assert edgeward("mirror", "usb", "--from-dir")["copied_bytes"] == 0

    model.write_bytes(random.Random(2).randbytes(50_000))
    edgeward("publish", str(model), "--name", "chat", "--version", "2")
    assert edgeward("yank", "chat@1")["yanked"] is True
    assert edgeward("gc")["kept_young_count"] == 0  # withdrawn just now: still needed
    assert edgeward("gc", "--grace", "0", "--dry-run")["removed_count"] == 2
    assert edgeward("gc", "--grace", "0")["removed_count"] == 2
    edgeward("pull", "chat", "--to", "newer")
    assert (tmp_path / "newer/files/model.bin").read_bytes() == model.read_bytes()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["gc", "--grace", "-1"], "no number of days"),
        (["gc", "--keep-last", "0"], "at least 1"),
        (["mirror", "nowhere", "--from-dir"], "no directory"),
        (["pull"], "which release"),
    ],
)
def test_refusals(edgeward, words, said):
    assert said in edgeward(*words, code=1)
