"""What a request may not ask of tools and of the form of its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_node.errors import RequestInvalidError

if TYPE_CHECKING:
    from edge_node.api.requests import ChatRequest

TOOLS_LIMIT_COUNT = 128
CHOICES = ("none", "auto", "required")
FORMATS = ("text", "json_object", "json_schema")


def check_tools(request: ChatRequest) -> None:
    """Refuse tools that are no functions, and a choice of what is not there.

    Raises:
        RequestInvalidError: `param` is the path of the field.
    """
    tools = request.tools or []
    if len(tools) > TOOLS_LIMIT_COUNT:
        raise RequestInvalidError(f"at most {TOOLS_LIMIT_COUNT} tools go in a request", param="tools")
    names: set[str] = set()
    for index, tool in enumerate(tools):
        if tool.type != "function" or tool.function is None:
            raise RequestInvalidError(
                "this node supports tools of type function, with `function`", param=f"tools[{index}].type"
            )
        if tool.function.name in names:
            raise RequestInvalidError(
                f"there are two tools called {tool.function.name}", param=f"tools[{index}].function.name"
            )
        names.add(tool.function.name)
    _check_choice(request, names)


def _check_choice(request: ChatRequest, names: set[str]) -> None:
    choice = request.tool_choice
    if choice is None or choice == "none":
        return
    if isinstance(choice, str):
        if choice not in CHOICES:
            raise RequestInvalidError(
                f"the choices are {', '.join(CHOICES)}, or one function", param="tool_choice"
            )
    elif choice.type != "function" or choice.function is None:
        raise RequestInvalidError(
            "this node can be told to call one function by its name", param="tool_choice.type"
        )
    elif choice.function.name not in names:
        raise RequestInvalidError("there is no tool of this name", param="tool_choice.function.name")
    if not names:
        raise RequestInvalidError("there are no tools to choose from", param="tool_choice")


def check_format(request: ChatRequest) -> None:
    """Refuse a form of answer that there is not.

    Raises:
        RequestInvalidError: `param` is the path of the field.
    """
    wanted = request.response_format
    if wanted is None:
        return
    if wanted.type not in FORMATS:
        raise RequestInvalidError(f"the formats are {', '.join(FORMATS)}", param="response_format.type")
    if (wanted.json_schema is None) == (wanted.type == "json_schema"):
        raise RequestInvalidError(
            "json_schema goes with the type json_schema, and only with it",
            param="response_format.json_schema",
        )
    if wanted.json_schema is not None and wanted.json_schema.schema is None:
        raise RequestInvalidError("the schema is missing", param="response_format.json_schema.schema")
    begun = request.continue_final_message and wanted.type != "text"
    if begun or (request.continue_final_message and request.tools):
        raise RequestInvalidError(
            "an answer that was begun already is continued as text, without tools or a format",
            param="continue_final_message",
        )
