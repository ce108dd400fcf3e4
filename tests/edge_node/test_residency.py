from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from edge_node.residency import TURN_S, Occupant, Prospect, Room, faded, foresee, free_bytes, make_room


def occupant(name, memory_bytes, *, holders_count=0, used_at_s=0.0, loaded_at_s=0.0, movable=True):
    return Occupant(
        key=(name, "1"), memory_bytes=memory_bytes, holders_count=holders_count, used_at_s=used_at_s,
        loaded_at_s=loaded_at_s, movable=movable,
    )  # fmt: skip


def room(need_bytes, occupants, *, limit_bytes=100, now_s=1000.0, replaced=None):
    return make_room(need_bytes, limit_bytes=limit_bytes, occupants=occupants, now_s=now_s, replaced=replaced)


A, B, C = ((name, "1") for name in "abc")


def test_without_a_limit_everything_fits():
    assert room(10**12, [occupant("a", 10**12)], limit_bytes=0) == Room(fits=True)


def test_what_fits_displaces_nothing():
    assert room(60, [occupant("a", 40)]) == Room(fits=True)
    assert room(61, [occupant("a", 40)]) == Room(evict=(A,))


def test_the_longest_unused_goes_first_and_no_more_than_needed():
    three = [occupant("a", 30, used_at_s=3), occupant("b", 30, used_at_s=1), occupant("c", 30, used_at_s=2)]
    assert room(30, three).evict == (B,)
    assert room(60, three).evict == (B, C)


def test_one_that_is_asked_for_often_stays_though_it_was_unused_for_longer():
    often = dataclasses.replace(occupant("a", 50, used_at_s=1), recent_count=9.0, recent_at_s=999.0)
    seldom = dataclasses.replace(occupant("b", 50, used_at_s=2), recent_count=1.0, recent_at_s=999.5)
    assert room(50, [often, seldom]).evict == (B,)
    assert room(50, [often, seldom], now_s=1100.0).evict == (B,)
    forgotten = dataclasses.replace(often, recent_at_s=900.0)
    assert room(50, [forgotten, seldom]).evict == (A,), "what came long ago counts for little"


def test_what_comes_evenly_counts_as_many_as_come_in_a_turn():
    count = 0.0
    for _ in range(2000):
        count = faded(count, 0.05) + 1
    assert abs(count - TURN_S / 0.05) < 2


def prospect(needs_bytes, occupants, *, limit_bytes=100):
    return foresee(needs_bytes, limit_bytes=limit_bytes, occupants=occupants, now_s=1000.0)


def test_foreseeing_room():
    idle = dataclasses.replace(occupant("a", 50), recent_count=3.0, recent_at_s=1000.0)
    busy = dataclasses.replace(
        occupant("b", 50, holders_count=2, loaded_at_s=996), recent_count=8.0, recent_at_s=1000.0
    )
    assert prospect([50], [idle, busy], limit_bytes=0) == Prospect()
    assert prospect([50], [busy]) == Prospect()
    assert prospect([50], [idle, busy]) == Prospect(0.0, 3.0)
    assert prospect([100], [idle, busy]) == Prospect(TURN_S - 4, 11.0)
    assert prospect([50], [dataclasses.replace(busy, loaded_at_s=0)]) == Prospect()
    assert prospect([60], [dataclasses.replace(busy, loaded_at_s=0)]) == Prospect(0.0, 8.0)
    # Who comes second takes the turn of the busy one, who comes third that of the first.
    assert prospect([50, 50], [idle, busy]) == Prospect(TURN_S - 4, 8.0)
    assert prospect([50, 50, 50], [idle, busy]) == Prospect(TURN_S, 0.0)
    assert prospect([500], [idle, busy]) == Prospect(TURN_S - 4, 11.0), "larger than all of it"


