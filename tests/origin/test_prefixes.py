"""Beginnings of prompts as numbers: what is shared is found, and nothing else."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origin.prefixes import (
    BLOCK_BYTES,
    MARKS_LIMIT_COUNT,
    SKETCH_LIMIT_COUNT,
    kept_bytes,
    pack_sketch,
    prompt_marks,
    unpack_sketch,
)
from origin.prompt_text import turns_text

WHO = {"salt": b"salt", "client": "ann", "model": "chat"}


def test_marks_stand_ever_further_apart():
    ends = [mark.end_bytes // BLOCK_BYTES for mark in prompt_marks(bytes(BLOCK_BYTES * 40), **WHO)]
    assert ends == [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40]
    assert len(prompt_marks(bytes(2**20), **WHO)) <= MARKS_LIMIT_COUNT
    assert prompt_marks(bytes(BLOCK_BYTES - 1), **WHO) == ()


@given(seed=st.integers(0, 2**32), shared_bytes=st.integers(0, 40_000), more_bytes=st.integers(0, 9000))
def test_what_two_prompts_share_is_found_but_for_a_fifth(seed, shared_bytes, more_bytes):
    rng = random.Random(seed)
    shared = rng.randbytes(shared_bytes)
    first, second = (prompt_marks(shared + rng.randbytes(more_bytes) + end, **WHO) for end in (b"a", b"b"))
    found = kept_bytes(second, unpack_sketch(pack_sketch(mark.number for mark in first)))
    longest = min((m[-1].end_bytes if m else 0 for m in (first, second)), default=0)
    assert found <= min(shared_bytes + more_bytes, longest)
    assert found >= 0.75 * shared_bytes - BLOCK_BYTES or found == longest


@pytest.mark.parametrize("other", [{"salt": b"other"}, {"client": "bob"}, {"model": "other"}])
def test_the_same_prompt_of_another_client_fleet_or_model_has_other_numbers(other):
    text = random.Random(1).randbytes(4000)
    mine = {mark.number for mark in prompt_marks(text, **WHO)}
    theirs = {mark.number for mark in prompt_marks(text, **(WHO | other))}
    assert not mine & theirs


def test_turns_cannot_be_told_from_text_that_looks_like_them():
    assert turns_text([("user", "a"), ("user", "b")]) != turns_text([("user", "ab")])
    assert turns_text([("user", "\ud800")])  # half of a surrogate pair is what some clients send


@given(st.sets(st.integers(0, 2**32 - 1), max_size=SKETCH_LIMIT_COUNT))
def test_a_sketch_travels(numbers):
    assert unpack_sketch(pack_sketch(numbers)) == numbers


@given(st.binary(max_size=4 * SKETCH_LIMIT_COUNT + 40))
def test_an_unsound_sketch_is_nothing(data):
    found = unpack_sketch(data)
    assert len(found) <= SKETCH_LIMIT_COUNT
    if len(data) % 4 or len(data) > 4 * SKETCH_LIMIT_COUNT:
        assert found == frozenset()
