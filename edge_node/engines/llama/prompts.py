"""A request's prompt as the model's tokens: a chat through the model's own template, a text, or token ids."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from edge_node.engines.chat_template import ChatTemplate, ChatTemplateInvalidError
from edge_node.engines.special_text import SpecialTexts
from edge_node.errors import RequestInvalidError

if TYPE_CHECKING:
    import datetime as dt

    from edge_node.engines import Generate
    from edge_node.engines.llama.vocabulary import Vocabulary


class PromptReader:
    """Reads prompts for one model.

    Args:
        template: the model's chat template; None or a broken one leaves it to continue texts.
    """

    def __init__(self, vocabulary: Vocabulary, template: str | None, *, context_tokens: int) -> None:
        self._vocabulary = vocabulary
        self._context_tokens = context_tokens
        self._template = _template(template, vocabulary) if template else None

    @property
    def chats(self) -> bool:
        """Whether the model can continue a chat."""
        return self._template is not None

    def tokens(self, request: Generate, *, today: dt.date) -> list[int]:
        """The prompt's tokens.

        Raises:
            PromptTooLongError: it cannot fit the context, however it is cut.
            RequestInvalidError: the model cannot read it.
        """
        if request.messages is not None:
            if self._template is None:
                raise RequestInvalidError(
                    "this model has no chat template; use completions instead", param="messages"
                )
            for message in request.messages:
                self._vocabulary.check_length(message.content, context_tokens=self._context_tokens)
            parts = self._template.render(
                request.messages, today=today, tools=request.tools, continues_last=request.continues_last
            )
            return self._vocabulary.prompt_of_template(parts, context_tokens=self._context_tokens)
        if request.tokens is not None:
            return self._vocabulary.prompt_of_ids(request.tokens)
        return self._vocabulary.prompt_of_text(request.text or "", context_tokens=self._context_tokens)


def _template(source: str, vocabulary: Vocabulary) -> ChatTemplate | None:
    try:
        return ChatTemplate(
            source,
            bos_token=vocabulary.bos_text,
            eos_token=vocabulary.eos_text,
            special=SpecialTexts(vocabulary.special_texts),
        )
    except ChatTemplateInvalidError as error:
        sys.stderr.write(f"no chat with this model: {error.message}\n")
        return None
