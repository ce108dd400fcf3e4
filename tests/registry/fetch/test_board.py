"""Which source is asked next, and who is asked instead of one that is slow."""

import pytest

from registry.fetch.board import ORIGIN, Board, KnownPeer
from registry.fetch.turns import Share


class Named:
    def __init__(self, name):
        self.name = name


@pytest.fixture
def board():
    """Two chunks in one share, and peers that say that they have both."""

    def make(*names):
        board = Board("me", [Share("pack:0", (0, 1))], patience_s=10.0, now_s=0.0)
        board.known = {name: KnownPeer(Named(name), held=0b11) for name in names}
        return board

    return make


def begin(board, step):
    read = object()
    board.claim(step, read)
    if step.known is not None:
        step.known.busy_count += 1
    return read


def test_who_is_slow_is_joined_by_another_and_in_the_end_by_the_origin(board):
    board = board("a", "b")
    first = board.next(origin_first=False, now_s=0.0)
    read = begin(board, first)
    assert board.next_instead(of_origin_only=False) is None
    board.open(first, read, to_origin=False)
    assert board.next_instead(of_origin_only=True) is None
    second = board.next_instead(of_origin_only=False)
    assert (second.chunks, {first.source, second.source}) == (first.chunks, {"a", "b"})
    begin(board, second)
    # However slow the second is: what counts is how long the first has been at it.
    board.open(first, read, to_origin=True)
    third = board.next_instead(of_origin_only=True)
    assert (third.chunks, third.source) == (first.chunks, ORIGIN)
    assert board.next(origin_first=True, now_s=0.0) == third
    begin(board, third)
    assert board.next_instead(of_origin_only=False) is None


def test_the_origin_is_asked_too_when_another_peer_is_asked_at_that_very_moment(board):
    board = board("a", "b")
    first = board.next(origin_first=False, now_s=0.0)
    board.open(first, begin(board, first), to_origin=True)
    begin(board, board.next(origin_first=False, now_s=0.0))
    assert board.next_instead(of_origin_only=True).source == ORIGIN


def test_no_more_than_three_peers_are_asked_for_a_chunk_and_nobody_twice(board):
    board, asked = board("a", "b", "c", "d"), []
    step = board.next(origin_first=False, now_s=0.0)
    while step is not None:
        asked.append(step.source)
        board.open(step, begin(board, step), to_origin=False)
        step = board.next_instead(of_origin_only=False)
    assert len(asked) == len(set(asked)) == 3


def test_one_that_is_not_slow_yet_is_waited_for(board):
    board = board("a", "b", "c")
    first = board.next(origin_first=False, now_s=0.0)
    board.open(first, begin(board, first), to_origin=False)
    second = board.next_instead(of_origin_only=False)
    read = begin(board, second)
    assert board.next_instead(of_origin_only=False) is None
    assert board.release(second, read, ()) == set()  # it failed: only the slow one is left
    assert board.next_instead(of_origin_only=False).chunks == first.chunks


def test_what_has_arrived_is_asked_of_nobody(board):
    board = board("a", "b", "c")
    first = board.next(origin_first=False, now_s=0.0)
    slow = begin(board, first)
    board.open(first, slow, to_origin=True)
    origin = board.next_instead(of_origin_only=True)
    assert board.release(origin, begin(board, origin), origin.chunks) == {slow}
    assert board.next_instead(of_origin_only=False) is None  # although the slow one has not heard of it yet


def test_what_the_origin_did_not_give_is_not_asked_of_it_again(board):
    board = board("a")
    first = board.next(origin_first=False, now_s=0.0)
    board.open(first, begin(board, first), to_origin=True)
    board.origin_failed = 0b11
    assert board.next_instead(of_origin_only=True) is None


@pytest.mark.parametrize(
    "faults", [{"bad_answers_count": 2}, {"failures_count": 8}, {"late_count": 8}, {"alive": False}]
)
def test_who_is_of_no_use_is_not_asked(board, faults):
    board = board("a")
    for name, value in faults.items():
        setattr(board.known["a"], name, value if isinstance(value, bool) else value - 1)
    if "alive" not in faults:
        assert board.next(origin_first=False, now_s=0.0).source == "a"
    for name, value in faults.items():
        setattr(board.known["a"], name, value)
    assert board.next(origin_first=False, now_s=0.0).source == ORIGIN
