import dataclasses
from itertools import accumulate

import msgpack
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from registry.chunking import Extent
from registry.digest import digest_of
from registry.errors import InputInvalidError, ManifestInvalidError
from registry.manifest import (
    Chunk,
    Lineage,
    Manifest,
    Pack,
    Piece,
    ReleaseFile,
    Variant,
    check_paths,
    content_digest,
    decode_manifest,
    encode_manifest,
    lineage_of,
    manifest_digest,
    pack_lineage,
    pack_manifest,
    unpack_manifest,
)
from registry.manifest.lineage import LINEAGE_LIMIT_BYTES, LineageFigure, LineageGate, LineageStep

SPARSE = digest_of(b"pack")


def _manifest(lengths=((3, 5), (4,)), paths=("model.gguf", "extra/tokenizer.json")):
    """Files whose chunks have these lengths, all in one pack."""
    flat = [length for file in lengths for length in file]
    ends = list(accumulate(flat))
    chunks = [
        Chunk(digest_of(str(number).encode()), length, 0, end - length, length)
        for number, (length, end) in enumerate(zip(flat, ends, strict=True))
    ]
    pieces, number = [], 0
    for file, cuts in enumerate(lengths):
        offset = 0
        for length in cuts:
            pieces.append(Piece(number, file, (Extent(offset, length),)))
            offset += length
            number += 1
    files = tuple(
        ReleaseFile(path, sum(cuts), digest_of(path.encode()))
        for path, cuts in zip(paths, lengths, strict=True)
    )
    return Manifest(
        name="team/chat",
        version="1.2.0",
        created_unix_s=1_700_000_000,
        license_name="Apache-2.0",
        variants=(
            Variant(
                name="q4_0",
                kind="gguf",
                architecture="llama",
                quantization="Q4_0",
                context_tokens=2048,
                parameter_count=7,
                abilities=("chat", "completion"),
                files=files,
            ),
        ),
        packs=(Pack(SPARSE, ends[-1]),),
        chunks=tuple(chunks),
        pieces=tuple(pieces),
    )


@given(st.lists(st.lists(st.integers(1, 4_000_000), min_size=1, max_size=6), min_size=1, max_size=3))
def test_round_trip(lengths):
    manifest = _manifest(lengths, [f"f{number}" for number in range(len(lengths))])
    data = encode_manifest(manifest)
    assert decode_manifest(data) == manifest
    assert decode_manifest(pack_manifest(unpack_manifest(data))) == manifest
    assert manifest_digest(data) == manifest_digest(pack_manifest(unpack_manifest(data)))
    assert encode_manifest(decode_manifest(data)) == data


def test_a_piece_may_have_several_extents_and_a_chunk_several_pieces():
    manifest = _manifest(((3, 5),), ("a",))
    pieces = (
        Piece(1, 0, (Extent(0, 2), Extent(5, 3))),
        Piece(0, 0, (Extent(2, 3),)),
        Piece(0, 0, (Extent(8, 3),)),
    )
    files = (ReleaseFile("a", 11, SPARSE),)
    bundled = _replaced(manifest, files=files, pieces=pieces)
    assert decode_manifest(encode_manifest(bundled)) == bundled


def test_what_it_says_of_itself():
    manifest = _manifest()
    assert [file.path for file in manifest.files] == ["model.gguf", "extra/tokenizer.json"]
    assert (manifest.total_bytes, manifest.stored_bytes) == (12, 12)
    assert (manifest.kind, manifest.architecture, manifest.quantization) == ("gguf", "llama", "Q4_0")
    assert (manifest.context_tokens, manifest.abilities) == (2048, ("chat", "completion"))


def test_spaces_and_lineages_come_back_and_old_bytes_stay():
    manifest = _manifest()
    (variant,) = manifest.variants
    plain = encode_manifest(manifest)
    assert b"lineage" not in unpack_manifest(plain)
    assert b"space" not in unpack_manifest(plain)
    lineage = pack_lineage(
        Lineage(
            root_sha256="1" * 64, parent_sha256="2" * 64, recipe_sha256="3" * 64, seed=7,
            steps=(
                LineageStep(
                    id="q", op="quantize", version=1, parameters={"type": "Q4_0", "deep": {"a": [1, None]}},
                    inputs={"source": "source"}, made_sha256="4" * 64, reproducible="exact",
                ),
            ),
            figures={"kl_mean": LineageFigure(value=0.1, low=None, high=0.2)},
            gates=(LineageGate(figure="kl_mean", max=0.12, passed=True),),
        )
    )  # fmt: skip
    told = dataclasses.replace(
        manifest, variants=(dataclasses.replace(variant, space_id="0f3a", lineage=lineage),)
    )
    back = decode_manifest(encode_manifest(told))
    assert back == told
    assert pack_lineage(lineage_of(back.variants[0])) == lineage
    assert lineage_of(back.variants[0]).steps[0].parameters["deep"] == {"a": [1, None]}
    assert content_digest(back) == content_digest(manifest)


