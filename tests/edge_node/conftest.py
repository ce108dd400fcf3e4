"""A scripted stand-in behind the seam `edge_node.residents`, and a real server of the node's front before it."""

from __future__ import annotations

import asyncio
import itertools
import struct
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp.test_utils import TestClient, TestServer

from edge_node.api.health import NodeStatus
from edge_node.cache.answers import AnswerCache
from edge_node.engines import (
    Delta,
    Embed,
    Embedded,
    Finished,
    Inferred,
    Ready,
    Score,
    Scored,
    Started,
    TensorSpec,
)
from edge_node.errors import EngineFailedError, ModelNotHereError
from edge_node.residents import ReadyModel
from edge_node.scheduler import Scheduler
from edge_node.server import Limits, NodeParts, build_app
from edge_node.telemetry import Metrics
from origin.api import Directive, ModelReport, WantedRelease
from registry.chunking import Extent
from registry.digest import digest_of
from registry.layout import pack_key
from registry.manifest import (
    Chunk,
    Manifest,
    Pack,
    Piece,
    ReleaseFile,
    Variant,
    encode_manifest,
    manifest_digest,
)
from registry.packing import encode_chunk
from registry.reference import parse_reference

HELLO = (
    Started(request_id="", prompt_tokens=7, cached_tokens=3, queue_s=0.001, prefill_s=0.02),
    Delta("", "Hel", 1),
    Delta("", "lo ✓", 2),
    Finished(request_id="", reason="stop", completion_tokens=3, decode_s=0.05),
)


@dataclass
class ScriptedLease:
    """Plays `script`: events are sent, gates (`asyncio.Event`) waited for, exceptions raised."""

    name: str
    version: str
    ready: Ready
    script: tuple = HELLO
    scripts: list = field(default_factory=list)  # for the next requests, before `script`
    commands: list = field(default_factory=list)
    ended: list = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def stamp(self):
        return f"{self.name}@{self.version} {self.ready.fingerprint}"

    async def generate(self, command):
        self.commands.append(command)
        self.asked.set()
        try:
            for step in self.scripts.pop(0) if self.scripts else self.script:
                if isinstance(step, asyncio.Event):
                    await step.wait()
                elif isinstance(step, Exception):
                    raise step
                else:
                    yield step
            self.ended.append("whole")
        except (GeneratorExit, asyncio.CancelledError):
            self.ended.append("cancelled")
            raise
        finally:
            self.stopped.set()

    async def embed(self, command):
        self.commands.append(command)
        for step in self.script:
            if isinstance(step, Exception):
                raise step
        rows = [(float(len(text)), 0.5, -0.25) for text in command.inputs]
        vectors = b"".join(struct.pack("<3f", *row) for row in rows)
        return Embedded(
            request_id=command.request_id, vectors=vectors, dims=3, prompt_tokens=5, service_s=0.01
        )

    async def compute(self, command):
        """Embeds; scores each text by its length; gives tensors back as they came."""
        if isinstance(command, Embed):
            return await self.embed(command)
        self.commands.append(command)
        if isinstance(command, Score):
            width = len(self.ready.labels) or 1
            rows = [float(len(text)) + column for text in command.texts for column in range(width)]
            return Scored(
                request_id=command.request_id, values=struct.pack(f"<{len(rows)}f", *rows), width=width,
                prompt_tokens=9, service_s=0.01, compute_s=0.005,
            )  # fmt: skip
        for step in self.script:
            if isinstance(step, Exception):
                raise step
        return Inferred(
            request_id=command.request_id, outputs=command.inputs, service_s=0.01, compute_s=0.005
        )


class ScriptedResidents:
    """`chat` (chat, completion), `team/embed` (embedding), `judge` (rerank), `classes`, `team/tensors`."""

    def __init__(self):
        self.chat = ScriptedLease(
            "chat",
            "1.2.0",
            Ready(
                abilities=("chat", "completion"),
                slots=1,
                context_tokens=512,
                load_s=0.1,
                fingerprint="fp_test",
            ),
        )
        self.embed = ScriptedLease(
            "team/embed",
            "2",
            Ready(
                abilities=("embedding",), slots=2, context_tokens=256, load_s=0.1, fingerprint="fp_e",
                embedding_dims=3,
            ),
        )  # fmt: skip
        shared = {"slots": 2, "context_tokens": 256, "load_s": 0.1, "fingerprint": "fp_t"}
        self.judge = ScriptedLease("judge", "1", Ready(abilities=("rerank", "tensors"), **shared))
        labels = ("bad", "good")
        self.classes = ScriptedLease(
            "classes", "1", Ready(abilities=("classification",), labels=labels, **shared)
        )
        spec = TensorSpec(name="x", datatype="FP32", shape=(-1, 2))
        self.tensors = ScriptedLease(
            "team/tensors", "3", Ready(abilities=("tensors",), inputs=(spec,), outputs=(spec,), **shared)
        )
        self.refusal = None
        self.held_count = 0

    @asynccontextmanager
    async def lease(self, model):
        if self.refusal is not None:
            raise self.refusal
        reference = parse_reference(model)
        for lease in (self.chat, self.embed, self.judge, self.classes, self.tensors):
            if lease.name == reference.name and reference.version in {None, lease.version}:
                break
        else:
            raise ModelNotHereError(f"this node does not serve {model!r}", param="model")
        self.held_count += 1
        try:
            yield lease
        finally:
            self.held_count -= 1

    def stamp(self, model):
        reference = parse_reference(model)
        for lease in (self.chat, self.embed):
            if self.refusal is None and (reference.name, reference.version or lease.version) == (
                lease.name,
                lease.version,
            ):
                return lease.stamp  # fmt: skip
        return None

    def ready_models(self):
        return tuple(
            ReadyModel(
                name=lease.name, version=lease.version, abilities=lease.ready.abilities,
                slots=lease.ready.slots, context_tokens=lease.ready.context_tokens, created_unix_s=1_700_000_000,
            )
            for lease in (self.chat, self.embed)
        )  # fmt: skip


