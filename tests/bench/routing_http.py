"""Ranked lists over HTTP, a second and a core: a part of bench_routing.

`POST /v1/route` of the real origin with a fleet of 200 nodes, by kept connections without pipelining from another
process on another core; requests differ in place (of 300), model and session, and 1,600 round trips are learned each
second. Two rates are told: lists for each second of the server's CPU, and by the clock. The same without sockets, on a
clock of its own, is `routing_desk`. How long they take is measured at half of the rate that is required, sent
at moments fixed beforehand (so that a slow answer does not put off the next request), from the moment that each was
due. Redirects are those of short chats whose prompts are all different. Beside it, in turns, bare aiohttp that reads
the body and answers with as many bytes.
"""

from __future__ import annotations

import json
import os
import random
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from bench_part import Part
from routing_desk import measure_desk
from routing_servers import server

CONNECTIONS_COUNT = 32
BODIES_COUNT = 2000
RATE_PER_S = 5000
P99_MS = 5.0


def redirects(port, seed=2):
    """Whole requests to models, short chats of clients all over the world, each in words of its own."""
    from routing_decisions import MODELS_COUNT
    from routing_live import Life

    rng, made = random.Random(seed), []
    where = Life().map.cities
    for number in range(BODIES_COUNT):
        place = where[number % len(where)]
        words = " ".join(f"word{rng.randrange(10_000)}" for _ in range(60))
        asked = {
            "model": f"model-{rng.randrange(MODELS_COUNT)}",
            "messages": [{"role": "user", "content": words}],
        }
        body = json.dumps(asked).encode()
        made.append(
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: application/json\r\n"
            f"Content-Type: application/json\r\nUser-Agent: bench\r\nx-edgeward-session: s{number}\r\n"
            f"x-edgeward-place: {place.lat},{place.lon}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
    return made


def requests(port, seed=1):
    """Whole requests for lists of clients all over the world, as our own client sends them."""
    from routing_decisions import MODELS_COUNT
    from routing_live import Life

    from origin.api import RouteQuery
    from registry.wire import to_msgpack

    rng = random.Random(seed)
    made = []
    where = Life().map.cities
    for number in range(BODIES_COUNT):
        place = where[number % len(where)]
        query = RouteQuery(
            model=f"model-{rng.randrange(MODELS_COUNT)}", place=place, prompt_tokens=rng.randrange(10, 2000)
        )
        body = to_msgpack(query)
        made.append(
            f"POST /v1/route HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: application/msgpack\r\n"
            f"Content-Type: application/msgpack\r\nUser-Agent: bench\r\nx-edgeward-session: s{number}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
    return made


class Connections:
    """Kept connections, each with one request at a time."""

    def __init__(self, port):
        self.poll = select.epoll()
        self.by_number = {}
        for _ in range(CONNECTIONS_COUNT):
            connection = socket.create_connection(("127.0.0.1", port))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.poll.register(connection, select.EPOLLIN)
            self.by_number[connection.fileno()] = connection

    @staticmethod
    def body(connection):
        """The body of the answer that has begun to come."""
        data = connection.recv(65536)
        head, _, rest = data.partition(b"\r\n\r\n")
        if not head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 307")):
            raise RuntimeError(data[:500])
        size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        while len(rest) < size:
            rest += connection.recv(65536)
        return rest


def load(port, seconds, least_count=0, *, asks=requests):
    """As many answers as come when every connection asks again at once."""
    connections, made = Connections(port), asks(port)
    number = 0
    for connection in connections.by_number.values():
        connection.sendall(made[number % BODIES_COUNT])
        number += 1
    count, begun_s = 0, time.perf_counter()
    while count < least_count or time.perf_counter() - begun_s < seconds:
        for ready, _ in connections.poll.poll(1):
            connection = connections.by_number[ready]
            connections.body(connection)
            count += 1
            connection.sendall(made[number % BODIES_COUNT])
            number += 1
    return {"count": count, "took_s": time.perf_counter() - begun_s}


def pace(port, seconds, rate_per_s):
    """How long answers take when requests are due at fixed moments."""
    connections, made = Connections(port), requests(port)
    idle = list(connections.by_number.values())
    due_of, took_ms, number = {}, [], 0
    total_count = int(seconds * rate_per_s)
    begun_s = time.perf_counter() + 0.05
    while len(took_ms) < total_count:
        now_s = time.perf_counter()
        while number < total_count and idle and begun_s + number / rate_per_s <= now_s:
            connection = idle.pop()
            due_of[connection.fileno()] = begun_s + number / rate_per_s
            connection.sendall(made[number % BODIES_COUNT])
            number += 1
        next_s = begun_s + number / rate_per_s - time.perf_counter()
        wait_s = 1.0 if not idle or number == total_count else max(0.0, next_s)
        for ready, _ in connections.poll.poll(wait_s):
            connections.body(connections.by_number[ready])
            took_ms.append(1000 * (time.perf_counter() - due_of[ready]))
            idle.append(connections.by_number[ready])
    return {"took_ms": took_ms}


def from_another_process(core, *words):
    ran = subprocess.run(
        [sys.executable, __file__, str(core), *map(str, words)], check=True, capture_output=True, text=True
    )
    return json.loads(ran.stdout)


def processor_s(pid):
    """The processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def one_answer(port):
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(requests(port)[0])
    return Connections.body(connection)


def measure(*, quick):
    cores = sorted(os.sched_getaffinity(0))
    server_core, load_core = cores[0], cores[-1]
    seconds, rounds_count = (1, 1) if quick else (4, 5)
    runs = []
    with tempfile.TemporaryDirectory() as room, server("origin", server_core) as (port, pid):
        answer = one_answer(port)
        (Path(room) / "answer").write_bytes(answer)
        with server("bare", server_core, {"BARE_ANSWER": f"{room}/answer"}) as (bare_port, bare_pid):
            from_another_process(
                load_core, "load", port, 0, BODIES_COUNT
            )  # who asks for the first time is no steady load
            for _ in range(rounds_count):
                run = {}
                for name, at, of in (("origin", port, pid), ("bare", bare_port, bare_pid)):
                    used_s = processor_s(of)
                    done = from_another_process(load_core, "load", at, seconds)
                    run[f"{name}_per_core_s"] = done["count"] / (processor_s(of) - used_s)
                    run[f"{name}_per_s"] = done["count"] / done["took_s"]
                    paced = from_another_process(load_core, "pace", at, seconds, RATE_PER_S / 2)
                    if name == "origin":
                        used_s = processor_s(of)
                        sent = from_another_process(load_core, "redirect", at, seconds)
                        run["redirects_per_core_s"] = sent["count"] / (processor_s(of) - used_s)
                        run["redirects_per_s"] = sent["count"] / sent["took_s"]
                    cuts = statistics.quantiles(paced["took_ms"], n=100)
                    run[f"{name}_p50_ms"], run[f"{name}_p99_ms"] = cuts[49], cuts[98]
                runs.append(run)
    middle = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    desk = measure_desk(1 if quick else 6)
    figures = {
        "route_desk_lists_per_cpu_s": round(desk["lists_per_cpu_s"]),
        "route_desk_p99_ms": round(desk["p99_ms"], 3),
        "route_lists_per_core_s": round(middle["origin_per_core_s"]),
        "route_lists_per_s": round(middle["origin_per_s"]),
        "route_p50_ms_at_half": round(middle["origin_p50_ms"], 2),
        "route_p99_ms_at_half": round(middle["origin_p99_ms"], 2),
        "redirects_per_core_s": round(middle["redirects_per_core_s"]),
        "redirects_per_s": round(middle["redirects_per_s"]),
        "route_answer_bytes": len(answer),
        "route_ratio_to_bare_aiohttp": round(
            statistics.median(run["origin_per_core_s"] / run["bare_per_core_s"] for run in runs), 3
        ),
    }
    return Part(
        figures=figures,
        required={"route_lists_per_core_s": (">=", RATE_PER_S), "route_p99_ms_at_half": ("<=", P99_MS)},
        peers={
            "bare aiohttp": {
                name: round(middle[f"bare_{name}"], 2) for name in ("per_core_s", "per_s", "p50_ms", "p99_ms")
            }
        },
        runs=[*runs, {"desk": desk}],
        packages=("aiohttp", "msgspec", "cryptography"),
    )


if __name__ == "__main__":
    kinds = {"load": load, "pace": pace, "redirect": partial(load, asks=redirects)}
    if sys.argv[2:3] and sys.argv[2] in kinds:
        os.sched_setaffinity(0, {int(sys.argv[1])})
        kind = kinds[sys.argv[2]]
        print(json.dumps(kind(int(sys.argv[3]), *map(float, sys.argv[4:]))))
    else:
        from bench_report import finish

        part = measure(quick="--quick" in sys.argv)
        finish(
            None,
            figures=part.figures,
            required=part.required,
            packages=part.packages,
            runs=part.runs,
            peers=part.peers,
        )
