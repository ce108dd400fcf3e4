"""How fast releases go to and from a real S3 server on loopback, and a store in a directory, and in how much memory.

    python tests/bench/bench_transfer.py [--quick] [--json FILE]

In the same run and on the same file: sha256 alone; a plain download to disk by boto3 in ranges of 16 MiB, four at a
time; and boto3's own upload of the very bytes that a publish stores, so that it is known how much of a publish is the
server's. The file is a GGUF of real weights, repeated with other scales until it is large, so that no chunk is known.
Every round does all of it on a fresh server; of each the median counts. All rates are of the file's bytes, also
boto3's upload of fewer. CPU seconds are of the process that does it (its start included) and of the server, for each
GB of the file: where all cores are busy, they are what a rate comes from. Before each step as much memory is used and
freed as it will take: where a machine gives idle memory back to its host, whoever comes first would pay for all others.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from statistics import median

import model_edits
import numpy as np
from bench_artifacts import SMOLLM2
from bench_report import arguments, finish

from deploy.local.network import LocalNetwork
from deploy.local.ports import free_ports
from registry.store.config import StoreConfig

RANGE_BYTES = 16 * 1024 * 1024
LIMIT_BYTES = 400 * 1024 * 1024

MEASURED = r"""
import asyncio, json, re, resource, sys, time
from pathlib import Path
from registry.store.config import StoreConfig
from registry.store.opening import open_store
import structlog
from registry.fetch import StoreSource, fetch
from registry.publish import publish
from registry.trust.in_memory import signed_in_memory
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
config, verb, path = json.loads(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
store = open_store(StoreConfig(**config))
if verb == "publish":
    signed = signed_in_memory(store)
    started = time.perf_counter()
    publish(path, name="large", version="1", store=signed, created_unix_s=0)
else:
    started = time.perf_counter()
    (manifest,) = store.list("manifests/large/")
    asyncio.run(fetch(store.get(manifest.key).data, StoreSource(store), path))
took = time.perf_counter() - started
used = resource.getrusage(resource.RUSAGE_SELF)
# Not its peak: that begins with what the process held that this one was forked from.
peak = int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024
print(json.dumps([took, used.ru_utime + used.ru_stime, peak]))
"""


def large_gguf(path, size_bytes):
    """A GGUF of one tensor for each repetition of SmolLM2's largest Q4_1 tensors, scales moved a little each time."""
    header = model_edits.header_of(SMOLLM2)
    raw = np.fromfile(SMOLLM2, np.uint8)
    parts = [raw[t.start : t.end] for t in header.tensors if t.element == "Q4_1" and "ffn" in t.name]
    blocks = np.concatenate(parts).reshape(-1, 20)
    count = max(1, size_bytes // blocks.size)
    name = "tensor.{:04}"
    infos = b"".join(
        struct.pack("<Q", 11)
        + name.format(index).encode()
        + struct.pack("<IQQIQ", 2, 1536, blocks.size // 960, 3, index * blocks.size)
        for index in range(count)
    )
    field = struct.pack("<Q", 20) + b"general.architecture" + struct.pack("<IQ", 8, 5) + b"llama"
    head = b"GGUF" + struct.pack("<IQQ", 3, count, 1) + field + infos
    with path.open("wb") as file:
        file.write(head + bytes(-len(head) % 32))
        for index in range(count):
            moved = blocks.copy()
            moved[:, 0] += np.uint8(index + 1)
            file.write(moved.tobytes())
    return path.stat().st_size


def measured(config, verb, path):
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, json.dumps(asdict(config), default=str), verb, str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def client_of(config):
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=config.endpoint,
        region_name=config.region,
        aws_access_key_id=config.access_key,
        aws_secret_access_key=config.secret_key,
    )


class Round:
    """One round: what each step took, in seconds and in CPU seconds of its own and of the server."""

    def __init__(self, source, folder, server_pid=None):
        self.source, self.folder, self.server_pid = source, folder, server_pid
        self.size = source.stat().st_size
        self.took_s, self.cpu_s, self.server_cpu_s, self.rss_bytes = {}, {}, {}, {}

    def timed(self, name, work):
        self._touch_memory()
        server_s, own_s, started_s = self._server_s(), time.process_time(), time.perf_counter()
        work()
        self.note(name, time.perf_counter() - started_s, time.process_time() - own_s, server_s)

    def note(self, name, took_s, cpu_s, server_began_s):
        self.took_s[name], self.cpu_s[name] = took_s, cpu_s
        self.server_cpu_s[name] = self._server_s() - server_began_s

    def there_and_back(self, config, prefix=""):
        target = self.folder / "fetched"
        for verb, path in (("publish", self.source), ("fetch", target)):
            self._touch_memory()
            server_s = self._server_s()
            took_s, cpu_s, rss_bytes = measured(config, verb, path)
            self.note(prefix + verb, took_s, cpu_s, server_s)
            self.rss_bytes[prefix + verb] = rss_bytes
        assert digest_of_file(target / "files" / self.source.name) == digest_of_file(self.source)
        shutil.rmtree(target)

    def _touch_memory(self):
        """Let the kernel's free pages be pages that the machine has."""
        place = self.folder / "touched"
        with place.open("wb") as file:
            for _ in range(0, 2 * self.size + LIMIT_BYTES, RANGE_BYTES):
                file.write(bytes(RANGE_BYTES))
        place.unlink()

    def _server_s(self):
        if self.server_pid is None:
            return 0.0
        fields = Path(f"/proc/{self.server_pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def digest_of_file(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def download(client, bucket, target, size):
    """An object to disk with boto3 alone."""
    with target.open("wb") as file, ThreadPoolExecutor(4) as threads:
        file.truncate(size)

        def part(start):
            end = min(size, start + RANGE_BYTES)
            body = client.get_object(Bucket=bucket, Key="plain", Range=f"bytes={start}-{end - 1}")["Body"]
            os.pwrite(file.fileno(), body.read(), start)

        list(threads.map(part, range(0, size, RANGE_BYTES)))
        os.fsync(file.fileno())


def one_round(source, folder):
    """All steps with an S3 server of their own, and then with a directory; and how many bytes were stored."""
    network = LocalNetwork(folder / "network", free_ports(0, start_port=24_000))
    try:
        asyncio.run(network.start_store())
        config = network.store_config
        client, bucket = client_of(config), config.bucket
        (server_pid,) = network.pids().values()
        round_ = Round(source, folder, server_pid)
        round_.timed("sha256", lambda: digest_of_file(source))
        client.upload_file(str(source), bucket, "plain")
        round_.timed("boto3_download", lambda: download(client, bucket, folder / "plain", round_.size))
        client.delete_object(Bucket=bucket, Key="plain")
        (folder / "plain").unlink()
        round_.there_and_back(config)
        with (folder / "stored").open("wb") as file:
            for found in client.list_objects_v2(Bucket=bucket, Prefix="packs/")["Contents"]:
                file.write(client.get_object(Bucket=bucket, Key=found["Key"])["Body"].read())
        stored_bytes = (folder / "stored").stat().st_size
        round_.timed("boto3_upload", lambda: client.upload_file(str(folder / "stored"), bucket, "again"))
    finally:
        network.stop()
    (folder / "directory").mkdir()
    round_.server_pid = None
    round_.there_and_back(StoreConfig(endpoint=f"file://{folder}/directory"), "directory_")
    return round_, stored_bytes


def main():
    args = arguments(__doc__)
    rounds = []
    with tempfile.TemporaryDirectory() as temporary:
        source = Path(temporary) / "large.gguf"
        size = large_gguf(source, (200 if args.quick else 600) * 1_000_000)
        for _ in range(1 if args.quick else 3):
            with tempfile.TemporaryDirectory() as folder:
                round_, stored_bytes = one_round(source, Path(folder))
            rounds.append(round_)
    figures = {"file_bytes": size, "stored_bytes": stored_bytes}
    for name in rounds[0].took_s:
        figures[f"{name}_mb_per_s"] = size / median(one.took_s[name] for one in rounds) / 1e6
        for key in ("cpu_s", "server_cpu_s"):
            figures[f"{name}_{key}_per_gb"] = median(getattr(one, key)[name] for one in rounds) * 1e9 / size
    for name in rounds[0].rss_bytes:
        figures[f"{name}_rss_bytes"] = max(one.rss_bytes[name] for one in rounds)
    slower = min(figures["sha256_mb_per_s"], figures["boto3_download_mb_per_s"])
    for verb in ("publish", "fetch"):
        figures[f"{verb}_ratio"] = figures[f"{verb}_mb_per_s"] / slower
    # What a publish could reach at most, were it nothing but the upload.
    figures["boto3_upload_ratio"] = figures["boto3_upload_mb_per_s"] / slower
    figures["publish_ratio_to_upload"] = figures["publish_mb_per_s"] / figures["boto3_upload_mb_per_s"]
    required = {
        "publish_ratio": (">=", 0.8),
        "fetch_ratio": (">=", 0.8),
        "publish_rss_bytes": ("<=", LIMIT_BYTES),
        "fetch_rss_bytes": ("<=", LIMIT_BYTES),
    }
    runs = [{"took_s": one.took_s, "cpu_s": one.cpu_s, "server_cpu_s": one.server_cpu_s} for one in rounds]
    return finish(
        args.json, figures=figures, required=required, packages=("zstandard", "numpy", "boto3"), runs=runs
    )


if __name__ == "__main__":
    sys.exit(main())
