"""Kept answers a second on one core: a node's front, against nginx with the same bytes as a file, and bare aiohttp.

The server runs on one core and the load comes from another, over kept connections without pipelining. What counts
is answers for each second of the server's processor time: on a machine that others use too, a second by the clock
is not a second of a core. Answers by the clock are in `peers` and `runs`. The node's front is the real one
(`build_app`), before an engine that answers at once, so that only the first request computes. Each round measures
all servers one after the other; a figure is the median of its rounds, a ratio the median of ratios. nginx and wrk
are taken from the system, or from Debian's packages unpacked into a cache directory; without wrk the load comes
from a plain client of our own.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import select
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

sys.path.insert(0, str(Path(__file__).parent))
from bench_report import finish

CONNECTIONS_COUNT = 16
ANSWER_TEXT = "The quick brown fox jumps over the lazy dog. " * 15  # 1 KB of JSON with what surrounds it
ASK = {
    "model": "chat",
    "messages": [{"role": "user", "content": "Tell me about the fox. " * 8}],
    "temperature": 0,
}
BODY = json.dumps(ASK).encode()
PACKAGES = {
    "nginx": ("usr/sbin/nginx", ["nginx"]),
    "wrk": ("usr/bin/wrk", ["wrk", "libluajit-5.1-2"]),
}


# ---- the servers: each runs as `python bench_cached_answers.py serve KIND PORT CORE` in a process of its own


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
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, __file__, "serve", kind, str(port), str(core)], stdout=subprocess.PIPE, text=True
    )
    try:
        if process.stdout.readline().strip() != "ready":
            raise RuntimeError(f"{kind} did not start")
        yield f"http://127.0.0.1:{port}/v1/chat/completions", process.pid
    finally:
        process.terminate()
        process.wait()


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


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(port):
    for _ in range(100):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise RuntimeError("nginx did not start")


# ---- the load


def load(url, body, headers, seconds, core, wrk):
    """How many answers came."""
    if wrk is not None:
        return load_by_wrk(url, body, headers, seconds, core, wrk)
    ours = subprocess.run(
        [sys.executable, __file__, "load", url, body.decode(), json.dumps(headers), str(seconds), str(core)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return int(ours.stdout)


def load_by_wrk(url, body, headers, seconds, core, wrk):
    program, environment = wrk
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        lines = [f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}" for name, value in headers.items()]
        if body:
            lines += ['wrk.method = "POST"', f"wrk.body = {json.dumps(body.decode())}"]
        script.write("\n".join(lines))
        script.flush()
        command = ["taskset", "-c", str(core), program, "-t1", f"-c{CONNECTIONS_COUNT}", f"-d{seconds}"]
        ran = subprocess.run(
            [*command, "-s", script.name, url], check=True, capture_output=True, text=True, env=environment
        )
    if "Non-2xx" in ran.stdout:
        raise RuntimeError(ran.stdout)
    return int(next(line for line in ran.stdout.splitlines() if " requests in " in line).split()[0])


def load_plainly(url, body, headers, seconds, core):
    """Our own load: one thread, one request at a time on each connection."""
    os.sched_setaffinity(0, {core})
    place, _, path = url.removeprefix("http://").partition("/")
    host, _, port = place.partition(":")
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    method = "POST" if body else "GET"
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    request = f"{method} /{path} HTTP/1.1\r\nHost: {place}\r\n{lines}{length}\r\n".encode() + body
    poll = select.epoll()
    by_number = {}
    for _ in range(CONNECTIONS_COUNT):
        connection = socket.create_connection((host, int(port)))
        poll.register(connection, select.EPOLLIN)
        by_number[connection.fileno()] = connection
        connection.sendall(request)
    count, begun_s = 0, time.perf_counter()
    while time.perf_counter() - begun_s < seconds:
        for number, _ in poll.poll(1):
            connection = by_number[number]
            data = connection.recv(65536)
            head, _, rest = data.partition(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(head[:200])
            size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            while len(rest) < size:
                rest += connection.recv(65536)
            count += 1
            connection.sendall(request)
    return count


def processor_s(pid):
    """The processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def find_program(name, cache):
    """A program of the system, or out of Debian's package in the cache; None when neither is to be had."""
    found = shutil.which(name)
    if found:
        return found, dict(os.environ)
    inside, packages = PACKAGES[name]
    root = cache / name
    program = root / inside
    if not program.exists():
        with (
            contextlib.suppress(OSError, subprocess.CalledProcessError),
            tempfile.TemporaryDirectory() as room,
        ):
            subprocess.run(["apt-get", "download", *packages], check=True, cwd=room, capture_output=True)
            for package in Path(room).glob("*.deb"):
                subprocess.run(["dpkg-deb", "-x", str(package), str(root)], check=True, capture_output=True)
    libraries = os.pathsep.join(str(path) for path in root.glob("usr/lib/*-linux-gnu"))
    return (str(program), {**os.environ, "LD_LIBRARY_PATH": libraries}) if program.exists() else None


