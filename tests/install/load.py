"""Load on a node, from outside of it: every answer counted, every wait measured. Prints one line of JSON."""

from __future__ import annotations

import asyncio
import json
import sys
import time

import aiohttp

_CHAT = {
    "model": "chat",
    "max_tokens": 4,
    "temperature": 1.0,
    "messages": [{"role": "user", "content": "Hello"}],
}


async def _ask(http, url, waits, failures):
    started_s = time.monotonic()
    try:
        if url.endswith("completions"):
            async with http.post(url, json=_CHAT, headers={"Cache-Control": "no-store"}) as reply:
                body, status = await reply.text(), reply.status
        else:
            async with http.get(url) as reply:
                body, status = await reply.text(), reply.status
        if status != 200:
            failures.append(f"{status} {body[:200]}")
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        failures.append(repr(error))
    waits.append((started_s, time.monotonic() - started_s))


async def _client(url, until_s, waits, failures, *, kept, pause_s):
    while time.monotonic() < until_s:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=not kept)) as http:
            for _ in range(20):
                if time.monotonic() >= until_s:
                    return
                await _ask(http, url, waits, failures)
                await asyncio.sleep(pause_s)


async def _main(base, seconds):
    until_s = time.monotonic() + seconds
    chats, looks, failures = [], [], []
    await asyncio.gather(
        *(
            _client(
                f"{base}/v1/chat/completions", until_s, chats, failures, kept=number % 2 == 0, pause_s=0.05
            )
            for number in range(2)
        ),
        *(
            _client(f"{base}/v1/models", until_s, looks, failures, kept=number % 2 == 0, pause_s=0.02)
            for number in range(4)
        ),
    )
    look = sorted(wait for _, wait in looks)
    seconds_max = {}
    for at_s, wait in looks:
        second = int(at_s - looks[0][0])
        seconds_max[second] = max(seconds_max.get(second, 0.0), round(wait * 1e3))
    print(json.dumps({
        "chats": len(chats), "looks": len(looks), "failures": failures[:10], "failed_count": len(failures),
        "look_ms": {"p50": look[len(look) // 2] * 1e3, "max": look[-1] * 1e3},
        "look_max_ms_by_second": list(seconds_max.values()),
        "chat_ms": {"max": max((wait for _, wait in chats), default=0) * 1e3},
    }))  # fmt: skip


asyncio.run(_main(sys.argv[1], float(sys.argv[2])))
