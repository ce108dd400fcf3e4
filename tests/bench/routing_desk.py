"""Ranked lists for each second of CPU on a clock of the benchmark's own: routing_http without its sockets.

On a busy machine a server gets a part of a core, and what it does each second whatever is asked (heartbeats of 200
nodes, 1,600 round trips learned) is shared by fewer lists than on an idle one. Here the clock moves by the requests:
5,000 a second go through `origin.web.route_desk` as bytes, each with a signature of its own, with the heartbeats and
fits that belong to that second.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

RATE_PER_S = 5000


class Clock:
    now_s = 0.0

    def __call__(self):
        return self.now_s


class Client:
    answers_count = 0

    def answered(self, response):
        self.answers_count += 1

    def left(self, data):
        raise RuntimeError("a request was left to aiohttp")


def measure_desk(seconds):
    """Lists for each second of CPU: with all that belongs to them, and of the requests alone."""
    from routing_http import requests
    from routing_live import Beats, Life
    from routing_servers import origin_context, reports

    from origin.web.route_desk import RouteDesk

    life, clock = Life(), Clock()
    context = dataclasses.replace(origin_context(life.whereabouts), now_s=clock)
    beats = Beats(life, reports())
    for each in beats.different:
        context.fleet.accept(each, 0.0)
        life.hear(each, 0.0)
    client, asked = Client(), requests(1)
    desk = RouteDesk(context, lambda finish: None)
    spent_s = {"answering": 0.0, "beating": 0.0, "learning": 0.0, "fitting": 0.0}
    took_s = []
    warm_count, count = 2 * RATE_PER_S, int(seconds * RATE_PER_S)
    for number in range(warm_count + count):
        if number == warm_count:
            spent_s = dict.fromkeys(spent_s, 0.0)
        clock.now_s += 1 / RATE_PER_S
        for each in beats.due(clock.now_s):
            begun_s = time.process_time()
            context.fleet.accept(each, clock.now_s)
            accepted_s = time.process_time()
            life.hear(each, clock.now_s)
            spent_s["beating"] += accepted_s - begun_s
            spent_s["learning"] += time.process_time() - accepted_s
        begun_s = time.process_time()
        life.fit(clock.now_s)
        fitted_s = time.process_time()
        if not desk.take(asked[number % len(asked)], "127.0.0.1", client):
            raise RuntimeError("a request was not answered on the fast way")
        desk.finish()
        answered_s = time.process_time()
        spent_s["fitting"] += fitted_s - begun_s
        spent_s["answering"] += answered_s - fitted_s
        took_s.append(answered_s - fitted_s)
    if client.answers_count != warm_count + count:
        raise RuntimeError(f"{client.answers_count} answers to {warm_count + count} requests")
    took_s = sorted(took_s[warm_count:])
    return {
        "lists_per_cpu_s": count / sum(spent_s.values()),
        "lists_alone_per_cpu_s": count / spent_s["answering"],
        "p50_ms": 1000 * took_s[count // 2],
        "p99_ms": 1000 * took_s[count * 99 // 100],
        "spent_us_a_list": {name: 1e6 * value / count for name, value in spent_s.items()},
    }


if __name__ == "__main__":
    print(measure_desk(float(sys.argv[1]) if len(sys.argv) > 1 else 5.0))
