"""`edgeward token`, `node join`, `node status`, `nodes revoke`: a node's way into a fleet and out, by commands."""

from __future__ import annotations

import json
import re
import threading
import time

import pytest

from edge_node.enrolment.membership import load_membership
from registry.store.directory import DirectoryStore
from tests.fleet_origin import FleetOrigin


@pytest.fixture
def store(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "edgeward.toml").write_text(f'[store]\nendpoint = "file://{tmp_path}/store"\n')
    return DirectoryStore(tmp_path / "store")


@pytest.fixture
def run(edgeward, store):
    return lambda *words: edgeward("--config", "edgeward.toml", *words)


@pytest.fixture
def authority(run, tmp_path):
    code, out, err = run("keys", "init", "--dir", str(tmp_path / "fresh"), "--json")
    assert code == 0, err
    return json.loads(out)


@pytest.fixture
def door(store, tmp_path):
    """An origin in a thread, over the same directory and with the keys where the command finds them; gives its URL."""
    import asyncio

    from registry.log import configure_logging

    configure_logging(service="test", level="error")  # else its lines are among those of the command
    ready, told, urls = threading.Event(), threading.Event(), []

    async def serve():
        from registry.trust.in_memory import signed_in_memory

        made = FleetOrigin(tmp_path / ".config/edgeward/keys", tmp_path / "origin", signed_in_memory(store))
        async with made.running():
            urls.append(made.door_url)
            ready.set()
            await asyncio.to_thread(told.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(10)
    yield urls[0]
    told.set()
    thread.join()


def test_a_token_is_shown_once_and_listed_without_its_secret(run, door, store):
    code, out, err = run("token", "create", "--label", "Lyon", "--pool", "gpu", "--ttl", "2 h", "--uses", "3")
    assert code == 0
    token = out.strip()
    assert re.fullmatch(r"ejt1\.[0-9a-f]{12}\.[\w-]{43}\.[\w-]{43}", token)
    assert "3 nodes" in err
    secret = token.split(".")[2]
    assert all(secret.encode() not in store.get(info.key).data for info in store.list("enrolment/"))
    code, out, _ = run("token", "list", "--json")
    (listed,) = json.loads(out)["tokens"]
    assert (listed["state"], listed["uses_count"], listed["label"], listed["pool"]) == (
        "open",
        3,
        "Lyon",
        "gpu",
    )
    assert listed["expires_unix_s"] == pytest.approx(time.time() + 7200, abs=60)
    assert "secret" not in out
    code, out, _ = run("token", "list")
    assert "Lyon" in out


def test_a_node_joins_shows_itself_and_is_turned_out(run, door, tmp_path):
    token = json.loads(run("token", "create", "--region", "eu", "--json")[1])["token"]
    node = ("--data-dir", str(tmp_path / "n"))
    code, out, err = run("node", "join", token, "--origin", door, "--node-id", "fra-1", *node)
    assert (code, err) == (0, "")
    assert "fra-1 is in fleet-test" in out
    assert load_membership(tmp_path / "n").region == "eu"
    code, out, _ = run("node", "status", "--port", "1", *node)
    assert code == 0
    assert "fra-1 (eu)" in out
    assert re.search(r"good until 2\d{3}-.* UTC, 2[34]\.\d h left", out)
    assert "nothing answers" in out
    code, out, _ = run("node", "status", "--port", "1", "--json", *node)
    assert "PRIVATE" not in out
    assert json.loads(out)["enrolment"]["node_id"] == "fra-1"
    # used, and by whom
    assert json.loads(run("token", "list", "--json")[1])["tokens"][0]["nodes"][0]["node_id"] == "fra-1"
    code, _, err = run(
        "node", "join", token, "--origin", door, "--node-id", "b", "--data-dir", str(tmp_path / "m")
    )
    assert (code, len(err.splitlines())) == (1, 1)
    assert "has been used" in err
    code, out, _ = run("nodes", "revoke", "fra-1")
    assert code == 0
    assert "turned out" in out
    code, _, err = run("nodes", "revoke", "nobody")
    assert code == 1
    assert "no node nobody" in err


def test_a_revoked_token_lets_nobody_in(run, door, tmp_path):
    token = run("token", "create")[1].strip()
    assert run("token", "revoke", token.split(".")[1])[0] == 0
    code, _, err = run("node", "join", token, "--origin", door, "--data-dir", str(tmp_path / "n"))
    assert code == 1
    assert "was revoked" in err


def test_a_token_of_another_fleet_is_told_to_nobody(run, door, tmp_path, authority):
    foreign = run("token", "create", "--dir", str(tmp_path / "fresh"))[1].strip()
    assert foreign.split(".")[3] == authority["fleet_pin"]
    code, _, err = run("node", "join", foreign, "--origin", door, "--data-dir", str(tmp_path / "n"))
    assert code == 1
    assert "another key" in err


def test_the_authority_is_replaced_in_three_steps(run, authority, tmp_path):
    said = []
    for _ in range(3):
        code, out, _ = run("keys", "rotate", "fleet", "--dir", str(tmp_path / "fresh"), "--json")
        assert code == 0
        said.append(json.loads(out))
    assert [step["step"] for step in said] == ["staged", "switched", "retired"]
    assert said[0]["pin"] == authority["fleet_pin"] != said[1]["pin"] == said[2]["pin"]
    assert {step["fleet"] for step in said} == {authority["fleet"]}


def test_wrong_words(run, store, tmp_path):
    for words, says in (
        (["token", "revoke"], "takes the id"),
        (["token", "list", "0" * 12], "takes no id"),
        (["token", "revoke", "0" * 12], "no join token"),
        (["token", "revoke", "../x"], "not the id of a join token"),
        (["token", "create", "--dir", "nowhere"], "edgeward keys init"),
        (["node", "join"], "say the token"),
        (["node", "join", "x", "--origin", "https://127.0.0.1:1"], "not a join token"),
        (["node", "serve", "x"], "takes no token"),
        (["nodes", "revoke"], "takes the id of a node"),
    ):
        code, out, err = run(*words)
        assert (code, out) == (1, ""), words
        assert says in err
        assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    "said", [["--ttl", "soon"], ["--ttl", "0 s"], ["--ttl", "91 d"], ["--uses", "0"], ["--label", "a\nb"]]
)
def test_nonsense_makes_no_token(run, authority, tmp_path, said):
    code, out, err = run("token", "create", "--dir", str(tmp_path / "fresh"), *said)
    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 1
    assert json.loads(run("token", "list", "--json")[1]) == {"tokens": []}


def test_the_pin_is_that_of_every_token(run, authority, tmp_path):
    words = ("--dir", str(tmp_path / "fresh"))
    code, out, err = run("token", "pin", *words)
    assert code == 0, err
    token = json.loads(run("token", "create", "--json", *words)[1])["token"]
    assert out == token.rpartition(".")[2] + "\n"
    assert json.loads(run("token", "pin", "--json", *words)[1]) == {
        "fleet": authority["fleet"],
        "pin": out.strip(),
    }


def test_a_way_in_of_another_fleet_or_without_its_pin_is_refused_at_once(run):
    for words, said in (
        (("aws-iam",), "edgeward token pin"),
        (("aws-iam." + "A" * 43, "--ca-pin", "B" * 43), "another fleet"),
        (("ejt1.0123456789ab." + "A" * 43 + "." + "A" * 43, "--ca-pin", "B" * 43), "another fleet"),
    ):
        code, _, err = run("node", "join", *words, "--origin", "https://127.0.0.1:1")
        assert code == 1
        assert said in err
