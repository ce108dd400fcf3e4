"""Answers of the DNS door a second on one core: a part of bench_routing, and a script of its own.

The door runs in one process over 200 nodes that report each second; questions come over UDP on the loopback from
another process: 2,000 clients' /24 in 300 cities again and again, each /24 new, or names that are none.
Every question has a client subnet, every third has capitals. What counts is answers for each second of the server's
CPU time, user and system, so that others on the machine do not count; the pace by the clock is beside it. dnspython
parsing and building each answer is the same door without its fast way; gdnsd answers by a map of 220 networks.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from bench_part import Part
from bench_report import arguments, finish
from dns_learning import measure_learning
from dns_load import questions
from dns_peers import gdnsd, why_not
from dns_server import Knowing

from origin.dns.door import Door
from origin.dns.records import Zone
from origin.dns_settings import NameServer

HERE = Path(__file__).parent
NODES_COUNT = 200
OPEN_PER_S = 10_000
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cpu_s(pid):
    """What a process has used of the CPU, in user and system time."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


@contextlib.contextmanager
def door(*, changes=False):
    """The door in a process; gives its port and process id."""
    wanted = json.dumps({"nodes": NODES_COUNT, "changes": changes})
    running = subprocess.Popen(
        [sys.executable, HERE / "dns_server.py", wanted],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield int(running.stdout.readline()), running.pid
    finally:
        running.stdin.close()
        running.wait(10)


def load(port, pid, kind, seconds, per_s=0):
    """What the load saw, with the server's CPU time."""
    wanted = json.dumps({"port": port, "kind": kind, "seconds": seconds, "per_s": per_s})
    asking = subprocess.Popen(
        [sys.executable, HERE / "dns_load.py", wanted],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    asking.stdout.readline()
    before_s = cpu_s(pid)
    asking.stdin.write("\n")
    asking.stdin.flush()
    result = json.loads(asking.stdout.readline())
    used_s = cpu_s(pid) - before_s
    asking.wait(10)
    if result["wrong_count"]:
        raise RuntimeError(
            f"{result['wrong_count']} of {result['answered_count']} answers to {kind} were wrong"
        )
    return {"kind": kind, **result, "cpu_s": used_s, "per_cpu_s": result["answered_count"] / used_s}


def by_dnspython(seconds):
    """Answers for each second of CPU when dnspython reads and writes every one, without sockets."""
    knowing = Knowing(NODES_COUNT)
    for report in knowing.reports:
        knowing.fleet.accept(report, 0.0)
    slow = Door(
        Zone("route.example.org", (NameServer("ns1.route.example.org", ("127.0.0.1",)),)), knowing, keep_s=60
    )
    packets = [b"\0\1" + text for text in questions("known", 5000)]
    for packet in packets:
        slow.answer(packet, b"\x7f\0\0\1", 0.0, stream=False)
    count, began_s = 0, time.process_time()
    while time.process_time() - began_s < seconds:
        slow.answer_slowly(packets[count % len(packets)], b"\x7f\0\0\1", 0.0, stream=False)
        count += 1
    return count / (time.process_time() - began_s)


def measure(*, quick):
    seconds, rounds_count = (1, 1) if quick else (5, 3)
    runs, figures, peers, absent = [], {}, {}, {}

    def noted(who, result):
        runs.append({"who": who, **result})
        return result

    def median(who, kind, key):
        return statistics.median(run[key] for run in runs if run["who"] == who and run["kind"] == kind)

    for _ in range(rounds_count):
        with door() as (port, pid):
            for kind in ("known", "new", "denied"):
                noted("door", load(port, pid, kind, seconds))
            noted("open", load(port, pid, "known", seconds, OPEN_PER_S))
        with door(changes=True) as (port, pid):
            noted("changing", load(port, pid, "known", seconds))
        if not why_not():
            with gdnsd() as (port, pid):
                noted("gdnsd", load(port, pid, "known", seconds))
        noted("dnspython", {"kind": "known", "per_cpu_s": by_dnspython(seconds)})
    figures["dns_answers_per_s"] = round(median("door", "known", "per_s"))
    figures["dns_answers_per_cpu_s"] = round(median("door", "known", "per_cpu_s"))
    figures["dns_first_answers_per_cpu_s"] = round(median("door", "new", "per_cpu_s"))
    figures["dns_denials_per_cpu_s"] = round(median("door", "denied", "per_cpu_s"))
    figures["dns_answers_per_cpu_s_while_nodes_change"] = round(median("changing", "known", "per_cpu_s"))
    learning = measure_learning(2 if quick else 10)
    runs.append({"who": "learning", "kind": "known", **learning})
    figures["dns_answers_per_cpu_s_while_learning"] = round(learning["answers_per_cpu_s"])
    lost = [1 - run["answered_count"] / run["sent_count"] for run in runs if run["who"] == "open"]
    figures[f"dns_lost_percent_at_{OPEN_PER_S}_per_s"] = round(100 * statistics.median(lost), 3)
    figures[f"dns_p50_ms_at_{OPEN_PER_S}_per_s"] = round(median("open", "known", "p50_ms"), 3)
    figures[f"dns_p99_ms_at_{OPEN_PER_S}_per_s"] = round(median("open", "known", "p99_ms"), 3)
    peers["dnspython"] = {"dns_answers_per_cpu_s": round(median("dnspython", "known", "per_cpu_s"))}
    if why_not():
        absent["gdnsd"] = why_not()
    else:
        peers["gdnsd"] = {
            "dns_answers_per_s": round(median("gdnsd", "known", "per_s")),
            "dns_answers_per_cpu_s": round(median("gdnsd", "known", "per_cpu_s")),
        }
    return Part(
        figures=figures,
        required=dict.fromkeys(
            ("dns_answers_per_s", "dns_answers_per_cpu_s", "dns_answers_per_cpu_s_while_learning"),
            (">=", 10000),
        ),
        runs=runs,
        peers=peers,
        absent=absent,
        packages=("dnspython",),
    )


def main():
    flags = arguments(__doc__)
    part = measure(quick=flags.quick)
    return finish(
        flags.json, figures=part.figures, required=part.required, packages=part.packages, runs=part.runs,
        peers=part.peers, absent=part.absent,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
