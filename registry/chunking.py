"""Where to cut a file, so that two versions of a model share most pieces.

Cuts follow the format's spans: a span of 64 KiB or more gets pieces of its own, cut at its rows. Smaller ones are
gathered: the tensors of one layer go together wherever they lie, so that a layer that is dropped or moved takes
nothing of its neighbours along, and so do the parts of the header. An unknown format is cut every 4 MiB. The same
file always gets the same cuts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from registry.element_forms import BLOCK_BYTES, Form, form_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from registry.formats import Span

PIECE_LIMIT_BYTES = 4 * 1024 * 1024
_OWN_PIECE_BYTES = 64 * 1024
_SEGMENT_LIMIT_COUNT = 1 << 16


class Extent(NamedTuple):
    """A stretch of one file."""

    offset_bytes: int
    length_bytes: int


class Segment(NamedTuple):
    """What a stretch of a piece is: numbers of one form, and how many blocks make a row (0: not known)."""

    form: Form
    length_bytes: int
    row_blocks_count: int = 0


class Cut(NamedTuple):
    """The stretches of one file that make one piece.

    Attributes:
        extents: where its bytes lie, one after another.
        segments: what they are; as long as the extents together.
        role: what it is for: a tensor's name and the number of the piece, a layer, the header. Pieces of one role in
            two versions of a model are worth comparing.
    """

    extents: tuple[Extent, ...]
    segments: tuple[Segment, ...]
    role: str


def cut(spans: Iterable[Span]) -> list[Cut]:
    """The pieces of a file with these contiguous spans, by their first byte.

    Together they cover the file exactly; none is empty or longer than `PIECE_LIMIT_BYTES`.
    """
    cuts: list[Cut] = []
    open_bundles: dict[str, list[Span]] = {}
    for span in spans:
        if span.alone or span.length_bytes >= _OWN_PIECE_BYTES:
            cuts.extend(_rows(span))
            continue
        bundle = open_bundles.setdefault(span.group, [])
        if (
            sum(one.length_bytes for one in bundle) + span.length_bytes > PIECE_LIMIT_BYTES
            or len(bundle) == _SEGMENT_LIMIT_COUNT
        ):
            cuts.append(_bundle(bundle))
            bundle.clear()
        bundle.append(span)
    cuts.extend(_bundle(bundle) for bundle in open_bundles.values())
    return sorted(cuts, key=lambda piece: min(piece.extents))


def _bundle(spans: list[Span]) -> Cut:
    if spans[0].group:  # by name: tensors may come in another order in another version
        spans = sorted(spans, key=lambda span: (span.label, span.start_bytes))
    extents: list[Extent] = []
    segments: list[Segment] = []
    for span in spans:
        if extents and sum(extents[-1]) == span.start_bytes:
            extents[-1] = Extent(extents[-1].offset_bytes, extents[-1].length_bytes + span.length_bytes)
        else:
            extents.append(Extent(span.start_bytes, span.length_bytes))
        form = form_of(span.element)
        if segments and segments[-1].form == form == Form.PLAIN:
            segments[-1] = Segment(form, segments[-1].length_bytes + span.length_bytes)
        else:
            segments.append(Segment(form, span.length_bytes, _row_blocks(span)))
    if len(segments) > 1:
        segments = [segment._replace(row_blocks_count=0) for segment in segments]
    return Cut(tuple(extents), tuple(segments), f"group {spans[0].group}")


def _rows(span: Span) -> Iterable[Cut]:
    rows = PIECE_LIMIT_BYTES // span.row_bytes
    step = rows * span.row_bytes or PIECE_LIMIT_BYTES  # a row longer than a piece cannot be kept whole
    form, row_blocks = form_of(span.element), _row_blocks(span)
    if not rows and step % BLOCK_BYTES[form]:
        step -= step % BLOCK_BYTES[form]
    position, number = span.start_bytes, 0
    while position < span.end_bytes:
        rest = span.end_bytes - position
        length = rest if rest <= PIECE_LIMIT_BYTES else step
        segments = (Segment(form, length, row_blocks),)
        yield Cut((Extent(position, length),), segments, f"span {span.label} {number}")
        position += length
        number += 1


def _row_blocks(span: Span) -> int:
    block_bytes = BLOCK_BYTES[form_of(span.element)]
    return span.row_bytes // block_bytes if span.row_bytes % block_bytes == 0 else 0
