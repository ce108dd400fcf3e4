"""Embeddings of sixteen clients at once: computed together, apart, and by the simplest server around ONNX Runtime.

    python tests/bench/bench_embeddings.py [--quick] [--json FILE]

Texts of 4 to 16 words, each a request of its own, over HTTP on the loopback; every server has two threads. Ours is the
node's front with its engine's process. The peer is aiohttp around one session, one text at a time, vectors as JSON.
The rounds of all servers alternate. `bytes_*` is what an answer of 16 texts takes on the wire in each form.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import statistics
import sys
import time
from pathlib import Path

import aiohttp
from aiohttp import web

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2]))

from bench_report import arguments, finish

from deploy.local.samples import embedding_model

CLIENTS_COUNT = 16
THREADS_COUNT = 2
WORDS = [
    "river",
    "stone",
    "market",
    "doctor",
    "winter",
    "engine",
    "paper",
    "silver",
    "garden",
    "window",
    "travel",
    "number",
    "music",
    "coffee",
    "letter",
    "mountain",
    "bridge",
    "summer",
    "island",
    "animal",
    "question",
    "answer",
    "teacher",
    "kitchen",
    "station",
    "evening",
    "morning",
    "history",
]
SERVERS = ("exact", "off", "plain")


def some_text(rng):
    return " ".join(rng.choices(WORDS, k=rng.randint(4, 16)))


async def serve_ours(batching):
    """The node's front over a runner with the sample model."""
    from edge_node.api.health import NodeStatus
    from edge_node.engine_plan import RunnerLimits
    from edge_node.engines.process import EngineProcess
    from edge_node.model_store import InstalledRelease
    from edge_node.runner import Runner
    from edge_node.scheduler import Scheduler
    from edge_node.server import NodeParts, build_app
    from edge_node.supervisor import Clock
    from edge_node.telemetry import Metrics
    from registry.log import configure_logging

    configure_logging(service="node", level="error")
    folder = embedding_model()

    class Release(InstalledRelease):
        files_dir = folder

    runner = Runner(
        build=EngineProcess, clock=Clock(now_s=time.monotonic, sleep=asyncio.sleep), channel="stable",
        limits=RunnerLimits(threads_count=THREADS_COUNT, onnx_batching=batching),
    )  # fmt: skip
    release = Release(
        name="embed", version="1.0.0", directory=folder, kind="onnx", files=("model.onnx", "tokenizer.json"),
        total_bytes=0, created_unix_s=0, manifest_sha256=None, content_sha256=None,
    )  # fmt: skip
    assert await runner.activate(release)
    parts = NodeParts(
        node_id="bench", residents=runner, scheduler=Scheduler(), metrics=Metrics(node_id="bench", software=""),
        status=lambda: NodeStatus(draining=False, models=(), origin_up=False, origin_age_s=None),
    )  # fmt: skip
    return build_app(parts)


