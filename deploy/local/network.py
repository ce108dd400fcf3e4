"""LocalNetwork: object store, origin and edge nodes as processes on this machine, each in its place on earth."""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from deploy.local.child import Child, ChildFailedError, start_child, stop_children
from deploy.local.client_key import enter_key, load_or_make_key
from deploy.local.nats import load_or_make_token, start_nats, write_settings
from deploy.local.objectstore import BUCKET, load_or_make_keys, start_object_store
from edge_node.enrolment.membership import drop_membership, load_membership
from origin.api import Place
from origin.client import OriginClient
from origin.identity.authority import AuthorityDirectory, fresh_fleet
from origin.identity.certificates import key_digest, read_certificates
from origin.identity.register import Register
from registry.errors import EdgewardError, StoreError
from registry.layout import TRUST
from registry.store.config import StoreConfig
from registry.store.retrying import RetryingStore
from registry.store.s3 import open_s3
from registry.trust.ceremony import begin
from registry.trust.keys import ROOT_FILE, KeyDirectory
from registry.trust.signed_store import open_signed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from deploy.local.ports import NetworkPorts
    from origin.api_fleet import NodeView
    from registry.store import ObjectStore
    from registry.trust.signed_store import SignedStore

_POLL_S = 0.1
_STORE_START_S = 60.0
_ORIGIN_START_S = 30.0
_STOP_S = 15.0
_TOKEN_S = 600.0


@dataclass(frozen=True, slots=True)
class Site:
    """Where a node of the local network says that it is."""

    node_id: str
    label: str
    place: Place


SITES = (
    Site("frankfurt", "Frankfurt", Place(50.11, 8.68)),
    Site("virginia", "Virginia", Place(39.04, -77.49)),
    Site("singapore", "Singapore", Place(1.35, 103.82)),
)


