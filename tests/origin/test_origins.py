"""Which origin is called next."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origin.origins import ASIDE_LIMIT_S, Origins
from registry.errors import ConfigError

A, B, C = "http://a.example", "http://b.example:7700", "https://c.example"


def test_the_stated_order_is_kept_and_learnt_ones_follow():
    origins = Origins([B + "/", A, B])
    origins.learn([A, C, "ftp://x", C])
    assert origins.order(0.0) == (B, A, C)
    origins.learn([])
    assert origins.urls == (B, A, C)
    origins.learn([A])
    assert origins.urls == (B, A)


def test_one_that_fails_is_asked_last_and_then_first_again():
    origins = Origins([A, B])
    origins.failed(A, 100.0)
    assert origins.order(100.1) == (B, A)
    assert origins.order(110.0) == (A, B)
    origins.failed(A, 110.0)
    assert origins.order(129.9) == (B, A)
    assert origins.well(129.9) == (B,)
    origins.answered(A)
    assert origins.order(129.9) == (A, B)


def test_while_all_fail_the_one_back_soonest_is_first():
    origins = Origins([A, B])
    origins.failed(A, 1.0)
    origins.failed(B, 0.0)
    assert origins.order(2.0) == (B, A)


def test_how_many_are_learnt_is_bounded():
    origins = Origins([A])
    origins.learn(f"http://o{index}" for index in range(1000))
    assert len(origins.urls) == 17


@pytest.mark.parametrize("urls", [[], [""], ["a.example"], [A, "ftp://b"], ["http://a:port"], ["http://"]])
def test_what_is_no_origin_is_refused(urls):
    with pytest.raises(ConfigError):
        Origins(urls)


@given(st.lists(st.tuples(st.sampled_from([A, B, C]), st.booleans()), max_size=40))
def test_none_is_ever_lost_or_set_aside_for_long(events):
    origins, now_s = Origins([A, B, C]), 0.0
    for url, fails in events:
        now_s += 1
        if fails:
            origins.failed(url, now_s)
        else:
            origins.answered(url)
        assert set(origins.order(now_s)) == {A, B, C}
    assert origins.order(now_s + ASIDE_LIMIT_S) == (A, B, C)
