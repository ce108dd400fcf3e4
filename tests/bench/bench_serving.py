"""A node under load beside llama.cpp's server and llama_cpp.server: speed, waiting, stalls, overload; in one run.

    python tests/bench/bench_serving.py [--quick] [--only SECTION,…] [--json FILE]

Everybody has the same model, two threads, the same context for each stream and the same prompts, and no answer ends
early. The servers are warm and take turns by the round, so that what else the machine does hits them alike. No prompt
is sent twice, so prefix caches decide nothing but where they are what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import sys
import time
from pathlib import Path

import structlog
from bench_report import finish
from serving_engine import bare_tokens_per_s, cancelled_in_chunks
from serving_load import ask, percentile, prompt_of, together
from serving_peers import STREAMS_COUNT, LlamaCppServer, Node, PeerAbsentError, Xllamacpp

SECTIONS = ("throughput", "mixed", "gaps", "prefix", "overhead", "cancel", "overload")
_seed = 0


def fresh(tokens_count):
    """A prompt that nobody has seen."""
    global _seed  # noqa: PLW0603 - a counter of this script
    _seed += 1
    return prompt_of(tokens_count, _seed)


class Bench:
    """The servers, and what is measured of them."""

    def __init__(self, *, quick):
        self.quick = quick
        self.servers, self.absent = {}, {}
        self.figures, self.required, self.runs = {}, {}, {}
        self.peers = {}

    def start(self, sections):
        """Start those that the sections need."""
        wanted = [Node()]
        if not {"throughput", "mixed", "gaps", "prefix"}.isdisjoint(sections):
            wanted.append(Xllamacpp())
        if "throughput" in sections:
            wanted.append(LlamaCppServer())
        for server in wanted:
            try:
                server.start()
            except PeerAbsentError as error:
                self.absent[server.name] = str(error)
                server.stop()
            else:
                self.servers[server.name] = server

    def stop(self):
        for server in self.servers.values():
            server.stop()

    def figure(self, name, value, relation=None, limit=None):
        self.figures[name] = round(value, 4)
        if relation:
            self.required[name] = (relation, limit)

    def note(self, server, name, value):
        (self.figures if server == "edgeward" else self.peers.setdefault(server, {}))[name] = round(value, 4)

    async def warm(self):
        for server in self.servers.values():
            await together(server, [fresh(20)], 8)

    async def throughput(self):
        """All streams begin at once and are equally long: tokens a second of all, and the waiting of the last."""
        tokens_count, rounds_count = (24, 1) if self.quick else (96, 4)
        speeds, first_s = {}, {}
        for round_number in range(rounds_count):
            for streams_count in (1, 4, STREAMS_COUNT):
                prompts = [fresh(40) for _ in range(streams_count)]
                for name, server in self.servers.items():
                    # One at a time is slow, and is only compared at 16: two rounds show it.
                    if name == "llama_cpp.server" and (streams_count < STREAMS_COUNT or round_number > 1):
                        continue
                    answers, speed = await together(server, prompts, tokens_count)
                    speeds.setdefault(name, {}).setdefault(streams_count, []).append(speed)
                    if streams_count == STREAMS_COUNT:
                        first_s.setdefault(name, []).extend(answer.ttft_s for answer in answers)
        self.runs["throughput"] = speeds
        for name, by_streams in speeds.items():
            for streams_count, samples in by_streams.items():
                self.note(name, f"tokens_per_s_{streams_count}", statistics.median(samples))
            self.note(name, "ttft_p99_16_s", percentile(first_s[name], 99))
        self._compare_speeds(speeds, first_s)

    def _compare_speeds(self, speeds, first_s):
        for peer, streams_count, limit in (
            ("xllamacpp", 1, 1.0), ("xllamacpp", 4, 1.0), ("xllamacpp", 16, 1.0), ("llama_cpp.server", 16, 1.3),
        ):  # fmt: skip
            if peer in speeds:
                rounds = zip(speeds["edgeward"][streams_count], speeds[peer][streams_count], strict=False)
                ratio = statistics.median(ours / theirs for ours, theirs in rounds)
                self.figure(f"tokens_per_s_{streams_count}_to_{peer}", ratio, ">=", limit)
        peer = "llama_cpp.server"
        if peer in first_s:
            ratio = percentile(first_s["edgeward"], 99) / percentile(first_s[peer], 99)
            self.figure(f"ttft_p99_16_to_{peer}", ratio, "<=", 0.25)

    async def mixed(self):
        """Sixteen streams, four of them with prompts of 1,500 tokens: how long until the first token."""
        longs_count, rounds_count = 1, 1 if self.quick else 3
        waits = {}
        for _ in range(rounds_count):
            for name in ("edgeward", "xllamacpp"):
                if name in self.servers:
                    brief, long = await self._mixed_round(self.servers[name], longs_count)
                    waits.setdefault(name, ([], []))[0].extend(brief)
                    waits[name][1].extend(long)
        self.runs["mixed"] = waits
        late_s = {}
        for name, (brief, long) in waits.items():
            late_s[name] = (
                percentile(brief, 99),
                percentile(brief + long, 99),
                statistics.mean(brief + long),
            )
            self.note(name, "mixed_short_ttft_p50_s", percentile(brief, 50))
            self.note(name, "mixed_short_ttft_p99_s", late_s[name][0])
            self.note(name, "mixed_all_ttft_p99_s", late_s[name][1])
            self.note(name, "mixed_long_ttft_p50_s", percentile(long, 50))
        if len(late_s) == 2:
            for place, what in enumerate(("short", "all")):
                ours, theirs = late_s["edgeward"][place], late_s["xllamacpp"][place]
                self.figure(f"mixed_{what}_ttft_p99_to_xllamacpp", ours / theirs, "<=", 0.5)

    @staticmethod
    async def _mixed_round(server, longs_count):
        working = asyncio.Event()
        brief, long = [], []

        async def with_long():
            long.extend([(await ask(server, fresh(1500), 16)).ttft_s for _ in range(longs_count)])

        async def with_brief():
            while not working.is_set():
                brief.append((await ask(server, fresh(40), 16)).ttft_s)

        async def longs():
            await asyncio.gather(*(with_long() for _ in range(4)))
            working.set()

        await asyncio.gather(longs(), *(with_brief() for _ in range(STREAMS_COUNT - 4)))
        return brief, long

    async def gaps(self):
        """Four answers run while prompts of 1,500 tokens arrive: the longest times between two of their tokens."""
        rounds_count = 1 if self.quick else 2
        late = {}
        for _ in range(rounds_count):
            for name in ("edgeward", "xllamacpp"):
                if name in self.servers:
                    late.setdefault(name, []).extend(await self._gaps_round(self.servers[name]))
        self.runs["gaps"] = late
        for name, gaps_s in late.items():
            self.note(name, "gap_p99_s", percentile(gaps_s, 99))
        if len(late) == 2:
            ours, theirs = (percentile(late[name], 99) for name in ("edgeward", "xllamacpp"))
            self.figure("gap_p99_to_xllamacpp", ours / theirs, "<=", 0.5)

    @staticmethod
    async def _gaps_round(server):
        running = [asyncio.create_task(ask(server, fresh(20), 250)) for _ in range(4)]
        await asyncio.sleep(1.0)
        started_s = time.perf_counter()
        for _ in range(2):
            await ask(server, fresh(1500), 1)
        ended_s = time.perf_counter()
        gaps_s = []
        for answer in await asyncio.gather(*running):
            times_s = answer.times_s
            gaps_s += [
                after - before
                for before, after in itertools.pairwise(times_s)
                if after > started_s and before < ended_s
            ]
        return gaps_s

    async def prefix(self):
        """A system prompt of 1,000 tokens, then another user's question after the same one."""
        ratios = {}
        for _ in range(2 if self.quick else 5):
            system = fresh(1000)
            for name in ("edgeward", "xllamacpp"):
                if name in self.servers:
                    first = await ask(self.servers[name], f"{system} {fresh(20)}", 4)
                    second = await ask(self.servers[name], f"{system} {fresh(20)}", 4)
                    ratios.setdefault(name, []).append((first.ttft_s, second.ttft_s))
        self.runs["prefix"] = ratios
        for name, pairs in ratios.items():
            value = statistics.median(second / first for first, second in pairs)
            self.note(name, "prefix_second_to_first_ttft", value)
        self.required["prefix_second_to_first_ttft"] = ("<=", 0.12)

    async def overhead(self):
        """The node over HTTP beside its engine alone, stepped in a loop by a script without sockets."""
        rounds = []
        for _ in range(1 if self.quick else 5):
            tokens_count = 24 if self.quick else 96
            prompts = [fresh(40) for _ in range(STREAMS_COUNT)]
            bare = await asyncio.to_thread(bare_tokens_per_s, [fresh(40) for _ in prompts], tokens_count)
            _, served = await together(self.servers["edgeward"], prompts, tokens_count)
            rounds.append((bare, served))
        self.runs["overhead"] = rounds
        self.figure("bare_engine_tokens_per_s", statistics.median(bare for bare, _ in rounds))
        self.figure(
            "overhead_of_node", statistics.median(1 - served / bare for bare, served in rounds), "<=", 0.03
        )

    async def cancel(self):
        chunks = [await cancelled_in_chunks(fresh(1500), fresh(8)) for _ in range(1 if self.quick else 3)]
        self.runs["cancel"] = chunks
        self.figure("cancel_in_prefill_chunks", max(chunks), "<=", 1.0)

    async def overload(self):
        """Four times as many clients as the node lets in, each coming back when it was told to."""
        node = Node(queue_limit_count=4)
        await asyncio.to_thread(node.start)
        duration_s, rounds_count = (6.0, 1) if self.quick else (8.0, 4)
        rounds, refusals_s = [], []
        try:
            await together(node, [fresh(20)], 8)
            for _ in range(rounds_count):  # by turns: the machine is not equally quick for a minute
                peak, _ = await self._crowd(node, STREAMS_COUNT, duration_s)
                loaded, refused_s = await self._crowd(node, 4 * STREAMS_COUNT, duration_s)
                rounds.append({"peak": peak, "loaded": loaded, "refusals_s": refused_s})
                refusals_s += refused_s
        finally:
            await asyncio.to_thread(node.stop)
        self.runs["overload"] = rounds
        self.figure("overload_refusals_count", len(refusals_s))
        self.figure(
            "overload_goodput_to_peak",
            statistics.median(each["loaded"] / each["peak"] for each in rounds),
            ">=",
            0.95,
        )
        self.figure("overload_refusal_p99_s", percentile(refusals_s, 99), "<=", 0.05)

    @staticmethod
    async def _crowd(server, clients_count, duration_s):
        """Tokens a second of answers that were completed within the time, and how long each refusal took."""
        ends_s = time.perf_counter() + duration_s
        done_tokens, refusals_s = 0, []

        async def client():
            nonlocal done_tokens
            while time.perf_counter() < ends_s:
                answer = await ask(server, fresh(40), 48)
                if answer.status == 429:
                    refusals_s.append(answer.end_s - answer.sent_s)
                    line = answer.headers.lower().split(b"retry-after-ms: ")[1]
                    await asyncio.sleep(int(line.split(b"\r")[0]) / 1000)
                else:
                    assert answer.status == 200, answer.headers
                    # Of an answer that ends late, the part within the time.
                    late = sum(1 for at_s in answer.times_s if at_s > ends_s)
                    done_tokens += answer.tokens_count * (1 - late / max(1, len(answer.times_s)))

        await asyncio.gather(*(client() for _ in range(clients_count)))
        return done_tokens / duration_s, refusals_s


async def measure(bench, sections):
    await bench.warm()
    for section in sections:
        started_s = time.perf_counter()
        await getattr(bench, section)()
        print(f"{section}: {time.perf_counter() - started_s:.0f} s", file=sys.stderr)
        print(bench.figures, bench.peers, file=sys.stderr, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer and shorter runs: to see that it works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result to FILE, too")
    parser.add_argument("--only", default=",".join(SECTIONS), help=f"of {', '.join(SECTIONS)}")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    bench = Bench(quick=options.quick)
    try:
        sections = options.only.split(",")
        bench.start(sections)
        asyncio.run(measure(bench, sections))
    finally:
        bench.stop()
    return finish(
        options.json, figures=bench.figures, required=bench.required, peers=bench.peers, absent=bench.absent,
        packages=["llama-cpp-python", "aiohttp"], runs=bench.runs,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
