"""What a node stands on, scripted: time, engines, an origin and trust that do what a test says."""

from __future__ import annotations

import asyncio
import struct

from edge_node.engines import (
    Delta,
    Embedded,
    Finished,
    Ready,
    Started,
)
from edge_node.errors import EngineFailedError
from origin.api import Directive, WantedRelease
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
        self.held_bytes = 0
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
        return self.held_bytes

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
        remembered = self._maker.remembered_tokens
        yield Finished(
            reason="stop", completion_tokens=2, decode_s=0.1, remembered_tokens=remembered, **identity
        )

    async def compute(self, command):
        await self._work(command)
        return Embedded(
            request_id=command.request_id, vectors=struct.pack("<f", 1.0) * len(command.inputs), dims=1,
            prompt_tokens=1, service_s=0.01,
        )  # fmt: skip

    async def close(self, grace_s):
        self.closed_with_s = grace_s
        self.die()


class ScriptedEngines:
    """Makes scripted engines; `load_failures` and `load_gates` are by version."""

    def __init__(self):
        self.made = []
        self.remembered_tokens = 0
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
