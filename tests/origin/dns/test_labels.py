"""Names as labels: any model's name fits, and no name is over what DNS carries."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origin.dns.labels import is_below, label_of, name_bytes, zone_bytes
from registry.errors import InputInvalidError
from registry.reference import check_name

ZONE = b"\7example\3org\0"


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("chat", "chat"),
        ("qwen2.5-0.5b", "qwen2-5-0-5b"),
        ("team/chat", "team--chat"),
        ("a_b", "a-b"),
        ("Fra.1", "fra-1"),
        ("_", "x"),
    ],
)
def test_readable(name, label):
    assert label_of(name) == label


@given(st.from_regex(r"[a-z0-9._/-]{1,129}", fullmatch=True))
def test_every_model_has_a_label(name):
    try:
        check_name(name)
    except InputInvalidError:
        return
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", label_of(name))


def test_long_names_stay_apart():
    a, b = "x" * 64 + "/" + "a" * 60, "x" * 64 + "/" + "b" * 60
    assert label_of(a) != label_of(b)
    assert len(label_of(a)) == 63


def test_names_are_bounded():
    assert name_bytes(("a" * 63,), zone_bytes("b." * 90 + "c")) is not None
    assert (
        name_bytes(("a" * 63, "b" * 63, "c" * 63, "d" * 61))
        == b"".join(bytes([n]) + c * n for n, c in ((63, b"a"), (63, b"b"), (63, b"c"), (61, b"d"))) + b"\0"
    )
    assert name_bytes(("a" * 63, "b" * 63, "c" * 63, "d" * 62)) is None


@pytest.mark.parametrize(
    ("name", "below"),
    [
        (b"\1a" + ZONE, True),
        (ZONE, True),
        (b"\1a\2bc" + ZONE, True),
        (b"\2a" + ZONE, False),  # the label reaches into the zone
        (b"a" + ZONE, False),
        (b"\x40" + b"a" * 64 + ZONE, False),
        (b"\xc0\x0c" + ZONE, False),
        (b"\1a\3org\0", False),
        ((b"\x3f" + b"a" * 63) * 3 + b"\x33" + b"a" * 51 + ZONE, False),  # 257 bytes
        (b"", False),
        (b"\0", False),
    ],
)
def test_below(name, below):
    assert is_below(name, ZONE) is below
