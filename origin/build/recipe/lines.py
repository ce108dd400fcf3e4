"""On which lines of a TOML text its tables and keys stand: the standard reader forgets them, and people want them."""

from __future__ import annotations

import re

_HEADER = re.compile(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?")
_KEY = re.compile(r"""\s*(?P<key>[A-Za-z0-9_-]+|"[^"]*"|'[^']*')\s*(?:=|\.)""")
_FENCE = re.compile(r'"""|\'\'\'')

Place = tuple[str, int, str]
"""A table with its dots, its number among those of one name, and a key in it or "" for its header."""


def find_lines(text: str) -> dict[Place, int]:
    """The line of each header and of each key that begins a line; a best effort, for messages only."""
    found: dict[Place, int] = {}
    counts: dict[str, int] = {}
    table, number, fence = "", 0, ""
    for at, line in enumerate(text.splitlines(), 1):
        if not fence:
            header = _HEADER.fullmatch(line)
            if header is not None:
                table = ".".join(part.strip().strip("\"'") for part in header[2].split("."))
                number = counts.get(table, 0)
                counts[table] = number + (header[1] == "[[")
                found[table, number, ""] = at
            elif (key := _KEY.match(line)) is not None:
                found.setdefault((table, number, key["key"].strip("\"'")), at)
        for mark in _FENCE.findall(line):
            fence = "" if fence == mark else fence or mark
    return found
