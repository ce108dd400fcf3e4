from __future__ import annotations

import math

import pytest

from edge_node.cache.answers import AnswerCache, Outcome, Tape
from edge_node.cache.terms import ANY_TERMS, Terms
from edge_node.engines import Choice, Delta, Embedded, Finished, Started, TokenScore

SCORE = TokenScore(
    chosen=Choice(5, b"\xff\x00", -0.5), top=(Choice(5, b"\xff\x00", -0.5), Choice(6, b"", -math.inf))
)
TAPE = Tape(
    answer_id="chatcmpl-1",
    created_unix_s=1_800_000_000,
    started=Started(
        request_id="", prompt_tokens=7, cached_tokens=3, cached_from="disk", queue_s=0.5, prefill_s=0.25
    ),
    deltas=(Delta("", "Grüße ", 1, (SCORE,)), Delta("", "✓", 2)),
    finished=Finished(request_id="", reason="length", completion_tokens=3, decode_s=1.5),
)


class Time:
    now_s = 100.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def cache(time):
    return AnswerCache(limit_bytes=10_000, age_limit_s=60, clock=time)


def test_what_an_engine_said_comes_back_as_it_was(cache, time):
    embedded = Embedded(request_id="", vectors=b"\x00\xff" * 8, dims=4, prompt_tokens=2, service_s=0.5)
    vectors = Outcome(answer_id="1", created_unix_s=2, computed=embedded)
    cache.keep(b"a", TAPE)
    cache.keep(b"b", vectors)
    time.now_s += 5
    assert cache.find(b"a", ANY_TERMS, Tape) == (TAPE, 5.0)
    assert cache.find(b"b", ANY_TERMS, Outcome) == (vectors, 5.0)
    assert cache.find(b"c", ANY_TERMS, Tape) is None
    assert 0 < cache.used_bytes < 2500


def test_nothing_grows_older_than_its_limit_or_the_requests(cache, time):
    cache.keep(b"a", TAPE)
    time.now_s += 30
    assert cache.find(b"a", Terms(max_age_s=30), Tape) is None
    assert cache.find(b"a", Terms(max_age_s=31), Tape) is not None
    time.now_s += 31
    assert cache.find(b"a", ANY_TERMS, Tape) is None
    assert len(cache) == 0


def test_without_room_it_is_off():
    cache = AnswerCache(limit_bytes=0, age_limit_s=60, clock=Time())
    cache.keep(b"a", TAPE)
    assert (cache.on, len(cache)) == (False, 0)