@dataclass
class Front:
    """A node's front on a real port, with the parts behind it in reach."""

    residents: ScriptedResidents
    scheduler: Scheduler
    metrics: Metrics
    client: TestClient
    url: str
    cache: AnswerCache


def node_status(**changes):
    model = ModelReport(name="chat", version="1.2.0", state="ready", slots=1)
    facts = {"draining": False, "models": (model,), "origin_up": True, "origin_age_s": 0.5, **changes}
    return NodeStatus(**facts)


async def wait_until(true):
    """Give the loop away until `true()`; fails after 10 s."""
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110  # what is waited for happens in parts that have no event to offer
            await asyncio.sleep(0)


@pytest.fixture
def until():
    return wait_until


@pytest.fixture
def scripted():
    return ScriptedResidents()


@pytest.fixture
def hello():
    return HELLO


@pytest.fixture
def make_status():
    return node_status


@pytest.fixture
async def make_front(scripted):
    """Starts fronts; `make_front(limits=…, scheduler=…, status=…)`."""
    clients = []

    async def make(*, limits=None, scheduler=None, status=node_status, cache_bytes=0, tracing=None):
        ticks = itertools.count()
        cache = AnswerCache(limit_bytes=cache_bytes, age_limit_s=3600, clock=lambda: next(ticks) / 1000)
        parts = NodeParts(
            node_id="node-a",
            residents=scripted,
            scheduler=scheduler or Scheduler(queue_limit_count=4),
            metrics=Metrics(node_id="node-a", software="0"),
            status=status,
            limits=limits or Limits(),
            clock=lambda: next(ticks) / 1000,
            wall_clock=lambda: 1_800_000_000.5,
            cache=cache,
            tracing=tracing,
        )
        client = TestClient(TestServer(build_app(parts)), auto_decompress=False)
        await client.start_server()
        clients.append(client)
        return Front(scripted, parts.scheduler, parts.metrics, client, str(client.make_url("/v1")), cache)

    yield make
    for client in clients:
        await client.close()


@pytest.fixture
async def front(make_front):
    return await make_front()


# ---- a node without engines and without an origin: what test_{supervisor,runner,install,sync,daemon} stand on


class VirtualClock:
    """Time that stands still until it is moved; whoever sleeps wakes at its moment."""

    def __init__(self):
        self.time_s = 1000.0
        self.pauses_s = []
        self._sleepers = []

    def now_s(self):
        return self.time_s

    def sleep(self, pause_s):
        self.pauses_s.append(pause_s)
        return self._until(self.time_s + pause_s)  # counted from the call, not from the first await

    async def _until(self, due_s):
        if due_s > self.time_s:
            woken = asyncio.get_running_loop().create_future()
            self._sleepers.append((due_s, woken))
            await woken

    async def advance(self, pause_s):
        self.time_s += pause_s
        for due_s, woken in self._sleepers:
            if due_s <= self.time_s and not woken.done():
                woken.set_result(None)
        await settle()


async def settle():
    """Let everything that can go on go on; threads too."""
    for _ in range(20):
        await asyncio.sleep(0)


