"""The servers of bench_cached_answers, each in a process of its own: `python cached_servers.py KIND PORT CORE`."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

sys.path.insert(0, str(Path(__file__).parent))

from server_process import free_port, server_process

ANSWER_TEXT = "The quick brown fox jumps over the lazy dog. " * 15  # 1 KB of JSON with what surrounds it


class FastResidents:
    """One model whose engine answers at once."""

    def __init__(self):
        from edge_node.engines import Delta, Finished, Ready, Started

        self.name, self.version, self.stamp_text = "chat", "1", "bench"
        self.ready = Ready(abilities=("chat",), slots=8, context_tokens=4096, load_s=0.1, fingerprint="bench")
        self.events = (
            Started(request_id="", prompt_tokens=40, cached_tokens=0, queue_s=0, prefill_s=0.1),
            Delta("", ANSWER_TEXT, 150),
            Finished(request_id="", reason="stop", completion_tokens=150, decode_s=1.0),
        )

    @property
    def lease_stamp(self):
        return self.stamp_text

    @asynccontextmanager
    async def lease(self, model):
        yield FastLease(self)

    def stamp(self, model):
        from registry.reference import parse_reference

        return self.stamp_text if parse_reference(model).name == self.name else None

    def ready_models(self):
        return ()


class FastLease:
    def __init__(self, residents):
        self.name, self.version, self.ready = residents.name, residents.version, residents.ready
        self.stamp = residents.stamp_text
        self.space_id = ""
        self.events = residents.events

    async def generate(self, command):
        for event in self.events:
            yield event


def node_app(cache_bytes):
    import structlog

    from edge_node.api.health import NodeStatus
    from edge_node.cache.answers import AnswerCache
    from edge_node.scheduler import Scheduler
    from edge_node.server import NodeParts, build_app
    from edge_node.telemetry import Metrics

    # As in production: lines of JSON, to a file that nobody reads here.
    structlog.configure(
        processors=[structlog.processors.TimeStamper(fmt="iso"), structlog.processors.JSONRenderer()],
        logger_factory=structlog.WriteLoggerFactory(file=Path(os.devnull).open("w")),  # noqa: SIM115
    )
    return build_app(
        NodeParts(
            node_id="bench",
            residents=FastResidents(),
            scheduler=Scheduler(),
            metrics=Metrics(node_id="bench", software="bench"),
            status=lambda: NodeStatus(
                draining=False, models=(), origin_up=True, origin_age_s=0.0, channel="stable"
            ),
            cache=AnswerCache(limit_bytes=cache_bytes, age_limit_s=86400, clock=time.monotonic),
        )
    )


def bare_app():
    answer = json.dumps({"text": ANSWER_TEXT}).encode()

    async def parse_and_hash(request):
        body = await request.read()
        json.loads(body)
        hashlib.sha256(body).hexdigest()
        return web.Response(body=answer, content_type="application/json")

    app = web.Application(handler_args={"access_log": None})
    app.router.add_post("/v1/chat/completions", parse_and_hash)
    return app


def serve(kind, port, core):
    os.sched_setaffinity(0, {core})

    async def run():
        app = bare_app() if kind.startswith("bare") else node_app(0 if kind == "uncached" else 2**24)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        print("ready", flush=True)
        await asyncio.Event().wait()

    if kind.endswith("uvloop"):
        import uvloop

        uvloop.run(run())
    else:
        asyncio.run(run())


@contextlib.contextmanager
def python_server(kind, core):
    with server_process(__file__, kind, core) as (port, process_id):
        yield f"http://127.0.0.1:{port}/v1/chat/completions", process_id


@contextlib.contextmanager
def nginx_server(program, data, core):
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        root.chmod(0o755)
        (root / "answer.json").write_bytes(data)
        temporary = " ".join(
            f"{name}_temp_path {root}/{name};"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (root / "nginx.conf").write_text(
            f"worker_processes 1; daemon off; pid {root}/pid; error_log {root}/error.log;\n"
            "events { worker_connections 512; }\n"
            f"http {{ access_log off; keepalive_requests 100000000; sendfile on; tcp_nopush on;\n"
            f"default_type application/json; open_file_cache max=10; {temporary}\n"
            f"server {{ listen 127.0.0.1:{port}; root {root}; }} }}\n"
        )
        process = subprocess.Popen(
            ["taskset", "-c", str(core), program, "-p", directory, "-c", f"{root}/nginx.conf"],
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_for_port(port)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            yield f"http://127.0.0.1:{port}/answer.json", int(children[0])
        finally:
            process.terminate()
            process.wait()


def wait_for_port(port):
    for _ in range(100):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise RuntimeError("nginx did not start")


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
