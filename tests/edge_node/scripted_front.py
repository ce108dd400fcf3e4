"""A scripted stand-in behind the seam `edge_node.residents`: two models that say what a test wrote."""

from __future__ import annotations

import asyncio
import struct
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edge_node.api.health import NodeStatus
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
from edge_node.errors import ModelNotHereError
from edge_node.residents import ReadyModel
from origin.api import ModelReport
from registry.reference import parse_reference

if TYPE_CHECKING:
    from aiohttp.test_utils import TestClient

    from edge_node.cache.answers import AnswerCache
    from edge_node.scheduler import Scheduler
    from edge_node.telemetry import Metrics

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
    comes_back: bool | asyncio.Event = True  # after an engine's death; an event: not before that
    waits_s: list = field(default_factory=list)

    space_id: str = ""

    @property
    def manifest_sha256(self):
        return f"sha-of-{self.name}-{self.version}"

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

    async def back(self, within_s):
        self.waits_s.append(within_s)
        if isinstance(self.comes_back, asyncio.Event):
            await self.comes_back.wait()
        return bool(self.comes_back)

    async def _embed(self, command):
        self.commands.append(command)
        for step in self.script:
            if isinstance(step, asyncio.Event):
                await step.wait()
            elif isinstance(step, Exception):
                raise step
        rows = [(float(len(text)), 0.5, -0.25) for text in command.inputs]
        vectors = b"".join(struct.pack("<3f", *row) for row in rows)
        return Embedded(
            request_id=command.request_id, vectors=vectors, dims=3, prompt_tokens=5, service_s=0.01
        )

    async def compute(self, command):
        """Embeds; scores each text by its length; gives tensors back as they came."""
        if isinstance(command, Embed):
            return await self._embed(command)
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
        self.load_s = 0.0
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

    def load_left_s(self, model):
        return self.load_s

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
