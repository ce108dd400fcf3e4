"""An origin on a real socket over a store in memory that can be taken away."""

import asyncio
import secrets
import time

import aiohttp
import pytest

from origin.client import OriginClient
from origin.client_keys import ClientKeys
from origin.config import OriginConfig
from origin.fleet import Fleet, FleetRules
from origin.gate import Gate
from origin.geo.network import Network
from origin.geo_files import GeoFiles
from origin.kept_keys import KeptKeys
from origin.releases import Blobs, Releases
from origin.route_keys import RouteKeys
from origin.server import make_app, make_runner
from origin.sharing.in_process import InProcessBus
from origin.sharing.messages import OriginCard
from origin.sharing.sharing import Sharing
from origin.telemetry import Telemetry
from origin.trust import TrustFiles
from origin.web.context import Context
from origin.whereabouts import Whereabouts
from registry.catalog import Catalog
from registry.chunking import Extent
from registry.digest import digest_of
from registry.errors import StoreUnavailableError
from registry.layout import manifest_key, pack_key
from registry.manifest import Chunk, Manifest, Pack, Piece, ReleaseFile, Variant, encode_manifest
from registry.packing import PackBuilder, encode_chunk
from registry.store.memory import MemoryStore
from registry.trust.in_memory import signed_in_memory
from registry.trust.statements import statement_of


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self):
        self.now_s = 1000.0

    def __call__(self):
        return self.now_s


class Store(MemoryStore):
    """A store that is away while `away` says so, and counts its reads."""

    def __init__(self):
        super().__init__()
        self.away = False
        self.reads = []
        self.signed = signed_in_memory(self)

    def _reach(self):
        if self.away:
            raise StoreUnavailableError("the store at s3.example does not answer", retry_after_s=2.0)

    def get(self, key):
        self._reach()
        return super().get(key)

    def get_range(self, key, offset_bytes, length_bytes):
        self._reach()
        if key.startswith("packs/"):
            self.reads.append((offset_bytes, length_bytes))
        return super().get_range(key, offset_bytes, length_bytes)

    def head(self, key):
        self._reach()
        return super().head(key)

    def list(self, prefix):
        self._reach()
        return super().list(prefix)


def put_release(store, name, version, channel="stable", created_unix_s=1_700_000_000):
    """A small release, published the way that `registry.publish` leaves it; gives its manifest's bytes."""
    raw = f"{name} {version} ".encode() * 100
    stored, builder = encode_chunk(raw), PackBuilder()
    offset_bytes = builder.add(stored)
    pack_digest, pack = builder.build()
    manifest = Manifest(
        name=name,
        version=version,
        created_unix_s=created_unix_s,
        variants=(
            Variant(
                name="default",
                kind="gguf",
                architecture="llama",
                quantization="Q4_K_M",
                files=(ReleaseFile("model.gguf", len(raw), digest_of(raw)),),
            ),
        ),
        packs=(Pack(pack_digest, len(pack)),),
        chunks=(Chunk(digest_of(raw), len(raw), 0, offset_bytes, len(stored)),),
        pieces=(Piece(0, 0, (Extent(0, len(raw)),)),),
    )
    data = encode_manifest(manifest)
    store.put_if_absent(pack_key(pack_digest), pack)
    said = statement_of(data)
    store.put_if_absent(manifest_key(name, version, said.sha256), data)
    Catalog(store.signed).add(name, version, said, channel=channel or None)
    return data


class Origin:
    """A running origin with its parts in reach."""

    def __init__(self, config, store, spans=None):
        self.config, self.store, self.clock, self.spans = config, store, Clock(), spans
        self.releases = Releases(store.signed, refresh_s=config.catalog_refresh_s, now_s=self.clock)
        self.fleet = Fleet(FleetRules(heartbeat_s=config.heartbeat_s))
        self.trust = TrustFiles(store.signed, renews=False, now_unix_s=time.time)
        self.telemetry = Telemetry()
        # This machine stands for a proxy, so that tests can be clients of any address.
        self.whereabouts = Whereabouts(Network(), GeoFiles(()), ("127.0.0.1",))
        self.bus, self.origin_id = InProcessBus(), "0" * 16
        self.url = ""
        self.gate = Gate(max_age_s=config.max_key_age_s) if config.require_keys else None
        kept = KeptKeys(config.data_dir, self.gate, time.time) if self.gate is not None else None
        self.client_keys = ClientKeys(store.signed, self.releases, kept, refresh_s=config.catalog_refresh_s)

    async def start(self):
        self.route_keys = RouteKeys(lambda: secrets.token_bytes(32))
        self.sharing = Sharing(
            self.bus,
            self.fleet,
            OriginCard(origin_id=self.origin_id, url=""),
            self.clock,
            route_keys=lambda: self.route_keys.public_keys(self.clock()),
        )
        context = Context(
            self.config,
            self.fleet,
            self.releases,
            Blobs(self.store),
            self.trust,
            self.telemetry,
            self.sharing,
            self.route_keys,
            self.clock,
            chance=lambda: 1.0,
            gate=self.gate,
            client_keys=self.client_keys,
            whereabouts=self.whereabouts,
            spans=self.spans,
        )
        self.runner = make_runner(
            make_app(context), stop_grace_s=0.1, connection_idle_s=self.config.connection_idle_s
        )
        await self.runner.setup()
        site = aiohttp.web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self.runner.addresses[0][1]}"
        self.session = aiohttp.ClientSession(self.url)
        self.client = OriginClient(self.url)

    async def stop(self):
        await self.client.close()
        await self.session.close()
        await self.runner.cleanup()

    async def raw(self, request):
        """Bytes to a fresh connection; gives all that comes back."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.runner.addresses[0][1])
        writer.write(request)
        await writer.drain()
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        return answer


@pytest.fixture
def publish():
    return put_release


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def config():
    return OriginConfig(blob_read_bytes=4096, body_limit_bytes=64 * 1024)


@pytest.fixture
def spans():
    return None


@pytest.fixture
async def origin(config, store, spans):
    running = Origin(config, store, spans)
    await running.start()
    yield running
    await running.stop()
