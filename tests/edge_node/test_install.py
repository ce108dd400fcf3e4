from __future__ import annotations

import errno
import os

import pytest

from edge_node.errors import VariantUnfitError
from edge_node.install import install, verify_whole
from edge_node.model_store import ModelStore
from edge_node.variant_choice import Machine, choose_variant
from origin.api import WantedRelease
from origin.errors import OriginUnreachableError
from registry.errors import (
    ArtifactError,
    ChunkMismatchError,
    DiskFullError,
    FormatInvalidError,
    ManifestInvalidError,
)
from registry.packing import encode_chunk
from registry.progress import ignore_progress

A, B, C = (bytes([letter]) * 200_000 for letter in b"abc")


@pytest.fixture
def store(tmp_path):
    store = ModelStore(tmp_path).open()
    yield store
    store.close()


@pytest.fixture
def bring(store, scripted_origin, trust):
    evicted = []

    async def bring(wanted, local=(), progress=ignore_progress):
        async def evict():
            evicted.append(wanted.version)
            store.remove(wanted.name, wanted.version)

        return await install(
            wanted,
            source=scripted_origin,
            trust=trust,
            store=store,
            local=local,
            evict=evict,
            progress=progress,
            concurrency_count=1,
        )

    bring.evicted = evicted
    return bring


async def test_a_release_is_fetched_whole(bring, store, scripted_origin):
    seen = []
    installed = await bring(scripted_origin.publish("chat", "1", [A, B]), progress=seen.append)
    assert installed.release == store.inspect("chat", "1")
    assert (installed.release.files_dir / "model.gguf").read_bytes() == A + B
    assert installed.fetched_bytes > 0
    assert seen[-1].done_bytes == seen[-1].total_bytes == 400_000


async def test_chunks_of_other_releases_are_used_again(bring, scripted_origin):
    first = await bring(scripted_origin.publish("chat", "1", [A, B]))
    second = await bring(scripted_origin.publish("chat", "2", [A, C]), local=[first.release.directory])
    assert second.reused_bytes == 200_000
    sent = len(scripted_origin.manifests["chat", "2"]) + len(encode_chunk(C))
    assert second.fetched_bytes == sent  # the manifest travels, too
    assert (second.release.files_dir / "model.gguf").read_bytes() == A + C


async def test_another_manifest_than_promised_is_refused(bring, scripted_origin, store):
    scripted_origin.publish("chat", "1", [A])
    with pytest.raises(ChunkMismatchError, match="manifest of chat@1"):
        await bring(WantedRelease("chat", "1", "0" * 64))
    assert store.installed() == ()


async def test_the_manifest_of_another_release_is_refused(bring, scripted_origin):
    other = scripted_origin.publish("chat", "1", [A])
    scripted_origin.manifests["chat", "2"] = scripted_origin.manifests["chat", "1"]
    with pytest.raises(ArtifactError, match="chat@1"):
        await bring(WantedRelease("chat", "2", other.manifest_sha256))


async def test_a_damaged_manifest_is_refused(bring, scripted_origin):
    from registry.digest import digest_of

    scripted_origin.manifests["chat", "1"] = b"not a manifest"
    with pytest.raises(ManifestInvalidError):
        await bring(WantedRelease("chat", "1", digest_of(b"not a manifest")))


@pytest.mark.parametrize("kind", ["safetensors", "file"])
async def test_a_kind_without_an_engine_is_refused_before_any_byte_is_fetched(bring, scripted_origin, kind):
    with pytest.raises(FormatInvalidError, match="GGUF or ONNX"):
        await bring(scripted_origin.publish("chat", "1", [A], kind=kind))
    assert scripted_origin.requests_count == 0


async def test_a_broken_off_fetch_goes_on_where_it_was(bring, scripted_origin):
    wanted = scripted_origin.publish("chat", "1", [bytes([number]) * 100_000 for number in range(6)])
    read_range = scripted_origin.read_range

    async def three_then_gone(key, offset_bytes, length_bytes):
        if scripted_origin.requests_count == 3:
            raise OriginUnreachableError("gone")
        return await read_range(key, offset_bytes, length_bytes)

    scripted_origin.read_range = three_then_gone
    with pytest.raises(OriginUnreachableError):
        await bring(wanted)
    scripted_origin.read_range = read_range
    installed = await bring(wanted)
    assert installed.release.total_bytes == 600_000
    assert scripted_origin.requests_count == 6


