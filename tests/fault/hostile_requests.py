"""Requests that mean harm: nearly right ones, bombs, bodies without measure, callers who leave or do not listen."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import time

import zstandard

HI = [{"role": "user", "content": "Say hello."}]
CHAT = {"model": "chat", "messages": HI, "max_tokens": 4}
WORDS = [
    "",
    "x",
    "\x00",
    "\ud83d",
    "ü✓" * 9,
    "<|im_start|>system\n",
    "<tool_call>",
    "\ufdd0",
    "A" * 5000,
    "{" * 300,
]


def raw_request(path, body, headers=()):
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: x",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape") + body


def any_value(chance, depth=0):
    kind = chance.randrange(8 if depth < 4 else 5)
    if kind < 5:
        return chance.choice([None, True, -1, 0, 1, 2**70, 1e308, 0.5, chance.choice(WORDS)])
    if kind == 5:
        return [any_value(chance, depth + 1) for _ in range(chance.randrange(4))]
    return {
        chance.choice([*WORDS[1:4], "type", "role", "content", "$ref"]): any_value(chance, depth + 1)
        for _ in range(3)
    }


SCHEMA_WORDS = {
    "type": ["string", "integer", "number", "object", "array", ["null", "string"], "bad", 7],
    "minLength": [0, 3, 10**6, -1, "x"], "maxLength": [0, 5, 10**9], "minimum": [-5, 2.5, 1e300, 10**50, "x"],
    "maximum": [7, -9, 1e-300], "multipleOf": [0, 3, 0.01, 0.3, 10**9], "enum": [[], [1, "a", None], ["x" * 9999]],
    "pattern": ["^a+$", "(a+)+b", "[", "(?=x)", "a{99999}", "^(a|b){0,500}$", "\\p{L}"], "format": ["date", "uri", "x"],
    "$ref": ["#", "#/$defs/a", "#/nowhere", 7], "required": [["a"], ["zz"], 3], "minItems": [0, 3, 10**7],
    "maxItems": [0, 2, 10**7], "uniqueItems": [True], "additionalProperties": [True, False], "const": [1, {"a": []}],
}  # fmt: skip


def any_schema(chance, depth=0):
    schema = {
        word: chance.choice(SCHEMA_WORDS[word])
        for word in chance.sample(sorted(SCHEMA_WORDS), chance.randrange(4))
    }
    if depth < 3:
        for word in chance.sample(
            ["anyOf", "allOf", "oneOf", "properties", "items", "$defs", "not"], chance.randrange(3)
        ):
            inner = [any_schema(chance, depth + 1) for _ in range(2)]
            schema[word] = (
                {"a": inner[0], "b": inner[1]}
                if word in {"properties", "$defs"}
                else inner[0]
                if word in {"items", "not"}
                else inner
            )
    return schema


def hostile_body(chance):
    """A request that is nearly right, and its path."""
    body = json.loads(json.dumps(CHAT))
    path = chance.choice(
        ["/v1/chat/completions"] * 3 + ["/v1/completions", "/v1/responses", "/v1/embeddings"]
    )
    if path == "/v1/completions":
        body = {
            "model": "chat",
            "prompt": chance.choice([*WORDS[1:], [0, 1], [49151], ["a", "b"]]),
            "max_tokens": 3,
        }
    elif path == "/v1/responses":
        body = {"model": "chat", "input": chance.choice(WORDS), "max_output_tokens": 3}
    elif path == "/v1/embeddings":
        body = {"model": "embed", "input": chance.choice([*WORDS, ["a"] * 9])}
    kind = chance.randrange(6)
    if kind == 0:
        body[
            chance.choice(["n", "stop", "seed", "logit_bias", "tools", "temperature", "messages", "input"])
        ] = any_value(chance)
    elif kind == 1 and "messages" in body:
        wanted = {"name": "x", "schema": any_schema(chance)}
        body["response_format"] = {"type": "json_schema", "json_schema": wanted}
    elif kind == 2 and "messages" in body:
        function = {"name": "f", "parameters": any_schema(chance), "strict": chance.random() < 0.5}
        body["tools"] = [{"type": "function", "function": function}]
        body["tool_choice"] = chance.choice(["auto", "required", "none"])
    elif kind == 3 and "messages" in body:
        body["messages"] = [
            {"role": chance.choice(["user", "system", "tool"]), "content": chance.choice(WORDS)}
        ]
        body |= {
            "n": chance.randrange(1, 4),
            "logprobs": True,
            "top_logprobs": chance.choice([0, 20]),
            "seed": 2**63 - 1,
        }
    body["stream"] = chance.random() < 0.4
    if path == "/v1/embeddings":
        del body["stream"]
    return path, json.dumps(body).encode("utf-8", "replace")


def answered_status(connection):
    """The status of what comes back, read to the end or to the closing; None for nothing."""
    data = b""
    with contextlib.suppress(OSError):
        while b"\r\n\r\n" not in data or (b"0\r\n\r\n" not in data[-16:] and b"Content-Length" not in data):
            more = connection.recv(65536)
            if not more:
                break
            data += more
    found = re.match(rb"HTTP/1\.1 (\d{3})", data)
    return int(found[1]) if found else None


BOMBS = [zstandard.ZstdCompressor().compress(bytes(size)) for size in (2**16, 2**26)]
LEFT_OUT = [b"", b"{", b"[" * 100_000, b"\xff\xfe", b'{"model":' + b"9" * 5000 + b"}"]


def one_request(port, chance):
    """Send one; its status, or None for who did not wait for one."""
    path, body = hostile_body(chance)
    way = chance.randrange(12)
    headers = ()
    if way == 0:
        body, headers = chance.choice(BOMBS), ("Content-Encoding: zstd",)
    elif way == 1:  # not JSON, or JSON without measure
        body = chance.choice([*LEFT_OUT, body[: len(body) // 2]])
    elif way == 2:
        headers = (f"x-request-id: {'y' * chance.choice([1, 500])}", "Accept: application/msgpack")
    data = raw_request(path, body, headers)
    if way == 3:  # more than it may
        head = data.replace(b"Content-Length: ", b"Content-Length: 99999999", 1).partition(b"\r\n\r\n")[0]
        data = head + b"\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=120) as connection, _left():
        if way in {4, 5}:  # gone at a random moment of asking or of listening
            connection.sendall(data[: chance.randrange(1, len(data) + 1)] if way == 4 else data)
            connection.settimeout(chance.random() * 0.2 + 0.001)
            connection.recv(chance.choice([1, 400]))
            return None
        if way in {6, 7}:
            return _slow_to_listen(connection, chance)
        if way == 8:
            return _slow_to_ask(connection, data, chance)
        with contextlib.suppress(ConnectionError):  # refused before all of it was sent
            connection.sendall(data)
        return answered_status(connection)
    return None


def _left():
    return contextlib.suppress(TimeoutError, ConnectionError)


def _slow_to_listen(connection, chance):
    """Ask for a long stream, take it byte by byte, and leave."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    long = {**CHAT, "max_tokens": 300, "stream": True, "logprobs": True, "top_logprobs": 20}
    connection.sendall(raw_request("/v1/chat/completions", json.dumps(long).encode()))
    for _ in range(chance.randrange(10)):
        connection.settimeout(1)
        connection.recv(1)
        time.sleep(0.05)


def _slow_to_ask(connection, data, chance):
    """Send head and body in crumbs, and leave before the end."""
    for at in range(0, chance.randrange(1, len(data)), 7)[:10]:
        connection.sendall(data[at : at + 7])
        time.sleep(0.05)
