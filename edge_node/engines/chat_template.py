"""The model's own chat template, rendered in a sandbox as Hugging Face Transformers renders it.

Rules of the environment: https://huggingface.co/docs/transformers/chat_templating_writing
"""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import jinja2
import jinja2.ext
import jinja2.meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from edge_node.engines.special_text import SpecialTexts, unused_mark
from edge_node.engines.tool_turns import knows_tools, native_turns, plain_turns, with_instruction
from edge_node.errors import RequestInvalidError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jinja2.nodes import Node
    from jinja2.parser import Parser

    from edge_node.engines import ChatMessage
    from edge_node.engines.tool_turns import Turn

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

    def __init__(
        self, source: str, *, bos_token: str, eos_token: str, special: SpecialTexts | None = None
    ) -> None:
        """Compile; `special` is what users' words must not be taken for.

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
            variables = jinja2.meta.find_undeclared_variables(environment.parse(source))
        except (jinja2.TemplateError, RecursionError) as error:
            raise ChatTemplateInvalidError(f"the chat template does not compile: {error}") from error
        self._knows_tools = knows_tools(source, variables)
        self._tokens = {"bos_token": bos_token, "eos_token": eos_token}
        self._special = special or SpecialTexts(())

    def render(
        self,
        messages: Sequence[ChatMessage],
        *,
        today: dt.date,
        tools: Sequence[str] = (),
        continues_last: bool = False,
    ) -> tuple[str, ...]:
        """The prompt up to where the assistant's answer begins, or goes on where it `continues_last`.

        It comes in parts: each is read with special tokens, none of which goes across two parts.
        A template that asks for the time gets midnight of `today`, so that prompts stay the same for a day and
        their prefixes can be reused. `tools` are definitions as JSON texts.

        Raises:
            RequestInvalidError: the template refuses these messages.
        """
        native = self._knows_tools
        turns = native_turns(messages) if native else plain_turns(messages)
        definitions = [json.loads(tool) for tool in tools]
        mark = unused_mark((turns, definitions))
        if not mark:
            raise RequestInvalidError("the messages hold every noncharacter of Unicode", param="messages")
        turns, definitions = self._broken(turns, mark), self._broken(definitions, mark)
        if native or not definitions:
            text = self._rendered(turns, definitions or None, today, continues_last=continues_last)
        else:
            try:
                told = with_instruction(turns, definitions, role="system")
                text = self._rendered(told, None, today, continues_last=continues_last)
            except RequestInvalidError:  # not every template knows systems
                told = with_instruction(turns, definitions, role="user")
                text = self._rendered(told, None, today, continues_last=continues_last)
        return tuple(text.split(mark))

    def _rendered(self, turns: list[Turn], tools: Any, today: dt.date, *, continues_last: bool) -> str:
        midnight = dt.datetime.combine(today, dt.time())
        try:
            text = self._template.render(
                self._tokens,
                messages=turns,
                tools=tools,
                documents=None,
                add_generation_prompt=not continues_last,
                strftime_now=midnight.strftime,
            )
        except _EVALUATION_ERRORS as error:
            raise RequestInvalidError(
                f"the model's chat template refuses these messages: {error}", param="messages"
            ) from error
        if not continues_last:
            return text
        begun = turns[-1]["content"].strip()
        at = text.rfind(begun)
        if turns[-1]["role"] != "assistant" or not begun or at < 0:
            raise RequestInvalidError("the last message is no beginning of an answer", param="messages")
        return text[: at + len(begun)]

    def _broken(self, value: Any, mark: str) -> Any:
        if isinstance(value, str):
            return self._special.broken(value, mark)
        if isinstance(value, list):
            return [self._broken(part, mark) for part in value]
        if isinstance(value, dict):
            return {self._broken(key, mark): self._broken(part, mark) for key, part in value.items()}
        return value


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