class LocalNetwork:
    """All processes of one network; everything that they write is below `directory`.

    Several origins share what they know over a NATS server of the network's own. With `keys`, origins and nodes let
    clients in by a key alone, and `client_key` is one.
    """

    def __init__(
        self, directory: Path, ports: NetworkPorts, *, origins_count: int = 1, keys: bool = False
    ) -> None:
        self.client_key = load_or_make_key(directory / "client.key") if keys else ""
        self.directory = directory
        self.ports = ports
        self.origin_urls = tuple(
            f"http://127.0.0.1:{ports.origin_at(index)}" for index in range(origins_count)
        )
        self.origin_url = self.origin_urls[0]
        self.door_urls = tuple(f"https://127.0.0.1:{ports.door_at(index)}" for index in range(origins_count))
        self.settings_file = directory / "edgeward.toml"
        self._keys = load_or_make_keys(directory / "store.keys")
        self._signing = KeyDirectory(directory / "keys")
        self._authority = AuthorityDirectory(directory / "keys")
        self._register: Register | None = None
        self._store: Child | None = None
        self._nats: Child | None = None
        self._origins: dict[int, Child] = {}
        self._nodes: dict[str, Child] = {}
        self._sites: dict[str, tuple[Site, int]] = {}

    @property
    def store_config(self) -> StoreConfig:
        """How to reach the object store."""
        return StoreConfig(
            endpoint=f"http://127.0.0.1:{self.ports.s3}",
            bucket=BUCKET,
            access_key=self._keys.access_key,
            secret_key=self._keys.secret_key,
            keys_dir=self._signing.directory,
        )

    def write_settings(self) -> None:
        """The settings that every process, and the `edgeward` command in this directory, reads."""
        config, asks = self.store_config, "true" if self.client_key else "false"
        self.settings_file.unlink(missing_ok=True)
        self.settings_file.touch(mode=0o600)  # it holds the store's secret key
        self.settings_file.write_text(
            "# Written by `edgeward up`; used by every edgeward command started beside this directory.\n"
            f'[store]\nendpoint = "{config.endpoint}"\nbucket = "{config.bucket}"\n'
            f'access_key = "{config.access_key}"\nsecret_key = "{config.secret_key}"\n'
            f'keys_dir = "{config.keys_dir}"\n\n'
            f"[origin]\nrequire_keys = {asks}\nport = {self.ports.origin}\nnodes_port = {self.ports.door_at(0)}\n"
            f'data_dir = "{self.directory / "origin"}"\n'
            f'keys_dir = "{self._origin_keys_dir}"\n\n'
            f"{self._sharing_settings()}"
            f"[node]\nrequire_keys = {asks}\n"
            f'trusted_root = "{config.keys_dir / ROOT_FILE}"\n\n'
            f'[client]\norigin = "{self.origin_url}"\napi_key = "{self.client_key}"\n',
            "utf-8",
        )

    def _sharing_settings(self) -> str:
        if len(self.origin_urls) == 1:
            return ""
        token = load_or_make_token(self.directory / "nats.token")
        return f'[sharing]\nservers = ["nats://127.0.0.1:{self.ports.nats}"]\ntoken = "{token}"\n\n'

    @property
    def _origin_keys_dir(self) -> Path:
        """The origin gets the online key and no other."""
        return self.directory / "origin-keys"

    def signed(self, store: ObjectStore) -> SignedStore:
        """A store with this network's keys, which are made the first time."""
        if not self._signing.begun:
            begin(self._signing, now_unix_s=time.time())
        self._signing.lend("online", self._origin_keys_dir)
        self._authority.open_or_begin(fresh_fleet=fresh_fleet(), now_unix_s=time.time())
        self._authority.lend(self._origin_keys_dir)
        kept_dir = self._signing.directory / "trusted"
        scope = self.store_config.scope
        return open_signed(store, scope=scope, keys=self._signing, trusted_root=None, kept_dir=kept_dir)

    async def start_store(self) -> SignedStore:
        """Start the object store and wait until its bucket answers.

        Raises:
            ChildFailedError: it ended, or did not answer in time.
        """
        self.write_settings()
        self._store = self._start_store()
        asked = open_s3(self.store_config)
        await self._until(self._store, lambda: asyncio.to_thread(_answers, asked), _STORE_START_S)
        # On a busy machine the server closes a connection now and then.
        store = RetryingStore(asked)
        self._register = Register(store)
        signed = self.signed(store)
        if self.client_key:
            await asyncio.to_thread(enter_key, signed, self.client_key)
        return signed

    async def start_origin(self) -> None:
        """Start the origins, with what they share over, and wait until each is ready.

        Raises:
            ChildFailedError: one ended, or was not ready in time.
        """
        if len(self.origin_urls) > 1:
            self._nats = self._start_nats()
        for index in range(len(self.origin_urls)):
            self._origins[index] = self._start_origin(index)
        for index, child in self._origins.items():
            await self._until(child, partial(self._origin_ready, index), _ORIGIN_START_S)

    def readmit(self, site: Site) -> bool:
        """Let the node of a site join anew if it was turned out (`edgeward nodes revoke`); whether it was. Blocks."""
        data_dir = self._data_dir(site)
        kept = load_membership(data_dir)
        if self._register is None or kept is None:
            return False
        if (
            key_digest(read_certificates(kept.certificate)[0].public_key())
            not in self._register.revoked().keys
        ):
            return False
        drop_membership(data_dir)
        return True

    def start_node(self, site: Site, index: int) -> None:
        """Start the edge node of a site; it joins the fleet by itself, with a token made for it."""
        self._sites[site.node_id] = (site, index)
        data_dir = self._data_dir(site)
        self._nodes[site.node_id] = self._start(
            f"node-{site.node_id}",
            ["node", "serve"],
            {
                "EDGEWARD_NODE_NODE_ID": site.node_id,
                "EDGEWARD_NODE_PORT": str(self.ports.node(index)),
                "EDGEWARD_NODE_ORIGIN": ",".join(self._doors_for(index)),
                "EDGEWARD_NODE_JOIN_TOKEN": self._token_for(site, data_dir),
                "EDGEWARD_NODE_PLACE": f"{site.place.lat},{site.place.lon}",
                "EDGEWARD_NODE_LABEL": site.label,
                "EDGEWARD_NODE_DATA_DIR": str(data_dir),
                # Engines of several nodes share these cores: more threads would only take turns.
                "EDGEWARD_NODE_THREADS_COUNT": "1",
            },
        )

    def _data_dir(self, site: Site) -> Path:
        return self.directory / "nodes" / site.node_id

    def _doors_for(self, index: int) -> tuple[str, ...]:
        """The doors of all origins, a different one first for each node, so that each origin hears some."""
        first = index % len(self.door_urls)
        return self.door_urls[first:] + self.door_urls[:first]

    def _token_for(self, site: Site, data_dir: Path) -> str:
        """A join token for a node that is not in the fleet yet; "" for one that is."""
        if self._register is None or load_membership(data_dir) is not None:
            return ""
        pin = self._authority.open().pin
        token, _ = self._register.make_token(pin, now_unix_s=time.time(), ttl_s=_TOKEN_S, label=site.label)
        return str(token)

    def kill_node(self, node_id: str) -> None:
        """End a node as a power cut would; it stays away."""
        self._nodes.pop(node_id).kill()

    def restart_dead(self) -> list[str]:
        """Start again whatever has ended; returns the names of those parts."""
        dead = [child.name for child in self._children() if not child.running]
        if self._store is not None and self._store.name in dead:
            self._store = self._start_store()
        if self._nats is not None and self._nats.name in dead:
            self._nats = self._start_nats()
        for index, child in list(self._origins.items()):
            if child.name in dead:
                self._origins[index] = self._start_origin(index)
        for node_id, child in list(self._nodes.items()):
            if child.name in dead:
                self.start_node(*self._sites[node_id])
        return dead

    def pids(self) -> dict[str, int]:
        """The process id of each running part, by name."""
        return {child.name: child.pid for child in self._children() if child.running}

    def require_running(self) -> None:
        """Raise ChildFailedError if any part has ended."""
        for child in self._children():
            child.require_running()

    async def wait_until_serving(
        self,
        wanted: Sequence[tuple[str, str]],
        *,
        timeout_s: float,
        watch: Callable[[Sequence[NodeView]], None] = lambda _nodes: None,
    ) -> tuple[NodeView, ...]:
        """Wait until every running node serves every wanted (name, version).

        Raises:
            ChildFailedError: a process ended, a node says that it cannot, or it took too long.
        """
        deadline_s = asyncio.get_running_loop().time() + timeout_s
        async with OriginClient(self.origin_urls, api_key=self.client_key) as origin:
            while True:
                self.require_running()
                views = tuple(view for view in await _fleet_of(origin) if view.report.node_id in self._nodes)
                watch(views)
                missing = [
                    f"{view.report.node_id}: {name}@{version}"
                    for view in views
                    for name, version in wanted
                    if not _serves(view, name, version)
                ]
                if len(views) == len(self._nodes) and not missing:
                    return views
                if asyncio.get_running_loop().time() > deadline_s:
                    raise ChildFailedError(
                        f"after {timeout_s:.0f} s these do not serve: {', '.join(missing) or 'some nodes'}; "
                        f"their logs are in {self.directory / 'logs'}"
                    )
                await asyncio.sleep(_POLL_S)

    def stop(self) -> None:
        """Stop everything, nodes first, so that nobody misses a part that it still needs."""
        stop_children(list(self._nodes.values()), _STOP_S)
        stop_children(list(self._origins.values()), _STOP_S)
        for child in (self._nats, self._store):
            if child is not None:
                stop_children([child], _STOP_S)

    def _children(self) -> list[Child]:
        parts = (self._store, self._nats, *self._origins.values(), *self._nodes.values())
        return [child for child in parts if child is not None]

    def _start_store(self) -> Child:
        data, log = self.directory / "store", self.directory / "logs" / "store.log"
        return start_object_store(data, self.ports, self._keys, log)

    def _start_nats(self) -> Child:
        directory, log = self.directory / "nats", self.directory / "logs" / "nats.log"
        token = load_or_make_token(self.directory / "nats.token")
        settings = write_settings(directory / "nats.conf", self.ports.nats, token, directory)
        return start_nats(settings, log)

    def _start_origin(self, index: int) -> Child:
        if index == 0:
            return self._start("origin", ["origin", "serve"], {})
        name = f"origin-{index + 1}"
        environ = {
            "EDGEWARD_ORIGIN_PORT": str(self.ports.origin_at(index)),
            "EDGEWARD_ORIGIN_NODES_PORT": str(self.ports.door_at(index)),
            "EDGEWARD_ORIGIN_DATA_DIR": str(self.directory / name),
        }
        return self._start(name, ["origin", "serve"], environ)

    def _start(self, name: str, verb: list[str], environ: dict[str, str]) -> Child:
        command = [sys.executable, "-m", "deploy.cli", "--config", str(self.settings_file), *verb]
        return start_child(name, command, log_file=self.directory / "logs" / f"{name}.log", environ=environ)

    async def _origin_ready(self, index: int = 0) -> bool:
        try:
            async with OriginClient(self.origin_urls[index]) as origin:
                await origin.catalog()
        except EdgewardError as error:
            if error.retry != "later":  # not listening yet, or has not read the object store yet
                raise
            return False
        return True

    async def _until(self, child: Child, ready: Callable[[], Awaitable[bool]], timeout_s: float) -> None:
        deadline_s = asyncio.get_running_loop().time() + timeout_s
        while not await ready():
            child.require_running()
            if asyncio.get_running_loop().time() > deadline_s:
                raise ChildFailedError(
                    f"{child.name} is not ready after {timeout_s:.0f} s:\n{child.log_tail()}"
                )
            await asyncio.sleep(_POLL_S)


async def _fleet_of(origin: OriginClient) -> tuple[NodeView, ...]:
    """The nodes that an origin knows; none while it starts."""
    try:
        return (await origin.nodes()).nodes
    except EdgewardError as error:
        if error.retry != "later":
            raise
        return ()


def _serves(view: NodeView, name: str, version: str) -> bool:
    return any(
        model.name == name and model.version == version and model.state == "ready"
        for model in view.report.models
    )


def _answers(store: ObjectStore) -> bool:
    try:
        next(iter(store.list(TRUST)), None)  # unlike HEAD, a listing fails while there is no bucket
    except StoreError:
        return False
    return True
