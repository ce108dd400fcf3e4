"""`edgeward clients`: keys made, listed, rotated and revoked by commands."""

from __future__ import annotations

import json

import pytest

from registry.client_keys import parse_token


@pytest.fixture
def run(edgeward, tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "edgeward.toml").write_text(f'[store]\nendpoint = "file://{tmp_path}/store"\n')

    def run(*words):
        code, out, err = edgeward("--config", "edgeward.toml", *words)
        return code, out, err

    return run


def create(run, *words):
    code, out, err = run("clients", "create", *words, "--json")
    assert code == 0, err
    return json.loads(out)


def listed(run):
    code, out, err = run("clients", "list", "--json")
    assert code == 0, err
    return {key["id"]: key for key in json.loads(out)["keys"]}


def test_a_key_is_shown_once(run):
    words = ("shop", "--models", "chat, embed*", "--expires", "7 d", "--rate", "10/s", "--concurrent", "8")
    made = create(run, *words)
    key_id, secret = parse_token(made["key"])
    known = listed(run)[key_id]
    assert known == {name: made[name] for name in known}
    assert (known["models"], known["rate_per_h"], known["concurrent_count"]) == (
        ["chat", "embed*"],
        36_000,
        8,
    )
    assert known["expires_unix_s"] - known["created_unix_s"] == 7 * 86_400
    for words in (("clients", "list"), ("clients", "list", "--json")):
        assert secret not in "".join(str(part) for part in run(*words))


def test_it_ends_by_itself_unless_that_is_said(run):
    usual, endless = create(run, "a"), create(run, "b", "--expires", "never")
    assert usual["expires_unix_s"] - usual["created_unix_s"] == 90 * 86_400
    assert endless["expires_unix_s"] is None


def test_rotate_and_revoke(run):
    made = create(run, "shop")
    code, out, err = run("clients", "rotate", made["id"], "--json")
    assert code == 0, err
    again = json.loads(out)
    assert (again["id"], again["secrets_count"]) == (made["id"], 2)
    assert again["key"] != made["key"]
    assert run("clients", "revoke", made["id"])[0] == 0
    assert listed(run)[made["id"]]["state"] == "revoked"
    assert run("clients", "revoke", made["id"], "--forget")[0] == 0
    assert listed(run) == {}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("create",), "takes a name"),
        (("list", "x"), "takes nothing more"),
        (("revoke", "0" * 12), "there is no client key"),
        (("create", "a/b"), "is no name"),
        (("create", "a", "--rate", "fast"), "is no rate"),
        (("create", "a", "--expires", "soon"), "expires"),
        (("create", "a", "--models", ","), "models"),
    ],
)
def test_refusals_say_what_to_do(run, words, said):
    code, out, err = run("clients", *words)
    assert code != 0
    assert said in err
    assert out == ""


def test_before_the_first_there_is_none(run):
    code, out, _ = run("clients", "list")
    assert (code, "edgeward clients create NAME" in out) == (0, True)
