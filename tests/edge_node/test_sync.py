from __future__ import annotations

import asyncio

import pytest

from edge_node.engine_plan import RunnerLimits
from edge_node.errors import EngineFailedError
from edge_node.model_store import ModelStore
from edge_node.runner import Runner
from edge_node.supervisor import Clock
from edge_node.sync import Sync, SyncLimits
from edge_node.telemetry import Metrics
from origin.errors import OriginUnreachableError
from registry.errors import DiskFullError, TrustExpiredError

A, B, C = (bytes([letter]) * 100_000 for letter in b"abc")


class Node:
    """A node's disk, runner and sync; `restart` is what a new process finds after any end of this one."""

    def __init__(self, data_dir, origin, engines, clock, trust):
        self.data_dir, self.origin, self.engines, self.clock = data_dir, origin, engines, clock
        self.trust = trust
        self.store = self.runner = self.sync = self.task = None

    async def start(self):
        clock = Clock(now_s=self.clock.now_s, sleep=self.clock.sleep)
        self.store = ModelStore(self.data_dir).open()
        self.runner = Runner(build=self.engines, clock=clock, channel="stable", limits=RunnerLimits())
        self.sync = Sync(
            source=self.origin, trust=self.trust, store=self.store, runner=self.runner,
            metrics=Metrics(node_id="a", software="0"), clock=clock, limits=SyncLimits(unwanted_keep_s=60),
        )  # fmt: skip
        await self.sync.restore()
        self.task = asyncio.create_task(self.sync.run())

    async def stop(self):
        self.task.cancel()
        await asyncio.wait([self.task])
        await self.runner.close(0)
        self.store.close()

    async def restart(self):
        await self.stop()
        await self.start()

    def hears(self, *wanted):
        self.sync.heard(self.origin.wants(*wanted))

    def states(self):
        return {f"{it.name}@{it.version}": it.state for it in self.sync.model_reports()}

    def detail(self, version):
        return next(it.detail for it in self.sync.model_reports() if it.version == version)

    def on_disk(self):
        return [f"{it.name}@{it.version}" for it in self.store.installed()]

    async def until(self, true):
        """Let work in threads come back; a node that does not get there fails the test by its own limit."""
        async with asyncio.timeout(20):
            while not true():  # noqa: ASYNC110  # files and threads give no event to wait for
                await asyncio.sleep(0.005)

    async def until_states(self, **states):
        wanted = {name.replace("_", "@"): state for name, state in states.items()}
        try:
            await self.until(lambda: self.states() == wanted)
        except TimeoutError:
            pytest.fail(f"wanted {wanted}, and it is {self.states()}")


@pytest.fixture
async def node(tmp_path, scripted_origin, scripted_engines, virtual_clock, trust):
    node = Node(tmp_path / "node", scripted_origin, scripted_engines, virtual_clock, trust)
    await node.start()
    yield node
    await node.stop()


async def test_what_is_wanted_is_fetched_and_served(node, scripted_origin):
    node.hears(
        scripted_origin.publish("chat", "1", [A, B]), scripted_origin.publish("embed", "7", [C], kind="onnx")
    )
    await node.until_states(chat_1="ready", embed_7="ready")
    assert node.on_disk() == ["chat@1", "embed@7"]
    assert sorted(engine.spec.kind for engine in node.engines.made) == ["llama", "onnx"]
    assert not node.store.path("chat", "1").parent.joinpath(".partial-1").exists()


async def test_a_new_version_fetches_only_what_is_new_and_takes_over(node, scripted_origin):
    node.hears(scripted_origin.publish("chat", "1", [A, B]))
    await node.until_states(chat_1="ready")
    pulled = {}
    node.sync._metrics.artifact_pulled = lambda *, source, pulled_bytes: pulled.update({source: pulled_bytes})
    node.hears(scripted_origin.publish("chat", "2", [A, C]))
    await node.until_states(chat_1="on_disk", chat_2="ready")
    assert pulled["local"] == 100_000
    assert node.runner.current() == {"chat": "2"}


async def test_the_version_before_stays_for_a_way_back_and_older_ones_go(node, scripted_origin):
    for version, chunk in (("1", A), ("2", B), ("3", C)):
        node.hears(scripted_origin.publish("chat", version, [chunk]))
        await node.until(lambda version=version: node.states().get(f"chat@{version}") == "ready")
    await node.until(lambda: node.on_disk() == ["chat@2", "chat@3"])
    requests_count = scripted_origin.requests_count
    node.hears(scripted_origin.publish("chat", "2", [B]))  # rolled back
    await node.until_states(chat_2="ready", chat_3="on_disk")
    assert scripted_origin.requests_count == requests_count


