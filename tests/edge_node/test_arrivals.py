from __future__ import annotations

import pytest

from edge_node.arrivals import Arrival


def arrival(**facts):
    return Arrival(**{"name": "chat", "version": "1", "state": "fetching", "started_s": 100.0, **facts})


def test_a_fetch_says_how_far_it_is_and_when_it_ends():
    half = arrival(done_bytes=40_000_000, total_bytes=100_000_000)
    assert half.sentence() == "chat@1 is being fetched: 40.0 of 100.0 MB (40 %)"
    assert half.retry_after_s(120.0) == pytest.approx(30.0 + 5.0)
    report = half.report()
    assert (report.state, report.fetched_bytes, report.fetch_total_bytes) == (
        "fetching",
        40_000_000,
        100_000_000,
    )


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({}, "is being fetched"),
        ({"state": "on_disk"}, "about to be loaded"),
        ({"state": "failed", "detail": "no room in /srv/node"}, "tried again"),
    ],
)
def test_every_state_has_words_and_a_bounded_wait(facts, words):
    assert words in arrival(**facts).sentence()
    assert "/srv" not in arrival(**facts).sentence()
    assert 1 <= arrival(**facts).retry_after_s(100.0) <= 120


def test_a_crawling_fetch_does_not_send_clients_away_for_ever():
    assert arrival(done_bytes=1, total_bytes=10**12).retry_after_s(200.0) == 120
