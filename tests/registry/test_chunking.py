from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from registry.chunking import PIECE_LIMIT_BYTES, cut
from registry.element_forms import Form
from registry.formats import Span

MIB = 1 << 20

_lengths = st.lists(
    st.tuples(
        st.one_of(st.integers(1, 2000), st.integers(60_000, 70_000), st.integers(1, 14 * MIB)),
        st.one_of(st.just(1), st.integers(1, 10_000), st.integers(1, 6 * MIB)),
        st.booleans(),
    ),
    max_size=30,
)


def _spans(rows):
    end = 0
    for length, row_bytes, alone in rows:
        yield Span(end, end + length, row_bytes, alone=alone)
        end += length


@given(_lengths)
def test_pieces_cover_the_file_exactly_and_are_bounded(rows):
    spans = list(_spans(rows))
    cuts = cut(spans)
    pieces = sorted(extent for piece in cuts for extent in piece.extents)
    size = spans[-1].end_bytes if spans else 0
    assert sum(piece.length_bytes for piece in pieces) == size
    assert all(0 < piece.length_bytes <= PIECE_LIMIT_BYTES for piece in pieces)
    assert all(a.offset_bytes + a.length_bytes == b.offset_bytes for a, b in pairwise(pieces))
    assert not pieces or pieces[0].offset_bytes == 0
    for piece in cuts:
        length = sum(extent.length_bytes for extent in piece.extents)
        assert sum(segment.length_bytes for segment in piece.segments) == length <= PIECE_LIMIT_BYTES


@given(_lengths)
def test_large_and_lone_spans_share_no_piece_and_are_cut_at_rows(rows):
    spans = list(_spans(rows))
    starts = {extent.offset_bytes for piece in cut(spans) for extent in piece.extents}
    for span in spans:
        if not span.alone and span.length_bytes < 65_536:
            continue
        inside = [start for start in starts if span.start_bytes <= start < span.end_bytes]
        assert span.start_bytes in inside
        assert span.end_bytes in starts or span is spans[-1]
        if span.row_bytes <= PIECE_LIMIT_BYTES:
            assert all((start - span.start_bytes) % span.row_bytes == 0 for start in inside)


def test_small_neighbours_go_together():
    assert [piece.extents for piece in cut([Span(0, 10), Span(10, 30), Span(30, 100)])] == [((0, 100),)]


def test_the_small_tensors_of_a_layer_go_together_wherever_they_lie():
    spans = [
        Span(0, 10, label="x"),
        Span(10, 14, element="F32", group="layer 0"),
        Span(14, 70_014, element="Q8_0", label="big", group="layer 0"),
        Span(70_014, 70_022, element="F32", group="layer 0"),
        Span(70_022, 70_030, element="F32", group="layer 1"),
        Span(70_030, 70_040),
    ]
    assert [(piece.role, piece.extents) for piece in cut(spans)] == [
        ("group ", ((0, 10), (70_030, 10))),
        ("group layer 0", ((10, 4), (70_014, 8))),
        ("span big 0", ((14, 70_000),)),
        ("group layer 1", ((70_022, 8),)),
    ]


def test_a_piece_says_what_it_is_made_of():
    (piece,) = cut(
        [Span(0, 8, element="F32", group="a"), Span(8, 11, group="a"), Span(11, 45, 34, "Q8_0", group="a")]
    )
    assert piece.segments == ((Form.WORDS_4, 8, 0), (Form.PLAIN, 3, 0), (Form.Q8_0, 34, 0))
    (row,) = cut([Span(0, 3400, 340, "Q8_0")])
    assert row.segments == ((Form.Q8_0, 3400, 10),)


def test_an_unknown_format_is_cut_every_4_mib():
    assert [piece.extents[0].length_bytes for piece in cut([Span(0, 9 * MIB)])] == [4 * MIB, 4 * MIB, MIB]


def test_a_change_in_the_middle_changes_one_piece():
    before = cut([Span(0, 100), Span(100, 100_000), Span(100_000, 100_050)])
    after = cut([Span(0, 150), Span(150, 100_050), Span(100_050, 100_100)])
    assert [piece.extents[0].length_bytes for piece in before[1:]] == [
        piece.extents[0].length_bytes for piece in after[1:]
    ]


def test_nothing_has_no_pieces():
    assert cut([]) == []
