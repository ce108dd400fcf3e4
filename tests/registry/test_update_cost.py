import pytest

from registry.catalog import Catalog
from registry.publish import publish
from registry.store.memory import MemoryStore
from registry.update_cost import update_cost


@pytest.fixture
def manifests(gguf_bytes, store: MemoryStore, tmp_path):
    for version, template in (("1", "first"), ("2", "second")):
        (tmp_path / "model.gguf").write_bytes(gguf_bytes(template=template))
        publish(tmp_path / "model.gguf", name="m", version=version, store=store, created_unix_s=0)
    return [Catalog(store).manifest("m", version)[1] for version in "12"]


def test_an_edited_template_costs_its_chunk_and_the_manifest(manifests):
    cost = update_cost(*manifests, manifest_bytes=900, delta_bytes=None, range_bytes=1000)
    assert (cost.new_chunks_count, cost.pack_requests_count, cost.requests_count) == (1, 1, 2)
    assert cost.fetched_bytes == 900 + cost.pack_bytes
    assert cost.pack_bytes == cost.new_stored_bytes < cost.new_raw_bytes < 1000
    assert cost.same_chunks_count == len(manifests[1].chunks) - 1


def test_a_delta_is_all_that_is_fetched(manifests):
    cost = update_cost(*manifests, manifest_bytes=900, delta_bytes=2500, range_bytes=1000)
    assert (cost.fetched_bytes, cost.requests_count) == (2500, 3)


def test_the_same_costs_its_manifest(manifests):
    cost = update_cost(manifests[0], manifests[0], manifest_bytes=900, delta_bytes=None, range_bytes=1000)
    assert (cost.fetched_bytes, cost.requests_count, cost.new_chunks_count) == (900, 1, 0)
