"""WanFleet: real origins, NATS, nodes with real models and callers, each a process at its own host of the WAN."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path

from deploy.local.child import stop_children
from deploy.local.nats import write_settings
from deploy.local.samples import samples_home
from registry.publish import publish
from registry.store.config import StoreConfig
from registry.store.directory import open_directory
from registry.trust.ceremony import begin
from registry.trust.keys import ROOT_FILE, KeyDirectory
from registry.trust.signed_store import open_signed
from tests.bench import rtt_cities
from tests.world.rtt_worlds import made_up_world, measured_world
from tests.world.wan.wan import Wan

NODE_PORT, ORIGIN_PORT, NATS_PORT = 7710, 7700, 4222
HUB = "hub"
NODE_CITIES = ("London", "Washington", "Singapore", "SaoPaulo", "Tokyo", "Dallas", "Frankfurt", "Sydney")
CALLER_CITIES = ("Paris", "Toronto", "Seoul", "Madrid")
ORIGIN_CITIES = ("Stockholm", "Chicago")


@dataclass(frozen=True)
class Host:
    name: str
    city: str
    place: str


def layout(*, nodes_count, callers_count, origins_count):
    """Hosts and their round trips: measured cities where the data are, else a made-up world."""
    measured = not rtt_cities.missing()
    world = measured_world() if measured else made_up_world(1)
    names = [*NODE_CITIES[:nodes_count], *CALLER_CITIES[:callers_count], *ORIGIN_CITIES[:origins_count]]
    if measured:
        picked = [world.index(name) for name in names]
    else:
        picked = random.Random(1).sample(range(len(world.cities)), len(names))
    picked.append(picked[-1])  # the hub stands beside an origin
    roles = [
        *(f"node-{i + 1}" for i in range(nodes_count)), *(f"caller-{i + 1}" for i in range(callers_count)),
        *(f"origin-{i + 1}" for i in range(origins_count)), HUB,
    ]  # fmt: skip
    hosts = [
        Host(role, city.name, f"{city.place.lat},{city.place.lon}")
        for role, city in zip(roles, (world.cities[n] for n in picked), strict=True)
    ]
    rtt_ms = [[1.0 if a == b else (world.rtt_ms[a][b] or 30.0) for b in picked] for a in picked]
    return hosts, rtt_ms


class WanFleet:
    """All of it; `directory` takes what it writes."""

    def __init__(
        self, directory, *, nodes_count=5, callers_count=3, origins_count=2, models=("chat", "embed"), seed=1
    ):
        self.directory = Path(directory)
        self.models = models
        hosts, rtt_ms = layout(
            nodes_count=nodes_count, callers_count=callers_count, origins_count=origins_count
        )
        self.hosts = {host.name: host for host in hosts}
        self.rtt_ms = {
            (a.name, b.name): rtt_ms[i][j] for i, a in enumerate(hosts) for j, b in enumerate(hosts)
        }
        self.wan = Wan([host.name for host in hosts], rtt_ms, seed=seed)
        self.nodes = [name for name in self.hosts if name.startswith("node")]
        self.origins = [name for name in self.hosts if name.startswith("origin")]
        self.callers = [name for name in self.hosts if name.startswith("caller")]
        self.children = {}
        self.node_environ = {}
        self._keys = KeyDirectory(self.directory / "keys")

    def __enter__(self):
        self.wan.__enter__()
        return self

    def __exit__(self, *_):
        try:
            for child in self.children.values():
                if child.running:
                    self.signal(child.name, signal.SIGCONT)
            stop_children(list(self.children.values()), 10)
        finally:
            self.wan.__exit__()

    def url(self, host):
        port = NODE_PORT if host in self.nodes else ORIGIN_PORT
        return f"http://{self.wan.address(host)}:{port}"

    def publish(self):
        """Both sample models, signed, into a directory that the origins read."""
        store_dir = self.directory / "store"
        store_dir.mkdir(parents=True)
        begin(self._keys, now_unix_s=time.time())
        self._keys.lend("online", self.directory / "origin-keys")
        config = StoreConfig(endpoint=f"file://{store_dir}", keys_dir=self._keys.directory)
        store = open_signed(
            open_directory(config.endpoint), scope=config.scope, keys=self._keys, trusted_root=None,
            kept_dir=self._keys.directory / "trusted",
        )  # fmt: skip
        sources = {"chat": samples_home() / "smollm2", "embed": samples_home() / "minilm"}
        for name in self.models:
            with redirect_stdout(sys.stderr):  # what is logged is no part of a result
                publish(
                    sources[name], name=name, version="1.0.0", store=store, created_unix_s=int(time.time())
                )

    def start(self, host):
        """Start what runs at a host, for the first time or again."""
        if host == HUB:
            settings = write_settings(self.directory / "nats.conf", NATS_PORT, "wan", self.directory / "nats")
            text = settings.read_text("utf-8").replace("127.0.0.1", self.wan.address(HUB))
            settings.write_text(text, "utf-8")
            program = Path(sys.executable).with_name("nats-server")
            return self._start(host, [program, "-c", settings], {})
        if host in self.origins:
            return self._start(host, _edgeward("origin", "serve"), self._origin_environ(host))
        return self._start(host, _edgeward("node", "serve"), self._node_environ(host))

    def _start(self, host, command, environ):
        log = self.directory / "logs" / f"{host}.log"
        self.children[host] = self.wan.start(
            host,
            host,
            command,
            log_file=log,
            environ={"PYTHONPATH": os.environ.get("PYTHONPATH", "."), **environ},
        )
        return self.children[host]

    def _origin_environ(self, host):
        environ = {
            "EDGEWARD_ORIGIN_HOST": self.wan.address(host),
            "EDGEWARD_ORIGIN_PORT": str(ORIGIN_PORT),
            "EDGEWARD_ORIGIN_INSECURE": "true",
            "EDGEWARD_ORIGIN_PUBLIC_URL": self.url(host),
            "EDGEWARD_ORIGIN_DATA_DIR": str(self.directory / host),
            "EDGEWARD_ORIGIN_KEYS_DIR": str(self.directory / "origin-keys"),
            "EDGEWARD_STORE_ENDPOINT": f"file://{self.directory / 'store'}",
            "EDGEWARD_STORE_TRUSTED_ROOT": str(self._keys.directory / ROOT_FILE),
        }
        if len(self.origins) > 1:
            environ["EDGEWARD_SHARING_SERVERS"] = f"nats://{self.wan.address(HUB)}:{NATS_PORT}"
            environ["EDGEWARD_SHARING_TOKEN"] = "wan"  # of a network that nobody else is in
        return environ

    def _node_environ(self, host):
        turn = self.nodes.index(host) % len(self.origins)
        origins = self.origins[turn:] + self.origins[:turn]
        return {
            "EDGEWARD_NODE_NODE_ID": host,
            "EDGEWARD_NODE_HOST": self.wan.address(host),
            "EDGEWARD_NODE_PORT": str(NODE_PORT),
            "EDGEWARD_NODE_INSECURE": "true",
            "EDGEWARD_NODE_ORIGIN": ",".join(map(self.url, origins)),
            "EDGEWARD_NODE_PLACE": self.hosts[host].place,
            "EDGEWARD_NODE_LABEL": self.hosts[host].city,
            "EDGEWARD_NODE_DATA_DIR": str(self.directory / host),
            "EDGEWARD_NODE_TRUSTED_ROOT": str(self._keys.directory / ROOT_FILE),
            "EDGEWARD_NODE_THREADS_COUNT": "1",
            "EDGEWARD_NODE_CONTEXT_TOKENS": "1024",
            "EDGEWARD_NODE_DETERMINISM_PROBE_S": "0",
            **self.node_environ,
        }

    def start_caller(self, host, *, seed, rate_per_s, ends_s, chat_share, module="caller", **more):
        plan = {
            "origins": [self.url(origin) for origin in self.origins], "place": self.hosts[host].place,
            "seed": seed, "rate_per_s": rate_per_s, "ends_s": ends_s, "chat_share": chat_share,
            "file": str(self.directory / f"{host}.jsonl"), **more,
        }  # fmt: skip
        command = [sys.executable, "-m", f"tests.world.wan.{module}", json.dumps(plan)]
        return self._start(host, command, {})

    def bring_up(self, *, within_s=240.0):
        """Publish, start everything but callers, and wait until every node has every model ready."""
        self.publish()
        for host in (HUB, *self.origins, *self.nodes):
            if host != HUB or len(self.origins) > 1:
                self.start(host)
        ends_s = time.monotonic() + within_s
        waited = list(self.nodes)
        while waited:
            waited = [node for node in waited if not self.ready(node)]
            for child in self.children.values():
                child.require_running()
            if time.monotonic() > ends_s:
                raise TimeoutError(f"{', '.join(waited)} not ready; logs in {self.directory / 'logs'}")
            time.sleep(0.5)

    def ready(self, node):
        """Whether all models of a node are loaded, by its own word (asked at the node itself, without the WAN)."""
        code = "import sys,urllib.request as r; print(r.urlopen(sys.argv[1], timeout=5).read().decode())"
        try:
            told = json.loads(self.wan.run(node, sys.executable, "-c", code, f"{self.url(node)}/v1/models"))
        except Exception:  # noqa: BLE001  # it is not there yet, in whichever way
            return False
        return len(told["data"]) >= len(self.models)

    def signal(self, host, number):
        """Send a signal to every process at a host."""
        listed = self.wan_pids(host)
        for pid in listed:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def wan_pids(self, host):
        found = subprocess.run(
            ["ip", "netns", "pids", self.wan.namespace(host)], capture_output=True, text=True, check=True
        )
        return [int(pid) for pid in found.stdout.split()]


def _edgeward(*verb):
    return [sys.executable, "-m", "deploy.cli", *verb]
