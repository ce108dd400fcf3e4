"""Reads calls of tools out of an answer's text, as it comes."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from edge_node.constraints.calls import BEFORE_ARGUMENTS, BEFORE_NAME, CLOSING, OPENING

_HEAD = re.compile(re.escape(BEFORE_NAME) + r'("(?:[^"\\]|\\.)*")' + re.escape(BEFORE_ARGUMENTS), re.DOTALL)


@dataclass(frozen=True, slots=True)
class Words:
    """Text that is no call."""

    text: str


@dataclass(frozen=True, slots=True)
class CallBegun:
    """The next call: calls count from 0."""

    index: int
    name: str


@dataclass(frozen=True, slots=True)
class Arguments:
    """More of a call's arguments, as JSON text."""

    index: int
    text: str


Found = Words | CallBegun | Arguments


class CallReader:
    """The text of one answer whose calls a grammar has kept in form; an end in the middle leaves a call unfinished.

    White space before a call, and between calls, is nobody's text.
    """

    def __init__(self) -> None:
        self._held = ""
        self._state = "words"
        self._calls_count = 0
        self._depth = 0
        self._in_string = False
        self._escaped = False

    @property
    def calls_count(self) -> int:
        """How many calls have begun."""
        return self._calls_count

    def push(self, text: str) -> list[Found]:
        """What is certain after this text."""
        self._held += text
        found: list[Found] = []
        step = {"words": self._words, "head": self._head, "arguments": self._arguments, "tail": self._tail}
        while step[self._state](found):
            pass
        return found

    def finish(self) -> list[Found]:
        """What was held back, at the end of the text."""
        held, self._held = self._held, ""
        plain = self._state == "words" and held and (held.strip() or not self._calls_count)
        return [Words(held)] if plain else []

    def _words(self, found: list[Found]) -> bool:
        before, opening, after = self._held.partition(OPENING)
        if opening:
            if before.strip():
                found.append(Words(before.rstrip()))
            self._held, self._state = after, "head"
            return True
        certain = len(before) - _beginning_count(before, OPENING)
        certain = len(before[:certain].rstrip())
        if certain:
            found.append(Words(before[:certain]))
            self._held = before[certain:]
        return False

    def _head(self, found: list[Found]) -> bool:
        head = _HEAD.match(self._held)
        if head is None:
            return False
        found.append(CallBegun(self._calls_count, json.loads(head[1])))
        self._calls_count += 1
        self._held, self._state = self._held[head.end() :], "arguments"
        self._depth, self._in_string, self._escaped = 0, False, False
        return True

    def _arguments(self, found: list[Found]) -> bool:
        """Up to the bracket that closes the arguments, which are an object."""
        for at, sign in enumerate(self._held):
            if self._in_string:
                self._in_string = self._escaped or sign != '"'
                self._escaped = sign == "\\" and not self._escaped
            elif sign == '"':
                self._in_string = True
            elif sign in "{[":
                self._depth += 1
            elif sign in "}]":
                self._depth -= 1
                if not self._depth:
                    found.append(Arguments(self._calls_count - 1, self._held[: at + 1]))
                    self._held, self._state = self._held[at + 1 :], "tail"
                    return True
        if self._held:
            found.append(Arguments(self._calls_count - 1, self._held))
            self._held = ""
        return False

    def _tail(self, found: list[Found]) -> bool:  # noqa: ARG002 - the steps have one form
        end = self._held.find(CLOSING)
        if end < 0:
            return False
        self._held, self._state = self._held[end + len(CLOSING) :], "words"
        return True


def _beginning_count(text: str, mark: str) -> int:
    """How many of the last characters may be the beginning of the mark."""
    return next(
        (count for count in range(min(len(mark) - 1, len(text)), 0, -1) if mark.startswith(text[-count:])), 0
    )
