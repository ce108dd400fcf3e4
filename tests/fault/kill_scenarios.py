"""The verbs that are killed: the world that each begins in, and what must hold after the kill and after the rerun."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

from registry.catalog import Catalog
from registry.condemned import condemned_keys
from registry.fetch import StoreSource, fetch
from registry.garbage import needs_of
from registry.layout import CONDEMNED, DELTAS, MANIFESTS, PACKS, PROBES, parse_delta_key, parse_manifest_key
from registry.manifest import decode_manifest, manifest_digest
from registry.store.directory import DirectoryStore
from registry.trust.kept import KeptInMemory
from registry.trust.keys import KeyDirectory
from registry.trust.reader import StoreReader
from registry.trust.signed_store import SignedStore
from registry.verify import verify

ROOT = Path(__file__).parent.parent.parent
DAY_S = 86_400.0
KEPT = random.Random(1).randbytes(70_000)
MODELS = {
    version: {
        "config.txt": f"version {version}".encode() * 20,
        "kept.bin": KEPT,
        "weights.bin": random.Random(2).randbytes(150_000 - len(version)) + version.encode(),
        "new.bin": random.Random(int(version)).randbytes(90_000),
    }
    for version in ("1", "2", "3")
}


class Server:
    """The process that runs verbs and kills them."""

    def __init__(self, output: Path) -> None:
        self.output = output
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).parent / "kill_server.py")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip

    def run(self, world, *words, kill_at=0, torn=False):
        """What became of a verb; everything that it said is in `output`."""
        request = {
            "words": words, "root": f"{world}/", "kill_at": kill_at, "torn": torn, "directory": str(world),
            "environment": environment_of(world), "output": str(self.output),
        }  # fmt: skip
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        said = self.output.read_text("utf-8", "replace")
        assert "Traceback" not in said, said
        return answer

    def must(self, world, *words):
        """A verb that has to succeed; its calls."""
        answer = self.run(world, *words)
        assert (answer["killed"], answer["code"]) == (False, 0), self.output.read_text("utf-8", "replace")
        return answer["calls"]

    def close(self):
        self._process.stdin.close()
        assert self._process.wait(20) == 0
        self._process.stdout.close()


def environment_of(world):
    return {
        "EDGEWARD_STORE_ENDPOINT": f"file://{world}/store",
        "EDGEWARD_STORE_KEYS_DIR": f"{world}/keys",
        "HOME": str(world),
    }


def signed(world, store=None):
    """A store as one sees it who has never looked before."""
    keys = KeyDirectory(world / "keys", "")
    pin = (world / "keys/root.json").read_bytes()
    reader = StoreReader(store or DirectoryStore(world / "store"), pin, KeptInMemory(), now_unix_s=time.time)
    return SignedStore(reader, keys)


def check_releases(world, *, at_least, exactly=None):
    """Every release that is signed can be fetched, byte by byte; these are among them."""
    store = signed(world)
    catalog = Catalog(store)
    found = {release.version for release in catalog.releases()}
    assert set(at_least) <= found
    assert exactly is None or found == set(exactly)
    place = world / "checked"
    for version in found:
        data, _ = catalog.manifest("chat", version)
        asyncio.run(fetch(data, StoreSource(store), place / version))
        check_files(place / version, version)
    if place.exists():
        shutil.rmtree(place)
    return catalog


def check_files(release, version):
    got = {path.name: path.read_bytes() for path in (release / "files").iterdir()}
    assert got == MODELS[version]
    assert verify(release).whole


def age(world, by_s):
    """As if the store had been left alone for so long."""
    for path in (world / "store").rglob("*"):
        status = path.stat()
        os.utime(path, (status.st_atime, status.st_mtime - by_s))


def check_no_garbage(server, world):
    """Nothing is left that a later collection would not take, and `tuf/` alone holds what was never signed."""
    age(world, 30 * DAY_S)
    server.must(world, "gc")
    age(world, 2 * 3600)
    server.must(world, "gc")
    store = signed(world)
    catalog = Catalog(store)
    manifests = {manifest_digest(data): data for data in (
        catalog.manifest(release.name, release.version)[0] for release in catalog.releases()
    )}  # fmt: skip
    needed = {key for data in manifests.values() for key in needs_of(decode_manifest(data)).keys}
    assert {info.key for info in store.list(PACKS)} == needed
    assert {parse_manifest_key(info.key)[2] for info in store.list(MANIFESTS)} == set(manifests)
    assert {parse_delta_key(info.key)[0] for info in store.list(DELTAS)} <= set(manifests)
    assert not list(store.list(CONDEMNED))
    assert not list(store.list(PROBES))
    assert not condemned_keys(store)
    top = {path.name for path in (world / "store").iterdir()}
    assert top <= {".incoming", ".lock", "packs", "manifests", "deltas", "tuf", "condemned", "probes"}
    assert not list((world / "store/.incoming").iterdir())


# What is prepared, done, and checked


class Scenario:
    """One verb in one world; `versions` are those that were acknowledged before."""

    words: tuple[str, ...]
    versions: tuple[str, ...] = ("1",)

    def prepare(self, server, world):
        """The world before the verb."""
        begin(server, world, self.versions)

    def between(self, server, world):
        """What holds whenever the verb ends early."""
        check_releases(world, at_least=self.versions)

    def after(self, server, world):
        """What holds once the verb has succeeded."""


def begin(server, world, versions):
    (world / "store").mkdir(parents=True)
    for version, files in MODELS.items():
        place = world / "models" / version
        place.mkdir(parents=True)
        for name, data in files.items():
            (place / name).write_bytes(data)
    server.must(world, "keys", "init")
    for version in versions:
        server.must(world, *publish_of(version))


def publish_of(version):
    return ("publish", f"models/{version}", "--name", "chat", "--version", version)


class FirstPublish(Scenario):
    words = publish_of("1")
    versions = ()

    def after(self, server, world):
        assert check_releases(world, at_least="1", exactly="1").channels("chat") == {"stable": "1"}
        check_no_garbage(server, world)


class NextPublish(Scenario):
    """With a delta, packs that are there already, and a publisher that remembers."""

    words = publish_of("2")

    def after(self, server, world):
        catalog = check_releases(world, at_least="12", exactly="12")
        assert catalog.channels("chat") == {"stable": "2"}
        assert list(signed(world).list(DELTAS))
        check_no_garbage(server, world)
        server.must(world, *publish_of("3"))


class Pull(Scenario):
    words = ("pull", "chat@2", "--store", "--to", "pulled/2")
    versions = ("1", "2")

    def prepare(self, server, world):
        super().prepare(server, world)
        server.must(world, "pull", "chat@1", "--store", "--to", "pulled/1")

    def between(self, server, world):
        check_files(world / "pulled/1", "1")
        if (world / "pulled/2").exists():
            check_files(world / "pulled/2", "2")

    def after(self, server, world):
        check_files(world / "pulled/2", "2")
        assert sorted(path.name for path in (world / "pulled").iterdir()) == ["1", "2"]


class AnotherVariant(Scenario):
    """A second variant joins one that is served meanwhile."""

    words = ("pull", "mixed@1", "--variant", "b", "--store", "--to", "pulled/mixed")

    def prepare(self, server, world):
        super().prepare(server, world)
        variants = ("--variant", "a=models/2/weights.bin", "--variant", "b=models/3/new.bin")
        server.must(world, "publish", *variants, "--name", "mixed", "--version", "1")
        server.must(world, "pull", "mixed@1", "--variant", "a", "--store", "--to", "pulled/mixed")

    def _files(self, world):
        return {
            path.name: path.read_bytes()
            for path in (world / "pulled/mixed/files").rglob("*")
            if path.is_file()
        }

    def between(self, server, world):
        assert verify(world / "pulled/mixed").whole
        assert self._files(world)["weights.bin"] == MODELS["2"]["weights.bin"]

    def after(self, server, world):
        assert verify(world / "pulled/mixed").whole
        assert self._files(world) == {
            "weights.bin": MODELS["2"]["weights.bin"],
            "new.bin": MODELS["3"]["new.bin"],
        }
        assert [path.name for path in (world / "pulled").iterdir()] == ["mixed"]


class Repair(Scenario):
    """Two damaged files."""

    words = ("verify", "pulled/1", "--repair", "--store")

    def prepare(self, server, world):
        super().prepare(server, world)
        server.must(world, "pull", "chat@1", "--store", "--to", "pulled/1")
        for name in ("kept.bin", "weights.bin"):
            path = world / "pulled/1/files" / name
            path.write_bytes(b"rot" + path.read_bytes()[3:])

    def between(self, server, world):
        for name, data in MODELS["1"].items():
            assert (world / "pulled/1/files" / name).read_bytes() in {data, b"rot" + data[3:]}

    def after(self, server, world):
        check_files(world / "pulled/1", "1")
        assert sorted(path.name for path in (world / "pulled").iterdir()) == ["1"]


class Collection(Scenario):
    """A release that was withdrawn, and a publish that died before it was signed."""

    words = ("gc",)
    versions = ("2",)

    def prepare(self, server, world):
        begin(server, world, ("1", "2"))
        calls = server.run(world, *publish_of("3"))["calls"]
        shutil.rmtree(world)
        begin(server, world, ("1", "2"))
        signing = next(number for number, (_, what) in enumerate(calls, 1) if what == "store/tuf")
        assert server.run(world, *publish_of("3"), kill_at=signing)["killed"]
        server.must(world, "yank", "chat@1")
        age(world, 30 * DAY_S)

    def after(self, server, world):
        check_releases(world, at_least="2", exactly="2")
        check_no_garbage(server, world)
        server.must(world, *publish_of("3"))
        check_releases(world, at_least="23", exactly="23")


class Mirror(Scenario):
    words = ("mirror", "copy")
    versions = ("1", "2")

    def after(self, server, world):
        shutil.rmtree(world / "store")
        (world / "copy").rename(world / "store")
        check_releases(world, at_least="12", exactly="12")
        check_no_garbage(server, world)


class Withdrawal(Scenario):
    words = ("yank", "chat@1")
    versions = ("1", "2")

    def between(self, server, world):
        check_releases(world, at_least="2")

    def after(self, server, world):
        check_releases(world, at_least="2", exactly="2")
        check_no_garbage(server, world)


class Rotation(Scenario):
    """Between the new root and the new timestamp readers refuse what they see, and keep what they have."""

    words = ("keys", "rotate", "online")

    def between(self, server, world):
        pass

    def after(self, server, world):
        check_releases(world, at_least="1", exactly="1")
        server.must(world, *publish_of("2"))
        check_releases(world, at_least="12", exactly="12")


class Activation(Scenario):
    """What a node remembers of which releases served."""

    words = ("remember", "data", "2")

    def prepare(self, server, world):
        (world / "data").mkdir(parents=True)
        server.must(world, "remember", "data", "1")

    def between(self, server, world):
        served = json.loads((world / "data/active.json").read_bytes())["served"]["chat"]
        assert served in (["1"], ["2", "1"])

    def after(self, server, world):
        assert json.loads((world / "data/active.json").read_bytes())["served"]["chat"][0] == "2"
        assert sorted(path.name for path in (world / "data").iterdir()) == [
            "active.json", "models", "node.lock", "trash"
        ]  # fmt: skip


SCENARIOS = (
    FirstPublish,
    NextPublish,
    Pull,
    AnotherVariant,
    Repair,
    Collection,
    Mirror,
    Withdrawal,
    Rotation,
    Activation,
)
