"""The model's own chat template, rendered in a sandbox as Hugging Face Transformers renders it.

Rules of the environment: https://huggingface.co/docs/transformers/chat_templating_writing
"""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from edge_node.errors import RequestInvalidError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jinja2.nodes import Node
    from jinja2.parser import Parser

    from edge_node.engines import ChatMessage

# What evaluating an expression of a template can raise, besides Jinja's own errors.
_EVALUATION_ERRORS = (
    jinja2.TemplateError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError,
)  # fmt: skip


class ChatTemplateInvalidError(RequestInvalidError):
    """The template does not compile: the model has no usable one."""


class _GenerationBlock(jinja2.ext.Extension):
    """`{% generation %}` marks an assistant's words for training; here it only passes them through."""

    tags = {"generation"}  # noqa: RUF012 - Jinja's own declaration

    def parse(self, parser: Parser) -> Node | list[Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class ChatTemplate:
    """A compiled template with the model's special tokens."""

    def __init__(self, source: str, *, bos_token: str, eos_token: str) -> None:
        """Compile.

        Raises:
            ChatTemplateInvalidError: not a Jinja template.
        """
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationBlock, jinja2.ext.loopcontrols]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _raise_exception
        try:
            self._template = environment.from_string(source)
        except (jinja2.TemplateError, RecursionError) as error:
            raise ChatTemplateInvalidError(f"the chat template does not compile: {error}") from error
        self._tokens = {"bos_token": bos_token, "eos_token": eos_token}

    def render(self, messages: Sequence[ChatMessage], *, today: dt.date) -> str:
        """The prompt up to where the assistant's answer begins.

        A template that asks for the time gets midnight of `today`, so that prompts stay the same for a day and
        their prefixes can be reused.

        Raises:
            RequestInvalidError: the template refuses these messages.
        """
        midnight = dt.datetime.combine(today, dt.time())
        turns = [_turn(message) for message in messages]
        try:
            return self._template.render(
                self._tokens,
                messages=turns,
                tools=None,
                documents=None,
                add_generation_prompt=True,
                strftime_now=midnight.strftime,
            )
        except _EVALUATION_ERRORS as error:
            raise RequestInvalidError(
                f"the model's chat template refuses these messages: {error}", param="messages"
            ) from error


def _turn(message: ChatMessage) -> dict[str, str]:
    turn = {"role": message.role, "content": message.content}
    return turn if message.name is None else turn | {"name": message.name}


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)
