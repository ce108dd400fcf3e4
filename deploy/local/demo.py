"""The demo: publish, serve, ask from three places, update by a few bytes, lose a node; every claim is checked."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp

from deploy.bars import BytesBar, ServingBars
from deploy.local.network import SITES, LocalNetwork
from deploy.local.samples import chat_model, embedding_model
from deploy.local.story import StepFailedError, Story, expect
from deploy.sizes import human_bytes
from edge_node.client import AsyncClient
from origin.api import Place
from origin.build.retemplate import replace_chat_template
from origin.client import OriginClient
from registry.publish import PublishReport, publish

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.local.story import Step
    from edge_node.client.answers import Served
    from registry.trust.signed_store import SignedStore

_FETCHED = re.compile(
    r'^edge_artifact_pull_bytes_total\{[^}]*source="origin"[^}]*\} (?P<bytes>\S+)$', re.MULTILINE
)
_SERVE_TIMEOUT_S = 300.0
_FAILOVER_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Asker:
    """Somebody, somewhere, and the site that is nearest to them."""

    label: str
    place: Place
    nearest: str


ASKERS = (
    Asker("Paris", Place(48.85, 2.35), "frankfurt"),
    Asker("New York", Place(40.71, -74.01), "virginia"),
    Asker("Jakarta", Place(-6.21, 106.85), "singapore"),
)
QUESTION = "What is the capital of France? Answer in one short sentence."
NEW_SYSTEM_PROMPT = "You are a helpful assistant at the edge of the network. Answer briefly."


class Demo:
    """The story of one network, from its first release to the loss of a node."""

    def __init__(self, network: LocalNetwork, story: Story) -> None:
        self.network = network
        self.story = story
        self._store: SignedStore | None = None

    async def run(self) -> None:
        """Every step in order.

        Raises:
            EdgewardError: the first step that did not happen.
        """
        tell = self.story.tell
        await tell("start", "Start a real S3 server and an origin", self._start)
        await tell("publish", "Publish a chat model and an embedding model", self._publish)
        await tell("serve", "Three edge nodes join with single-use tokens, pull and serve", self._serve)
        await tell("ask", "Ask from three places", self._ask)
        await tell("embed", "Embed three sentences", self._embed)
        await tell("update", "Publish 1.1.0 with another chat template", self._update)
        await tell("fail_over", "Cut the power of one node", self._fail_over)

    async def _start(self, step: Step) -> None:
        self._store = await self.network.start_store()
        await self.network.start_origin()
        self.story.say(f"object store on port {self.network.ports.s3}, origin at {self.network.origin_url}")
        step.summary = "SeaweedFS and the origin answer"
        step.facts = {"origin": self.network.origin_url}

    async def _publish(self, step: Step) -> None:
        chat = await self._publish_one(chat_model(), "chat", "1.0.0")
        embed = await self._publish_one(embedding_model(), "embed", "1.0.0")
        expect(chat.outcome == embed.outcome == "published", "a fresh store already held these releases")
        total = chat.total_bytes + embed.total_bytes
        uploaded = chat.uploaded_bytes + embed.uploaded_bytes
        step.summary = f"{human_bytes(total)} of models in {human_bytes(uploaded)} of packs"
        step.facts = {"total_bytes": total, "uploaded_bytes": uploaded}

    async def _serve(self, step: Step) -> None:
        for index, site in enumerate(SITES):
            self.network.start_node(site, index)
        await self._until_serving([("chat", "1.0.0"), ("embed", "1.0.0")])
        async with OriginClient(self.network.origin_url) as origin:
            strangers = [
                view.report.node_id for view in (await origin.nodes()).nodes if not view.report.enrolled
            ]
        expect(not strangers, f"these report without a certificate: {strangers}")
        fetched = await self._fetched_bytes()
        for site in SITES:
            expect(fetched[site.node_id] > 0, f"{site.node_id} serves and has fetched nothing")
            self.story.say(
                f"{site.label:<10} fetched {human_bytes(fetched[site.node_id])} from the origin and serves both models"
            )
        step.summary = (
            f"{human_bytes(sum(fetched.values()))} fetched from the origin by the three, the rest from each other; "
            "verified and loaded by each"
        )
        step.facts = {"fetched_bytes": fetched}

    async def _ask(self, step: Step) -> None:
        answers = []
        for asker in ASKERS:
            served, text = await self._answer(asker)
            expect(
                served.node_id == asker.nearest,
                f"{asker.label} was answered by {served.node_id}, and {asker.nearest} is nearest",
            )
            answers.append(_facts(asker, served) | {"answer": text})
        step.summary = ", ".join(f"{fact['from']} → {fact['label']}" for fact in answers)
        step.facts = {"answers": answers}

    async def _embed(self, step: Step) -> None:
        sentences = ["A cat sat on the mat.", "A kitten rested on the rug.", "Interest rates rose in March."]
        async with AsyncClient(self.network.origin_url, place=ASKERS[0].place) as client:
            alike_a, alike_b, other = await client.embed(sentences, model="embed")
        near, far = _cosine(alike_a, alike_b), _cosine(alike_a, other)
        self.story.say(f"cosine of the two cats {near:.2f}, of a cat and the interest rates {far:.2f}")
        expect(near > far + 0.2, f"the embeddings make no sense: {near:.2f} against {far:.2f}")
        step.summary = f"{len(alike_a)} dimensions; cats {near:.2f}, cat and bank {far:.2f}"
        step.facts = {"dims": len(alike_a), "alike_cosine": near, "other_cosine": far}

    async def _update(self, step: Step) -> None:
        before = await self._fetched_bytes()
        edited = self.network.directory / "edited.gguf"
        source = chat_model()
        await asyncio.to_thread(replace_chat_template, source, edited, _with_system_prompt)
        report = await self._publish_one(edited, "chat", "1.1.0")
        await self._until_serving([("chat", "1.1.0")])
        after = await self._fetched_bytes()
        fetched = {node: after[node] - before[node] for node in after}
        served, _ = await self._answer(ASKERS[0])
        expect(
            served.release == "chat@1.1.0", f"the answer came from {served.release or 'an unnamed release'}"
        )
        most, whole = max(fetched.values()), source.stat().st_size
        expect(
            0 < most < whole / 100,
            f"a node fetched {most:,} bytes for an edited template of a {whole:,} byte file",
        )
        for site in SITES:
            self.story.say(f"{site.label:<10} fetched {human_bytes(fetched[site.node_id])} and changed over")
        step.summary = (
            f"{human_bytes(report.uploaded_bytes)} uploaded; {human_bytes(most)} a node (manifest included, "
            f"signatures not) for a {human_bytes(whole)} file"
        )
        step.facts = {"uploaded_bytes": report.uploaded_bytes, "fetched_bytes": fetched, "file_bytes": whole}

    async def _fail_over(self, step: Step) -> None:
        asker = ASKERS[0]
        async with AsyncClient(self.network.origin_url, place=asker.place) as client:
            first, _ = await self._stream(client, asker)
            self.network.kill_node(asker.nearest)
            self.story.say(f"{first.label} is gone (kill -9); the same client asks again at once")
            second, _ = await self._stream(client, asker)
        expect(second.node_id != asker.nearest, f"{asker.nearest} answered after its end")
        noticed_s = await self._until_down(asker.nearest)
        self.story.say(f"the origin called it down {noticed_s:.1f} s later")
        step.summary = f"the next request went to {second.label} at attempt {second.attempts}"
        step.facts = {
            "before": first.node_id, "after": second.node_id, "attempts": second.attempts,
            "ttft_ms": round(second.ttft_ms, 1), "down_noticed_s": round(noticed_s, 2),
        }  # fmt: skip

    async def _publish_one(self, path: Path, name: str, version: str) -> PublishReport:
        if self._store is None:
            raise StepFailedError("the object store was not started")
        with BytesBar(self.story.console, f"{name}@{version}") as bar:
            report = await asyncio.to_thread(
                publish, path, name=name, version=version, store=self._store,
                created_unix_s=int(time.time()), progress=bar.show,
            )  # fmt: skip
        self.story.say(
            f"{name}@{version}: {human_bytes(report.total_bytes)}, {report.chunks_count} chunks, "
            f"{report.new_chunks_count} of them new, {human_bytes(report.uploaded_bytes)} uploaded"
        )
        return report

    async def _until_serving(self, wanted: list[tuple[str, str]]) -> None:
        with ServingBars(self.story.console, wanted) as watch:
            await self.network.wait_until_serving(wanted, timeout_s=_SERVE_TIMEOUT_S, watch=watch.show)

    async def _answer(self, asker: Asker) -> tuple[Served, str]:
        async with AsyncClient(self.network.origin_url, place=asker.place) as client:
            return await self._stream(client, asker)

    async def _stream(self, client: AsyncClient, asker: Asker) -> tuple[Served, str]:
        async with client.stream_chat(QUESTION, model="chat", max_tokens=40, temperature=0) as stream:
            text = "".join([piece.text async for piece in stream]).strip()
        served = stream.served
        expect(bool(text), f"{asker.label} got an empty answer from {served.node_id}")
        self.story.say(
            f"[cyan]{asker.label:<9}[/cyan] {served.label:<10} {served.distance_km or 0:>6,.0f} km, "
            f"first token {served.ttft_ms:>4.0f} ms: [italic]{text}[/italic]"
        )
        return served, text

    async def _fetched_bytes(self) -> dict[str, float]:
        """What each running node says that it has fetched from the origin since it started."""
        fetched = {}
        async with OriginClient(self.network.origin_url) as origin, aiohttp.ClientSession() as http:
            for view in (await origin.nodes()).nodes:
                async with http.get(f"{view.report.url}/metrics") as page:
                    match = _FETCHED.search(await page.text())
                fetched[view.report.node_id] = float(match["bytes"]) if match else 0.0
        return fetched

    async def _until_down(self, node_id: str) -> float:
        started_s = time.monotonic()
        async with OriginClient(self.network.origin_url) as origin:
            while time.monotonic() - started_s < _FAILOVER_TIMEOUT_S:
                views = {view.report.node_id: view for view in (await origin.nodes()).nodes}
                if node_id not in views or views[node_id].state == "down":
                    return time.monotonic() - started_s
                await asyncio.sleep(0.1)
        raise StepFailedError(f"after {_FAILOVER_TIMEOUT_S:.0f} s the origin still counts on {node_id}")


def _facts(asker: Asker, served: Served) -> dict[str, object]:
    return {
        "from": asker.label, "node": served.node_id, "label": served.label, "distance_km": served.distance_km,
        "rtt_ms": round(served.rtt_ms, 1), "ttft_ms": round(served.ttft_ms, 1), "release": served.release,
    }  # fmt: skip


def _with_system_prompt(template: str) -> str:
    edited = re.sub(r"You are a helpful AI assistant[^<'\"]*", NEW_SYSTEM_PROMPT, template)
    expect(edited != template, "the sample model's chat template has no system prompt to change")
    return edited


def _cosine(left: list[float], right: list[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))  # the vectors have length 1
