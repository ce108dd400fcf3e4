from __future__ import annotations

from dataclasses import replace

import pytest

from edge_node.engine_room import SAVED_LIMIT_BYTES, EngineRoom
from edge_node.errors import VariantUnfitError
from edge_node.variant_choice import Machine, choose_variant, fits, memory_bytes, speed_features
from registry.digest import digest_of
from registry.manifest import Manifest, Needs, ReleaseFile, Variant

GIB = 2**30


def variant(name, gib, *, kind="gguf", features=(), token_bytes=0):
    size = int(gib * GIB)
    needs = Needs(
        engine="llama", memory_bytes=size + 4096 * token_bytes, context_tokens=4096 if token_bytes else 0,
        token_bytes=token_bytes, features=features,
    )  # fmt: skip
    file = ReleaseFile(f"{name}/model.{kind}", size, digest_of(name.encode()))
    return Variant(
        name=name, kind=kind, quantization=name.upper(), context_tokens=32_768, needs=needs, files=(file,)
    )


def release(*variants):
    return Manifest(
        name="chat", version="1", created_unix_s=0, variants=variants, packs=(), chunks=(), pieces=()
    )


SEVERAL = release(variant("q4", 4), variant("q8", 8), variant("f16", 16))


@pytest.mark.parametrize(
    ("machine", "chosen"),
    [
        (Machine(), "f16"),
        (Machine(memory_bytes=16 * GIB), "f16"),
        (Machine(memory_bytes=16 * GIB - 1), "q8"),
        (Machine(memory_bytes=5 * GIB), "q4"),
        (Machine(memory_bytes=1), "q4"),
        (Machine(memory_bytes=1, variant="q8"), "q8"),
        (Machine(memory_bytes=5 * GIB, variant="int8"), "q4"),
        # 20 GiB/s: 1.25, 2.5 and 5 tokens/s; only the smallest is not yet known to be slow.
        (Machine(speeds={"F16": 20 * GIB, "Q8": 20 * GIB}), "q4"),
        (Machine(speeds={"F16": 20 * GIB, "Q8": 20 * GIB, "Q4": 20 * GIB}), "q4"),
        (Machine(speeds={"F16": 20 * GIB, "Q8": 40 * GIB, "Q4": 16 * GIB}), "q8"),
        (Machine(speeds={"F16": 20 * GIB, "Q8": 81 * GIB, "Q4": 80 * GIB}), "q8"),
        (Machine(speeds={"F16": 160 * GIB}), "f16"),
    ],
)
def test_the_best_that_fits_and_is_quick_enough_is_taken(machine, chosen):
    assert choose_variant(SEVERAL, machine).name == chosen


def test_a_variant_of_another_space_is_taken_only_where_it_is_named():
    ours, tiny, theirs = (
        replace(variant(name, gib), space_id=space)
        for name, gib, space in (("int8", 4, "x"), ("static", 1, "y"), ("f16", 16, "x"))
    )
    manifest = release(ours, tiny, theirs)
    assert choose_variant(manifest, Machine()).name == "f16"
    assert choose_variant(manifest, Machine(memory_bytes=2 * GIB)).name == "int8"
    assert choose_variant(manifest, Machine(variant="static")).name == "static"
    assert choose_variant(manifest, Machine(), among=["static"]).name == "static"
    assert choose_variant(release(tiny, ours), Machine()).name == "static"


def test_a_cpu_without_a_feature_gets_a_variant_that_does_without():
    manifest = release(variant("q4", 4), variant("amx", 6, features=("amx_int8", "avx2")))
    assert choose_variant(manifest, Machine(features=frozenset({"avx2"}))).name == "q4"
    assert choose_variant(manifest, Machine(features=frozenset({"avx2", "amx_int8"}))).name == "amx"
    assert choose_variant(manifest, Machine()).name == "amx"  # nobody knows what this CPU can do


def test_a_context_counts_with_its_cache_twice():
    one = variant("q4", 4, token_bytes=2**17)
    bare = 4 * GIB + SAVED_LIMIT_BYTES
    assert memory_bytes(one, Machine()) == bare + 2 * 4096 * 2**17
    assert memory_bytes(one, Machine(context_tokens=1024)) == bare + 2 * 1024 * 2**17
    # No more than the model was made for.
    assert memory_bytes(one, Machine(context_tokens=10**6)) == bare + 2 * 32_768 * 2**17
    assert memory_bytes(replace(one, needs=None), Machine()) == 4 * GIB


def test_what_an_engine_keeps_beside_its_cells_counts_too():
    one = variant("q4", 4, token_bytes=2**17)
    cells = 2 * 4096 * 2**17
    plain = memory_bytes(one, Machine())
    room = EngineRoom(prefix_memory_bytes=300, lane_rows_count=4)
    # Of the lane's rows one takes 512 MiB: there are no more.
    assert memory_bytes(one, Machine(room=room)) == plain + 300 + 4096 * 2**17
    small = EngineRoom(kv_type="q8_0")
    assert memory_bytes(one, Machine(room=small)) == pytest.approx(plain - cells * 15 / 32)
    assert not fits(one, Machine(memory_bytes=plain - 1))
    assert fits(one, Machine(memory_bytes=plain))
    assert fits(one, Machine())


def test_what_cannot_run_is_refused_with_what_to_do():
    manifest = release(variant("q4", 4, features=("sve",)), variant("q8", 8, features=("sve", "bf16")))
    with pytest.raises(VariantUnfitError, match=r"q4 needs a CPU with sve; q8 needs a CPU with sve, bf16"):
        choose_variant(manifest, Machine(features=frozenset()))
    with pytest.raises(VariantUnfitError, match=r"name the one to take all the same in node\.variant"):
        choose_variant(manifest, Machine(features=frozenset()))
    assert choose_variant(manifest, Machine(features=frozenset(), variant="q8")).name == "q8"


def test_kinds_that_no_engine_runs_are_last():
    manifest = release(variant("raw", 1, kind="safetensors"), variant("q4", 4))
    assert choose_variant(manifest, Machine()).name == "q4"
    assert choose_variant(manifest, Machine(variant="raw")).name == "q4"
    assert choose_variant(release(variant("raw", 1, kind="file")), Machine(memory_bytes=1)).name == "raw"


def test_the_choice_may_be_among_some():
    assert choose_variant(SEVERAL, Machine(), among=("q4", "q8")).name == "q8"


def test_only_features_that_matter_are_reported():
    assert speed_features(("avx2", "fpu", "asimd")) == ("asimd", "avx2")