@given(
    st.lists(st.tuples(st.integers(1, 60), st.integers(0, 2), st.floats(900, 1000)), max_size=6),
    st.integers(1, 60),
)
def test_there_is_room_at_once_exactly_when_nobody_busy_has_to_finish_a_turn(rows, need_bytes):
    occupants = [
        occupant(f"m{number}", size, holders_count=holders, loaded_at_s=loaded_at_s)
        for number, (size, holders, loaded_at_s) in enumerate(rows)
    ]
    decided = room(need_bytes, occupants)
    foreseen = prospect([need_bytes], occupants)
    assert 0 <= foreseen.room_s <= TURN_S
    if decided.fits:
        assert foreseen == Prospect()
    if decided.look_again_s is not None:
        assert foreseen.room_s > 0


def test_a_small_one_stays_when_a_larger_one_must_go_anyway():
    two = [occupant("a", 5, used_at_s=1), occupant("b", 90, used_at_s=2)]
    assert room(80, two).evict == (B,)


def test_a_busy_one_gives_way_only_when_the_idle_ones_are_not_enough_and_its_turn_is_over():
    idle, busy = occupant("a", 40), occupant("b", 60, holders_count=2, loaded_at_s=995)
    assert room(40, [idle, busy]) == Room(evict=(A,))
    assert room(70, [idle, busy]) == Room(evict=(A,), look_again_s=995 + TURN_S)
    assert room(70, [idle, busy], now_s=995 + TURN_S) == Room(evict=(A,), give_way=(B,))


def test_what_is_replaced_goes_first_and_has_no_turn_to_end():
    idle = occupant("a", 40)
    busy = occupant("b", 60, holders_count=1, loaded_at_s=999)
    assert room(60, [occupant("a", 40, holders_count=1), busy], replaced=B).give_way == (B,)
    assert room(60, [idle, dataclasses.replace(busy, holders_count=0)], replaced=B).evict == (B,)


def test_what_is_being_loaded_is_waited_for():
    assert room(60, [occupant("a", 80, movable=False)]) == Room()


def test_what_is_larger_than_the_budget_gets_all_of_it():
    assert room(500, [occupant("a", 1), occupant("b", 1)]).evict == (A, B)
    assert room(500, []) == Room(fits=True)


occupants = st.lists(
    st.builds(
        occupant,
        st.uuids().map(str),
        st.integers(1, 60),
        holders_count=st.integers(0, 2),
        used_at_s=st.integers(0, 20).map(float),
        loaded_at_s=st.integers(0, 20).map(float),
        movable=st.booleans(),
    ),
    max_size=6,
)


@given(occupants, st.integers(1, 150), st.integers(0, 150))
def test_nothing_that_answers_is_unloaded_and_everything_fits_in_the_end(inside, need_bytes, limit_bytes):
    now_s = 0.0
    for _ in range(40):
        decision = room(need_bytes, inside, limit_bytes=limit_bytes, now_s=now_s)
        by_key = {it.key: it for it in inside}
        assert all(by_key[key].movable and not by_key[key].holders_count for key in decision.evict)
        assert all(by_key[key].movable and by_key[key].holders_count for key in decision.give_way)
        if decision.fits:
            break
        freed = sum(by_key[key].memory_bytes for key in decision.evict)
        missing = min(need_bytes, limit_bytes) - free_bytes(limit_bytes, inside)
        if freed >= missing:  # none of them could have stayed
            assert all(freed - by_key[key].memory_bytes < missing for key in decision.evict)
        else:
            idle = {it.key for it in inside if it.movable and not it.holders_count}
            assert set(decision.evict) == idle
        # The world goes on: what was told to go goes, and what loads or answers comes to its end.
        inside = [it for it in inside if it.key not in decision.evict]
        inside = [
            dataclasses.replace(
                it, movable=True, holders_count=0 if it.key in decision.give_way else it.holders_count
            )
            for it in inside
        ]
        now_s = decision.look_again_s if decision.look_again_s is not None else now_s + 1
    assert decision.fits
