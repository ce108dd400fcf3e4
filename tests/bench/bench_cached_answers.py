"""Kept answers a second on one core: a node's front, against nginx with the same bytes as a file, and bare aiohttp.

The server runs on one core and the load comes from another, over kept connections without pipelining. Both are
asked for: answers a second by the clock, and for each second of the server's processor time, since on a machine that
others use too the one is not the other. The node's front is the real one
(`build_app`), before an engine that answers at once, so that only the first request computes. Each round measures
all servers one after the other; a figure is the median of its rounds, a ratio the median of ratios. nginx and wrk
are taken from the system, or from Debian's packages unpacked into a cache directory; without wrk the load comes
from a plain client of our own.
"""

from __future__ import annotations

import argparse
import contextlib
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
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from bench_report import finish
from cached_servers import nginx_server, python_server

CONNECTIONS_COUNT = 16
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
        required={"cached_answers_per_core_s": (">=", 10_000), "cached_answers_per_s": (">=", 10_000)},
        packages=["aiohttp", "msgspec", "zstandard"],
        runs=runs,
        absent=absent,
    )


if __name__ == "__main__":
    sys.exit(main())
