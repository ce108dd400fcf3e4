"""The text of a prompt, as doors and nodes both see it: what marks (`origin.prefixes`) are made of.

A node sees a request checked and complete, a door only glances at it, and both must come to the same bytes. They are
those of the request's texts in the order in which templates tell them, with no regard to any template: tools first,
then turn by turn. Two requests with the same beginning here have the same beginning in any model's tokens.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

_END_OF_ROLE = b"\x1f"
_END_OF_TURN = b"\x1e"
_TOOLS = "tools"
_CALL = "call"
_ROLES = {"developer": "system"}
"""OpenAI's newer names of roles; chat templates of open models know the older ones."""


def role_of(role: str) -> str:
    """The name under which a chat template knows a role."""
    return _ROLES.get(role, role)


def tool_text(name: str, description: str | None, parameters: Any) -> str:
    """A tool in the form that chat templates know, as JSON."""
    said = {
        "name": name,
        "description": description or "",
        "parameters": parameters or {"type": "object", "properties": {}},
    }
    return json.dumps({"type": "function", "function": said}, ensure_ascii=False)


def tools_turn(tools: Iterable[str]) -> tuple[str, str]:
    """The turn that tells of tools, each a `tool_text`."""
    return _TOOLS, "\n".join(tools)


def message_turns(role: str, content: str, calls: Iterable[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    """A message as turns: its words, then each call that it makes, by name and arguments.

    Calls are turns of their own, because one dialect writes as several items what another writes as one message.
    """
    called = [(_CALL, f"{name} {arguments}") for name, arguments in calls]
    return ([] if called and not content else [(role_of(role), content)]) + called


def turns_text(turns: Iterable[tuple[str, str]]) -> bytes:
    """A chat as the bytes that marks are made of, from each turn's role and text."""
    return b"".join(
        role.encode(errors="surrogatepass")
        + _END_OF_ROLE
        + text.encode(errors="surrogatepass")
        + _END_OF_TURN
        for role, text in turns
    )
