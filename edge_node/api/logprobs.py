"""Scores of tokens in OpenAI's two forms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_node.api.replies import ChatLogprobs, ChosenLogprob, TextLogprobs, TokenLogprob

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_node.engines import Choice, TokenScore

# What OpenAI says of a token that could not come; JSON has no infinity.
_IMPOSSIBLE = -9999.0


def chat_logprobs(scores: Sequence[TokenScore]) -> ChatLogprobs:
    """Of a chat."""
    return ChatLogprobs(
        content=tuple(
            ChosenLogprob(
                token=_text(score.chosen.piece),
                logprob=_finite(score.chosen.logprob),
                bytes=tuple(score.chosen.piece),
                top_logprobs=tuple(
                    TokenLogprob(token=_text(top.piece), logprob=_finite(top.logprob), bytes=tuple(top.piece))
                    for top in score.top
                ),
            )
            for score in scores
        )
    )


def text_logprobs(scores: Sequence[TokenScore], *, offset: int) -> TextLogprobs:
    """Of a completion; `offset` is how many characters the answer has before."""
    offsets: list[int] = []
    for score in scores:
        offsets.append(offset)
        offset += len(_text(score.chosen.piece))
    return TextLogprobs(
        tokens=tuple(_name(score.chosen.piece) for score in scores),
        token_logprobs=tuple(_finite(score.chosen.logprob) for score in scores),
        top_logprobs=tuple(_best(score) for score in scores) if any(score.top for score in scores) else None,
        text_offset=tuple(offsets),
    )


def mean_logprob(scores: Sequence[TokenScore]) -> float:
    """By which `best_of` ranks: per token, so that long answers do not lose."""
    return sum(_finite(score.chosen.logprob) for score in scores) / max(1, len(scores))


def _best(score: TokenScore) -> dict[str, float]:
    """The most probable ones, and in any case the one that was chosen."""
    choices: tuple[Choice, ...] = (*score.top, score.chosen)
    return {_name(choice.piece): _finite(choice.logprob) for choice in choices}


def _text(piece: bytes) -> str:
    return piece.decode(errors="replace")


def _name(piece: bytes) -> str:
    """The token as a key: parts of characters stay apart."""
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in piece)


def _finite(logprob: float) -> float:
    return max(logprob, _IMPOSSIBLE)