def test_a_lineage_has_a_limit():
    with pytest.raises(InputInvalidError, match="states too many facts"):
        pack_lineage(
            Lineage(
                root_sha256="x" * LINEAGE_LIMIT_BYTES, parent_sha256="", recipe_sha256="", seed=0, steps=()
            )
        )
    (variant,) = _manifest().variants
    long = dataclasses.replace(variant, lineage=bytes(LINEAGE_LIMIT_BYTES + 1))
    with pytest.raises(ManifestInvalidError):
        decode_manifest(encode_manifest(dataclasses.replace(_manifest(), variants=(long,))))


def test_content_is_files_and_not_when_or_how():
    manifest = _manifest()
    later = dataclasses.replace(
        manifest, created_unix_s=9, version="2", packs=(Pack(digest_of(b"other"), 99),)
    )
    assert content_digest(later) == content_digest(manifest)
    other = _replaced(
        manifest, files=(dataclasses.replace(manifest.files[0], sha256=SPARSE), manifest.files[1])
    )
    assert content_digest(other) != content_digest(manifest)


def _replaced(manifest, *, files=None, **changes):
    if files is not None:
        changes["variants"] = (dataclasses.replace(manifest.variants[0], files=tuple(files)),)
    return dataclasses.replace(manifest, **changes)


def _with(manifest, column, index, **changes):
    rows = list(getattr(manifest, column))
    rows[index] = rows[index]._replace(**changes)
    return dataclasses.replace(manifest, **{column: tuple(rows)})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda m: dataclasses.replace(m, name="../etc"), "not a model name"),
        (lambda m: dataclasses.replace(m, version="a/b"), "not a version"),
        (lambda m: dataclasses.replace(m, variants=()), "no variant"),
        (lambda m: dataclasses.replace(m, variants=m.variants * 2), "two of one name"),
        (lambda m: _with(m, "chunks", 0, pack=1), "not listed"),
        (lambda m: dataclasses.replace(m, packs=(*m.packs, Pack(digest_of(b"x"), 5))), "listed for no chunk"),
        (lambda m: dataclasses.replace(m, packs=(m.packs[0], m.packs[0])), "pack is listed twice"),
        (lambda m: _with(m, "packs", 0, length_bytes=1 << 30), "impossible length"),
        (lambda m: _with(m, "packs", 0, length_bytes=11), "outside its pack"),
        (lambda m: _with(m, "chunks", 0, offset_bytes=-1), "outside its pack"),
        (lambda m: _with(m, "chunks", 1, digest=m.chunks[0].digest), "chunk is listed twice"),
        (lambda m: _with(m, "pieces", 0, chunk=9), "not listed"),
        (lambda m: _with(m, "pieces", 0, file=2), "not listed"),
        (lambda m: _with(m, "pieces", 0, extents=(Extent(1, 3),)), "gap or overlap"),
        (lambda m: _with(m, "pieces", 0, extents=(Extent(-3, 3),)), "gap or overlap"),
        (lambda m: _with(m, "pieces", 0, extents=(Extent(0, 4), Extent(4, -1))), "gap or overlap"),
        (lambda m: dataclasses.replace(m, pieces=m.pieces[:-1]), "no file uses"),
        (
            lambda m: _replaced(m, files=(dataclasses.replace(m.files[0], size_bytes=9), m.files[1])),
            "should have 9",
        ),
        (
            lambda m: _replaced(m, files=(dataclasses.replace(m.files[0], size_bytes=1 << 51), m.files[1])),
            "over",
        ),
        (
            lambda m: _replaced(m, files=(dataclasses.replace(m.files[0], sha256="xyz"), m.files[1])),
            "not a sha256",
        ),
    ],
)
def test_contradictions_are_refused_when_written_and_when_read(spoil, message, monkeypatch):
    spoiled = spoil(_manifest())
    with pytest.raises(ManifestInvalidError, match=message):
        encode_manifest(spoiled)
    monkeypatch.setattr("registry.manifest.codec.check_manifest", lambda manifest: None)
    try:
        data = encode_manifest(spoiled)
    except (OverflowError, ValueError):
        return  # cannot even be written
    monkeypatch.undo()
    with pytest.raises(ManifestInvalidError):
        decode_manifest(data)


