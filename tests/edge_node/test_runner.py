from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from edge_node.arrivals import Arrival
from edge_node.engine_plan import RunnerLimits
from edge_node.engines import ChatMessage, Generate
from edge_node.errors import (
    DrainingError,
    EngineFailedError,
    ModelNotHereError,
    ModelNotReadyError,
    RequestInvalidError,
    SpaceMismatchError,
)  # fmt: skip
from edge_node.model_store import InstalledRelease
from edge_node.runner import Runner
from edge_node.supervisor import Clock
from origin.prefixes import kept_bytes, prompt_marks, unpack_sketch
from origin.prompt_text import turns_text
from registry.errors import FormatInvalidError


@pytest.fixture
async def runner(scripted_engines, virtual_clock):
    runner = Runner(
        build=scripted_engines,
        clock=Clock(now_s=virtual_clock.now_s, sleep=virtual_clock.sleep),
        channel="canary",
        limits=RunnerLimits(threads_count=1, context_tokens=256, swap_grace_s=3600),
    )
    yield runner
    await runner.close(0)


@pytest.fixture
def release(tmp_path):
    def release(version, name="chat", kind="gguf"):
        return InstalledRelease(
            name=name, version=version, directory=tmp_path / name / version, kind=kind, files=("model.gguf",),
            total_bytes=1, created_unix_s=1_700_000_000, manifest_sha256="0" * 64, content_sha256="0" * 64,
        )  # fmt: skip

    return release


async def ask(lease, text="hello"):
    command = Generate(request_id="1", messages=(ChatMessage(role="user", content=text),))
    events = [event async for event in lease.generate(command)]
    return events[1].text


async def version_of(runner, model):
    async with runner.lease(model) as lease:
        return lease.version


async def test_vectors_of_one_space_are_insisted_on(runner, release):
    old = replace(release("1", name="embed"), space_id="x")
    new = replace(release("2", name="embed"), space_id="y")
    assert await runner.activate(old)
    assert await version_of(runner, "embed#x") == await version_of(runner, "embed@1#x") == "1"
    for model in ("embed#y", "embed@1#y", "embed:canary#y"):
        with pytest.raises(SpaceMismatchError, match="vectors of the space x here, and not of y"):
            await version_of(runner, model)
        assert runner.stamp(model) is None
    with pytest.raises(RequestInvalidError, match="is not a space of vectors"):
        await version_of(runner, "embed#")
    assert await runner.activate(new)
    assert await version_of(runner, "embed") == "2"
    assert [model.space_id for model in runner.model_reports()] == ["y"]
    with pytest.raises(SpaceMismatchError, match="ask another node"):
        await version_of(runner, "embed#x")


async def test_two_variants_of_a_release_have_two_stamps(runner, release):
    """Their files have the same names; an answer of one, kept on the disk, is none of the other."""
    assert await runner.activate(replace(release("1"), variant="q4"))
    first = runner.stamp("chat")
    runner.retire(("chat", "1"))
    await runner.gone(("chat", "1"))
    assert await runner.activate(replace(release("1"), variant="q8"))
    assert runner.stamp("chat").rpartition(" ")[0] != first.rpartition(" ")[0]


async def test_an_active_release_is_leased_by_every_form_of_its_name(runner, release, scripted_engines):
    assert await runner.activate(release("1.2", name="team/chat"))
    for model in ("team/chat", "team/chat:canary", "team/chat@1.2"):
        async with runner.lease(model) as lease:
            assert (lease.name, lease.version, lease.ready.slots) == ("team/chat", "1.2", 2)
            assert await ask(lease) == "by 1.2"
    spec = scripted_engines.made[0].spec
    assert (spec.kind, spec.threads_count, spec.context_tokens) == ("llama", 1, 256)
    assert spec.model_dir.endswith("team/chat/1.2/files")
    (model,) = runner.ready_models()
    assert (model.name, model.abilities, model.created_unix_s) == (
        "team/chat", ("chat", "completion"), 1_700_000_000,
    )  # fmt: skip


@pytest.mark.parametrize("model", ["other", "chat:stable", "chat@9", "other@1"])
async def test_what_is_not_served_here_is_said_with_what_is(runner, release, model):
    await runner.activate(release("1"))
    with pytest.raises(ModelNotHereError) as refused:
        await version_of(runner, model)
    assert refused.value.param == "model"
    assert "chat@1" in refused.value.message or "canary" in refused.value.message


