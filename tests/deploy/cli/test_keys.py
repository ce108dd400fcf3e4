"""`edgeward keys`: made once, shown, and asked for by name when they are missing."""

from __future__ import annotations

import json
import shutil

from registry.digest import digest_of

STORE = '[store]\nendpoint = "{url}"\naccess_key = "a"\nsecret_key = "s"\nconnect_timeout_s = 0.2\n'


def test_init_makes_keys_and_shows_what_nodes_must_pin(edgeward, tmp_path):
    code, out, _ = edgeward("keys", "init", "--dir", "k", "--root-keys", "3", "--threshold", "2", "--json")
    shown = json.loads(out)
    assert code == 0
    assert shown["root_sha256"] == digest_of((tmp_path / "k" / "root.json").read_bytes())
    assert (shown["root_keys_count"], shown["root_threshold"]) == (3, 2)
    assert [key["role"] for key in shown["keys"]] == [
        "client-keys", "fleet", "models", "online", "root1", "root2", "root3", "targets",
    ]  # fmt: skip
    code, out, _ = edgeward("keys", "show", "--dir", "k")
    assert code == 0
    assert shown["root_sha256"] in out
    assert "2 of 3 must sign" in out
    assert "PRIVATE" not in out


def test_init_never_replaces_a_root(edgeward, signing):
    before = (signing / "root.json").read_bytes()
    code, out, err = edgeward("keys", "init")
    assert (code, out) == (1, "")
    assert "holds a root of trust already" in err
    assert (signing / "root.json").read_bytes() == before


def test_wrong_words(edgeward):
    for words, says in (
        (["init", "root"], "no role"),
        (["rotate"], "takes a role"),
        (["init", "--dir", "k", "--root-keys", "2", "--threshold", "3"], "root keys"),
        (["show", "--dir", "nowhere"], "edgeward keys init"),
        (["rotate", "../x"], "is not a model name"),
    ):
        code, out, err = edgeward("keys", *words)
        assert (code, out) == (1, ""), words
        assert says in err
        assert len(err.splitlines()) == 1


def test_without_keys_publishing_says_what_makes_them(edgeward, tmp_path, signing, nowhere):
    shutil.rmtree(signing)
    (tmp_path / "e.toml").write_text(STORE.format(url=nowhere))
    (tmp_path / "model.bin").write_bytes(b"weights")
    for words in (
        ["publish", "model.bin", "--name", "chat", "--version", "1"], ["promote", "chat@1"], ["yank", "chat@1"],
        ["timestamp", "renew"], ["origin", "serve", "--port", "0"],
    ):  # fmt: skip
        code, out, err = edgeward(*words, "--config", "e.toml", "--log-level", "error")
        assert (code, out) == (1, ""), words
        assert "edgeward keys init" in err
        assert len(err.splitlines()) == 1
