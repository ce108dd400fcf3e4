"""An independent reader of GBNF: whether a text matches a grammar, and random texts that do."""

import json
import re

import pytest

from edge_node.constraints.schema import grammar_of_schema

TOKEN = re.compile(r'\s+|"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]|\{\d+(?:,\d*)?\}|[()|*+?]|::=|[A-Za-z0-9-]+')
ESCAPE = re.compile(r"\\(?:x(..)|u(....)|U(........)|(.))", re.DOTALL)


def unescaped(text):
    """Characters as (character, was escaped)."""
    found, at = [], 0
    while at < len(text):
        code = ESCAPE.match(text, at)
        if code:
            digits = code[1] or code[2] or code[3]
            found.append(
                (
                    chr(int(digits, 16))
                    if digits
                    else {"n": "\n", "t": "\t", "r": "\r"}.get(code[4], code[4]),
                    True,
                )
            )
            at = code.end()
        else:
            found.append((text[at], False))
            at += 1
    return found


class Gbnf:
    """Terms as nested tuples: ("set", ranges), ("rule", name), ("seq", …), ("alt", …), ("rep", term, least, most)."""

    def __init__(self, text):
        self.rules = {}
        for line in text.splitlines():
            name, _, body = line.partition(" ::= ")
            tokens, at = [], 0
            while at < len(body):
                token = TOKEN.match(body, at)
                assert token, f"not GBNF: {body[at:]!r}"
                at = token.end()
                if token[0].strip():
                    tokens.append(token[0])
            assert name not in self.rules
            self.tokens = tokens
            self.rules[name] = self.alternatives()
            assert not self.tokens

    def alternatives(self):
        options = [self.row()]
        while self.tokens and self.tokens[0] == "|":
            self.tokens.pop(0)
            options.append(self.row())
        return ("alt", *options)

    def row(self):
        parts = []
        while self.tokens and self.tokens[0] not in ")|":
            part = self.atom(self.tokens.pop(0))
            while self.tokens and self.tokens[0][0] in "*+?{":
                sign = self.tokens.pop(0)
                bounds = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(sign)
                if bounds is None:
                    least, comma, most = sign[1:-1].partition(",")
                    bounds = (int(least), int(most or least) if most or not comma else None)
                    assert max(bounds[0], bounds[1] or 0) < 2000, "llama.cpp refuses it"
                part = ("rep", part, *bounds)
            parts.append(part)
        return ("seq", *parts)

    def atom(self, token):
        if token == "(":
            inner = self.alternatives()
            assert self.tokens.pop(0) == ")"
            return inner
        if token[0] == '"':
            return ("seq", *(("set", ((character, character),)) for character, _ in unescaped(token[1:-1])))
        if token[0] == "[":
            assert token[1] != "^", "negation is not needed"
            members, ranges = unescaped(token[1:-1]), []
            while members:
                first = members.pop(0)[0]
                if len(members) > 1 and members[0] == ("-", False):
                    members.pop(0)
                    ranges.append((first, members.pop(0)[0]))
                else:
                    ranges.append((first, first))
            return ("set", tuple(ranges))
        return ("rule", token)

    def matches(self, text):
        stacks = self.closure({(("rule", "root"),)})
        for character in text:
            stepped = {
                stack[1:]
                for stack in stacks
                if stack and any(first <= character <= last for first, last in stack[0][1])
            }
            stacks = self.closure(stepped)
            if not stacks:
                return False
        return () in stacks

    def closure(self, stacks):
        """All stacks that begin with a set, or are empty."""
        done, todo, seen = set(), list(stacks), set()
        while todo:
            stack = todo.pop()
            if stack in seen:
                continue
            seen.add(stack)
            if not stack or stack[0][0] == "set":
                done.add(stack)
                continue
            (kind, *rest), tail = stack[0], stack[1:]
            if kind == "rule":
                todo.append((self.rules[rest[0]], *tail))
            elif kind == "seq":
                todo.append((*rest, *tail))
            elif kind == "alt":
                todo.extend((option, *tail) for option in rest)
            else:
                part, least, most = rest
                if least == 0:
                    todo.append(tail)
                if most != 0:
                    again = ("rep", part, max(0, least - 1), None if most is None else most - 1)
                    todo.append((part, again, *tail))
        return done

    def random_text(self, random, limit=400):
        """A text that matches; short once `limit` characters are written."""
        out, stack = [], [("rule", "root")]
        while stack:
            term = stack.pop()
            short = len(out) > limit
            kind, *rest = term
            if kind == "set":
                first, last = random.choice(rest[0])
                out.append(chr(random.randint(ord(first), min(ord(last), ord(first) + 300))))
            elif kind == "rule":
                stack.append(self.rules[rest[0]])
            elif kind == "seq":
                stack.extend(reversed(rest))
            elif kind == "alt":
                stack.append(min(rest, key=self.weight) if short else random.choice(rest))
            else:
                part, least, most = rest
                most = least if short else min(least + 4, 1 << 30 if most is None else most)
                stack.extend([part] * random.randint(least, max(least, most)))
        return "".join(out)

    def weight(self, term, seen=()):
        """Fewest characters, roughly: rules that are open already count as long."""
        kind, *rest = term
        if kind == "set":
            return 1
        if kind == "rule":
            return 10**6 if rest[0] in seen else self.weight(self.rules[rest[0]], (*seen, rest[0]))
        if kind == "seq":
            return sum(self.weight(part, seen) for part in rest)
        if kind == "alt":
            return min(self.weight(part, seen) for part in rest)
        return rest[1] * self.weight(rest[0], seen) if rest[1] else 0


@pytest.fixture
def gbnf():
    return Gbnf


@pytest.fixture
def reader_of():
    """`reader_of(schema)`: the grammar of a schema, read by this reader."""

    def read(schema):
        return Gbnf(grammar_of_schema(schema, param="schema"))

    return read


@pytest.fixture
def accepts(reader_of):
    """`accepts(schema, value)`: whether the grammar lets the value's plain spelling through."""

    def check(schema, value):
        return reader_of(schema).matches(
            value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        )

    return check