@pytest.mark.parametrize("model", ["../etc", "Chat", "", "chat@", "chat:a:b"])
async def test_what_is_no_name_is_refused_as_input(runner, model):
    with pytest.raises(RequestInvalidError) as refused:
        await version_of(runner, model)
    assert refused.value.param == "model"


async def test_a_release_on_its_way_answers_when_to_come_back(runner):
    runner.arrivals = lambda: (
        Arrival(name="chat", version="2", state="fetching", started_s=990.0, done_bytes=50, total_bytes=100),
    )
    with pytest.raises(ModelNotReadyError, match="50 %") as refused:
        await version_of(runner, "chat")
    assert refused.value.retry_after_s == pytest.approx(15.0)
    with pytest.raises(ModelNotReadyError):
        await version_of(runner, "chat@2")
    with pytest.raises(ModelNotHereError):
        await version_of(runner, "chat@1")


async def test_a_release_that_is_loading_answers_when_to_come_back(
    runner, release, scripted_engines, let_go_on
):
    scripted_engines.load_gates["1"] = asyncio.Event()
    activation = asyncio.create_task(runner.activate(release("1")))
    await let_go_on()
    with pytest.raises(ModelNotReadyError, match="being loaded") as refused:
        await version_of(runner, "chat")
    assert refused.value.retry_after_s >= 1
    assert [report.state for report in runner.model_reports()] == ["loading"]
    scripted_engines.load_gates["1"].set()
    assert await activation
    (report,) = runner.model_reports()
    assert (report.state, report.slots, report.load_s, report.prefill_tokens_per_s) == (
        "ready",
        2,
        0.25,
        200.0,
    )


async def test_a_new_version_takes_over_only_when_ready_and_old_answers_finish(
    runner, release, scripted_engines, let_go_on
):
    await runner.activate(release("1"))
    scripted_engines.load_gates["2"] = asyncio.Event()
    activation = asyncio.create_task(runner.activate(release("2")))
    await let_go_on()
    old = runner.lease("chat")
    held = await old.__aenter__()
    assert held.version == "1"
    scripted_engines.load_gates["2"].set()
    assert await activation
    assert runner.current() == {"chat": "2"}
    assert await version_of(runner, "chat") == "2"
    assert runner.resident() == {("chat", "1"): "retiring", ("chat", "2"): "ready"}
    with pytest.raises(ModelNotHereError):  # else explicit requests would keep the old one for ever
        await version_of(runner, "chat@1")
    assert await ask(held) == "by 1"
    await old.__aexit__(None, None, None)
    await runner.gone(("chat", "1"))
    assert runner.resident() == {("chat", "2"): "ready"}
    assert [report.version for report in runner.model_reports()] == ["2"]
    assert scripted_engines.made[0].closed_with_s is not None


async def test_an_old_version_whose_answers_never_end_is_cut_off(scripted_engines, virtual_clock, release):
    runner = Runner(
        build=scripted_engines, clock=Clock(now_s=virtual_clock.now_s, sleep=virtual_clock.sleep),
        channel="stable", limits=RunnerLimits(swap_grace_s=0),
    )  # fmt: skip
    await runner.activate(release("1"))
    async with runner.lease("chat") as lease:
        await runner.activate(release("2"))
        await runner.gone(("chat", "1"))
        with pytest.raises((EngineFailedError, ModelNotReadyError)):
            await ask(lease)
    await runner.close(0)


async def test_a_new_version_that_does_not_load_leaves_the_old_one_serving(
    runner, release, scripted_engines, virtual_clock
):
    await runner.activate(release("1"))
    scripted_engines.load_failures["2"] = [EngineFailedError("unknown architecture")]
    assert not await runner.activate(release("2"))
    assert await version_of(runner, "chat") == "1"
    reports = {report.version: report for report in runner.model_reports()}
    assert (reports["2"].state, reports["2"].detail) == ("failed", "unknown architecture")
    await virtual_clock.advance(5)  # the second attempt works
    assert await version_of(runner, "chat") == "2"


