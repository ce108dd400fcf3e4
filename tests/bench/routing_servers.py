"""The servers of routing_http, each in a process of its own: `python routing_servers.py KIND PORT CORE`.

`origin` is the real application with a fleet of 200 nodes, whose heartbeats, with the round trips that they tell of 8
networks each (`routing_live`), are taken in as fast as in life but not over HTTP; `bare` is aiohttp that reads the body
and answers the same bytes every time.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import sys
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from server_process import server_process

NODES_COUNT = 200
HEARTBEAT_S = 1.0


def origin_context(whereabouts):
    import structlog

    from origin.config import OriginConfig
    from origin.fleet import Fleet, FleetRules
    from origin.releases import Blobs, Releases
    from origin.route_keys import RouteKeys
    from origin.sharing.in_process import InProcessBus
    from origin.sharing.messages import OriginCard
    from origin.sharing.sharing import Sharing
    from origin.telemetry import Telemetry
    from origin.tickets import SEED_BYTES
    from origin.trust import TrustFiles
    from origin.web.context import Context
    from registry.trust.in_memory import signed_in_memory

    # As in production: lines of JSON, to a file that nobody reads here.
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(20),
        logger_factory=structlog.WriteLoggerFactory(file=Path(os.devnull).open("w")),  # noqa: SIM115
        cache_logger_on_first_use=True,
    )
    store = signed_in_memory()
    config = OriginConfig(heartbeat_s=HEARTBEAT_S)
    fleet = Fleet(FleetRules(heartbeat_s=HEARTBEAT_S))
    return Context(
        config,
        fleet,
        Releases(store, refresh_s=config.catalog_refresh_s, now_s=time.monotonic),
        Blobs(store),
        TrustFiles(store, renews=False, now_unix_s=time.time),
        Telemetry(),
        Sharing(InProcessBus(), fleet, OriginCard(origin_id="0" * 16, url=""), time.monotonic),
        RouteKeys(lambda: os.urandom(SEED_BYTES)),
        time.monotonic,
        whereabouts=whereabouts,
    )


def reports():
    from routing_decisions import CITIES_COUNT, places, report

    rng = random.Random(1)
    cities = places(rng, CITIES_COUNT)
    return [report(rng, number, cities, busy=(0, 1, 2, 3, 4, 6)) for number in range(NODES_COUNT)]


async def beat(fleet, life):
    """Every node reports once a second, evenly."""
    from routing_live import Beats

    beats, begun_s = Beats(life, reports()), time.monotonic()
    for each in beats.different:
        fleet.accept(each, time.monotonic())
        life.hear(each, time.monotonic())
    while True:
        for each in beats.due(time.monotonic() - begun_s):
            fleet.accept(each, time.monotonic())
            life.hear(each, time.monotonic())
        await asyncio.sleep(0.01)


def bare_app(answer):
    from aiohttp import web

    async def read_and_answer(request):
        await request.read()
        return web.Response(body=answer, content_type="application/msgpack")

    app = web.Application(handler_args={"access_log": None})
    app.router.add_post("/v1/route", read_and_answer)
    return app


def bare_answer():
    return Path(os.environ["BARE_ANSWER"]).read_bytes()


async def serve(kind, port):
    from aiohttp import web

    works = []
    if kind == "bare":
        runner = web.AppRunner(bare_app(bare_answer()))
    else:
        from routing_live import Life

        from origin.pauses import keep_short
        from origin.server import make_app, make_runner
        from origin.whereabouts import keep_known

        life = Life()
        context = origin_context(life.whereabouts)
        works.append(asyncio.create_task(beat(context.fleet, life)))
        works.append(asyncio.create_task(keep_known(life.whereabouts)))
        works.append(asyncio.create_task(keep_short()))
        runner = make_runner(make_app(context), stop_grace_s=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.sleep(0.1)
    gc.collect()
    print("ready", flush=True)
    await asyncio.Event().wait()
    works.clear()


server = partial(server_process, __file__)


if __name__ == "__main__":
    os.sched_setaffinity(0, {int(sys.argv[3])})
    asyncio.run(serve(sys.argv[1], int(sys.argv[2])))
