"""How fast releases go to and from a real S3 server on loopback, and a store in a directory, and in how much memory.

    python tests/bench/bench_transfer.py [--quick] [--json FILE]

In the same run and on the same file: sha256 alone; a plain download to disk by boto3 in ranges of 16 MiB, four at a
time; and boto3's own upload of as many bytes as a publish stores, and of these very bytes, so that it is known how much
of a publish is the server's. The file is a GGUF of real weights, repeated with other scales until it is large, so that
no chunk is known. Rates are of the file's bytes, but for boto3's: of what it sends.
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

import model_edits
import numpy as np
from bench_artifacts import SMOLLM2
from bench_report import arguments, finish

from deploy.local.network import LocalNetwork
from deploy.local.ports import free_ports
from registry.store.config import StoreConfig

RANGE_BYTES = 16 * 1024 * 1024
LIMIT_BYTES = 400 * 1024 * 1024

MEASURED = """
import asyncio, json, resource, sys, time
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
print(json.dumps([took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024]))
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


def plain_download(client, bucket, path, target, size):
    """Seconds to get an object of the file's bytes to disk with boto3 alone."""
    with path.open("rb") as file:
        client.upload_fileobj(file, bucket, "plain")
    started_s = time.perf_counter()
    with target.open("wb") as file, ThreadPoolExecutor(4) as threads:
        file.truncate(size)

        def part(start):
            end = min(size, start + RANGE_BYTES)
            body = client.get_object(Bucket=bucket, Key="plain", Range=f"bytes={start}-{end - 1}")["Body"]
            os.pwrite(file.fileno(), body.read(), start)

        list(threads.map(part, range(0, size, RANGE_BYTES)))
        os.fsync(file.fileno())
    took_s = time.perf_counter() - started_s
    client.delete_object(Bucket=bucket, Key="plain")
    target.unlink()
    return took_s


def plain_upload(client, bucket, folder):
    """Seconds for boto3's `upload_file` of what a publish has stored, and how many bytes these are."""
    path, size = folder / "stored", 0
    with path.open("wb") as file:
        for found in client.list_objects_v2(Bucket=bucket, Prefix="packs/")["Contents"]:
            size += file.write(client.get_object(Bucket=bucket, Key=found["Key"])["Body"].read())
    started_s = time.perf_counter()
    client.upload_file(str(path), bucket, "again")
    took_s = time.perf_counter() - started_s
    client.delete_object(Bucket=bucket, Key="again")
    path.unlink()
    return took_s, size


def there_and_back(config, source, folder):
    """Rates of a publish and a fetch, their memory, and whether the same bytes came back."""
    target, size = folder / "fetched", source.stat().st_size
    published_s, publish_rss = measured(config, "publish", source)
    fetched_s, fetch_rss = measured(config, "fetch", target)
    digests = set()
    for path in (source, target / "files" / source.name):
        with path.open("rb") as file:
            digests.add(hashlib.file_digest(file, "sha256").digest())
    shutil.rmtree(target)
    return {
        "publish_mb_per_s": size / published_s / 1e6,
        "fetch_mb_per_s": size / fetched_s / 1e6,
        "publish_rss_bytes": publish_rss,
        "fetch_rss_bytes": fetch_rss,
        "same": len(digests) == 1,
    }


def main():
    args = arguments(__doc__)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        path = folder / "large.gguf"
        network = LocalNetwork(folder / "network", free_ports(0, start_port=24_000))
        try:
            asyncio.run(network.start_store())
            config = network.store_config
            client = client_of(config)
            size = large_gguf(path, (200 if args.quick else 1500) * 1_000_000)
            started_s = time.perf_counter()
            with path.open("rb") as file:
                hashlib.file_digest(file, "sha256")
            hashed_s = time.perf_counter() - started_s
            downloaded_s = plain_download(client, config.bucket, path, folder / "plain", size)
            figures = there_and_back(config, path, folder)
            uploaded_s, stored_bytes = plain_upload(client, config.bucket, folder)
        finally:
            network.stop()
        (folder / "directory").mkdir()
        in_directory = there_and_back(StoreConfig(endpoint=f"file://{folder}/directory"), path, folder)
    figures |= {f"directory_{name}": figure for name, figure in in_directory.items()} | {
        "sha256_mb_per_s": size / hashed_s / 1e6,
        "boto3_download_mb_per_s": size / downloaded_s / 1e6,
        "boto3_upload_mb_per_s": stored_bytes / uploaded_s / 1e6,
        "file_bytes": size,
        "stored_bytes": stored_bytes,
    }
    slower = min(figures["sha256_mb_per_s"], figures["boto3_download_mb_per_s"])
    for verb in ("publish", "fetch"):
        figures[f"{verb}_ratio"] = figures[f"{verb}_mb_per_s"] / slower
    # How long boto3 takes for the bytes that a publish sends, over how long the publish takes.
    figures["publish_ratio_to_upload"] = uploaded_s * figures["publish_mb_per_s"] * 1e6 / size
    required = {
        "publish_ratio": (">=", 0.8),
        "fetch_ratio": (">=", 0.8),
        "publish_rss_bytes": ("<=", LIMIT_BYTES),
        "fetch_rss_bytes": ("<=", LIMIT_BYTES),
    }
    return finish(
        args.json, figures=figures, required=required, packages=("zstandard", "numpy", "boto3"), runs=[]
    )


if __name__ == "__main__":
    sys.exit(main())