async def test_going_back_while_the_old_version_retires_needs_no_load(runner, release, scripted_engines):
    await runner.activate(release("1"))
    async with runner.lease("chat"):
        await runner.activate(release("2"))
        assert await runner.activate(release("1"))
        assert await version_of(runner, "chat") == "1"
    await runner.gone(("chat", "2"))
    assert runner.resident() == {("chat", "1"): "ready"}
    assert len(scripted_engines.made) == 2


async def test_a_retired_model_is_not_here_any_more(runner, release):
    await runner.activate(release("1"))
    runner.retire(("chat", "1"))
    await runner.gone(("chat", "1"))
    assert runner.current() == {}
    with pytest.raises(ModelNotHereError):
        await version_of(runner, "chat")
    assert await runner.activate(release("1"))


async def test_a_dead_engine_makes_the_model_not_ready_then_ready_again(
    runner, release, scripted_engines, let_go_on
):
    await runner.activate(release("1"))
    scripted_engines.load_gates["1"] = asyncio.Event()
    scripted_engines.made[0].die()
    await let_go_on()
    with pytest.raises(ModelNotReadyError, match="being loaded"):
        await version_of(runner, "chat")
    scripted_engines.load_gates["1"].set()
    await let_go_on()
    async with runner.lease("chat") as lease:
        assert await ask(lease) == "by 1"


async def test_a_kind_without_an_engine_is_refused_with_what_to_do(runner, release):
    with pytest.raises(FormatInvalidError, match="publish a GGUF or ONNX"):
        await runner.activate(release("1", kind="safetensors"))
    assert runner.resident() == {}


async def test_draining_refuses_new_requests_and_waits_for_running_ones(runner, release, let_go_on):
    await runner.activate(release("1"))
    async with runner.lease("chat") as lease:
        runner.drain()
        with pytest.raises(DrainingError):
            await version_of(runner, "chat")
        idle = asyncio.create_task(runner.idle())
        await let_go_on()
        assert not idle.done()
        assert await ask(lease) == "by 1"
    await idle


async def test_closing_ends_every_engine_retiring_ones_too(runner, release, scripted_engines):
    await runner.activate(release("1"))
    await runner.activate(release("1", name="embed"))
    async with runner.lease("chat"):
        await runner.activate(release("2"))
        await runner.close(1.5)
    assert [engine.closed_with_s for engine in scripted_engines.made] == [1.5, 1.5, 1.5]
    assert runner.resident() == {}


async def test_the_stamp_of_a_name_is_that_of_whoever_answers_it(runner, release):
    assert runner.stamp("chat") is None
    await runner.activate(release("1"))
    first = runner.stamp("chat")
    async with runner.lease("chat") as lease:
        assert lease.stamp == first == runner.stamp("chat:canary") == runner.stamp("chat@1")
    await runner.activate(release("2"))
    assert runner.stamp("chat") not in {None, first}  # another engine's fingerprint is in it
    assert [runner.stamp(model) for model in ("chat:stable", "chat@9", "../x", "other")] == [None] * 4
    runner.drain()
    assert runner.stamp("chat") is None


LONG = "You answer the harbour master's letters. " * 40


def kept_of(runner):
    marks = prompt_marks(turns_text([("user", LONG)]), salt=b"salt", client="", model="chat")
    (report,) = runner.model_reports()
    return kept_bytes(marks, unpack_sketch(report.prefixes))


async def test_what_an_engine_has_read_is_reported_until_it_is_gone(runner, release, scripted_engines, until):
    await runner.activate(release("1"))
    scripted_engines.remembered_tokens = 1000
    async with runner.lease("chat") as lease:
        await ask(lease, LONG)
        assert kept_of(runner) == 0, "no salt was told"
        runner.salt_marks(b"salt")
        await ask(lease, LONG)
    assert kept_of(runner) > 1000
    scripted_engines.made[0].die()
    await until(lambda: len(scripted_engines.made) == 2 or not runner.model_reports()[0].prefixes)
    assert kept_of(runner) == 0


async def test_releases_that_come_later_are_salted_too(runner, release, scripted_engines):
    runner.salt_marks(b"salt")
    scripted_engines.remembered_tokens = 1000
    await runner.activate(release("1"))
    async with runner.lease("chat") as lease:
        await ask(lease, LONG)
        assert kept_of(runner) > 1000
