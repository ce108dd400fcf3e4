from hypothesis import given
from hypothesis import strategies as st

from registry.plan import (
    GAP_LIMIT_BYTES,
    MUCH_BYTES,
    RANGE_LIMIT_BYTES,
    RANGE_OF_MUCH_BYTES,
    Located,
    plan_reads,
)

_layout = st.lists(
    st.tuples(st.integers(0, 2), st.integers(1, 5_000_000), st.integers(0, 200_000), st.booleans()),
    max_size=60,
)


def _located(rows):
    ends = [0, 0, 0]
    for number, (pack, length, gap, wanted) in enumerate(rows):
        start = ends[pack] + gap
        ends[pack] = start + length
        if wanted:
            yield Located(pack, start, length, number)


@given(_layout, st.randoms())
def test_every_chunk_is_in_one_range_and_ranges_are_bounded(rows, chance):
    wanted = list(_located(rows))
    chance.shuffle(wanted)
    reads = plan_reads(wanted)
    assert sorted(chunk for read in reads for chunk in read.chunks) == sorted(wanted)
    for read in reads:
        assert read.length_bytes <= RANGE_LIMIT_BYTES
        assert read.offset_bytes == read.chunks[0].offset_bytes
        end = read.offset_bytes
        for chunk in read.chunks:
            assert chunk.pack == read.pack
            assert 0 <= chunk.offset_bytes - end <= GAP_LIMIT_BYTES
            end = chunk.offset_bytes + chunk.length_bytes
        assert end == read.offset_bytes + read.length_bytes


def test_near_chunks_are_one_request_and_far_ones_are_not():
    near = [Located(0, 0, 10, 0), Located(0, 10 + GAP_LIMIT_BYTES, 10, 1)]
    far = [Located(0, 0, 10, 0), Located(0, 11 + GAP_LIMIT_BYTES, 10, 1)]
    assert len(plan_reads(near)) == 1
    assert len(plan_reads(far)) == 2


def test_nothing_needs_no_request():
    assert plan_reads([]) == []


def test_much_is_read_in_smaller_ranges_than_little():
    mib = 2**20

    def read_lengths(total_bytes):
        return [
            read.length_bytes
            for read in plan_reads([Located(0, n * mib, mib, n) for n in range(total_bytes // mib)])
        ]

    assert read_lengths(MUCH_BYTES - mib)[0] == RANGE_LIMIT_BYTES
    assert set(read_lengths(MUCH_BYTES)) == {RANGE_OF_MUCH_BYTES}
