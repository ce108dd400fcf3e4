"""Files of prefixes: whatever is not exactly what was written is refused."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.engines.llama.prefix_file import (
    PrefixFileInvalidError,
    encode_head,
    file_name,
    head_of,
    read_head,
    read_payload,
)

PAYLOAD = bytes(range(256)) * 3
TOKENS = [1, 500, 70_000]


def whole(**changes):
    facts = {"identity": "i", "scope": "s", "start": 1, "tokens": TOKENS, "payload": PAYLOAD} | changes
    return encode_head(head_of(**facts)) + facts["payload"]


def read(data):
    file = io.BytesIO(data)
    head = read_head(file)
    return head, read_payload(file, head)


def test_what_is_written_is_read():
    head, payload = read(whole())
    assert (head.identity, head.scope, head.start, head.token_ids()) == ("i", "s", 1, TOKENS)
    assert payload == PAYLOAD
    assert read(whole(scope=None))[0].scope is None


@given(st.integers(0, len(whole()) - 1), st.integers(1, 255))
def test_a_flipped_byte_anywhere_is_seen(place, flip):
    data = bytearray(whole())
    data[place] ^= flip
    with pytest.raises(PrefixFileInvalidError):
        read(bytes(data))


@given(st.integers(0, len(whole()) - 1))
def test_a_file_cut_short_is_seen(length):
    with pytest.raises(PrefixFileInvalidError):
        read(whole()[:length])


def test_bytes_that_follow_are_seen():
    with pytest.raises(PrefixFileInvalidError, match="payload"):
        read(whole() + b"x")


@pytest.mark.parametrize("start", [-1, 3, 9])
def test_a_head_that_contradicts_itself_is_refused(start):
    with pytest.raises(PrefixFileInvalidError, match="contradicts"):
        read(whole(start=start))


def test_each_part_of_the_key_makes_another_name():
    names = {
        file_name(identity, scope, start, tokens)
        for identity in ("i", "j")
        for scope in (None, "", "everyone")
        for start in (0, 1)
        for tokens in ([1, 2], [1, 2, 3], [258])
    }
    assert len(names) == 2 * 3 * 2 * 3