async def test_progress_is_told_while_fetching(node, scripted_origin):
    scripted_origin.range_gate = asyncio.Event()
    node.hears(scripted_origin.publish("chat", "1", [A, B]))
    await node.until(lambda: scripted_origin.requests_count)
    (report,) = node.sync.model_reports()
    assert report.state == "fetching"
    (arrival,) = node.runner.arrivals()
    assert arrival.name == "chat"
    scripted_origin.range_gate.set()
    await node.until_states(chat_1="ready")


async def test_a_restart_without_the_origin_serves_what_served(node, scripted_origin):
    node.hears(scripted_origin.publish("chat", "1", [A]))
    await node.until_states(chat_1="ready")
    await node.until(lambda: node.store.recall().served == {"chat": ("1",)})
    scripted_origin.failure = OriginUnreachableError("away")
    await node.restart()
    await node.until_states(chat_1="ready")


async def test_a_restart_in_the_middle_of_an_update_serves_the_old_version_and_goes_on(node, scripted_origin):
    node.hears(scripted_origin.publish("chat", "1", [A]))
    await node.until(lambda: node.store.recall().served == {"chat": ("1",)})
    scripted_origin.range_gate = asyncio.Event()
    node.hears(scripted_origin.publish("chat", "2", [B]))
    await node.until(lambda: scripted_origin.requests_count == 2)
    await node.until(lambda: node.store.recall().wanted[0].version == "2")
    await node.restart()
    await node.until(lambda: node.states() == {"chat@1": "ready", "chat@2": "fetching"})
    scripted_origin.range_gate.set()
    await node.until_states(chat_1="on_disk", chat_2="ready")


async def test_a_release_that_was_fetched_but_never_served_is_loaded_after_a_restart(
    node, scripted_origin, scripted_engines
):
    scripted_engines.load_gates["1"] = asyncio.Event()
    node.hears(scripted_origin.publish("chat", "1", [A]))
    await node.until_states(chat_1="loading")
    await node.until(lambda: node.store.recall().wanted is not None)
    scripted_origin.failure = OriginUnreachableError("away")
    scripted_engines.load_gates.clear()
    await node.restart()
    await node.until_states(chat_1="ready")


async def test_an_origin_that_cannot_say_changes_nothing(node, scripted_origin, let_go_on):
    node.hears(scripted_origin.publish("chat", "1", [A]))
    await node.until_states(chat_1="ready")
    node.sync.heard(type(scripted_origin.directive)(wanted=None, heartbeat_s=1.0))
    await let_go_on()
    assert node.states() == {"chat@1": "ready"}


async def test_what_is_not_wanted_any_more_is_unloaded_and_later_removed(
    node, scripted_origin, virtual_clock
):
    node.hears(scripted_origin.publish("chat", "1", [A]))
    await node.until_states(chat_1="ready")
    node.hears()
    await node.until_states(chat_1="on_disk")
    assert node.on_disk() == ["chat@1"]
    await virtual_clock.advance(60)
    await node.until(lambda: node.on_disk() == [])
    assert node.states() == {}


async def test_a_failed_fetch_is_told_and_tried_again(node, scripted_origin, virtual_clock):
    wanted = scripted_origin.publish("chat", "1", [A])
    scripted_origin.failure = OriginUnreachableError("the line is cut")
    node.hears(wanted)
    await node.until_states(chat_1="failed")
    assert node.detail("1") == "the line is cut"
    scripted_origin.failure = None
    await virtual_clock.advance(1)
    await node.until_states(chat_1="ready")


async def test_a_full_disk_is_told_frees_the_way_back_and_the_old_version_serves(
    node, scripted_origin, virtual_clock, monkeypatch
):
    for version, chunk in (("1", A), ("2", B)):
        node.hears(scripted_origin.publish("chat", version, [chunk]))
        await node.until(lambda version=version: node.states().get(f"chat@{version}") == "ready")
    await node.until_states(chat_1="on_disk", chat_2="ready")
    scripted_origin.failure = DiskFullError("no room left")
    node.hears(scripted_origin.publish("chat", "3", [C]))
    await node.until_states(chat_2="ready", chat_3="failed")
    assert node.detail("3") == "no room left"
    await node.until(lambda: node.on_disk() == ["chat@2"])
    scripted_origin.failure = None
    await virtual_clock.advance(1)
    await node.until_states(chat_2="on_disk", chat_3="ready")