async def serve_plain():
    """What one writes in ten minutes."""
    import numpy as np
    import onnxruntime
    from tokenizers import Tokenizer

    folder = embedding_model()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS_COUNT
    session = onnxruntime.InferenceSession(
        str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()

    def vector_of(text):
        ids = np.array([tokenizer.encode(text).ids])
        feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        vector = session.run(None, feeds)[0][0].mean(axis=0)
        return (vector / np.linalg.norm(vector)).tolist()

    async def embeddings(request):
        asked = await request.json()
        texts = [asked["input"]] if isinstance(asked["input"], str) else asked["input"]
        data = [
            {"object": "embedding", "index": i, "embedding": vector_of(text)} for i, text in enumerate(texts)
        ]
        return web.json_response({"object": "list", "data": data, "model": "embed"})

    app = web.Application()
    app.add_routes([web.post("/v1/embeddings", embeddings)])
    return app


async def serve(which):
    """One server until its input ends; its port is the first line that it prints."""
    app = await (serve_plain() if which == "plain" else serve_ours(which))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(site._server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


@contextlib.asynccontextmanager
async def server(which):
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--serve", which,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield f"http://127.0.0.1:{int(await process.stdout.readline())}/v1/embeddings"
    finally:
        process.kill()
        await process.wait()


async def one_round(http, url, seconds, seed):
    """Requests a second and the times of each, with all clients asking as fast as they are answered."""
    until_s = time.monotonic() + seconds
    times_s = []

    async def client(number):
        rng = random.Random(seed * 1000 + number)
        while time.monotonic() < until_s:
            started_s = time.monotonic()
            body = {"model": "embed", "input": some_text(rng), "encoding_format": "base64"}
            async with http.post(url, json=body) as reply:
                await reply.read()
                assert reply.status == 200, await reply.text()
            times_s.append(time.monotonic() - started_s)

    started_s = time.monotonic()
    await asyncio.gather(*map(client, range(CLIENTS_COUNT)))
    return len(times_s) / (time.monotonic() - started_s), times_s


async def answer_bytes(http, url):
    """What an answer of 16 vectors takes on the wire."""
    rng = random.Random(1)
    texts = [some_text(rng) for _ in range(16)]
    forms = {
        "json": ({}, {}),
        "json_zstd": ({}, {"Accept-Encoding": "zstd"}),
        "base64": ({"encoding_format": "base64"}, {}),
        "base64_zstd": ({"encoding_format": "base64"}, {"Accept-Encoding": "zstd"}),
        "msgpack": ({"encoding_format": "base64"}, {"Accept": "application/msgpack"}),
    }
    sizes = {}
    for name, (fields, headers) in forms.items():
        body = {"model": "embed", "input": texts, **fields}
        async with http.post(url, json=body, headers={"Accept-Encoding": "identity", **headers}) as reply:
            sizes[name] = len(await reply.read())
    return sizes


async def measure(*, rounds_count, seconds):
    rates = {which: [] for which in SERVERS}
    times_s = {which: [] for which in SERVERS}
    async with contextlib.AsyncExitStack() as stack:
        urls = {which: await stack.enter_async_context(server(which)) for which in SERVERS}
        http = await stack.enter_async_context(aiohttp.ClientSession(auto_decompress=False))
        for url in urls.values():
            await one_round(http, url, 0.5, 0)
        for number in range(rounds_count):
            for which in SERVERS:
                rate, times = await one_round(http, urls[which], seconds, number + 1)
                rates[which].append(rate)
                times_s[which] += times
        sizes = await answer_bytes(http, urls["exact"])
        sizes["plain_json"] = (await answer_bytes(http, urls["plain"]))["json"]
    return rates, times_s, sizes


def main():
    args = arguments(__doc__)
    rates, times_s, sizes = asyncio.run(
        measure(rounds_count=2 if args.quick else 6, seconds=2.0 if args.quick else 4.0)
    )
    paired = {
        which: statistics.median(a / b for a, b in zip(rates["exact"], rates[which], strict=True))
        for which in ("off", "plain")
    }
    figures = {
        "texts_per_s": statistics.median(rates["exact"]),
        "p99_ms": statistics.quantiles(times_s["exact"], n=100)[98] * 1000,
        "over_one_at_a_time": paired["plain"],
        "over_batching_off": paired["off"],
        **{f"bytes_{name}": size for name, size in sizes.items() if name != "plain_json"},
        "bytes_zstd_of_plain_json": sizes["base64_zstd"] / sizes["plain_json"],
    }
    peers = {
        which: {
            "texts_per_s": statistics.median(rates[which]),
            "p99_ms": statistics.quantiles(times_s[which], n=100)[98] * 1000,
        }
        for which in ("off", "plain")
    }
    peers["plain"]["bytes_json"] = sizes["plain_json"]
    return finish(
        args.json, figures=figures, required={"over_one_at_a_time": (">=", 2.0)}, peers=peers,
        packages=("onnxruntime", "aiohttp", "tokenizers"), runs=rates,
    )  # fmt: skip


if __name__ == "__main__":
    if "--serve" in sys.argv:
        parser = argparse.ArgumentParser()
        parser.add_argument("--serve", choices=SERVERS, required=True)
        asyncio.run(serve(parser.parse_args().serve))
    else:
        sys.exit(main())
