"""What is counted, on calls written by hand."""

from __future__ import annotations

from tests.world.wan.report import failover_s, figures_of, herds, per_second


def row(began_s, **fields):
    return {
        "began_s": began_s, "kind": "embed", "ok": True, "gap_s": 0.0, "node": "n1", "attempts": 1, "refusals": [],
        "handed_on": 0, "hedged": False, "resumed": 0, "ttft_s": 0.1, "took_s": 0.1, **fields,
    }  # fmt: skip


def test_a_call_waited_for_another_node():
    assert failover_s(row(0)) is None
    assert failover_s(row(0, attempts=2, hedged=True)) is None, "a hedge is no failure"
    assert failover_s(row(0, attempts=2, refusals=["n2: gone"], ttft_s=0.7)) == 0.7
    assert failover_s(row(0, resumed=1, gap_s=1.2, refusals=["n2: gone"], attempts=2, ttft_s=0.3)) == 1.2
    assert failover_s(row(0, ok=False)) is None


def test_requests_beyond_one_a_call_are_counted_on_the_wire():
    rows = [row(at_s / 10) for at_s in range(100)]
    posts = [(at_s / 10, "caller-1", "n1", "/v1/embeddings") for at_s in range(100)]
    posts += [(1.0, "caller-1", "n2", "/v1/embeddings")] * 5
    posts += [(1.0, "n1", "origin-1", "/v1/reports"), (1.0, "caller-1", "origin-1", "/v1/route")]
    figures = figures_of(rows, posts, [], ["n1", "n2"])
    assert figures["extra_requests_percent"] == 5.0
    assert figures["success_percent"] == 100.0
    rows[3] |= {"ok": False}
    rows[4] |= {"handed_on": 1}
    figures = figures_of(rows, posts, [], ["n1", "n2"])
    assert (figures["success_percent"], figures["extra_requests_percent"]) == (99.0, 4.0)


def test_a_herd_is_more_than_is_asked_for():
    rows = [row(at_s / 10) for at_s in range(300)]
    calm = [(at_s / 10, "caller-1", "n1", "/v1/embeddings") for at_s in range(100, 200)]
    assert [one["times"] for one in herds(rows, calm, [(10.0, "n1", "dark")], ["n1"])] == [1.0]
    herd = calm + [(12.3, "caller-1", "n1", "/v1/embeddings")] * 30
    assert herds(rows, herd, [(10.0, "n1", "dark")], ["n1"])[0]["times"] > 3.0
    assert herds(rows, herd, [(10.0, "origin-1", "dark")], ["n1"]) == [], "origins answer no calls"


def test_the_busiest_second():
    assert per_second([0.0, 0.5, 0.99, 1.0, 5.0], 0.0, 10.0) == 3
    assert per_second([], 0.0, 10.0) == 0
