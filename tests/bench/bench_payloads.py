"""Bytes on the wire: chat streams, embeddings and requests, plain, in gzip and in zstd, as JSON and as msgpack.

The bytes are those of the real front (`build_app`) before an engine that tells a real text token by token. gzip,
which the node does not speak, is made of the same plain bytes at its usual level 6, flushed at every event of a
stream as a proxy must; `_us_per_event` is what packing an event costs. Vectors are drawn from a normal
distribution and of length 1: as incompressible as a model's.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import statistics
import struct
import sys
import time
import zlib
from contextlib import asynccontextmanager
from pathlib import Path

import msgpack
import zstandard
from aiohttp.test_utils import TestClient, TestServer

sys.path.insert(0, str(Path(__file__).parent))
from bench_report import arguments, finish

from edge_node.api.health import NodeStatus
from edge_node.engines import Delta, Embedded, Finished, Ready, Started
from edge_node.scheduler import Scheduler
from edge_node.server import NodeParts, build_app
from edge_node.telemetry import Metrics
from registry.bodies import ZSTD_LEVEL

CHAT = "/v1/chat/completions"
SSE = {"Accept": "text/event-stream"}
FRAMES = {"Accept": "application/x-edgeward-frames+msgpack"}
ZSTD_STREAM = {"x-edgeward-stream-encoding": "zstd"}
MSGPACK = {"Accept": "application/msgpack"}
DIMS = 384


class Lease:
    name, version, stamp = "model", "1", "bench"
    manifest_sha256, space_id = "0f" * 32, ""
    ready = Ready(
        abilities=("chat", "embedding"), slots=8, context_tokens=4096, load_s=0.1,
        fingerprint="llama-0.3.36-cpu-q4", embedding_dims=DIMS,
    )  # fmt: skip

    def __init__(self, words):
        self.words = words

    async def generate(self, command):
        yield Started(request_id="", prompt_tokens=40, cached_tokens=0, queue_s=0.001, prefill_s=0.1)
        for word in self.words:
            # A word's id as in a vocabulary of 49,152, the same each time that it comes.
            yield Delta("", word, 1, (), (zlib.crc32(word.encode()) % 49_152,))
        yield Finished(request_id="", reason="stop", completion_tokens=len(self.words), decode_s=1.0)

    async def compute(self, command):
        chance = random.Random(5)
        rows = []
        for _ in command.inputs:
            row = [chance.gauss(0, 1) for _ in range(DIMS)]
            length = sum(value * value for value in row) ** 0.5
            rows.append(struct.pack(f"<{DIMS}f", *(value / length for value in row)))
        return Embedded(request_id="", vectors=b"".join(rows), dims=DIMS, prompt_tokens=9, service_s=0.01)


class Residents:
    def __init__(self, words):
        self.held = Lease(words)

    @asynccontextmanager
    async def lease(self, model):
        yield self.held

    def stamp(self, model):
        return self.held.stamp

    def ready_models(self):
        return ()


def gzip_stream(data):
    """Events as a proxy sends them in gzip: each flushed, so that it arrives."""
    packer = zlib.compressobj(6, wbits=31)
    parts = [
        packer.compress(event + b"\n\n") + packer.flush(zlib.Z_SYNC_FLUSH)
        for event in data.split(b"\n\n")[:-1]
    ]
    return b"".join(parts) + packer.flush()


def zstd_stream(data):
    """Events as the node sends them in zstd."""
    packer = zstandard.ZstdCompressor(level=ZSTD_LEVEL).compressobj()
    for event in data.split(b"\n\n")[:-1]:
        packer.compress(event + b"\n\n")
        packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)


def packing_cost(sse):
    events_count = sse.count(b"\n\n")
    figures = {}
    for coding, pack in (("gzip", gzip_stream), ("zstd", zstd_stream)):
        times_s = []
        for _ in range(9):
            begun_s = time.perf_counter()
            pack(sse)
            times_s.append(time.perf_counter() - begun_s)
        figures[f"stream_sse_{coding}_us_per_event"] = round(
            statistics.median(times_s) / events_count * 1e6, 2
        )
    return figures


async def measured(tokens_count, inputs_count):
    # The licence of this repository: prose that is neither ours to choose nor repeated.
    text = (Path(__file__).parents[2] / "LICENSE").read_text()
    words = [f" {word}" for word in text.split()][300 : 300 + tokens_count]
    parts = NodeParts(
        node_id="node-1", residents=Residents(words), scheduler=Scheduler(),
        metrics=Metrics(node_id="node-1", software="bench"),
        status=lambda: NodeStatus(draining=False, models=(), origin_up=True, origin_age_s=0.0, channel="stable"),
        clock=time.monotonic,
    )  # fmt: skip
    async with TestClient(TestServer(build_app(parts)), auto_decompress=False) as client:

        async def answer(path, ask, headers):
            headers = {"Accept-Encoding": "identity", **headers}
            async with client.post(path, json=ask, headers=headers) as response:
                assert response.status == 200, await response.text()
                return await response.read()

        chat = {"model": "model", "messages": [{"role": "user", "content": "Tell."}], "stream": True}
        marked = {**chat, "edgeward": {"resumable": True}}
        sse = await answer(CHAT, chat, SSE)
        per_token = {
            "sse": len(sse),
            "sse_gzip": len(gzip_stream(sse)),
            "sse_zstd": len(await answer(CHAT, chat, {**SSE, **ZSTD_STREAM})),
            "frames": len(await answer(CHAT, chat, FRAMES)),
            "frames_zstd": len(await answer(CHAT, chat, {**FRAMES, **ZSTD_STREAM})),
            "frames_marked_zstd": len(await answer(CHAT, marked, {**FRAMES, **ZSTD_STREAM})),
        }
        figures = {
            f"stream_{form}_bytes_per_token": round(size / len(words), 1) for form, size in per_token.items()
        }
        figures |= packing_cost(sse)
        whole = await answer(CHAT, {**chat, "stream": False}, {})
        figures["whole_json_bytes"] = len(whole)
        figures["whole_json_gzip_bytes"] = len(gzip.compress(whole, 6))
        figures["whole_json_zstd_bytes"] = len(
            await answer(CHAT, {**chat, "stream": False}, {"Accept-Encoding": "zstd"})
        )
        for form, more, headers in (
            ("json", {}, {}), ("base64", {"encoding_format": "base64"}, {}),
            ("msgpack", {"encoding_format": "base64"}, MSGPACK),
        ):  # fmt: skip
            ask = {"model": "model", "input": ["a text"] * inputs_count, **more}
            plain = await answer("/v1/embeddings", ask, headers)
            packed = await answer("/v1/embeddings", ask, {**headers, "Accept-Encoding": "zstd"})
            for coding, size in (
                ("", len(plain)),
                ("_gzip", len(gzip.compress(plain, 6))),
                ("_zstd", len(packed)),
            ):
                figures[f"vector_{form}{coding}_bytes"] = round(size / inputs_count, 1)
    figures.update(requests(text))
    return figures


def requests(text):
    """A request of 1 KB and one of 16 KB of prompt."""
    figures = {}
    for name, length in (("1k", 1000), ("16k", 16_000)):
        ask = {
            "model": "model", "temperature": 0, "stream": True,
            "messages": [
                {"role": "system", "content": "You are a helpful assistant."},
                {"role": "user", "content": (text * 2)[:length]},
            ],
        }  # fmt: skip
        plain, packed = json.dumps(ask).encode(), msgpack.packb(ask)
        for form, body in (
            ("json", plain), ("msgpack", packed), ("json_gzip", gzip.compress(plain, 6)),
            ("json_zstd", zstandard.compress(plain, 3)), ("msgpack_zstd", zstandard.compress(packed, 3)),
        ):  # fmt: skip
            figures[f"request_{name}_{form}_bytes"] = len(body)
    return figures


def main():
    options = arguments(__doc__.splitlines()[0])
    import structlog

    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    figures = asyncio.run(measured(100 if options.quick else 400, 4 if options.quick else 32))
    return finish(
        options.json,
        figures=figures,
        required={},
        packages=["zstandard", "msgpack", "msgspec"],
        runs={},
    )


if __name__ == "__main__":
    sys.exit(main())
