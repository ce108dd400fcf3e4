"""Guessing an answer's next tokens out of its own text, and when to leave it: pure decisions.

Prompt lookup (Saxena, 2023): where the last tokens stood before, what followed then is the guess. The model computes
the guess in the same batch as the last token, and the sampler chain itself picks a token at each position, in order,
from the scores that it would have had: a guess only decides which rows are computed beforehand, and is kept as far as
the chain picks the same. So nothing is rejected and redrawn (as Leviathan et al., 2023, and Chen et al., 2023, do to
accept more of a drafter's own distribution; a lookup has none): the distribution is the model's by construction.

More rows take longer, on a CPU nearly in proportion. So a guess is made only where the measured times of steps and the
measured share of guesses that came true say that it pays for everyone in the batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from edge_node.engines.llama.guess_worth import StepTimes, Worth

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_node.engines.llama.generation import Generation

_GRAM_TOKENS = 3
_WEIGHT = 0.2
# Before anything is known, as optimistic as it takes to find out.
_FIRST_ACCEPTANCE = 0.8
_LEAST_GAIN = 1.05
# A sequence whose guesses do not pay tries again after so many tokens, each time after twice as many.
_REST_TOKENS = 32
# No single lucky guess brings the short rests back.
_PROVEN_ACCEPTANCE = 0.9
# So often a step goes without, so that its time, against which all guesses are judged, is never old.
_PLAIN_STEPS = 64


class Guesser:
    """One sequence's guesses."""

    def __init__(self, *, limit_tokens: int) -> None:
        self._limit_tokens = limit_tokens
        self._places: dict[tuple[int, ...], int] = {}
        self._noted_count = 0
        self._acceptance = _FIRST_ACCEPTANCE
        self._resting_tokens = 0
        self._rest_tokens = _REST_TOKENS

    def guess(self, tokens: list[int], *, rows_count: int, times: StepTimes) -> list[int]:
        """What may follow `tokens`, in a step that has `rows_count` rows without it; empty where it would not pay."""
        last = self._last_place(tokens)
        if self._resting_tokens > 0:
            self._resting_tokens -= 1
            return []
        if last is None:
            return []
        following = tokens[last : last + self._limit_tokens]
        count = self._best_count(len(following), rows_count, times)
        if count == 0:
            self._resting_tokens, self._rest_tokens = self._rest_tokens, 2 * self._rest_tokens
            self._acceptance = _FIRST_ACCEPTANCE
        return following[:count]

    def note(self, guessed_count: int, accepted_count: int) -> None:
        """So many of the guessed tokens came true, in order."""
        for place in range(min(guessed_count, accepted_count + 1)):
            self._acceptance += _WEIGHT * ((place < accepted_count) - self._acceptance)
        if self._acceptance >= _PROVEN_ACCEPTANCE:
            self._rest_tokens = _REST_TOKENS

    def _last_place(self, tokens: list[int]) -> int | None:
        """Where what followed the last tokens the time before begins."""
        for end in range(max(self._noted_count, _GRAM_TOKENS), len(tokens)):
            self._places[tuple(tokens[end - _GRAM_TOKENS : end])] = end
        self._noted_count = len(tokens)
        return self._places.get(tuple(tokens[-_GRAM_TOKENS:]))

    def _best_count(self, limit_count: int, rows_count: int, times: StepTimes) -> int:
        """How many to guess, by tokens of everyone in the batch for each second."""
        speeds: Sequence[float] = [
            (rows_count - 1 + expected_tokens(self._acceptance, count)) / times.cost(rows_count + count)
            for count in range(limit_count + 1)
        ]
        best = max(range(limit_count + 1), key=speeds.__getitem__)
        return best if speeds[best] > _LEAST_GAIN * speeds[0] else 0


def expected_tokens(acceptance: float, guessed_count: int) -> float:
    """How many tokens a sequence gets from one step, when each guess comes true so often and the first miss ends it."""
    return sum(acceptance**place for place in range(guessed_count + 1))


class Speculation:
    """The guesses of all sequences of one context.

    Args:
        limit_tokens: the most to guess for a sequence in one step; 0 never guesses.
    """

    def __init__(self, *, limit_tokens: int) -> None:
        self._times = StepTimes()
        self._worth = Worth()
        self._limit_tokens = limit_tokens
        self._guessed_steps = 0
        self._guessers: WeakKeyDictionary[Generation, Guesser] = WeakKeyDictionary()

    def guesses(self, generations: Sequence[Generation], *, room_count: int) -> list[list[int]]:
        """What may follow each of these, all of which compute one row; at most `room_count` tokens together."""
        rows_count = len(generations)
        known = rows_count in self._times and self._guessed_steps < _PLAIN_STEPS
        if self._limit_tokens == 0 or self._worth.resting or not known:
            return [[] for _ in generations]
        guesses = []
        for generation in generations:
            guesser = self._guessers.setdefault(generation, Guesser(limit_tokens=self._limit_tokens))
            guess = guesser.guess(generation.tokens, rows_count=rows_count, times=self._times)
            guess = guess[: max(0, room_count)]
            rows_count += len(guess)
            room_count -= len(guess)
            guesses.append(guess)
        return guesses

    def stepped(self, *, answers_count: int, rows_count: int, took_s: float) -> None:
        """A step of answers alone took so long; rows beyond one for each answer were guessed."""
        self._times.note(rows_count, took_s)
        self._worth.stepped(answers_count=answers_count, rows_count=rows_count, times=self._times)
        self._guessed_steps = self._guessed_steps + 1 if rows_count > answers_count else 0

    def note(self, generation: Generation, guessed_count: int, accepted_count: int) -> None:
        """So many of a sequence's guessed tokens came true."""
        self._guessers[generation].note(guessed_count, accepted_count)
        self._worth.guessed(guessed_count, accepted_count)