async def test_a_kind_that_nothing_serves_fails_with_what_to_do_and_others_serve(node, scripted_origin):
    node.hears(
        scripted_origin.publish("raw", "1", [A], kind="safetensors"),
        scripted_origin.publish("chat", "1", [B]),
    )
    await node.until_states(chat_1="ready", raw_1="failed")
    assert "GGUF or ONNX" in next(it.detail for it in node.sync.model_reports() if it.name == "raw")


async def test_a_name_that_leads_elsewhere_harms_nothing(node, scripted_origin):
    good = scripted_origin.publish("chat", "1", [A])
    evil = type(good)("../../evil", "1", "0" * 64)
    scripted_origin.manifests["../../evil", "1"] = scripted_origin.manifests["chat", "1"]
    node.hears(evil, good)
    await node.until(lambda: node.states().get("chat@1") == "ready")
    assert node.on_disk() == ["chat@1"]


async def test_a_fetch_of_what_is_not_wanted_any_more_stops_and_leaves_nothing(node, scripted_origin):
    scripted_origin.range_gate = asyncio.Event()
    node.hears(scripted_origin.publish("chat", "1", [A]))
    await node.until(lambda: scripted_origin.requests_count)
    model_dir = node.store.path("chat", "1").parent
    assert list(model_dir.iterdir()) != []
    node.hears()
    await node.until(lambda: list(model_dir.iterdir()) == [])
    assert node.states() == {}


async def test_a_release_that_does_not_load_because_the_disk_garbled_it_is_fetched_again(
    node, scripted_origin, scripted_engines
):
    node.hears(scripted_origin.publish("chat", "1", [A, B]))
    await node.until_states(chat_1="ready")
    await node.until(lambda: node.store.recall().served == {"chat": ("1",)})
    with (node.store.path("chat", "1") / "files" / "model.gguf").open("r+b") as file:
        file.write(b"X")
    scripted_engines.load_failures["1"] = [EngineFailedError("bad magic")]
    await node.restart()
    await node.until_states(chat_1="ready")
    assert (node.store.path("chat", "1") / "files" / "model.gguf").read_bytes() == A + B


async def test_a_release_that_does_not_load_though_whole_stays_and_is_told(
    node, scripted_origin, scripted_engines
):
    scripted_engines.load_failures["1"] = [EngineFailedError("unknown architecture")]
    node.hears(scripted_origin.publish("chat", "1", [A]))
    await node.until_states(chat_1="failed")
    assert node.detail("1") == "unknown architecture"
    assert node.on_disk() == ["chat@1"]


async def test_other_bytes_under_the_same_version_replace_what_serves(node, scripted_origin):
    node.hears(scripted_origin.publish("chat", "1", [A]))
    await node.until_states(chat_1="ready")
    node.hears(scripted_origin.publish("chat", "1", [B]))
    await node.until(lambda: len(node.engines.made) == 2)
    await node.until_states(chat_1="ready")
    assert (node.store.path("chat", "1") / "files" / "model.gguf").read_bytes() == B


async def test_what_is_not_signed_is_not_fetched_what_serves_goes_on_and_a_signature_mends_it(
    node, scripted_origin, virtual_clock, trust
):
    node.hears(scripted_origin.publish("chat", "1", [A]))
    await node.until_states(chat_1="ready")
    requests_count = scripted_origin.requests_count
    trust.refusal = TrustExpiredError("timestamp.json has expired")
    node.hears(scripted_origin.publish("chat", "2", [B]))
    await node.until_states(chat_1="ready", chat_2="failed")
    assert node.detail("2") == "timestamp.json has expired"
    assert scripted_origin.requests_count == requests_count
    trust.refusal = None
    await virtual_clock.advance(1)
    await node.until_states(chat_1="on_disk", chat_2="ready")


async def test_a_restart_serves_what_is_installed_whatever_the_signatures_say(node, scripted_origin, trust):
    node.hears(scripted_origin.publish("chat", "1", [A]))
    await node.until_states(chat_1="ready")
    await node.until(lambda: node.store.recall().served == {"chat": ("1",)})
    trust.refusal = TrustExpiredError("timestamp.json has expired")
    await node.restart()
    await node.until_states(chat_1="ready")


async def test_an_engine_is_started_anew_only_when_its_own_file_was_mended(
    node, scripted_origin, scripted_engines
):
    node.hears(scripted_origin.publish("chat", "1", [A]))
    await node.until_states(chat_1="ready")
    (release,) = node.sync.installed()
    await node.sync.mended(release, ["README.md"])
    assert len(scripted_engines.made) == 1
    await node.sync.mended(release, release.files)
    await node.until(lambda: len(scripted_engines.made) == 2)
    await node.until_states(chat_1="ready")
    assert scripted_engines.made[0].closed_with_s is not None
