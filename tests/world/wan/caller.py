"""A program of a developer somewhere in the WAN: calls the real client again and again and writes down what came.

`python -m tests.world.wan.caller JSON`: `origins`, `place`, `seed`, `rate_per_s`, `chat_share`, `ends_s` (monotonic
seconds, which all processes of a machine share), `file`. Calls come at random (Poisson), whatever the last ones do.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from pathlib import Path

from edge_node.client import AsyncClient, ClientConfig
from registry.errors import EdgewardError

DEADLINE_S = 60.0
CHAT_TOKENS = 12


async def one_call(client, number, kind):
    """What came of one call, as plain values."""
    began_s = time.monotonic()
    row = {"began_s": began_s, "kind": kind, "ok": False, "gap_s": 0.0}
    served = None
    try:
        if kind == "embed":
            served = (await client.embed([f"text {number} of this caller"], model="embed")).served
        else:
            prompt = f"Name {number % 90 + 2} things."
            stream = client.stream_chat(prompt, model="chat", max_tokens=CHAT_TOKENS, temperature=0)
            last_s = time.monotonic()
            async for _ in stream:
                now_s = time.monotonic()
                row["gap_s"], last_s = max(row["gap_s"], now_s - last_s), now_s
            served = stream.served
        row["ok"] = True
    except EdgewardError as error:
        row["error"] = f"{error.code}: {error.message}"
    row["took_s"] = time.monotonic() - began_s
    if served is not None:
        row |= {
            "node": served.node_id, "attempts": served.attempts, "refusals": served.refusals,
            "handed_on": served.handed_on, "hedged": served.hedged, "resumed": served.resumed_count,
            "ttft_s": served.ttft_ms / 1000,
        }  # fmt: skip
    return row


async def work(plan):
    chance = random.Random(plan["seed"])
    config = ClientConfig(
        origin=tuple(plan["origins"]), place=plan["place"], timeout_s=30.0, deadline_s=DEADLINE_S
    )
    pending = set()
    with Path(plan["file"]).open("a", encoding="utf-8") as file:  # noqa: ASYNC230  # a line now and then

        def done(task):
            pending.discard(task)
            file.write(json.dumps(task.result()) + "\n")
            file.flush()

        async with AsyncClient(config=config) as client:
            number = 0
            while time.monotonic() < plan["ends_s"]:
                number += 1
                kind = "chat" if chance.random() < plan["chat_share"] else "embed"
                task = asyncio.create_task(one_call(client, number * 1000 + plan["seed"] % 1000, kind))
                pending.add(task)
                task.add_done_callback(done)
                await asyncio.sleep(chance.expovariate(plan["rate_per_s"]))
            while pending:
                await asyncio.wait(pending)


if __name__ == "__main__":
    asyncio.run(work(json.loads(sys.argv[1])))
