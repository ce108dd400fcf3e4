"""Requests that mean harm against a real node: it answers, or refuses with 4xx or 503, and loses nothing.

400 requests by default; EDGEWARD_HOSTILE_COUNT=10000 for the long run. Schemathesis runs in an environment of its own,
and is skipped where it cannot be installed.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
import zstandard

from deploy.local.network import SITES, LocalNetwork
from deploy.local.ports import free_ports

pytestmark = pytest.mark.fault

DRIVER = Path(__file__).parent / "drivers" / "by_schema.py"
COUNT = int(os.environ.get("EDGEWARD_HOSTILE_COUNT", "400"))
MENDED_WITHIN_S = 2.0
GROWTH_LIMIT_BYTES = 150 * 2**20
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


@pytest.fixture(scope="module")
def network(tmp_path_factory, start_network):
    network = LocalNetwork(tmp_path_factory.mktemp("hostile"), free_ports(1, start_port=26_000))
    try:
        start_network(network, SITES[:1])
        yield network
    finally:
        network.stop()


def rss_bytes(network):
    [child] = network._nodes.values()
    status = Path(f"/proc/{child.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024


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


def one_request(port, chance):
    path, body = hostile_body(chance)
    way = chance.randrange(10)
    headers, sent_whole = (), True
    if way == 0:  # a bomb
        body = zstandard.ZstdCompressor().compress(bytes(chance.choice([2**16, 2**26])))
        headers = ("Content-Encoding: zstd",)
    elif way == 1:  # not JSON, or JSON without measure
        body = chance.choice(
            [
                b"",
                b"{",
                b"[" * 100_000,
                b"\xff\xfe",
                b'{"model":' + b"9" * 5000 + b"}",
                body[: len(body) // 2],
            ]
        )
    elif way == 2:
        headers = (f"x-request-id: {'y' * chance.choice([1, 500])}", "Accept: application/msgpack")
    data = raw_request(path, body, headers)
    if way == 3:  # more than it may
        data = (
            data.replace(b"Content-Length: ", b"Content-Length: 99999999", 1).partition(b"\r\n\r\n")[0]
            + b"\r\n\r\n"
        )
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        if way in {4, 5}:  # gone at a random moment of asking or of listening
            data = data[: chance.randrange(1, len(data) + 1)] if way == 4 else data
            connection.sendall(data)
            with contextlib.suppress(OSError):
                connection.settimeout(chance.random() * 0.2 + 0.001)
                connection.recv(chance.choice([1, 400]))
            return None
        if way == 6:  # slow to listen
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        with contextlib.suppress(ConnectionError):
            connection.sendall(data)
        return answered_status(connection) if sent_whole else None


def metric_sum(port, name):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
        text = page.read().decode()
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))


def plain_answer(port):
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions",
        json.dumps(CHAT).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())["choices"][0]


def test_a_node_outlives_hostile_requests(network):
    port = network.ports.node(0)
    for _ in range(3):
        plain_answer(port)
    chance = random.Random(20_261_123)
    before_bytes = rss_bytes(network)
    seen = {}
    for number in range(COUNT):
        status = one_request(port, chance)
        seen[status] = seen.get(status, 0) + 1
        if status is not None and status >= 500 and status != 503:
            pytest.fail(f"request {number} got {status}")
    assert {200, 400, 413} <= seen.keys(), seen
    check_unharmed(network, before_bytes)


def test_a_node_outlives_what_schemathesis_makes_of_its_document(network, environment_with):
    python = environment_with("schemathesis")
    plain_answer(network.ports.node(0))
    before_bytes = rss_bytes(network)
    url = f"http://127.0.0.1:{network.ports.node(0)}"
    command = [python, "-P", DRIVER, url, str(COUNT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60 + COUNT, check=False)
    assert done.stdout.strip().endswith("outlived"), f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    check_unharmed(network, before_bytes)


def check_unharmed(network, before_bytes):
    port = network.ports.node(0)
    # What those who went away have left ends soon: no slot is lost.
    deadline_s = time.monotonic() + MENDED_WITHIN_S
    while metric_sum(port, "edge_requests_running") + metric_sum(port, "edge_requests_waiting"):
        assert time.monotonic() < deadline_s, "requests are left behind"
        time.sleep(0.05)
    assert plain_answer(port)["finish_reason"] in {"stop", "length"}
    log_text = next(iter(network._nodes.values())).log_file.read_text()
    assert "engine.died" not in log_text
    assert "request.failed" not in log_text
    assert rss_bytes(network) - before_bytes < GROWTH_LIMIT_BYTES
