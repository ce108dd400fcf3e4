"""References: what people type names exactly one thing, or is refused with the reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import InputInvalidError
from registry.reference import (
    bare_name,
    check_channel,
    check_name,
    check_version,
    parse_asked,
    parse_reference,
)


@pytest.mark.parametrize(
    ("text", "name", "version", "channel"),
    [
        ("chat", "chat", None, "stable"),
        ("chat:canary", "chat", None, "canary"),
        ("chat@1.2.0", "chat", "1.2.0", None),
        ("team/chat@2026.11-rc1+b2", "team/chat", "2026.11-rc1+b2", None),
        ("team/chat", "team/chat", None, "stable"),
    ],
)
def test_the_three_forms(text, name, version, channel):
    reference = parse_reference(text)
    assert (reference.name, reference.version, reference.channel) == (name, version, channel)
    assert parse_reference(str(reference)) == reference


@pytest.mark.parametrize(
    "name",
    ["", "../chat", "a/../b", "a..b", "/chat", "chat/", "a/b/c", "Chat", "-a", "a-", "a b", "ä", "a" * 65, "a\n", ".a",
     "team/1.eaf", "x.eaf", "x.eaf/y", "chat.msgpack"],
)  # fmt: skip
def test_names_that_are_refused(name):
    with pytest.raises(InputInvalidError) as refusal:
        check_name(name)
    assert refusal.value.param == "name"


@pytest.mark.parametrize("version", ["", "../1", "1/2", "1..2", "-1", "1-", "1 2", "1" * 65, "1\n"])
def test_versions_that_are_refused(version):
    with pytest.raises(InputInvalidError) as refusal:
        check_version(version)
    assert refusal.value.param == "version"


@pytest.mark.parametrize("channel", ["", "A", "a/b", "..", "a:b"])
def test_channels_that_are_refused(channel):
    with pytest.raises(InputInvalidError) as refusal:
        check_channel(channel)
    assert refusal.value.param == "channel"


@given(st.text())
def test_any_text_is_a_reference_or_refused(text):
    try:
        reference = parse_reference(text)
    except InputInvalidError:
        return
    assert ".." not in str(reference)
    assert parse_reference(str(reference)) == reference


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("embed", ("embed", None, "stable", "")),
        ("embed#0f3a", ("embed", None, "stable", "0f3a")),
        ("team/embed:canary#x.y", ("team/embed", None, "canary", "x.y")),
        ("embed@1.2#x", ("embed", "1.2", None, "x")),
    ],
)
def test_what_a_request_asks_for(text, parts):
    asked = parse_asked(text)
    assert (asked.name, asked.version, asked.channel, asked.space) == parts
    assert parse_asked(str(asked)) == asked
    assert bare_name(text) == parts[0]


@pytest.mark.parametrize(
    "text", ["embed#", "embed#a b", "embed#a#b", "#x", "embed#a@1", "embed#a:b", "embed#" + "x" * 65]
)
def test_what_no_request_may_ask_for(text):
    with pytest.raises(InputInvalidError):
        parse_asked(text)
    with pytest.raises(InputInvalidError):
        parse_reference("embed#x")
