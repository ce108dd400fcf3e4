"""Where to cut a file, so that two versions of a model share most pieces.

Cuts follow the format's spans: a span of 64 KiB or more gets pieces of its own, cut at its rows; smaller
neighbours go together; an unknown format is cut every 4 MiB. The same file always gets the same cuts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from registry.formats import Span

PIECE_LIMIT_BYTES = 4 * 1024 * 1024
_OWN_PIECE_BYTES = 64 * 1024


class Extent(NamedTuple):
    """A stretch of one file."""

    offset_bytes: int
    length_bytes: int


Cut = tuple[Extent, ...]
"""The stretches of one file that make one piece, one after another."""


def cut(spans: Iterable[Span]) -> list[Cut]:
    """The pieces of a file with these contiguous spans.

    In order, the pieces cover the file exactly; none is empty or longer than `PIECE_LIMIT_BYTES`.
    """
    cuts: list[Cut] = []
    run_start = run_end = 0  # small neighbours, not yet cut
    for span in spans:
        own = span.alone or span.length_bytes >= _OWN_PIECE_BYTES
        if run_end > run_start and (own or span.end_bytes - run_start > PIECE_LIMIT_BYTES):
            cuts.append((Extent(run_start, run_end - run_start),))
            run_start = run_end
        if own:
            cuts.extend(_rows(span))
            run_start = run_end = span.end_bytes
        else:
            run_start = span.start_bytes if run_end == run_start else run_start
            run_end = span.end_bytes
    if run_end > run_start:
        cuts.append((Extent(run_start, run_end - run_start),))
    return cuts


def _rows(span: Span) -> Iterable[Cut]:
    rows = PIECE_LIMIT_BYTES // span.row_bytes
    step = rows * span.row_bytes or PIECE_LIMIT_BYTES  # a row longer than a piece cannot be kept whole
    position = span.start_bytes
    while span.end_bytes - position > PIECE_LIMIT_BYTES:
        yield (Extent(position, step),)
        position += step
    if position < span.end_bytes:
        yield (Extent(position, span.end_bytes - position),)
