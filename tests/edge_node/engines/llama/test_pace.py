"""Chunks fit the machine."""

from edge_node.engines.llama.pace import Pace


def test_a_slow_machine_gets_small_chunks_and_a_fast_one_whole_ones():
    pace = Pace(256)
    assert pace.chunk_tokens == 256
    pace.note(256, 0.5)
    assert pace.chunk_tokens == 256
    for _ in range(30):
        pace.note(64, 1.0)
    assert pace.chunk_tokens == 64
    for _ in range(30):
        pace.note(16, 100.0)
    assert pace.chunk_tokens == 16
    for _ in range(60):
        pace.note(16, 0.01)
    assert pace.chunk_tokens == 256


def test_a_few_rows_say_nothing():
    pace = Pace(256)
    pace.note(1, 9.0)
    assert pace.chunk_tokens == 256
