"""A caller that goes by one policy: ours through the real client, others by what an origin says of nodes each second.

`python -m tests.world.wan.policy_caller JSON`: as `caller`, and `policy`, `nodes` (id to URL), `rtts_ms` and
`distances_km` (by id), `warm_s`: calls before that are not written down; `drain_s`: calls that run longer than that
after the end are ended and count as long as they took so far. All calls are streams; what counts is the first text.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
import time
from pathlib import Path

import aiohttp

from edge_node.client import AsyncClient, ClientConfig
from registry.errors import EdgewardError

TOKENS_COUNT = 6
POLL_S = 1.0
WORDS = (
    "river",
    "mountain",
    "copper",
    "letter",
    "garden",
    "winter",
    "signal",
    "harbour",
    "engine",
    "market",
    "silver",
)


def prompt_of(chance):
    return "Say one word about this: " + " ".join(chance.choices(WORDS, k=12))


class Ours:
    """The real client: the origin's list, its own probes, tickets, and nodes that hand on."""

    def __init__(self, plan):
        self._client = AsyncClient(
            config=ClientConfig(
                origin=tuple(plan["origins"]), place=plan["place"], timeout_s=60.0, deadline_s=60.0
            )
        )

    async def first_text(self, prompt):
        async with self._client.stream_chat(
            prompt, model="chat", max_tokens=TOKENS_COUNT, temperature=0
        ) as stream:
            await anext(stream)
            first_s = time.monotonic()
            async for _ in stream:
                pass
            return first_s, stream.served.node_id, stream.served.handed_on

    async def close(self):
        await self._client.close()


class ByState:
    """Others: one node by a key, from the same heartbeats, at most a second old when they are asked for."""

    def __init__(self, plan, chance):
        self._plan, self._chance = plan, chance
        self._http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        self._loads = dict.fromkeys(plan["nodes"], 0.0)
        self._polling = asyncio.create_task(self._poll())

    async def _poll(self):
        while True:
            with contextlib.suppress(aiohttp.ClientError, OSError):
                async with self._http.get(f"{self._plan['origins'][0]}/v1/nodes") as reply:
                    for view in (await reply.json(content_type=None))["nodes"]:
                        for model in view["report"]["models"]:
                            load = (model.get("busy", 0) + model.get("queued", 0)) / max(
                                1, model.get("slots", 0)
                            )
                            self._loads[view["report"]["node_id"]] = load
            await asyncio.sleep(POLL_S)

    def node(self):
        plan, nodes = self._plan, list(self._plan["nodes"])
        match plan["policy"]:
            case "geo-nearest":
                return min(nodes, key=plan["distances_km"].__getitem__)
            case "rtt-nearest":
                return min(nodes, key=plan["rtts_ms"].__getitem__)
            case "least-loaded":
                return min(nodes, key=lambda node: (self._loads[node], self._chance.random()))
            case "power-of-two":
                return min(self._chance.sample(nodes, 2), key=self._loads.__getitem__)
        raise ValueError(plan["policy"])

    async def first_text(self, prompt):
        node = self.node()
        body = {
            "model": "chat", "messages": [{"role": "user", "content": prompt}], "max_tokens": TOKENS_COUNT,
            "temperature": 0, "stream": True,
        }  # fmt: skip
        first_s = None
        url = f"{self._plan['nodes'][node]}/v1/chat/completions"
        async with self._http.post(url, json=body) as reply:
            async for line in reply.content:
                if first_s is None and line.startswith(b"data: {"):
                    choices = json.loads(line[6:]).get("choices") or [{}]
                    if choices[0].get("delta", {}).get("content"):
                        first_s = time.monotonic()
            if first_s is None:
                raise aiohttp.ClientPayloadError(f"{reply.status}: no text")
        return first_s, node, 0

    async def close(self):
        self._polling.cancel()
        await self._http.close()


async def one_call(policy, prompt, began_s):
    row = {"began_s": began_s, "ok": True}
    try:
        first_s, row["node"], row["handed_on"] = await policy.first_text(prompt)
        row["ttft_s"] = first_s - began_s
    except asyncio.CancelledError:
        row["ttft_s"], row["cut"] = time.monotonic() - began_s, True
    except (EdgewardError, aiohttp.ClientError) as error:
        row |= {"ok": False, "ttft_s": time.monotonic() - began_s, "error": str(error)[:200]}
    return row


async def work(plan):
    chance = random.Random(plan["seed"])
    # Moments are the same for all policies, texts are not: what a node has read before it reads no more.
    words = random.Random(f"{plan['seed']} {plan['policy']}")
    policy = Ours(plan) if plan["policy"] == "ours" else ByState(plan, random.Random(plan["seed"] + 1))
    began_s, calls = time.monotonic(), []
    while (now_s := time.monotonic()) < plan["ends_s"]:
        calls.append(asyncio.create_task(one_call(policy, prompt_of(words), now_s)))
        await asyncio.sleep(chance.expovariate(plan["rate_per_s"]))
    await asyncio.wait(calls, timeout=plan["drain_s"])
    for call in calls:
        call.cancel()
    rows = [row for row in await asyncio.gather(*calls) if row["began_s"] - began_s >= plan["warm_s"]]
    lines = "".join(json.dumps({**row, "policy": plan["policy"]}) + "\n" for row in rows)
    with Path(plan["file"]).open("a", encoding="utf-8") as file:  # noqa: ASYNC230  # at the end, once
        file.write(lines)
    await policy.close()


if __name__ == "__main__":
    asyncio.run(work(json.loads(sys.argv[1])))
