"""One answer in work: its tokens, its limit, its text, and what is said about it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from edge_node.engines import Delta, Event, Finished, Progress, Started
from edge_node.engines.text_assembly import TextAssembler
from edge_node.errors import PromptTooLongError, RequestInvalidError, ResumeMismatchError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_node.engines import CachedFrom, FinishReason, Generate, TokenScore
    from edge_node.engines.llama.prefix_file import State
    from edge_node.engines.llama.slots import Slot


def answer_limit_tokens(prompt_tokens: int, max_tokens: int | None, *, context_tokens: int) -> int:
    """The most tokens that the answer may have.

    Raises:
        PromptTooLongError: prompt and answer do not fit the context.
        RequestInvalidError: an empty prompt, or no room asked for an answer.
    """
    if prompt_tokens == 0:
        raise RequestInvalidError("the prompt is empty", param="prompt")
    if max_tokens is not None and max_tokens < 1:
        raise RequestInvalidError("at least one token must be asked for", param="max_tokens")
    if prompt_tokens + 1 > context_tokens:
        raise PromptTooLongError(
            f"the prompt has {prompt_tokens} tokens, the model's context holds {context_tokens} with the answer"
        )
    if max_tokens is not None and prompt_tokens + max_tokens > context_tokens:
        raise PromptTooLongError(
            f"the prompt has {prompt_tokens} tokens and {max_tokens} are asked for the answer, "
            f"the model's context holds {context_tokens} in all",
            param="max_tokens",
        )
    return context_tokens - prompt_tokens if max_tokens is None else max_tokens


class Chosen(NamedTuple):
    """The next token, with its score where the request asks for scores."""

    token: int
    score: TokenScore | None = None


class Chooser(Protocol):
    """What picks this answer's tokens (`sampler.Sampler`)."""

    def choose(self, context: Any, row: int) -> Chosen:
        """The next token after row `row` of the last batch."""

    def follow(self, tokens: Sequence[int]) -> None:
        """Go on after these tokens, which another chooser of the same request chose.

        Raises:
            ResumeMismatchError: none would have chosen them.
        """

    def free(self) -> None:
        """Give native memory back."""


