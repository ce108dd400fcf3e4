import dataclasses

import pytest

from registry.catalog import Catalog
from registry.errors import InputInvalidError, ReleaseConflictError
from registry.manifest import Needs, decode_manifest, encode_manifest
from registry.publish import VariantSource, publish

HEADS = {
    "llama.embedding_length": 576,
    "llama.block_count": 30,
    "llama.attention.head_count": 9,
    "llama.attention.head_count_kv": 3,
}
"""Of SmolLM2-135M."""


@pytest.fixture
def put(store, tmp_path, gguf_bytes):
    """Publishes variants: a name to a seed."""

    def put(version="1", names=("q4", "q8"), *, seed=1, **more):
        sources = []
        for number, name in enumerate(names):
            path = tmp_path / f"{version}-{name}.gguf"
            path.write_bytes(gguf_bytes(seed=seed + number))
            sources.append(VariantSource(path=path, name=name))
        return publish(sources, name="chat", version=version, store=store, created_unix_s=int(seed), **more)

    return put


def test_one_publish_makes_a_release_of_several_variants(put, store):
    report = put()
    assert (report.outcome, report.variants) == ("published", ("q4", "q8"))
    _, manifest = Catalog(store).manifest("chat", "1")
    assert [variant.name for variant in manifest.variants] == ["q4", "q8"]
    assert [file.path for file in manifest.files] == ["q4/1-q4.gguf", "q8/1-q8.gguf"]
    assert report.total_bytes == sum(variant.total_bytes for variant in manifest.variants)


def test_the_same_variants_again_are_unchanged_and_a_further_one_is_refused(put):
    put()
    assert put().outcome == "unchanged"
    with pytest.raises(ReleaseConflictError, match=r"2 of these 3 variants \(q4, q8\).*under a new version"):
        put(names=("q4", "q8", "f16"))


def test_a_variant_cannot_be_added_to_a_release_that_had_one_alone(put):
    put(names=("q4",))
    with pytest.raises(ReleaseConflictError, match=r"1 of these 2 variants \(q4\)"):
        put(names=("q4", "q8"))


def test_variants_are_named_by_quantization_and_two_of_one_name_are_refused(store, tmp_path, gguf_bytes):
    for number in range(2):
        (tmp_path / f"{number}.gguf").write_bytes(gguf_bytes(seed=number))
    sources = [VariantSource(path=tmp_path / f"{number}.gguf") for number in range(2)]
    with pytest.raises(InputInvalidError, match=r"would both be the variant f16; name them: --variant NAME="):
        publish(sources, name="chat", version="1", store=store, created_unix_s=1)
    with pytest.raises(InputInvalidError, match="say what to publish"):
        publish([], name="chat", version="1", store=store, created_unix_s=1)


def test_a_model_says_what_it_needs(store, tmp_path, gguf_bytes):
    path = tmp_path / "m.gguf"
    kv = {
        "blk.0.attn_k.weight": ((576, 192), 8, 612 * 192),
        "blk.0.attn_v.weight": ((576, 192), 8, 612 * 192),
    }
    path.write_bytes(gguf_bytes({"llama.embedding_length": 576}, kv))
    source = VariantSource(path=path, features=("avx2",))
    publish([source], name="chat", version="1", store=store, created_unix_s=1)
    needs = Catalog(store).manifest("chat", "1")[1].variants[0].needs
    assert needs is not None
    assert (needs.engine, needs.context_tokens, needs.features) == ("llama", 2048, ("avx2",))
    assert needs.token_bytes == (192 + 192) * 2
    assert needs.memory_bytes == path.stat().st_size + 2048 * needs.token_bytes + 96 * 2**20


def needs_of(store, path, memory_bytes):
    source = VariantSource(path=path, memory_bytes=memory_bytes)
    publish([source], name="m", version=str(memory_bytes), store=store, created_unix_s=1)
    return Catalog(store).manifest("m", str(memory_bytes))[1].variants[0].needs


def test_what_a_model_was_measured_to_need_takes_the_place_of_the_estimate(store, tmp_path, gguf_bytes):
    """But it is never less than what its file and its context take."""
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf_bytes(HEADS))
    estimate = needs_of(store, path, 0)
    assert (estimate.context_tokens, estimate.token_bytes) == (2048, 23_040)
    held_bytes = estimate.memory_bytes - 96 * 2**20
    assert held_bytes == path.stat().st_size + estimate.context_tokens * estimate.token_bytes
    for measured_bytes, needed_bytes in (
        (1, held_bytes), (held_bytes - 1, held_bytes), (held_bytes + 1, held_bytes + 1), (10**12, 10**12)
    ):  # fmt: skip
        assert needs_of(store, path, measured_bytes) == dataclasses.replace(
            estimate, memory_bytes=needed_bytes
        )


def test_of_an_onnx_model_too(store, tmp_path, onnx_bytes):
    path = tmp_path / "m.onnx"
    path.write_bytes(onnx_bytes())
    size_bytes = path.stat().st_size
    for measured_bytes, needed_bytes in (
        (0, 2 * size_bytes + 256 * 2**20), (1, size_bytes), (size_bytes + 5, size_bytes + 5)
    ):  # fmt: skip
        needs = needs_of(store, path, measured_bytes)
        assert (needs.engine, needs.memory_bytes) == ("onnx", needed_bytes)


def test_of_what_nothing_here_runs_nothing_was_measured(store, tmp_path):
    path = tmp_path / "m.bin"
    path.write_bytes(bytes(1000))
    assert needs_of(store, path, 5000) == Needs(memory_bytes=1000)


def test_a_header_that_counts_heads_says_what_the_cache_takes(gguf_bytes, tmp_path):
    from registry.formats import inspect

    path = tmp_path / "m.gguf"
    path.write_bytes(gguf_bytes(HEADS))
    assert inspect(path).cache_token_bytes == 23_040  # SmolLM2-135M's


def test_a_manifest_from_before_needs_reads_and_stays_the_same_bytes(put, store):
    put()
    _, manifest = Catalog(store).manifest("chat", "1")
    bare = dataclasses.replace(
        manifest, variants=tuple(dataclasses.replace(it, needs=None) for it in manifest.variants)
    )
    assert b"needs" not in encode_manifest(bare)
    assert decode_manifest(encode_manifest(bare)) == bare
    needs = Needs(engine="llama", memory_bytes=5, context_tokens=1, token_bytes=2, features=("avx2",))
    said = dataclasses.replace(
        manifest, variants=tuple(dataclasses.replace(it, needs=needs) for it in manifest.variants)
    )
    assert decode_manifest(encode_manifest(said)) == said


def test_an_update_of_two_variants_has_a_delta_for_both(put, store, tmp_path, gguf_bytes):
    put()
    sources = []
    for number, name in enumerate(("q4", "q8")):
        path = tmp_path / f"next-{name}.gguf"  # other names and another template
        path.write_bytes(gguf_bytes(seed=1 + number, template="{{ other }}" * 20_000))
        sources.append(VariantSource(path=path, name=name))
    report = publish(sources, name="chat", version="2", store=store, created_unix_s=2)
    assert 0 < report.deltas_bytes < 20_000