class ScriptedEngine:
    """An engine (`edge_node.supervisor.Engine`) that does what its maker says."""

    def __init__(self, spec, maker):
        self.spec = spec
        self.exited = asyncio.Event()
        self.closed_with_s = None
        self.commands = []
        self._maker = maker
        self._deaths = []

    @property
    def alive(self):
        return self.closed_with_s is None and not self.exited.is_set()

    async def start(self):
        version = self.spec.version
        if version in self._maker.load_gates:
            await self._maker.load_gates[version].wait()
        failures = self._maker.load_failures.get(version, [])
        if failures:
            raise failures.pop(0)
        return Ready(
            abilities=self._maker.abilities, slots=2, context_tokens=512, load_s=0.25,
            fingerprint=f"fp-{version}",
        )  # fmt: skip

    def memory_bytes(self):
        return 0

    def die(self):
        self.exited.set()
        for death in self._deaths:
            if not death.done():
                death.set_exception(EngineFailedError("the engine ended at work"))

    async def _work(self, command):
        """Die on poison; wait at the gate if there is one; fail when the engine dies meanwhile."""
        if not self.alive:
            raise EngineFailedError("the engine is not running")
        self.commands.append(command)
        if "poison" in str(command):
            self.die()
            raise EngineFailedError("the engine ended at work")
        gate = self._maker.work_gate
        if gate is not None and command.request_id != "warm-up":
            death = asyncio.get_running_loop().create_future()
            self._deaths.append(death)
            waiting = asyncio.ensure_future(gate.wait())
            try:
                await asyncio.wait({death, waiting}, return_when=asyncio.FIRST_COMPLETED)
                if death.done():
                    death.result()
            finally:
                waiting.cancel()
                death.cancel()

    async def generate(self, command):
        await self._work(command)
        identity = {"request_id": command.request_id}
        yield Started(prompt_tokens=20, cached_tokens=0, queue_s=0.0, prefill_s=0.1, **identity)
        yield Delta(command.request_id, f"by {self.spec.version}", 2)
        yield Finished(reason="stop", completion_tokens=2, decode_s=0.1, **identity)

    async def embed(self, command):
        await self._work(command)
        return Embedded(
            request_id=command.request_id, vectors=struct.pack("<f", 1.0) * len(command.inputs), dims=1,
            prompt_tokens=1, service_s=0.01,
        )  # fmt: skip

    async def compute(self, command):
        return await self.embed(command)

    async def close(self, grace_s):
        self.closed_with_s = grace_s
        self.die()


class ScriptedEngines:
    """Makes scripted engines; `load_failures` and `load_gates` are by version."""

    def __init__(self):
        self.made = []
        self.load_failures = {}
        self.load_gates = {}
        self.work_gate = None
        self.abilities = ("chat", "completion")

    def __call__(self, spec):
        self.made.append(ScriptedEngine(spec, self))
        return self.made[-1]


class ScriptedOrigin:
    """What a node needs of an origin: releases published in memory, and a word about which are wanted."""

    name = "origin"

    def __init__(self):
        self.packs = {}
        self.manifests = {}
        self.reports = []
        self.directive = Directive(wanted=None, heartbeat_s=1.0)
        self.failure = None
        self.range_gate = None
        self.requests_count = 0

    def publish(self, name, version, chunks, *, kind="gguf", created_unix_s=1_700_000_000):
        """Publish one file made of these chunks, or variants: a name to its chunks; returns what a directive says."""
        several = isinstance(chunks, dict)
        packs, rows, pieces, variants = [], [], [], []
        for variant, parts in (chunks if several else {"default": chunks}).items():
            offset = 0
            for raw in parts:  # each chunk in a pack of its own: one request each
                known = next(
                    (number for number, row in enumerate(rows) if row.digest == digest_of(raw)), len(rows)
                )
                if known == len(rows):
                    stored = encode_chunk(raw)
                    packs.append(Pack(digest_of(stored), len(stored)))
                    self.packs[pack_key(packs[-1].digest)] = stored
                    rows.append(Chunk(digest_of(raw), len(raw), known, 0, len(stored)))
                pieces.append(Piece(known, len(variants), (Extent(offset, len(raw)),)))
                offset += len(raw)
            path = f"{variant}/model.{kind}" if several else f"model.{kind}"
            file = ReleaseFile(path, offset, digest_of(b"".join(parts)))
            variants.append(Variant(name=variant, kind=kind, quantization=variant, files=(file,)))
        manifest = Manifest(
            name=name, version=version, created_unix_s=created_unix_s, variants=tuple(variants),
            packs=tuple(packs), chunks=tuple(rows), pieces=tuple(pieces),
        )  # fmt: skip
        self.manifests[name, version] = encoded = encode_manifest(manifest)
        return WantedRelease(name, version, manifest_digest(encoded))

    def wants(self, *wanted):
        self.directive = Directive(wanted=wanted, heartbeat_s=1.0)
        return self.directive

    async def report(self, report):
        self._check()
        self.reports.append(report)
        return self.directive

    async def manifest(self, name, version):
        self._check()
        return self.manifests[name, version]

    async def read_range(self, key, offset_bytes, length_bytes):
        self._check()
        self.requests_count += 1
        if self.range_gate is not None:
            await self.range_gate.wait()
        return self.packs[key][offset_bytes : offset_bytes + length_bytes]

    def _check(self):
        if self.failure is not None:
            raise self.failure


class EverythingAdmitted:
    """Admits what it is asked for, but for what a test says in `refusal`."""

    def __init__(self):
        self.refusal = None
        self.asked = []

    async def admit(self, wanted):
        self.asked.append(wanted)
        if self.refusal is not None:
            raise self.refusal


@pytest.fixture
def trust():
    return EverythingAdmitted()


@pytest.fixture
def virtual_clock():
    return VirtualClock()


@pytest.fixture
def scripted_engines():
    return ScriptedEngines()


@pytest.fixture
def scripted_origin():
    return ScriptedOrigin()


@pytest.fixture
def let_go_on():
    return settle