class Generation:
    """From an accepted request to its last token.

    Attributes:
        tokens: the prompt, then the answer.
        slot: where it is at work; None while it waits.
        prompt_tokens: how many of them are the prompt's.
        latest_s: when its first token would be of no use any more, on the clock of `now_s`.
        guessed_tokens: how many were guessed for it, right or wrong.
        read_s: what the steps took that read its prompt, by its part of their rows.
        saved: the state of its first `saved_tokens` tokens, when its cells were taken away.
    """

    def __init__(
        self, request: Generate, prompt: list[int], *, limit_tokens: int, sampler: Chooser, now_s: float
    ) -> None:
        self.request_id = request.request_id
        self.client = request.client
        self.tokens = prompt
        self.sampler = sampler
        self.slot: Slot | None = None
        self.latest_s = math.inf if request.start_within_s is None else now_s + request.start_within_s
        self.saved: State = b""
        self.saved_tokens = 0
        self.guessed_tokens = 0
        self.read_s = 0.0
        self._reports_progress = request.reports_progress
        self._reported: tuple[int, int] | None = None
        self.prompt_tokens = len(prompt)
        self._limit_tokens = limit_tokens
        self._text = TextAssembler(request.sampling.stop)
        self._submitted_s = now_s
        self._admitted_s: float | None = None
        self._prefilled_s: float | None = None
        self._cached_tokens = 0
        self._cached_from: CachedFrom = ""
        self._unsaid: list[int] = []
        self._unsaid_scores: list[TokenScore] = []
        self._resumed_tokens = 0
        self._resumed_text = ""
        self._ended: FinishReason | None = None

    @property
    def missing_count(self) -> int:
        """Tokens that are not computed yet."""
        return len(self.tokens) - (len(self.slot.cached) if self.slot else 0)

    @property
    def started(self) -> bool:
        """Its first token has been chosen."""
        return self._prefilled_s is not None

    def admit(self, slot: Slot, *, cached_from: CachedFrom = "", now_s: float) -> None:
        """Go to work in a slot whose `cached` tokens are a prefix of ours; also once more, after a preemption."""
        self.slot = slot
        if self._admitted_s is None:
            self._admitted_s = now_s
            self._cached_tokens = len(slot.cached)
            self._cached_from = cached_from if slot.cached else ""

    def resume(self, tokens: Sequence[int], pieces: Sequence[bytes | None]) -> None:
        """Take over what an earlier run generated, before anything is computed.

        `pieces` are the tokens' bytes, None for one by which the model ends its answer.

        Raises:
            ResumeMismatchError: the answer would have ended before.
        """
        texts: list[str] = []
        for place, (token, piece) in enumerate(zip(tokens, pieces, strict=True), 1):
            if self._ended is not None:
                raise ResumeMismatchError(
                    f"the answer was whole after {place - 1} tokens, and {len(tokens)} were sent",
                    param="edgeward.resume.tokens",
                )
            texts.append(self._read(token, piece or b"", ends=piece is None))
        self.sampler.follow(tokens)
        self._resumed_tokens, self._resumed_text = len(tokens), "".join(texts)

    @property
    def resumed_text(self) -> str:
        """The text that was told before, by what was resumed."""
        return self._resumed_text

    def whole(self, now_s: float) -> list[Event]:
        """What to say of an answer that was cut off after its last token; nothing of any other."""
        if self._ended is None:
            return []
        self._admitted_s = self._prefilled_s = now_s
        return [self._started(now_s), self.finished(self._ended, now_s=now_s)]

    def progress(self, ahead_count: int) -> list[Event]:
        """How far the prompt is, if that is wanted and news."""
        if not self._reports_progress or self.started:
            return []
        read_tokens = len(self.slot.cached) if self.slot else 0
        if (ahead_count, read_tokens) == self._reported:
            return []
        self._reported = (ahead_count, read_tokens)
        return [
            Progress(
                request_id=self.request_id,
                ahead_count=ahead_count,
                read_tokens=read_tokens,
                prompt_tokens=self.prompt_tokens + self._resumed_tokens,
            )
        ]

    def advance(self, chosen: Chosen, piece: bytes, *, ends: bool, now_s: float) -> tuple[list[Event], bool]:
        """Take the next token; what to say, and whether that was the last one."""
        said: list[Event] = []
        if self._prefilled_s is None:
            self._prefilled_s = now_s
            said.append(self._started(now_s))
        self._unsaid.append(chosen.token)
        if chosen.score is not None:
            self._unsaid_scores.append(chosen.score)
        text = self._read(chosen.token, piece, ends=ends)
        if text:
            tokens, scores = tuple(self._unsaid), tuple(self._unsaid_scores)
            said.append(Delta(self.request_id, text, len(tokens), scores, tokens))
            self._unsaid.clear()
            self._unsaid_scores.clear()
        if self._ended is not None:
            said.append(self.finished(self._ended, now_s=now_s))
        return said, self._ended is not None

    def _read(self, token: int, piece: bytes, *, ends: bool) -> str:
        """The text that is certain with this token; notes the end."""
        self.tokens.append(token)
        text = "" if ends else self._text.push(piece)
        if ends or self._text.stopped:
            self._ended = "stop"
        elif len(self.tokens) - self.prompt_tokens >= self._limit_tokens:
            self._ended = "length"
        return text + self._text.finish() if self._ended else text

    def finished(self, reason: FinishReason, *, now_s: float) -> Finished:
        """The end, at this moment."""
        return Finished(
            request_id=self.request_id,
            reason=reason,
            completion_tokens=len(self.tokens) - self.prompt_tokens,
            decode_s=0.0 if self._prefilled_s is None else now_s - self._prefilled_s,
            guessed_tokens=self.guessed_tokens,
        )

    def _started(self, now_s: float) -> Started:
        admitted_s = now_s if self._admitted_s is None else self._admitted_s
        return Started(
            request_id=self.request_id,
            prompt_tokens=self.prompt_tokens,
            cached_tokens=min(self._cached_tokens, self.prompt_tokens),
            resumed_tokens=self._resumed_tokens,
            resumed_text=self._resumed_text,
            cached_from=self._cached_from,
            queue_s=admitted_s - self._submitted_s,
            prefill_s=now_s - admitted_s,
            read_s=self.read_s,
        )
