"""How lists age, under a virtual clock."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_node.client.route_lists import PAUSE_MOST_S, RouteLists
from tests.edge_node.client.ranked import ranked, ranked_list, ranked_node


def never():
    return 0.0


def test_a_list_ages():
    lists = RouteLists()
    lists.learn("chat", ranked(1), 10.0)
    assert lists.freshness("chat", 54.9) == "fresh"
    assert lists.freshness("chat", 55.0) == "ageing"
    assert lists.freshness("chat", 190.0) == "ageing"
    assert lists.freshness("chat", 190.1) == "stale"
    assert lists.freshness("other", 0.0) == "absent"
    lists.expire("chat")
    lists.expire("other")
    assert lists.freshness("chat", 10.0) == "stale"
    assert [node.node_id for node in lists.nodes("chat")] == ["n0"]
    assert lists.answer("other") is None


def test_a_list_is_renewed_before_its_time_is_over_while_it_is_used():
    lists = RouteLists()
    lists.learn("chat", ranked(1), 0.0)
    assert lists.renewal_in_s("chat", 5.0, 120.0) == 40.0
    lists.learn("chat", ranked(1), 45.0)
    lists.used("chat", 50.0)
    lists.used("other", 50.0)
    assert lists.renewal_in_s("chat", 90.0, 120.0) == 0.0
    lists.learn("chat", ranked(1), 200.0)  # a renewal is no use
    assert lists.renewal_in_s("chat", 200.0, 120.0) is None
    assert lists.renewal_in_s("other", 0.0, 120.0) is None


def test_an_origin_that_gives_lists_without_time_is_not_asked_without_end():
    lists = RouteLists()
    lists.learn("chat", ranked(1, ttl_s=0.0), 0.0)
    assert lists.renewal_in_s("chat", 0.0, 120.0) == 1.0


def test_an_origin_that_is_away_is_asked_ever_more_rarely():
    lists = RouteLists()
    lists.refused("chat", 0.0, never)  # nothing to hold on to yet
    lists.learn("chat", ranked(1), 0.0)
    now_s, pauses_s = 100.0, []
    for _ in range(8):
        lists.used("chat", now_s)
        lists.refused("chat", now_s, never)
        pause_s = lists.renewal_in_s("chat", now_s, 120.0)
        assert lists.freshness("chat", now_s + pause_s - 0.01) == "fresh"
        assert lists.freshness("chat", now_s + pause_s) in {"ageing", "stale"}
        pauses_s.append(pause_s)
        now_s += pause_s
    assert pauses_s == [1, 2, 4, 8, 16, 30, 30, 30]
    lists.learn("chat", ranked(1), now_s)
    lists.refused("chat", now_s, never)
    assert lists.renewal_in_s("chat", now_s + 60, 120.0) == 0.0


def test_what_is_kept_stands_where_its_score_puts_it():
    lists = RouteLists()
    lists.learn("chat", ranked(5), 0.0)
    new = ranked_list(ranked_node("a", 0.5), ranked_node("b", 2.5), ranked_node("n1", 2.6))
    lists.learn("chat", new, 1.0, keep={"n0", "n1", "n2", "n4", "n9"})
    assert [node.node_id for node in lists.nodes("chat")] == ["n0", "a", "n2", "b", "n1", "n4"]
    assert set(lists.known()) == {"n0", "a", "n2", "b", "n1", "n4"}


@given(st.floats(0, 1, exclude_max=True), st.integers(0, 40))
def test_pauses_stay_within_bounds(chance, refusals):
    lists = RouteLists()
    lists.learn("chat", ranked(1, ttl_s=0.0), 0.0)
    for _ in range(refusals + 1):
        lists.refused("chat", 0.0, lambda: chance)
    assert 0.5 <= lists.renewal_in_s("chat", 0.0, 1.0) <= PAUSE_MOST_S
