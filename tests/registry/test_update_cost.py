import pytest

from registry.catalog import Catalog
from registry.layout import delta_key
from registry.manifest import manifest_digest, part_of
from registry.publish import VariantSource, publish
from registry.store.memory import MemoryStore
from registry.update_cost import delta_cost, update_cost


@pytest.fixture
def published(gguf_bytes, store: MemoryStore, tmp_path):
    """Two releases of two variants: their manifests, stored and read."""
    for version, template in (("1", "first"), ("2", "second " * 9000)):
        sources = []
        for number, name in enumerate(("q4", "q8")):
            path = tmp_path / f"{name}.gguf"
            path.write_bytes(gguf_bytes(seed=number, template=template))
            sources.append(VariantSource(path=path, name=name))
        publish(sources, name="m", version=version, store=store, created_unix_s=int(version))
    return [Catalog(store).manifest("m", version) for version in "12"]


@pytest.fixture
def parts(published):
    return [part_of(manifest) for _, manifest in published]


def test_an_edited_template_costs_its_chunk_and_the_manifest(published):
    base, new = (part_of(manifest, ["q4"]) for _, manifest in published)
    cost = update_cost(base, new, manifest_bytes=900, delta_bytes=None)
    assert (cost.pack_requests_count, cost.requests_count) == (1, 2)
    assert cost.fetched_bytes == 900 + cost.pack_bytes
    assert cost.pack_bytes == cost.new_stored_bytes < cost.new_raw_bytes
    assert cost.same_chunks_count == len(new.chunks) - cost.new_chunks_count
    assert cost.total_bytes == new.total_bytes < new.manifest.total_bytes


def test_a_delta_is_all_that_is_fetched(parts):
    cost = update_cost(*parts, manifest_bytes=900, delta_bytes=2500, delta_requests_count=3)
    assert (cost.fetched_bytes, cost.requests_count) == (2500, 3)


def test_the_same_costs_its_manifest(parts):
    cost = update_cost(parts[0], parts[0], manifest_bytes=900, delta_bytes=None)
    assert (cost.fetched_bytes, cost.requests_count, cost.new_chunks_count) == (900, 1, 0)


def test_a_variant_that_is_new_to_a_node_costs_what_the_others_do_not_have(published):
    (_, base), (_, new) = published
    cost = update_cost(part_of(base, ["q4"]), part_of(base, ["q8"]), manifest_bytes=0, delta_bytes=None)
    alone = update_cost(part_of(base, ()), part_of(new, ["q8"]), manifest_bytes=0, delta_bytes=None)
    assert 0 < cost.same_chunks_count < len(part_of(base, ["q8"]).chunks)
    assert alone.same_chunks_count == 0


def test_a_small_delta_is_read_in_one_request(published, parts, store):
    (base_data, base), (new_data, new) = published
    key = delta_key(manifest_digest(new_data), manifest_digest(base_data))
    length = store.head(key).length_bytes

    def read(offset, length_bytes):
        return store.get_range(key, offset, length_bytes)

    assert delta_cost(base_data, new_data, *parts, length, read) == (length, 1)
    some = part_of(base, ["q4"]), part_of(new, ["q4"])
    assert delta_cost(base_data, new_data, *some, length, read) == (length, 1)


def test_of_a_large_delta_one_variant_reads_its_part(published, parts, store, monkeypatch):
    monkeypatch.setattr("registry.delta._PART_START_BYTES", 16)
    (base_data, base), (new_data, new) = published
    key = delta_key(manifest_digest(new_data), manifest_digest(base_data))
    length = store.head(key).length_bytes
    some = part_of(base, ["q4"]), part_of(new, ["q4"])
    cost, requests = delta_cost(
        base_data, new_data, *some, length, lambda offset, size: store.get_range(key, offset, size)
    )
    assert cost <= length
    assert requests == 3  # the beginning, the rest of the head, the chunks
