import pytest

from registry.fetch.turns import (
    SHARE_BYTES,
    Pace,
    bits_of,
    may_take_others,
    own_order,
    percentile,
    rank,
    shares_of,
)

NODES = [f"node-{number}" for number in range(8)]
KEYS = [f"pack:{number}" for number in range(400)]


def test_every_share_is_one_nodes_turn_and_the_turns_are_even():
    turns = [[node for node in NODES if rank(node, set(NODES) - {node}, key) == 0] for key in KEYS]
    assert {len(turn) for turn in turns} == {1}
    counts = [sum(turn == [node] for turn in turns) for node in NODES]
    assert min(counts) > 25
    assert max(counts) < 80


def test_when_a_node_goes_only_its_own_shares_move():
    def turn(key, nodes):
        return next(node for node in nodes if rank(node, [n for n in nodes if n != node], key) == 0)

    fewer = NODES[1:]
    moved = [key for key in KEYS if turn(key, NODES) != turn(key, fewer)]
    assert moved == [key for key in KEYS if turn(key, NODES) == NODES[0]]


def test_shares_do_not_depend_on_what_is_missing():
    places = [(number, "pack", number * 1_000_000) for number in range(20)]
    whole = {share.key: share.chunks for share in shares_of(places)}
    part = {share.key: share.chunks for share in shares_of(places[7:])}
    assert part.keys() <= whole.keys()
    assert all(set(chunks) <= set(whole[key]) for key, chunks in part.items())
    assert sum(len(chunks) for chunks in whole.values()) == 20
    assert len(whole) == 19 * 1_000_000 // SHARE_BYTES + 1


def test_nodes_begin_at_different_places():
    shares = shares_of((number, "pack", number * SHARE_BYTES) for number in range(64))
    firsts = {own_order(node, shares)[0].key for node in NODES}
    assert len(firsts) > 5
    assert sorted(own_order("a", shares)) == sorted(shares)


@pytest.mark.parametrize(
    ("now_s", "gained_s", "allowed"),
    [
        (11.9, 0.0, False),  # the others may be as slow as this node, and half as slow again
        (17.0, 0.0, True),  # nothing new for the patience and half of the turn
        (17.0, 16.0, False),  # something new has just come
        (32.0, 31.9, True),  # nobody waits for ever
    ],
)
def test_how_long_a_node_waits_for_the_others(now_s, gained_s, allowed):
    waits = may_take_others(
        now_s=now_s, gained_s=gained_s, turn_ended_s=10.0, turn_took_s=10.0, patience_s=2.0
    )
    assert waits is allowed


def test_slow_means_slower_than_95_percent_of_the_reads_so_far():
    pace = Pace(least_s=0.0)
    for number in range(1, 20):
        pace.note(2**20, number)
        assert pace.slow_after_s(2**20) is None
    pace.note(2**20, 20.0)
    assert pace.slow_after_s(2**20) == 19.0
    assert pace.slow_after_s(2**21) == 38.0
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0


def test_bitmaps():
    held = [number % 3 == 0 for number in range(20)]
    assert int.from_bytes(bits_of(held), "little") == sum(1 << number for number in range(20) if held[number])
    assert len(bits_of(held)) == 3
    assert bits_of([]) == b""
