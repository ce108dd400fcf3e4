"""What was generated of an answer that was cut off, as an engine hears it with the same command once more."""

from __future__ import annotations

from msgspec import Struct


class Resume(Struct, frozen=True, kw_only=True):
    """What was generated of an answer before it was cut off.

    Attributes:
        tokens: of the answer, in order.
        text_chars: how many characters of text they gave, those held back not counted.
        release: what the tokens belong to (`edge_node.continuation`).
        created_unix_s: when the answer was begun: its prompt may tell the day.
    """

    tokens: tuple[int, ...]
    text_chars: int
    release: str
    created_unix_s: int
