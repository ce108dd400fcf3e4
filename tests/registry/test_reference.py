"""References: what people type names exactly one thing, or is refused with the reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import InputInvalidError
from registry.reference import check_channel, check_name, check_version, parse_reference


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
