"""After how long a request is late."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_node.client.hedging import Latencies, work_of

WORK = work_of("n", "/v1/embeddings", "embed", 100)


def learned(times_s, work=WORK):
    latencies = Latencies()
    for took_s in times_s:
        latencies.learn(work, took_s)
    return latencies


def test_the_95th_percentile_of_twenty_or_more():
    assert learned([1.0] * 19).hedge_after_s(WORK) is None
    assert learned([i / 10 for i in range(20)]).hedge_after_s(WORK) == 1.8
    assert learned([9.0] * 100 + [1.0] * 100).hedge_after_s(WORK) == 1.0  # only the last hundred count


def test_each_node_and_each_size_for_itself():
    latencies = learned([1.0] * 20)
    assert latencies.hedge_after_s(work_of("m", "/v1/embeddings", "embed", 100)) is None
    assert latencies.hedge_after_s(work_of("n", "/v1/embeddings", "embed", 10_000)) is None
    assert latencies.hedge_after_s(work_of("n", "/v1/embeddings", "embed", 120)) == 1.0


def test_what_was_not_asked_for_longest_is_forgotten():
    latencies = learned([1.0] * 20)
    for number in range(511):
        latencies.learn(work_of(f"n{number}", "/v1/embeddings", "embed", 100), 1.0)
    latencies.learn(WORK, 1.0)
    latencies.learn(work_of("one", "/v1/embeddings", "embed", 100), 1.0)
    assert latencies.hedge_after_s(WORK) == 1.0
    assert len(latencies._times_s) == 512


@given(st.lists(st.floats(0.001, 10), min_size=20, max_size=300))
def test_at_most_one_in_twenty_is_later(times_s):
    after_s = learned(times_s).hedge_after_s(WORK)
    last = times_s[-100:]
    assert after_s in last
    assert sum(took_s > after_s for took_s in last) <= 0.05 * len(last)
