"""What a client knows of a stream, so that another node can go on with it when it breaks: pure decisions.

A node that is asked for it tells the tokens of each chunk; whoever brings them gets the rest. What came after the last
mark is left out of account, so that no character is lost and none comes twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edge_node.errors import AnswerInvalidError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_node.api.mark import Mark

RESUMES_MOST_COUNT = 2
SILENCES_COUNT = 2.0
"""A stream that is silent for so many times the longest silence that its node promised is given up."""


def wants_marks(message: Mapping[str, Any]) -> bool:
    """Whether a streamed request is one that can go on elsewhere: it has a single answer, and says nothing itself."""
    prompt = message.get("prompt")
    one_prompt = (
        not isinstance(prompt, list) or len(prompt) == 1 or all(isinstance(part, int) for part in prompt)
    )
    one_choice = all(message.get(count) in {None, 1} for count in ("n", "best_of"))
    return "edgeward" not in message and one_prompt and one_choice


class Resumption:
    """One stream as far as it has been read.

    Attributes:
        silence_s: how long it may be silent before it is given up; None when its node did not say.
        model: the release that answers, `name@version`.
    """

    def __init__(self) -> None:
        self.silence_s: float | None = None
        self.model = ""
        self._release = ""
        self._id = ""
        self._created = 0
        self._tokens: list[int] = []
        self._text_chars = 0
        self._lost = False

    @property
    def possible(self) -> bool:
        """Whether another node can go on."""
        return bool(self._release) and not self._lost

    def note(self, mark: Mark | None, *, says: bool, answer_id: str, created: int, model: str) -> bool:
        """Take a chunk into account; False while what it says must not be told yet, because more belongs to it.

        `says` is whether there is text in it, and no end.
        """
        if mark is None:
            # Once text comes without its tokens, nobody else could go on from there.
            self._lost = self._lost or says
            return True
        if mark.more:
            return False
        if mark.release and not self._release:
            self._release, self._id, self._created, self.model = mark.release, answer_id, created, model
        if mark.silence_s > 0:
            self.silence_s = SILENCES_COUNT * mark.silence_s
        self._tokens.extend(mark.tokens)
        self._text_chars = mark.text_chars
        return True

    def asks(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """The request for the rest, of the same release."""
        assert self.possible, "there is something to go on from"
        cut = {
            "release": self._release,
            "tokens": list(self._tokens),
            "text_chars": self._text_chars,
            "id": self._id,
            "created": self._created,
        }
        return {**message, "model": self.model or message["model"], "edgeward": {"resume": cut}}

    def check(self, mark: Mark | None) -> None:
        """Look at the first chunk of the rest.

        Raises:
            AnswerInvalidError: the node has not understood, and begins anew.
        """
        if mark is None or (mark.release, mark.tokens_count, mark.text_chars) != (
            self._release,
            len(self._tokens),
            self._text_chars,
        ):
            raise AnswerInvalidError("the node does not go on with the answer where it was cut off")
