"""What each verb says when it cannot: one line, exit code 1, nothing on standard output."""

from __future__ import annotations

import io

import pytest

KEYS = '[store]\nendpoint = "{url}"\naccess_key = "a"\nsecret_key = "s"\nconnect_timeout_s = 0.2\n'


def refused(result, *says):
    code, out, err = result
    assert (code, out) == (1, "")
    assert err.startswith("edgeward: ")
    assert len(err.splitlines()) == 1
    assert "Traceback" not in err
    for words in says:
        assert words in err


@pytest.mark.parametrize(
    "words",
    [
        ["ask", "x"], ["ask", "x", "--model", "chat", "--json"], ["embed", "x"], ["route"], ["nodes"],
        ["nodes", "--watch"], ["models"], ["pull", "chat"],
    ],
)  # fmt: skip
def test_an_origin_that_is_away(words, edgeward, nowhere):
    refused(edgeward(*words, "--origin", nowhere), nowhere, "cannot be reached")


@pytest.fixture
def quick(monkeypatch):
    """Retries without the pauses."""
    import registry.store.retrying

    patient = registry.store.retrying.RetryingStore
    monkeypatch.setattr(registry.store.retrying, "RetryingStore", lambda store: patient(store, tries_count=1))


@pytest.mark.parametrize(
    "words",
    [
        ["models"], ["pull", "chat", "--store"], ["pull", "chat@1", "--store"],
        ["promote", "chat@1"], ["rollback", "chat"],
        ["publish", "model.bin", "--name", "chat", "--version", "1"],
    ],
)  # fmt: skip
def test_a_store_that_is_away(words, edgeward, nowhere, tmp_path, quick):
    (tmp_path / "model.bin").write_bytes(b"weights")
    (tmp_path / "e.toml").write_text(KEYS.format(url=nowhere))
    refused(edgeward(*words, "--config", "e.toml"), nowhere)


@pytest.mark.parametrize("name", ["../x", "a/../b", "/etc", "A", ""])
def test_names_that_are_none(name, edgeward):
    refused(edgeward("publish", "x", "--name", name, "--version", "1"), "is not a model name")
    refused(edgeward("pull", name), "is not a model name")
    refused(edgeward("promote", f"{name}@1"), "is not a model name")
    refused(edgeward("verify", f"{name}@1", "--in", "."), "is not a model name")


def test_versions_and_channels_that_are_none(edgeward):
    refused(edgeward("publish", "x", "--name", "chat", "--version", "../1"), "is not a version")
    refused(
        edgeward("publish", "x", "--name", "c", "--version", "1", "--channel", "../x"), "is not a channel"
    )
    refused(edgeward("promote", "chat@1", "--channel", "A"), "is not a channel")
    refused(edgeward("promote", "chat"), "say which version")
    refused(edgeward("rollback", "../chat"), "is not a model name")
    refused(edgeward("rollback", "chat", "--channel", "A"), "is not a channel")
    refused(edgeward("verify", "chat", "--in", "."), "say which version")


def test_files_that_are_missing(edgeward, tmp_path, nowhere):
    (tmp_path / "e.toml").write_text(KEYS.format(url=nowhere))
    publish = ("publish", "no.gguf", "--name", "chat", "--version", "1", "--config", "e.toml")
    refused(edgeward(*publish), "no.gguf")
    refused(edgeward("verify", "nowhere"), "nowhere is not a directory")
    refused(edgeward("verify", "."), "holds no release")
    refused(edgeward("verify", "chat@1", "--in", "."), "chat@1 is not in")
    refused(edgeward("--config", "no.toml", "nodes"), "no.toml")


def test_settings_that_do_not_fit(edgeward, tmp_path):
    (tmp_path / "e.toml").write_text("[client]\norgin = 'x'\n")
    refused(edgeward("--config", "e.toml", "nodes"), "did you mean 'origin'")
    refused(edgeward("nodes", "--origin", "localhost"), "http://")
    refused(edgeward("route", "--from", "lundon"), "london")
    refused(edgeward("nodes", "--watch", "--json"), "one of the two")


def test_daemons_that_must_not_start(edgeward, tmp_path):
    refused(edgeward("origin", "serve", "--host", "0.0.0.0"), "--insecure")
    refused(edgeward("node", "serve", "--host", "0.0.0.0", "--data-dir", "d"), "--insecure")
    refused(edgeward("node", "serve", "--place", "atlantis", "--data-dir", "d"), "atlantis")
    refused(edgeward("origin", "serve", "--port", "70000"), "70000")


def test_a_port_in_use(edgeward, tmp_path, nowhere):
    import socket

    (tmp_path / "e.toml").write_text(KEYS.format(url=nowhere))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused(
            edgeward("--config", "e.toml", "origin", "serve", "--port", port, "--log-level", "error"), port
        )
        node = (
            "node",
            "serve",
            "--port",
            port,
            "--data-dir",
            "d",
            "--origin",
            nowhere,
            "--log-level",
            "error",
        )
        refused(edgeward(*node), port)


def test_publishing_what_is_not_what_it_says(edgeward, tmp_path, nowhere, quick):
    (tmp_path / "e.toml").write_text(KEYS.format(url=nowhere))
    (tmp_path / "text.gguf").write_text("this is no model at all")
    refused(
        edgeward("publish", "text.gguf", "--name", "chat", "--version", "1", "--config", "e.toml"),
        "text.gguf",
    )


@pytest.mark.parametrize("prompt", ["", " \n"])
def test_an_empty_prompt_is_not_sent(prompt, edgeward, monkeypatch, nowhere):
    refused(edgeward("ask", prompt, "--origin", nowhere), "the prompt is empty")
    monkeypatch.setattr("sys.stdin", io.StringIO(prompt))
    refused(edgeward("ask", "-", "--origin", nowhere), "the prompt is empty")
