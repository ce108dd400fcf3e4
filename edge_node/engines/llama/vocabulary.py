"""Text to tokens and back. Token ids that come from outside are checked here, before native code sees them."""

from __future__ import annotations

import ctypes
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from llama_cpp import llama_cpp as native

from edge_node.engines.llama.candidates import Candidates
from edge_node.errors import PromptTooLongError, RequestInvalidError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_PIECE_BYTES = 256


class Vocabulary:
    """The tokens of one model."""

    def __init__(self, model: Any) -> None:
        self._vocab = native.llama_model_get_vocab(model)
        self.tokens_count = native.llama_vocab_n_tokens(self._vocab)
        self._adds_bos = native.llama_vocab_get_add_bos(self._vocab)
        self._bos = native.llama_vocab_bos(self._vocab)
        self._pieces: dict[int, bytes] = {}
        # As stored; never shorter than the bytes that the token stands for.
        self._longest_piece_bytes = max(
            (len(native.llama_vocab_get_text(self._vocab, token)) for token in range(self.tokens_count)),
            default=1,
        )
        self.bos_text = self._text(self._bos)
        self.eos_text = self._text(native.llama_vocab_eos(self._vocab))

    def prompt_of_text(self, text: str, *, context_tokens: int) -> list[int]:
        """A prompt in the user's own words: what looks like a special token stays text.

        Raises:
            PromptTooLongError: it cannot fit the context, however it is cut.
        """
        return self._with_bos(self._tokenize(text, context_tokens=context_tokens, special=False))

    def prompt_of_template(self, parts: Sequence[str], *, context_tokens: int) -> list[int]:
        """A prompt that a chat template made, special tokens included; it gets one BOS where the model wants one.

        No special token goes across two parts.

        Raises:
            PromptTooLongError: it cannot fit the context, however it is cut.
        """
        self.check_length("".join(parts), context_tokens=context_tokens)
        first, *others = parts
        if self._adds_bos and self.bos_text:
            first = first.removeprefix(self.bos_text)
        tokens = [
            token
            for part in (first, *others)
            for token in self._tokenize(part, context_tokens=context_tokens, special=True)
        ]
        return self._with_bos(tokens)

    def check_length(self, text: str, *, context_tokens: int) -> None:
        """Refuse a text whose tokens must be too many, before more work is done on it.

        Raises:
            PromptTooLongError: it cannot fit the context, however it is cut.
        """
        # Without this a body of megabytes would be cut into tokens while all other answers stand still.
        least_tokens = len(text.encode()) // self._longest_piece_bytes
        if least_tokens > context_tokens:
            raise PromptTooLongError(
                f"the prompt has at least {least_tokens} tokens, the model's context holds {context_tokens}"
            )

    def prompt_of_ids(self, ids: Sequence[int]) -> list[int]:
        """A prompt given as token ids.

        Raises:
            RequestInvalidError: an id that this vocabulary does not have.
        """
        self.check(ids, param="prompt")
        return list(ids)

    def check(self, ids: Sequence[int], *, param: str) -> None:
        """Refuse token ids that this vocabulary does not have.

        Raises:
            RequestInvalidError: names the first of them.
        """
        for token in ids:
            if not 0 <= token < self.tokens_count:
                raise RequestInvalidError(
                    f"token id {token} is not one of this model's {self.tokens_count} (0 to {self.tokens_count - 1})",
                    param=param,
                )

    def piece(self, token: int) -> bytes:
        """The bytes that a token stands for; a control token stands for none."""
        known = self._pieces.get(token)
        if known is None:
            known = self._pieces[token] = self._render(token)
        return known

    def shown(self, token: int) -> bytes:
        """The bytes of a token, and of a control token its name."""
        return self.piece(token) or self._text(token).encode()

    @cached_property
    def candidates(self) -> Candidates:
        """Room to choose in; the engine's one thread uses it for one answer at a time."""
        return Candidates(self.tokens_count)

    @cached_property
    def special_texts(self) -> list[str]:
        """The texts that are read as control tokens in a template's prompt, and as text nowhere else."""
        attributes = native.LLAMA_TOKEN_ATTR_CONTROL | native.LLAMA_TOKEN_ATTR_UNKNOWN
        return [
            self._text(token)
            for token in range(self.tokens_count)
            if native.llama_vocab_get_attr(self._vocab, token) & attributes
        ]

    @cached_property
    def end_tokens(self) -> NDArray[np.int32]:
        """The tokens by which the model ends its answer."""
        return np.array([token for token in range(self.tokens_count) if self.ends_answer(token)], np.int32)

    @cached_property
    def silent_tokens(self) -> NDArray[np.int32]:
        """Tokens that stand for no text and end nothing."""
        return np.array(
            [
                token
                for token in range(self.tokens_count)
                if not self.piece(token) and not self.ends_answer(token)
            ],
            np.int32,
        )

    @cached_property
    def tokens_by_first_byte(self) -> list[NDArray[np.int32]]:
        """The tokens with text in groups, each of those that begin with the same byte; the shortest is its first."""
        groups: dict[int, list[int]] = {}
        for token in range(self.tokens_count):
            piece = self.piece(token)
            if piece and not self.ends_answer(token):
                groups.setdefault(piece[0], []).append(token)
        return [
            np.array(sorted(group, key=lambda token: len(self.piece(token))), np.int32)
            for group in groups.values()
        ]

    def ends_answer(self, token: int) -> bool:
        """The token is one by which the model ends its answer."""
        return bool(native.llama_vocab_is_eog(self._vocab, token))

    @property
    def handle(self) -> Any:
        """The native vocabulary."""
        return self._vocab

    def _with_bos(self, tokens: list[int]) -> list[int]:
        return [self._bos, *tokens] if self._adds_bos and self._bos >= 0 else tokens

    def _tokenize(self, text: str, *, context_tokens: int, special: bool) -> list[int]:
        self.check_length(text, context_tokens=context_tokens)
        data = text.encode()
        room = len(data) + 2
        buffer = (native.llama_token * room)()
        count = native.llama_tokenize(self._vocab, data, len(data), buffer, room, False, special)
        if count < 0:
            raise RequestInvalidError("the model's tokenizer cannot read the prompt", param="prompt")
        return list(buffer[:count])

    def _render(self, token: int) -> bytes:
        size = _PIECE_BYTES
        while True:
            buffer = ctypes.create_string_buffer(size)
            length = native.llama_token_to_piece(self._vocab, token, buffer, size, 0, False)
            if length >= 0:
                return buffer.raw[:length]
            size = -length

    def _text(self, token: int) -> str:
        return native.llama_vocab_get_text(self._vocab, token).decode(errors="replace") if token >= 0 else ""
