"""Which rows are computed together."""

from hypothesis import given
from hypothesis import strategies as st

from edge_node.engines.onnx.batching import Waiting, take_batch

LENGTHS = st.lists(st.integers(1, 600), min_size=1, max_size=40)


@given(st.lists(LENGTHS, min_size=1, max_size=5))
def test_every_row_is_in_one_batch_within_the_limits(requests):
    queue = [Waiting(lengths) for lengths in requests]
    seen = []
    while any(queue):
        present = [place for place, waiting in enumerate(queue) if waiting]
        batch = take_batch([queue[place] for place in present], rows_count=8, batch_tokens=512)
        assert batch[0][0] == 0, "the first request is always served"
        rows = [(present[place], index) for place, index in batch]
        longest = max(requests[place][index] for place, index in rows)
        assert len(rows) <= 8
        assert len(rows) == 1 or longest * len(rows) <= 512
        seen += rows
    expected = [(place, index) for place, lengths in enumerate(requests) for index in range(len(lengths))]
    assert sorted(seen) == expected


def test_rows_of_like_length_go_together():
    queue = [Waiting([50, 10]), Waiting([11]), Waiting([48])]
    assert take_batch(queue, rows_count=8, batch_tokens=1024) == [(0, 0), (2, 0)]
    assert take_batch(queue[:2], rows_count=8, batch_tokens=1024) == [(0, 1), (1, 0)]


def test_a_large_request_does_not_keep_a_small_one_out():
    queue = [Waiting([10] * 100), Waiting([10]), Waiting([10])]
    assert take_batch(queue, rows_count=4, batch_tokens=1024) == [(0, 0), (1, 0), (2, 0), (0, 1)]


def test_a_row_that_is_put_back_waits_again():
    waiting = Waiting([3, 5])
    assert waiting.take(5, least=5, most=5) == (1, 5)
    waiting.put_back(1, 5)
    assert (len(waiting), waiting.longest()) == (2, 5)
