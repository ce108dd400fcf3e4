"""A model of several GB goes to a real S3 server and back in little memory; each verb in a process of its own."""

from __future__ import annotations

import hashlib
import json
import struct
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest

pytestmark = pytest.mark.system

LIMIT_BYTES = 400 * 1024 * 1024
DENSE_COUNT, SPARSE_COUNT = 3, 27
TENSOR_BYTES = 100_000_000

MEASURED = r"""
import asyncio, json, re, sys
from pathlib import Path
from registry.fetch import StoreSource, fetch
from registry.publish import publish
from registry.store.config import StoreConfig
from registry.store.s3 import open_s3
from registry.trust.in_memory import signed_in_memory
store, verb, path = open_s3(StoreConfig(**json.loads(sys.argv[1]))), sys.argv[2], Path(sys.argv[3])
if verb == "publish":
    publish(path, name="sparse", version="1", store=signed_in_memory(store), created_unix_s=0)
else:
    (manifest,) = store.list("manifests/sparse/")
    asyncio.run(fetch(store.get(manifest.key).data, StoreSource(store), path))
# Not getrusage: its peak begins with that of the process that this one was forked from.
print(int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024)
"""


@pytest.fixture
def sparse_gguf(tmp_path):
    """3 GB, 300 MB of them dense: tensors of Q4_1 with random quants and alike scales, then tensors of zeros."""
    count = DENSE_COUNT + SPARSE_COUNT
    infos = b"".join(
        struct.pack("<Q", 11)
        + f"tensor.{index:04}".encode()
        + struct.pack("<IQQIQ", 2, 3200, TENSOR_BYTES // 2000, 3, index * TENSOR_BYTES)
        for index in range(count)
    )
    field = struct.pack("<Q", 20) + b"general.architecture" + struct.pack("<IQ", 8, 5) + b"llama"
    head = b"GGUF" + struct.pack("<IQQ", 3, count, 1) + field + infos
    head += bytes(-len(head) % 32)
    random = np.random.default_rng(1)
    path = tmp_path / "sparse.gguf"
    with path.open("wb") as file:
        file.write(head)
        for _ in range(DENSE_COUNT):
            blocks = random.integers(0, 256, (TENSOR_BYTES // 20, 20), np.uint8)
            blocks[:, 1], blocks[:, 3] = blocks[:, 1] % 8 + 0x20, blocks[:, 3] % 8 + 0xA8
            file.write(blocks)
        file.truncate(len(head) + count * TENSOR_BYTES)
    return path


def test_a_model_of_several_gb(sparse_gguf, own_store_config, tmp_path):
    def peak_bytes(verb, path):
        config = json.dumps(asdict(own_store_config), default=str)
        command = [sys.executable, "-c", MEASURED, config, verb, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return int(done.stdout.splitlines()[-1])

    with sparse_gguf.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
    assert peak_bytes("publish", sparse_gguf) < LIMIT_BYTES
    sparse_gguf.unlink()
    assert peak_bytes("fetch", tmp_path / "fetched") < LIMIT_BYTES
    with (tmp_path / "fetched/files/sparse.gguf").open("rb") as file:
        assert hashlib.file_digest(file, "sha256").digest() == digest
