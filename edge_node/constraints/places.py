"""Where in a schema something is: JSON pointers (RFC 6901), references along them, and refusals that name them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote


class SchemaRefusedError(Exception):
    """The schema is wrong, or asks for what cannot be enforced; `pointer` says where."""

    def __init__(self, pointer: str, message: str) -> None:
        super().__init__(message)
        self.pointer = pointer


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """A part of the schema, with the pointer to it."""

    schema: Any
    pointer: str

    def at(self, *steps: str | int) -> Placed:
        """The part below this one."""
        found = self.schema
        for step in steps:
            found = found[step]
        return Placed(found, below(self.pointer, *steps))


def below(pointer: str, *steps: str | int) -> str:
    """The pointer that goes on with these steps."""
    return pointer + "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)


def referred(root: Any, reference: Any, pointer: str) -> Placed:
    """What a `$ref` speaks of.

    Raises:
        SchemaRefusedError: it is not in this schema.
    """
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        raise SchemaRefusedError(pointer, "only references into the schema itself are followed: '#' or '#/…'")
    found, path = root, ""
    for step in unquote(reference[1:]).split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict) and name in found:
            found = found[name]
        elif isinstance(found, list) and name.isdecimal() and int(name) < len(found):
            found = found[int(name)]
        else:
            raise SchemaRefusedError(pointer, f"there is no {reference[:200]} in the schema")
        path = below(path, name)
    return Placed(found, path)
