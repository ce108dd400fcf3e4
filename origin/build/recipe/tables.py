"""TableReader: tables of TOML as structs; what is wrong is said with its line, its key and the nearest right word."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from origin.errors import RecipeInvalidError
from registry.errors import InputInvalidError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from origin.build.recipe.lines import Place

_PATH_IN_ERROR = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_MISSING = re.compile(r"missing required field `([^`]*)`")

T = TypeVar("T", bound=msgspec.Struct)


class TableReader:
    """A document of TOML, and where in it things stand."""

    def __init__(self, document: Mapping[str, Any], lines: Mapping[Place, int], file_name: str) -> None:
        self.document = document
        self._lines = lines
        self._file_name = file_name

    def tables(self, name: str) -> list[dict[str, Any]]:
        """All of `[[name]]`, none included."""
        tables = self.document.get(name, [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise self.refusal((name, 0, ""), f"write each {name} under a header [[{name}]]")
        return tables

    def table(self, name: str) -> dict[str, Any]:
        """`[name]`, empty where there is none."""
        table = self.document.get(name, {})
        if not isinstance(table, dict):
            raise self.refusal((name, 0, ""), f"{name} is a table: write its header as [{name}]")
        return table

    def struct(self, table: Any, kind: type[T], place: Place) -> T:
        """A table as a struct of this kind.

        Raises:
            RecipeInvalidError: an unknown key, one that is missing, or one of another type.
        """
        if not isinstance(table, dict):
            raise self.refusal(
                place, f"{place[2] or place[0]} is a table: {{ key = value }}, or a header [{place[0]}]"
            )
        config = kind.__struct_config__
        names = [field.encode_name for field in msgspec.structs.fields(kind)]
        self.known(table, [*names, config.tag_field] if config.tag_field else names, place)
        try:
            return msgspec.convert(table, kind)
        except msgspec.ValidationError as error:
            inside = _PATH_IN_ERROR.search(str(error))
            key = inside["path"] if inside else ""
            said = _PATH_IN_ERROR.sub("", str(error))
            missing = _MISSING.search(said)
            if missing:
                raise self.refusal(place, f"{missing[1]} is missing", key=missing[1]) from error
            at = place if place[2] else (*place[:2], re.split(r"[.\[]", key)[0])
            raise self.refusal(at, f"{key}: {said}".removeprefix(": "), key=key) from error

    def tagged(self, table: Mapping[str, Any], kinds: Mapping[str, type[T]], place: Place) -> T:
        """A table as one of several kinds of struct, by the word under their tag's key."""
        tag_field = next(iter(kinds.values())).__struct_config__.tag_field if kinds else "op"
        assert tag_field is not None, "structs that are told apart have a tag"
        word = table.get(tag_field)
        if not isinstance(word, str) or word not in kinds:
            said = f"{tag_field} is {word!r}" if tag_field in table else f"there is no {tag_field}"
            raise self.refusal((*place[:2], tag_field), f"{said}; {nearest(str(word), kinds)}")
        return self.struct(table, kinds[word], place)

    def known(self, table: Mapping[str, Any], names: Iterable[str], place: Place) -> None:
        """Refuse keys that are none of these names."""
        names = list(names)
        for key in table:
            if key not in names:
                at = place if place[2] else (*place[:2], key)
                raise self.refusal(at, f"unknown key {key!r}; {nearest(key, names)}", key=key)

    def word(self, place: Place, check: Callable[[str], str], word: str) -> None:
        """Refuse a word that `check` refuses."""
        try:
            check(word)
        except InputInvalidError as error:
            raise self.refusal(place, error.message) from error

    def line(self, place: Place) -> int:
        """The line of a key, or else of its table's header; 0 is unknown."""
        return self._lines.get(place, 0) or self._lines.get((*place[:2], ""), 0)

    def refusal(self, place: Place, said: str, *, key: str = "") -> RecipeInvalidError:
        """The error that says something of a place."""
        table, number, at = place
        line = self.line(place)
        where = f"[{table}]: " if table else ""
        entries = self.document.get(table)
        if isinstance(entries, list):
            entry = entries[number] if number < len(entries) and isinstance(entries[number], dict) else {}
            name = entry.get("id") or entry.get("name")
            where = f"[[{table}]] {name[:80] if isinstance(name, str) else f'number {number + 1}'}: "
        whole = f"{self._file_name}{f', line {line}' if line else ''}: {where}{said}"
        return RecipeInvalidError(whole, param=".".join(filter(None, (table, key or at))) or None)


def nearest(word: str, names: Iterable[str]) -> str:
    """What might have been meant by a word that is none of these names."""
    names = sorted(names)
    near = difflib.get_close_matches(word, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names) or 'none'}"