@pytest.mark.parametrize(
    ("length", "message"), [(1 << 25, "impossible length"), (4, "not as long as its chunk")]
)
def test_a_chunk_is_as_long_as_its_pieces(length, message):
    with pytest.raises(ManifestInvalidError, match=message):
        encode_manifest(_with(_manifest(), "chunks", 0, raw_bytes=length))


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd", "../up", "a/../b", "a//b", "./a", "a/.", "", "a\\b", "a\0b", "a\nb", "C:/x", "a/", "x" * 300,
        "/".join(["d" * 200] * 6), "a\ud800",
    ],
)  # fmt: skip
def test_unsafe_paths_are_refused(path):
    with pytest.raises(ManifestInvalidError):
        check_paths(["fine.bin", path])


@pytest.mark.parametrize(
    "paths", [["a", "a"], ["A.bin", "a.BIN"], ["caf\u00e9", "cafe\u0301"], ["a", "a/b"], ["A", "a/b"], []]
)
def test_paths_that_mean_one_another_are_refused(paths):
    with pytest.raises(ManifestInvalidError):
        check_paths(paths)


def test_usual_paths_are_fine():
    check_paths(
        ["model.gguf", "model-00001-of-00002.gguf", "onnx/model.onnx", "onnx/tokenizer.json", "notes ü.txt"]
    )


def _plain(data):
    return msgpack.unpackb(zstandard.decompress(data[4:]))


def _packed(plain):
    return b"EAF1" + zstandard.compress(msgpack.packb(plain))


def test_another_schema_says_to_update():
    plain = _plain(encode_manifest(_manifest()))
    with pytest.raises(ManifestInvalidError, match=r"schema 3.*update Edgeward"):
        decode_manifest(_packed({**plain, "schema": 3, "name": 7}))


def test_fields_from_the_future_are_passed_over():
    plain = _plain(encode_manifest(_manifest()))
    assert decode_manifest(_packed({**plain, "deltas": []})) == _manifest()


@pytest.mark.parametrize(
    "column", [("packs", "length"), ("chunks", "stored"), ("pieces", "file"), ("extents", "gap")]
)
def test_columns_of_other_lengths_are_refused(column):
    plain = _plain(encode_manifest(_manifest()))
    plain[column[0]][column[1]] += b"\0\0\0\0"
    with pytest.raises(ManifestInvalidError, match="column"):
        decode_manifest(_packed(plain))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a manifest"),
        (b"<html>", "not a manifest"),
        (b"EAF1", "cannot be read"),
        (b"EAF1" + zstandard.compress(b"\xc1"), "not valid msgpack"),
        (b"EAF1" + zstandard.compress(msgpack.packb({"schema": 2})), "missing required field"),
        (b"EAF1" + zstandard.compress(b"x") + b"more", "damaged"),
        (b"EAF1" + zstandard.ZstdCompressor(write_content_size=False).compress(b"abc"), "unknown number"),
        (b"EAF1" + zstandard.compress(b"\x91" * 100_000), "cannot be read"),
    ],
)
def test_what_is_no_manifest_is_refused(data, message):
    with pytest.raises(ManifestInvalidError, match=message):
        decode_manifest(data)


def test_a_manifest_that_claims_to_unpack_to_gigabytes_is_refused():
    frame = bytearray(zstandard.compress(b"x" * 70_000))
    size = zstandard.get_frame_parameters(bytes(frame)).content_size.to_bytes(4, "little")
    place = frame.find(size)
    frame[place : place + 4] = (1 << 31).to_bytes(4, "little")
    with pytest.raises(ManifestInvalidError, match="2147483648"):
        decode_manifest(b"EAF1" + bytes(frame))


@given(st.integers(0), st.integers(1, 255))
def test_a_flipped_byte_is_refused_or_harmless(place, flip):
    data = bytearray(encode_manifest(_manifest()))
    data[place % len(data)] ^= flip
    try:
        found = decode_manifest(bytes(data))
    except ManifestInvalidError:
        return
    assert found.total_bytes == 12
