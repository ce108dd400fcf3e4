"""What a llama engine may take, and never less than it does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_node.engine_room import EngineRoom, cells_count, cells_limit_bytes, lane_rows_count

MIB = 2**20


def test_cells_are_enough_for_two_contexts_and_for_all_slots_where_that_is_cheap():
    def cells(token_bytes, limit_bytes=256 << 20):
        return cells_count(4096, slots_count=16, token_bytes=token_bytes, limit_bytes=limit_bytes)

    assert cells(1000) == 16 * 4096
    assert cells(20_000) == (256 << 20) // 20_000
    assert cells(200_000) == 2 * 4096
    assert cells(20_000, limit_bytes=1) == 2 * 4096
    assert cells_count(4096, slots_count=1, token_bytes=1, limit_bytes=1 << 40) == 4096


def test_small_machines_keep_fewer_cells():
    assert cells_limit_bytes(64 << 30) == cells_limit_bytes(0) == 256 * MIB
    assert cells_limit_bytes(1 << 30) == 64 * MIB


def test_the_lane_has_a_row_and_more_where_they_are_cheap():
    def rows(certified_count, token_bytes):
        return lane_rows_count(certified_count, 4096, token_bytes=token_bytes, limit_bytes=256 * MIB)

    assert [rows(count, 2_000) for count in (0, 1, 4)] == [0, 1, 4]
    assert rows(4, 23_053) == 2
    assert rows(4, 131_072) == 1


def test_a_model_with_small_cells_is_expected_to_take_what_its_cells_lane_and_prefixes_take():
    room = EngineRoom(prefix_memory_bytes=256 * MIB, lane_rows_count=4)
    cell_bytes = 23_053
    cells = 256 * MIB // cell_bytes
    saved = 256 * MIB
    assert (
        room.expected_bytes(4096, token_bytes=cell_bytes)
        == (cells + 2 * 4096) * cell_bytes + saved + 256 * MIB
    )
    alone = EngineRoom(slots_count=1)
    assert (
        alone.expected_bytes(4096, token_bytes=cell_bytes) == 4096 * cell_bytes
    )  # one answer is never put off


@given(
    context_tokens=st.integers(1, 131_072),
    token_bytes=st.integers(0, 2**20),
    slots_count=st.integers(0, 64),
    rows=st.integers(0, 4),
    kv_type=st.sampled_from(["f16", "q8_0"]),
)
def test_more_of_anything_never_takes_less(context_tokens, token_bytes, slots_count, rows, kv_type):
    def expected_bytes(**more):
        said = {"slots_count": slots_count, "lane_rows_count": rows, "kv_type": kv_type} | more
        return EngineRoom(**said).expected_bytes(context_tokens, token_bytes=token_bytes)

    least = expected_bytes()
    assert least >= min(2, slots_count or 16) * context_tokens * token_bytes * 17 // 32
    assert expected_bytes(kv_type="f16", lane_rows_count=0) >= expected_bytes(lane_rows_count=0) - token_bytes
    assert expected_bytes(lane_rows_count=4) >= least
    assert expected_bytes(slots_count=64) >= least
    assert expected_bytes(prefix_memory_bytes=7) == least + 7
