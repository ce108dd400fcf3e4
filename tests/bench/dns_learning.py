"""Answers of the DNS door for each second of CPU while round trips are learned: on a clock of the benchmark's own.

10,000 questions a second of 2,000 known clients go through the door as bytes, over the real fleet, places and network
of an origin; to each second belong 200 heartbeats, which tell 1,600 round trips, and every fifth a fit.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

RATE_PER_S = 10_000


class Known:
    """Releases as `OriginKnowledge` asks for them."""

    def __init__(self, view):
        self.view = view


def measure_learning(seconds, nodes_count=200):
    """Answers for each second of CPU: with all that belongs to them, and of the questions alone."""
    from dns_load import questions
    from dns_server import Knowing
    from routing_live import Beats, Life

    from origin.dns.door import Door
    from origin.dns.knowledge import OriginKnowledge
    from origin.dns.records import Zone
    from origin.dns_settings import NameServer

    life, made = Life(), Knowing(nodes_count)
    knowing = OriginKnowledge(made.fleet, Known(made.releases), life.whereabouts)
    zone = Zone("route.example.org", (NameServer("ns1.route.example.org", ("127.0.0.1",)),))
    door = Door(zone, knowing, keep_s=3600)
    beats = Beats(life, made.reports)
    for each in beats.different:
        made.fleet.accept(each, 0.0)
        life.hear(each, 0.0)
    asked = [b"\0\1" + text for text in questions("known", 20_000)]
    spent_s, took_s, now_s = {}, [], 0.0
    warm_count, count = 4 * RATE_PER_S, int(seconds * RATE_PER_S)
    for number in range(warm_count + count):
        if number % warm_count == 0 and number <= warm_count:
            spent_s = {"answering": 0.0, "hearing": 0.0}
        now_s += 1 / RATE_PER_S
        begun_s = time.process_time()
        for each in beats.due(now_s):
            made.fleet.accept(each, now_s)
            life.hear(each, now_s)
        life.fit(now_s)
        heard_s = time.process_time()
        answer = door.answer(asked[number % len(asked)], b"\x7f\0\0\1", now_s, stream=False)
        answered_s = time.process_time()
        if answer is None or answer[3] & 15:
            raise RuntimeError(f"no answer to question {number}")
        spent_s["hearing"] += heard_s - begun_s
        spent_s["answering"] += answered_s - heard_s
        took_s.append(answered_s - heard_s)
    took_s = sorted(took_s[warm_count:])
    return {
        "answers_per_cpu_s": count / sum(spent_s.values()),
        "answers_alone_per_cpu_s": count / spent_s["answering"],
        "p50_ms": 1000 * took_s[count // 2],
        "p99_ms": 1000 * took_s[count * 99 // 100],
    }


if __name__ == "__main__":
    print(measure_learning(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0))
