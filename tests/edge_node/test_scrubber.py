import pytest

from edge_node.install import install
from edge_node.model_store import ModelStore
from edge_node.peers import Exchange
from edge_node.scrubber import Scrubber
from edge_node.supervisor import Clock
from edge_node.telemetry import Metrics
from origin.errors import OriginUnreachableError
from registry.progress import ignore_progress

A, B = bytes(range(256)) * 1000, bytes(range(255, -1, -1)) * 1000


class Pausing:
    def __init__(self):
        self.slept_s = 0.0

    async def sleep(self, pause_s):
        self.slept_s += pause_s


@pytest.fixture
async def node(tmp_path, scripted_origin, trust):
    """A scrubber over chat@1 on the disk; what it mended."""
    store = ModelStore(tmp_path).open()

    async def nothing():
        raise AssertionError

    wanted = scripted_origin.publish("chat", "1", [A, B])
    installed = await install(
        wanted, source=scripted_origin, trust=trust, store=store, local=(), evict=nothing, progress=ignore_progress,
        concurrency_count=1,
    )  # fmt: skip
    mended, pausing = [], Pausing()

    async def note(release, replaced):
        mended.append((release.name, replaced))

    metrics, exchange = Metrics(node_id="a", software="0"), Exchange("a")
    scrubber = Scrubber(
        installed=store.installed, source=scripted_origin, exchange=exchange, mended=note, metrics=metrics,
        clock=Clock(now_s=lambda: 0.0, sleep=pausing.sleep), bytes_per_s=100_000, pause_s=10.0,
    )  # fmt: skip
    yield scrubber, installed.release, mended, metrics, pausing
    await exchange.book.close()
    store.close()


async def test_what_is_whole_is_read_slowly_and_left_alone(node, scripted_origin):
    scrubber, _, mended, _, pausing = node
    before_count = scripted_origin.requests_count
    await scrubber.round()
    assert pausing.slept_s == pytest.approx((len(A) + len(B)) / 100_000)
    assert (mended, scripted_origin.requests_count) == ([], before_count)


async def test_what_rotted_is_mended_with_the_chunks_that_it_needs(node, scripted_origin):
    scrubber, release, mended, metrics, _ = node
    place = release.files_dir / "model.gguf"
    before = place.read_bytes()
    place.write_bytes(before[:-1] + b"X")
    before_count = scripted_origin.requests_count
    await scrubber.round()
    assert place.read_bytes() == before == A + B
    assert mended == [("chat", ("model.gguf",))]
    assert scripted_origin.requests_count == before_count + 1
    assert b"edge_artifact_verify_failures_total 1.0" in metrics.page()
    assert b"edge_artifact_repairs_total 1.0" in metrics.page()


async def test_without_a_source_damage_is_told_and_mended_later(node, scripted_origin):
    scrubber, release, mended, metrics, _ = node
    place = release.files_dir / "model.gguf"
    place.write_bytes(b"X" + place.read_bytes()[1:])
    scripted_origin.failure = OriginUnreachableError("away")
    await scrubber.round()
    assert mended == []
    assert b"edge_artifact_repairs_total 0.0" in metrics.page()
    scripted_origin.failure = None
    await scrubber.round()
    assert place.read_bytes() == A + B
