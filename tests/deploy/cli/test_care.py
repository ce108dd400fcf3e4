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


@pytest.fixture
def two(tmp_path):
    """Two forms of a model, which share most of their bytes, as arguments of `publish`."""
    for name, seed in (("q4", 1), ("q8", 2)):
        folder = tmp_path / "made" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.bin").write_bytes(random.Random(seed).randbytes(50_000))
        (folder / "tokenizer.json").write_bytes(random.Random(3).randbytes(60_000))
    return ["--variant", "q4=made/q4", "--variant", "q8=made/q8"]


def test_variants_are_published_pulled_verified_and_compared(edgeward, two, tmp_path):
    report = edgeward("publish", *two, "--cpu", "q8=avx2", "--name", "chat", "--version", "1")
    assert (report["variants"], report["chunks_count"]) == (["q4", "q8"], 3)
    (release,) = edgeward("models")["releases"]
    assert [(it["name"], it["features"]) for it in release["variants"]] == [("q4", []), ("q8", ["avx2"])]

    assert edgeward("pull", "chat", "--variant", "q4", "--to", "r/1")["report"]["total_bytes"] == 110_000
    assert edgeward("verify", "r/1", store=False)["variants"] == ["q4"]
    added = edgeward("pull", "chat", "--variant", "q8", "--to", "r/1")["report"]
    assert (added["reused_bytes"], added["total_bytes"]) == (60_000, 110_000)
    assert edgeward("verify", "r/1", store=False)["variants"] == ["q4", "q8"]

    (tmp_path / "made/q8/model.bin").write_bytes(random.Random(4).randbytes(50_000))
    edgeward("publish", *two, "--name", "chat", "--version", "2")
    assert edgeward("diff", "chat@1", "chat@2", "--variant", "q4")["cost"]["new_chunks_count"] == 0
    assert edgeward("diff", "chat@1", "chat@2", "--variant", "q8")["cost"]["new_chunks_count"] == 1
    assert "no variant 'q9'" in edgeward("diff", "chat@1", "chat@2", "--variant", "q9", code=1)


def test_a_pull_uses_what_lies_beside_its_target_and_at_bases(edgeward, two, model):
    edgeward("publish", *two, "--name", "chat", "--version", "1")
    edgeward("publish", str(model), "--name", "other", "--version", "1")
    edgeward("pull", "chat", "--to", "r/1")
    assert edgeward("pull", "chat", "--to", "r/2")["report"]["fetched_bytes"] == 0
    assert edgeward("pull", "chat", "--to", "s/1")["report"]["reused_bytes"] == 0
    for base in ("r", "r/1"):
        report = edgeward("pull", "chat", "--to", f"{base.replace('/', '-')}-based/1", "--base", base)[
            "report"
        ]
        assert report["fetched_bytes"] == 0
    assert "is not a directory" in edgeward("pull", "chat", "--base", "nowhere", code=1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["no.gguf"], "no file or directory no.gguf"),
        ([], "say what to publish"),
        (["made/q4", "made/q8"], "would both be the variant default; name them: --variant NAME=made/q4"),
        (["made/q4", "made/q8", "--variant", "q4"], "say which path is the variant q4: --variant q4=PATH"),
        (["--variant", "a b=made/q4"], "not a variant's name"),
        (["made/q4", "--cpu", "q8=avx2"], "--cpu q8=… names no variant"),
    ],
)
def test_variants_that_cannot_be_meant_are_refused(edgeward, two, words, said):
    assert said in edgeward("publish", *words, "--name", "chat", "--version", "1", code=1)


def test_a_rollback_of_a_name_that_is_none_says_the_nearest(edgeward, two):
    edgeward("publish", *two, "--name", "chat", "--version", "1")
    assert "did you mean chat?" in edgeward("rollback", "chta", code=1)
    assert "cannot be a store" in edgeward("mirror", "made/q4/model.bin", code=1)


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