# ---- the rounds


def measure(options):
    cores = sorted(os.sched_getaffinity(0))
    server_core, load_core = cores[0], cores[-1]
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "edgeward-bench"
    wrk, nginx = find_program("wrk", cache), find_program("nginx", cache)
    seconds, rounds_count = (1, 1) if options.quick else (2, 5)
    post = {"Content-Type": "application/json", "Authorization": "Bearer none"}
    absent = {} if nginx else {"nginx": "neither installed nor to be had as a package"}
    if wrk is None:
        absent["wrk"] = "neither installed nor to be had as a package: the load is our own client's"
    runs = {}
    with contextlib.ExitStack() as ends:
        node = ends.enter_context(python_server("node", server_core))
        served = [node_answer(node[0], post) for _ in range(3)][-1]
        targets = {"node": (node, BODY, post)}
        targets["node, 304"] = (node, BODY, {**post, "If-None-Match": served["etag"]})
        targets["bare aiohttp"] = (ends.enter_context(python_server("bare", server_core)), BODY, post)
        targets["uncached"] = (ends.enter_context(python_server("uncached", server_core)), BODY, post)
        try:
            import uvloop  # noqa: F401

            for name, kind in (("node, uvloop", "node-uvloop"), ("bare aiohttp, uvloop", "bare-uvloop")):
                targets[name] = (ends.enter_context(python_server(kind, server_core)), BODY, post)
                for _ in range(2):
                    node_answer(targets[name][0][0], post)
        except ImportError:
            absent["uvloop"] = "not installed"
        if nginx:
            targets["nginx"] = (
                ends.enter_context(nginx_server(nginx[0], served["body"], server_core)),
                b"",
                {},
            )
        if wrk is not None:
            targets.pop("node, 304")  # wrk counts them as errors
        for _ in range(rounds_count):
            for name, ((url, pid), body, headers) in targets.items():
                used_s, begun_s = processor_s(pid), time.perf_counter()
                count = load(url, body, headers, seconds, load_core, wrk)
                wall_s = time.perf_counter() - begun_s
                runs.setdefault(name, []).append(
                    {
                        "answers_per_core_s": count / (processor_s(pid) - used_s),
                        "answers_per_s": count / wall_s,
                    }
                )
    return runs, absent, served


def node_answer(url, headers):
    import urllib.request

    with urllib.request.urlopen(urllib.request.Request(url, BODY, headers)) as response:
        return {
            "body": response.read(),
            "etag": response.headers.get("ETag", ""),
            "state": response.headers.get("x-edgeward-cache", ""),
        }


def main():
    if sys.argv[1:2] == ["serve"]:
        return serve(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    if sys.argv[1:2] == ["load"]:
        url, body, headers, seconds, core = sys.argv[2:]
        print(load_plainly(url, body.encode(), json.loads(headers), float(seconds), int(core)))
        return 0
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    runs, absent, served = measure(options)
    assert served["state"] == "hit", served
    rates = {name: [run["answers_per_core_s"] for run in rounds] for name, rounds in runs.items()}
    figures = {
        "cached_answers_per_core_s": round(statistics.median(rates["node"])),
        "cached_answers_per_s": round(statistics.median(run["answers_per_s"] for run in runs["node"])),
        "answer_bytes": len(served["body"]),
        "uncached_front_answers_per_core_s": round(statistics.median(rates["uncached"])),
    }
    peers = {}
    for name in rates.keys() - {"node", "uncached"}:
        peers[name] = {
            "answers_per_core_s": round(statistics.median(rates[name])),
            "answers_per_s": round(statistics.median(run["answers_per_s"] for run in runs[name])),
        }
        ratio = statistics.median(
            ours / theirs for ours, theirs in zip(rates["node"], rates[name], strict=True)
        )
        figures[f"ratio_to_{name.replace(', ', '_').replace(' ', '_')}"] = round(ratio, 3)
    return finish(
        options.json,
        figures=figures,
        peers=peers,
        required={"cached_answers_per_core_s": (">=", 10_000)},
        packages=["aiohttp", "msgspec", "zstandard"],
        runs=runs,
        absent=absent,
    )


if __name__ == "__main__":
    sys.exit(main())
