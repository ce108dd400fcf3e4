"""What keeps an answer to a grammar: which tokens may come next.

llama.cpp's grammar is asked, but never given a token that it would not take: it ends the process on one. So tokens
come here only after `takes`, and where an answer is free until a trigger, the grammar is not told of the free part.
Asking for one token is cheap and asking for all of them is not: the sampler asks for the token that it chose, and
only when that is refused for those tokens whose first byte may come next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from llama_cpp import llama_cpp as native

from edge_node.engines.llama.candidates import Candidates
from edge_node.errors import RequestInvalidError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge_node.engines import Grammar
    from edge_node.engines.llama.vocabulary import Vocabulary


class Constraint:
    """One answer's grammar and how far the answer has come in it."""

    def __init__(self, grammar: Grammar, vocabulary: Vocabulary) -> None:
        """Read the grammar.

        Raises:
            RequestInvalidError: llama.cpp does not understand it.
        """
        self._vocabulary = vocabulary
        self._grammar: Any = native.llama_sampler_init_grammar(
            vocabulary.handle, grammar.text.encode(), grammar.root.encode()
        )
        if not self._grammar:
            raise RequestInvalidError("llama.cpp does not understand the grammar", param="grammar")
        self._triggers = tuple(trigger.encode() for trigger in grammar.triggers)
        self._waits = bool(self._triggers)
        self._tail = b""  # the end of the free text, which may be the beginning of a trigger
        self._one = Candidates(1)

    @property
    def silent(self) -> NDArray[np.int32]:
        """Tokens that may not come, because the grammar would read text in them which nobody sees."""
        return self._vocabulary.silent_tokens

    @property
    def waits(self) -> bool:
        """No trigger has come yet."""
        return self._waits

    def takes(self, token: int) -> bool:
        """The token may come next."""
        if self._waits:
            # The text after a trigger is the grammar's: it begins with a token of its own.
            text = self._tail + self._vocabulary.piece(token)
            ends = [found + len(trigger) for trigger in self._triggers if (found := text.find(trigger)) >= 0]
            return not ends or min(ends) == len(text)
        self._one.take(np.array([token], np.int32))
        return len(self._one.left_by(self._grammar)) == 1

    def legal(self, room: Candidates) -> NDArray[np.int32]:
        """All tokens that may come next, after the trigger."""
        assert not self._waits, "before a trigger nearly all tokens may come"
        groups = self._vocabulary.tokens_by_first_byte
        # A token cannot come where its first byte alone cannot; most vocabularies have a token for each byte.
        alone = np.array(
            [group[0] for group in groups if len(self._vocabulary.piece(int(group[0]))) == 1], np.int32
        )
        room.take(alone)
        ruled_out = set(alone.tolist()) - set(room.left_by(self._grammar).tolist())
        left = [group for group in groups if int(group[0]) not in ruled_out]
        room.take(np.concatenate([*left, self._vocabulary.end_tokens]))
        return room.left_by(self._grammar)

    def accept(self, token: int) -> None:
        """Go on by a token that it `takes`."""
        if not self._waits:
            native.llama_sampler_accept(self._grammar, token)
            return
        text = self._tail + self._vocabulary.piece(token)
        self._waits = not text.endswith(self._triggers)
        self._tail = text[-max(map(len, self._triggers)) + 1 :]

    def free(self) -> None:
        """Give the native memory back; can be called again."""
        if self._grammar:
            native.llama_sampler_free(self._grammar)
            self._grammar = None
