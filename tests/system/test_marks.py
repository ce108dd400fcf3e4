"""What a real node has read is found by the origin: prompts go where they were read, when that is worth the way."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time

import aiohttp
import pytest

pytestmark = pytest.mark.system

PARIS = "48.85,2.35"
NEAR, FAR = "frankfurt", "virginia"
SAME = 20  # tokens with which every chat begins
LONG = " ".join(
    f"Rule {number}: a letter about berth {number * 7 % 40} is answered within {number} hours."
    for number in range(60)
)
SHORT = LONG[:300]


def letter(system, question, **more):
    messages = [{"role": "system", "content": system}, {"role": "user", "content": question}]
    return {"model": "chat", "messages": messages, "max_tokens": 4, "temperature": 0, "stream": True} | more


async def stream(url, body, headers):
    """(seconds to the first text, the node, the prompt's tokens that were not read again)."""
    began_s = time.monotonic()
    body = body | {"stream_options": {"include_usage": True}}
    first_s, usage = None, {}
    async with (  # a connection of its own each time
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(120)) as session,
        session.post(url, json=body, headers=headers) as reply,
    ):
        assert reply.status == 200, await reply.text()
        async for line in reply.content:
            if not line.startswith(b"data: {"):
                continue
            chunk = json.loads(line.removeprefix(b"data: "))
            if first_s is None and any(choice["delta"].get("content") for choice in chunk["choices"]):
                first_s = time.monotonic() - began_s
            usage = chunk.get("usage") or usage
        return first_s, reply.headers["x-edgeward-node"], usage["prompt_tokens_details"]["cached_tokens"]


def first_token(url, body, **headers):
    return asyncio.run(stream(url, body, headers))


def by_origin(network, body):
    return first_token(f"{network.origin_url}/v1/chat/completions?place={PARIS}", body)


def at(network, index, body, **headers):
    url = f"http://127.0.0.1:{network.ports.node(index)}/v1/chat/completions"
    return first_token(url, body, **headers)


def ranked(network, system, tmp_path):
    """The terms of each node as `edgeward route` tells them, the best first."""
    prompt = tmp_path / "system.txt"
    prompt.write_text(system)
    command = [
        sys.executable,
        "-m",
        "deploy.cli",
        "--config",
        str(network.settings_file),
        "route",
        "--model",
        "chat",
    ]
    command += ["--from", PARIS, "--prompt-file", str(prompt), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return {node["node_id"]: node["terms_s"] for node in json.loads(done.stdout)["nodes"]}


def until_told(network, system, tmp_path, *, told=True):
    """The terms once the far node has told what it has read."""
    deadline_s = time.monotonic() + 30
    while True:
        terms = ranked(network, system, tmp_path)
        if (terms[FAR].get("prefill", 0.0) < 0.5 * terms[NEAR].get("prefill", 0.0)) == told:
            return terms
        assert time.monotonic() < deadline_s, terms


def test_a_prompt_goes_where_its_beginning_was_read_when_that_saves_time(network, tmp_path):
    fresh_s, where, cached = at(network, 1, letter(LONG, "Who is in berth 4?"))
    assert where == FAR
    assert cached < SAME
    terms = until_told(network, LONG, tmp_path)
    extra_s = terms[FAR]["network"] - terms[NEAR]["network"]
    assert 0.1 < extra_s < 0.3
    assert next(iter(terms)) == FAR

    far_s, where, cached = by_origin(network, letter(LONG, "When is high tide?"))
    assert where == FAR
    assert cached > 800
    near_s, where, cached = at(network, 0, letter(LONG, "When is high tide?"))
    assert where == NEAR
    assert cached < SAME
    facts = {"far_and_read_s": far_s, "network_s": extra_s, "near_and_unread_s": near_s, "first_s": fresh_s}
    sys.stdout.write(f"{json.dumps(facts)}\n")  # `pytest -s` shows it
    assert far_s + extra_s < near_s, facts

    # Now both have read it, and the nearer one is the better again.
    deadline_s = time.monotonic() + 30
    while next(iter(ranked(network, LONG, tmp_path))) != NEAR:
        assert time.monotonic() < deadline_s
    _, where, cached = by_origin(network, letter(LONG, "Is there ice?"))
    assert where == NEAR
    assert cached > 800


def test_a_short_beginning_is_weighed_against_the_way(network, tmp_path):
    _, where, _ = at(network, 1, letter(SHORT, "Who?"))
    assert where == FAR
    terms = until_told(network, SHORT, tmp_path)
    near_s, far_s = (sum(terms[node].values()) for node in (NEAR, FAR))
    _, where, cached = by_origin(network, letter(SHORT, "When?"))
    assert (cached > 40) == (where == FAR)
    # How fast this machine reads decides; what is nearly equal is spread.
    if min(near_s, far_s) < 0.75 * max(near_s, far_s):
        assert where == (NEAR if near_s < far_s else FAR), terms


def test_what_another_client_has_read_does_not_count(network, tmp_path):
    other = "Be brief. " + LONG
    at(network, 1, letter(other, "Who?"), Authorization="Bearer ann")
    time.sleep(2.5)  # two heartbeats
    terms = ranked(network, other, tmp_path)
    unlike = ranked(network, "Z" + other[1:], tmp_path)
    assert terms[FAR]["prefill"] == pytest.approx(unlike[FAR]["prefill"], rel=0.2)
    _, _, cached = by_origin(network, letter(other, "When?"))
    assert cached < SAME
