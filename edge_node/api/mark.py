"""Mark: how far an answer is, told with each chunk of a resumable stream; written by nodes and read by clients."""

from __future__ import annotations

from msgspec import Struct


class Mark(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far an answer is with this chunk, in a stream that was asked to be resumable.

    Attributes:
        release: in the first chunk: what the answer's tokens belong to; the answer can go on elsewhere.
        silence_s: in the first chunk: the longest silence of the stream.
        tokens_count: in the first chunk: how many tokens were told before the answer was cut off.
        tokens: those that gave this chunk's text, and what is held back behind it.
        text_chars: that its tokens gave so far, as text of the model.
        more: the next chunk belongs to the same tokens; a cut between the two is a cut before this one.
    """

    release: str = ""
    silence_s: float = 0.0
    tokens_count: int = 0
    tokens: tuple[int, ...] = ()
    text_chars: int = 0
    more: bool = False
