"""Hash trees: every path leads its own message to the root, and nothing else there."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origin.hash_tree import MESSAGES_LIMIT_COUNT, PATH_LIMIT_BYTES, root_of, split_path, tree_of

MESSAGES = st.lists(st.binary(max_size=8), min_size=1, max_size=MESSAGES_LIMIT_COUNT)


@given(MESSAGES, st.binary(max_size=8))
def test_every_path_leads_to_the_root_and_no_other_message_does(messages, other):
    root, paths = tree_of(messages)
    for message, path in zip(messages, paths, strict=True):
        assert len(path) <= PATH_LIMIT_BYTES
        assert split_path(path + b"rest") == (path, b"rest")
        assert root_of(message, path) == root
        assert (root_of(other, path) == root) == (other == message)


def test_three_by_hand_as_rfc_6962_hashes_them():
    leaves = [sha256(b"\0" + message).digest() for message in (b"a", b"b", b"c")]
    left = sha256(b"\1" + leaves[0] + leaves[1]).digest()
    root, paths = tree_of([b"a", b"b", b"c"])
    assert root == sha256(b"\1" + left + leaves[2]).digest()
    assert paths == [
        bytes([2 << 5 | 0b00]) + leaves[1] + leaves[2],
        bytes([2 << 5 | 0b01]) + leaves[0] + leaves[2],
        bytes([1 << 5 | 0b1]) + left,
    ]


def test_an_inner_node_is_no_message():
    root, paths = tree_of([b"a", b"b", b"c", b"d"])
    inner = sha256(b"\0a").digest() + sha256(b"\0b").digest()
    shorter = bytes([1 << 5]) + paths[0][1 + 32 :]
    assert root_of(b"a", paths[0]) == root
    assert root_of(inner, shorter) != root


@pytest.mark.parametrize("count", [0, MESSAGES_LIMIT_COUNT + 1])
def test_none_and_too_many_have_no_tree(count):
    with pytest.raises(ValueError, match="1 to 32 messages"):
        tree_of([b""] * count)


@given(st.binary(max_size=PATH_LIMIT_BYTES + 8))
def test_whatever_is_read_is_a_whole_path_or_none(data):
    found = split_path(data)
    if found is not None:
        assert b"".join(found) == data
        assert len(root_of(b"", found[0])) == 32
