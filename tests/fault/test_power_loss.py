"""Power cuts on real file systems: what was acknowledged before the cut is there after it, and nothing is torn.

ext4 and xfs in a file behind a loop device; the cut is `FS_IOC_SHUTDOWN` without a flush of the log (what was not made
durable is gone), then the process dies, and the file system is mounted again and replays its journal. One kind of write
at a time, so that no fsync of another covers for a missing one. A few cuts of each kind by default, for more:

    EDGEWARD_POWER_CUTS=100 python -m pytest -m fault -s tests/fault/test_power_loss.py
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
import fcntl
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from edge_node.model_store import ModelStore, Remembered
from registry.catalog import Catalog
from registry.fetch import StoreSource, fetch
from registry.publish import publish
from registry.store.directory import DirectoryStore
from registry.trust import ceremony
from registry.trust.in_memory import signed_in_memory
from registry.trust.kept import KeptInDirectory
from registry.trust.keys import KeysInMemory
from registry.verify import verify

pytestmark = [
    pytest.mark.fault,
    pytest.mark.skipif(
        sys.platform != "linux" or os.geteuid() != 0, reason="mounts file systems: needs root on Linux"
    ),
]

CUTS = int(os.environ.get("EDGEWARD_POWER_CUTS", "3"))
SEED = int(os.environ.get("EDGEWARD_POWER_CUTS_SEED", "1"))
MAKERS = {"ext4": ("mkfs.ext4", "-q", "-F"), "xfs": ("mkfs.xfs", "-q", "-f")}
IMAGE_BYTES = 384 * 2**20
_SHUTDOWN, _NO_LOG_FLUSH = 0x8004587D, 2
FILES = {f"{number}.bin": random.Random(number).randbytes(9_000 + 5_000 * number) for number in range(3)}
LARGE = random.Random(9).randbytes(12 * 2**20)


class World:
    """What survives a cut, being elsewhere: keys, a release in memory, and what the writers are made of."""

    def __init__(self, place):
        self.keys = KeysInMemory()
        ceremony.begin(self.keys, now_unix_s=time.time(), namespaces=())
        self.origin = signed_in_memory(keys=self.keys)
        self.small = place / "small"
        self.small.mkdir()
        for name, data in FILES.items():
            (self.small / name).write_bytes(data)
        (place / "large").mkdir()
        (place / "large/weights.bin").write_bytes(LARGE)
        for name in ("small", "large"):
            publish(place / name, name=name, version="1", store=self.origin, created_unix_s=1)
        catalog = Catalog(self.origin)
        self.manifests = {name: catalog.manifest(name, "1")[0] for name in ("small", "large")}
        self.mount = place / "mount"
        self.mount.mkdir()

    def source(self):
        return StoreSource(self.origin)

    def trust(self):
        return KeptInDirectory(self.mount / "deep/trust", b"pin")

    def signed(self):
        return signed_in_memory(DirectoryStore(self.mount / "store"), keys=self.keys)


class Kind(abc.ABC):
    """One kind of acknowledged write."""

    def __init__(self, world):
        self.world = world
        self.mount = world.mount

    def begin(self):  # noqa: B027 - most kinds have nothing to prepare
        """Before the writer; durable."""

    @abc.abstractmethod
    def write(self, number):
        """One write; it is acknowledged when this returns."""

    @abc.abstractmethod
    def check(self, acknowledged):
        """How many of these are lost; AssertionError when something is torn."""


class Install(Kind):
    """`fetch` has returned: the release is there, whole."""

    def _target(self, number):
        return self.mount / f"models/chat{number % 3}/{number}"

    def write(self, number):
        asyncio.run(fetch(self.world.manifests["small"], self.world.source(), self._target(number)))

    def check(self, acknowledged):
        for target in self.mount.glob("models/*/[!.]*"):
            got = {path.name: path.read_bytes() for path in (target / "files").iterdir()}
            assert got == FILES, f"{target} is torn"
            assert verify(target).whole
        return sum(not self._target(number).exists() for number in acknowledged)


class Resume(Kind):
    """A fetch that is cut off goes on, whatever became of its journal: a hint, never a promise."""

    def write(self, number):
        source = self.world.source()
        read = source.read_range

        async def slow(key, offset_bytes, length_bytes):
            await asyncio.sleep(0.02)
            return await read(key, offset_bytes, length_bytes)

        source.read_range = slow
        target = self.mount / f"large{number}"
        asyncio.run(fetch(self.world.manifests["large"], source, target, concurrency_count=1))

    def check(self, acknowledged):
        lost = sum(not (self.mount / f"large{number}").exists() for number in acknowledged)
        for number in range(len(acknowledged) + 1):
            target = self.mount / f"large{number}"
            asyncio.run(fetch(self.world.manifests["large"], self.world.source(), target))
            assert (target / "files/weights.bin").read_bytes() == LARGE
        assert not list(self.mount.glob(".partial-*"))
        return lost


class Activation(Kind):
    """What served is remembered."""

    def begin(self):
        ModelStore(self.mount / "data").open().close()

    def write(self, number):
        ModelStore(self.mount / "data").remember(Remembered(served={"chat": (str(number),)}))

    def check(self, acknowledged):
        served = ModelStore(self.mount / "data").recall().served.get("chat", ("-1",))
        return sum(number > int(served[0]) for number in acknowledged)


class Trust(Kind):
    """What was verified is remembered: forgetting it would let an old store pass."""

    def write(self, number):
        with self.world.trust().turn() as files:
            files["timestamp.json"] = str(number).encode() * 50
            files[f"{number}.root.json"] = str(number).encode() * 900

    def check(self, acknowledged):
        files = self.world.trust().load()
        last = int(files["timestamp.json"][: len(files["timestamp.json"]) // 50]) if files else -1
        assert all(
            data == name.partition(".")[0].encode() * 900 for name, data in files.items() if name[0].isdigit()
        )
        return sum(number > last or f"{number}.root.json" not in files for number in acknowledged)


class Put(Kind):
    """An object of a directory store, under a folder of its own."""

    def begin(self):
        (self.mount / "store").mkdir(exist_ok=True)

    def _object(self, number):
        return f"packs/{number % 97:02x}/{number}", str(number).encode() * 5000

    def write(self, number):
        assert DirectoryStore(self.mount / "store").put_if_absent(*self._object(number))

    def check(self, acknowledged):
        store = DirectoryStore(self.mount / "store")
        for info in store.list("packs/"):
            assert store.get(info.key).data == self._object(int(info.key.rpartition("/")[2]))[1]
        return sum(store.head(self._object(number)[0]) is None for number in acknowledged)


class Replace(Kind):
    """The one object that is replaced."""

    begin = Put.begin
    etag = None

    def write(self, number):
        store = DirectoryStore(self.mount / "store")
        before = store.head("tuf/timestamp.json")
        store.put_if_match("tuf/timestamp.json", str(number).encode() * 100, before.etag if before else None)

    def check(self, acknowledged):
        store = DirectoryStore(self.mount / "store")
        found = store.get("tuf/timestamp.json").data if store.head("tuf/timestamp.json") else b""
        last = int(found[: len(found) // 100] or b"-1")
        assert found == (str(last).encode() * 100 if found else b"")
        return sum(number > last for number in acknowledged)


class Publish(Kind):
    """A release that `publish` has acknowledged."""

    begin = Put.begin

    def write(self, number):
        version = str(number)
        (self.world.small / "number").write_text(version)
        publish(self.world.small, name="chat", version=version, store=self.world.signed(), created_unix_s=1)

    def check(self, acknowledged):
        catalog = Catalog(self.world.signed())
        found = {int(release.version) for release in catalog.releases()}
        for number in found:
            target = self.mount / f"checked/{number}"
            store = DirectoryStore(self.mount / "store")
            asyncio.run(fetch(catalog.manifest("chat", str(number))[0], StoreSource(store), target))
            assert (target / "files/number").read_text() == str(number)
        return len(set(acknowledged) - found)


KINDS = (Install, Resume, Activation, Trust, Put, Replace, Publish)


def sh(*words):
    subprocess.run(words, check=True, capture_output=True)


@pytest.fixture(params=sorted(MAKERS))
def disk(request, tmp_path):
    """A file system in a file: how to mount and unmount it, empty at first."""
    make = MAKERS[request.param]
    if shutil.which(make[0]) is None:
        pytest.skip(f"{make[0]} is not installed")
    image, mount = tmp_path / "image", tmp_path / "mount"
    with image.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    sh(*make, str(image))
    world = World(tmp_path)
    try:
        sh("mount", "-o", "loop", str(image), str(mount))
    except subprocess.CalledProcessError as error:
        pytest.skip(f"cannot mount {request.param} here: {error.stderr.decode().strip()}")
    sh("umount", str(mount))
    yield world, image, request.param
    subprocess.run(["umount", str(mount)], check=False, capture_output=True)


def in_child(kind, descriptor):
    """Write and acknowledge until the file system is gone."""
    code = 1
    try:
        for number in range(100_000):
            kind.write(number)
            os.write(descriptor, struct.pack("<qd", number, time.monotonic()))
    except BaseException:  # noqa: BLE001  # the cut shows as any error
        code = 0
    finally:
        os._exit(code)


def cut(kind, after_s):
    """What was acknowledged before the power went."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        sys.stdout = sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
        in_child(kind, writing)
    os.close(writing)
    threading.Event().wait(after_s)
    folder = os.open(kind.mount, os.O_RDONLY)
    cut_s = time.monotonic()
    fcntl.ioctl(folder, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
    os.close(folder)
    threading.Event().wait(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with os.fdopen(reading, "rb") as pipe:
        said = list(struct.iter_unpack("<qd", pipe.read()))
    return [number for number, at_s in said if at_s < cut_s]


@pytest.mark.parametrize("make", KINDS, ids=lambda kind: kind.__name__)
def test_a_power_cut_takes_nothing_that_was_acknowledged(make, disk):
    world, image, name = disk
    chance = random.Random(f"{SEED} {name} {make.__name__}")
    counts = Counter()
    for _ in range(CUTS):
        kind = make(world)
        sh("mount", "-o", "loop", str(image), str(world.mount))
        for path in world.mount.iterdir():
            if path.name != "lost+found":
                shutil.rmtree(path)
        kind.begin()
        os.sync()
        acknowledged = cut(kind, chance.uniform(0.05, 0.5))
        sh("umount", str(world.mount))
        sh("mount", "-o", "loop", str(image), str(world.mount))
        counts["cuts"] += 1
        counts["acknowledged"] += len(acknowledged)
        counts["lost"] += kind.check(acknowledged)
        sh("umount", str(world.mount))
    sys.stderr.write(f"{name} {make.__name__}: {dict(counts)}\n")
    assert counts["lost"] == 0
