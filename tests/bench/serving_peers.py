"""The servers that bench_serving compares: our node without an origin, and two peers in environments of their own."""

from __future__ import annotations

import abc
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from server_process import free_port

from deploy.local.samples import chat_model
from edge_node.model_store import ModelStore, Remembered
from origin.api import WantedRelease
from registry.catalog import Catalog
from registry.fetch import StoreSource, fetch
from registry.publish import publish
from registry.trust.in_memory import signed_in_memory

THREADS_COUNT = 2
CONTEXT_TOKENS = 2048
STREAMS_COUNT = 16
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgeward"
ROOT = Path(__file__).resolve().parents[2]
# SmolLM2's tokens that end an answer: banned, so that all answers are equally long.
ENDS = (0, 1, 2)

XLLAMACPP = """
import sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = int(sys.argv[2])
params.n_parallel = int(sys.argv[3])
params.n_ctx = int(sys.argv[3]) * int(sys.argv[4])
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
"""
NODE = """
import sys
from pathlib import Path
import structlog
from edge_node.config import NodeConfig
from edge_node.process import run_node
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
run_node(NodeConfig(
    data_dir=Path(sys.argv[1]), port=int(sys.argv[2]), origin=("http://127.0.0.1:9",), threads_count=int(sys.argv[3]),
    context_tokens=int(sys.argv[4]), queue_limit_count=int(sys.argv[5]), scrub_bytes_per_s=0,
))
"""


class PeerAbsentError(Exception):
    """A peer cannot be installed or started here."""


class Server(abc.ABC):
    """A process that answers `/v1/completions`; `payload` makes the body of one request."""

    name = ""
    counts_tokens = True

    def __init__(self):
        self.url = ""
        self.process = None

    def payload(self, prompt, tokens_count):
        return {
            "model": "m", "prompt": prompt, "max_tokens": tokens_count, "temperature": 0, "stream": True,
            "stream_options": {"include_usage": True}, "logit_bias": {str(token): -100 for token in ENDS},
        }  # fmt: skip

    @abc.abstractmethod
    def start(self):
        """Start it, and wait until it answers; PeerAbsentError when that cannot be."""

    def _spawn(self, command, **more):
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, **more
        )

    def _wait_until_answers(self, path):
        deadline_s = time.monotonic() + 60
        while time.monotonic() < deadline_s:
            try:
                with urllib.request.urlopen(self.url + path, timeout=5):
                    return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                if self.process.poll() is not None:
                    break
                time.sleep(0.1)
        raise PeerAbsentError(f"{self.name} does not answer at {path}")

    def stop(self):
        if self.process is not None:
            self.process.stdin.close()
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Node(Server):
    """Our node: HTTP front and engine child, no origin."""

    name = "edgeward"

    def __init__(self, *, queue_limit_count=64):
        super().__init__()
        self._queue_limit_count = queue_limit_count

    def start(self):
        self._home = tempfile.TemporaryDirectory(prefix="bench-node-")
        asyncio.run(_installed(Path(self._home.name)))
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        numbers = (port, THREADS_COUNT, CONTEXT_TOKENS, self._queue_limit_count)
        self._spawn(
            [sys.executable, "-c", NODE, self._home.name, *map(str, numbers)],
            stdout=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        self._wait_until_answers("/readyz")

    def stop(self):
        super().stop()
        self._home.cleanup()


class Xllamacpp(Server):
    """llama.cpp's own server, as xllamacpp embeds it."""

    name = "xllamacpp"

    def start(self):
        python = environment(self.name, ["xllamacpp"])
        numbers = map(str, (THREADS_COUNT, STREAMS_COUNT, CONTEXT_TOKENS))
        self._spawn([python, "-c", XLLAMACPP, str(chat_model()), *numbers], stdout=subprocess.PIPE)
        for line in self.process.stdout:
            if match := re.search(r"http://127\.0\.0\.1:\d+", line):
                self.url = match[0]
                break
        else:
            raise PeerAbsentError("xllamacpp's server ended at its start")
        self._wait_until_answers("/health")


class LlamaCppServer(Server):
    """llama-cpp-python's server: one request at a time."""

    name = "llama_cpp.server"
    counts_tokens = False

    def payload(self, prompt, tokens_count):
        payload = super().payload(prompt, tokens_count)
        del payload["stream_options"]
        return payload

    def start(self):
        wheels = sorted(map(str, (CACHE / "wheels").glob("*/llama_cpp_python-*.whl")))
        if not wheels:
            raise PeerAbsentError("set-up has not built a wheel of llama-cpp-python in its cache")
        python = environment("llama_cpp_server", [wheels[-1], "llama-cpp-python[server]"])
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        flags = {
            "model": chat_model(), "n_ctx": CONTEXT_TOKENS, "n_threads": THREADS_COUNT,
            "n_threads_batch": THREADS_COUNT, "host": "127.0.0.1", "port": port, "interrupt_requests": "False",
            "verbose": "False",
        }  # fmt: skip
        words = [str(word) for name, value in flags.items() for word in (f"--{name}", value)]
        self._spawn([python, "-m", "llama_cpp.server", *words], stdout=subprocess.DEVNULL)
        self._wait_until_answers("/v1/models")


def environment(name, requirements):
    """The Python of an environment that holds these packages; made once and kept in the cache."""
    home = CACHE / "peers" / name
    python = home / "bin" / "python"
    stamp = home / "requirements.json"
    if stamp.is_file() and json.loads(stamp.read_text()) == requirements:
        return str(python)
    commands = (
        [sys.executable, "-m", "venv", str(home)],
        [str(python), "-m", "pip", "install", "-q", *requirements],
    )
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise PeerAbsentError(f"{name} cannot be installed: {done.stderr.strip().splitlines()[-1:]}")
    stamp.write_text(json.dumps(requirements))
    return str(python)


async def _installed(data_dir):
    """Put the sample model into a node's directory, as if an origin had wanted it."""
    registry = signed_in_memory()
    publish(chat_model(), name="m", version="1", store=registry, created_unix_s=0)
    manifest, _ = Catalog(registry).manifest("m", "1")
    store = ModelStore(data_dir).open()
    target = store.path("m", "1")
    target.parent.mkdir(parents=True)
    await fetch(manifest, StoreSource(registry), target)
    release = store.inspect("m", "1")
    wanted = (WantedRelease("m", "1", str(release.manifest_sha256)),)
    store.remember(Remembered(wanted=wanted, served={"m": ("1",)}))
    store.close()