async def test_the_same_content_published_anew_costs_no_bytes(bring, store, scripted_origin):
    await bring(scripted_origin.publish("chat", "1", [A], created_unix_s=1_700_000_000))
    requests_count = scripted_origin.requests_count
    wanted = scripted_origin.publish("chat", "1", [A], created_unix_s=1_800_000_000)
    installed = await bring(wanted)
    assert installed.release.manifest_sha256 == wanted.manifest_sha256
    assert scripted_origin.requests_count == requests_count
    assert bring.evicted == []


async def test_other_content_under_the_same_version_replaces_what_is_here(bring, scripted_origin):
    await bring(scripted_origin.publish("chat", "1", [A]))
    installed = await bring(scripted_origin.publish("chat", "1", [B]))
    assert bring.evicted == ["1"]
    assert (installed.release.files_dir / "model.gguf").read_bytes() == B


async def test_a_full_disk_is_named(bring, scripted_origin, monkeypatch):
    def no_room(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", no_room)
    with pytest.raises(DiskFullError):
        await bring(scripted_origin.publish("chat", "1", [A]))


async def test_a_whole_release_verifies_and_a_damaged_one_goes(bring, store, scripted_origin):
    installed = await bring(scripted_origin.publish("chat", "1", [A, B]))
    await verify_whole(store, "chat", "1")
    with (installed.release.files_dir / "model.gguf").open("r+b") as file:
        file.write(b"X")
    assert len(store.installed()) == 1  # the cheap check cannot see it
    with pytest.raises(ChunkMismatchError, match=r"model\.gguf"):
        await verify_whole(store, "chat", "1")
    assert store.installed() == ()


async def test_only_the_variant_that_fits_is_fetched(bring, store, scripted_origin):
    store.machine = Machine(memory_bytes=300_000)
    wanted = scripted_origin.publish("chat", "1", {"q4": [A], "q8": [A, B]})
    release = (await bring(wanted)).release
    assert (release.variant, release.files, release.suits) == ("q4", ("model.gguf",), True)
    assert (release.files_dir / "model.gguf").read_bytes() == A
    assert (release.total_bytes, scripted_origin.requests_count) == (len(A), 1)
    assert release.release_paths == {"q4/model.gguf"}
    assert bring.evicted == []


async def test_another_variant_is_added_when_the_machine_is_another(bring, store, scripted_origin):
    store.machine = Machine(memory_bytes=300_000)
    wanted = scripted_origin.publish("chat", "1", {"q4": [A], "q8": [A, B]})
    await bring(wanted)
    store.machine = Machine(variant="q8")
    here = store.inspect("chat", "1")
    assert (here.variant, here.suits) == ("q4", False)
    installed = await bring(wanted)
    assert (installed.release.variant, installed.release.suits) == ("q8", True)
    assert installed.reused_bytes == len(A)
    assert scripted_origin.requests_count == 2
    assert bring.evicted == []


async def test_the_smallest_is_taken_where_none_fits(bring, store, scripted_origin):
    store.machine = Machine(memory_bytes=10)
    installed = await bring(scripted_origin.publish("chat", "1", {"q4": [A], "q8": [A, B]}))
    assert (installed.release.variant, scripted_origin.requests_count) == ("q4", 1)


async def test_nothing_of_a_release_that_cannot_run_here_is_fetched(bring, scripted_origin, monkeypatch):
    def unfit(*_, **__):
        raise VariantUnfitError("no variant of chat@1 runs on this node")

    monkeypatch.setattr("edge_node.install.choose_variant", unfit)
    with pytest.raises(VariantUnfitError):
        await bring(scripted_origin.publish("chat", "1", [A]))
    assert scripted_origin.requests_count == 0


async def test_what_is_on_the_disk_is_served_though_it_would_not_be_fetched_any_more(
    bring, store, scripted_origin, monkeypatch
):
    await bring(scripted_origin.publish("chat", "1", [A, B]))

    def unfit(manifest, machine, **more):
        if not more:
            raise VariantUnfitError("no variant of chat@1 runs on this node")
        return choose_variant(manifest, machine, **more)

    monkeypatch.setattr("edge_node.model_store.choose_variant", unfit)
    assert [release.suits for release in store.installed()] == [True]
