"""An origin with a door for nodes, over a store in memory; and machines that would be nodes."""

import time
from contextlib import asynccontextmanager

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from origin.config import OriginConfig
from origin.daemon import running_origin
from origin.identity.authority import AuthorityDirectory
from origin.identity.enrolment import Enrolment
from origin.identity.register import Register
from registry.trust.in_memory import signed_in_memory


class WallClock:
    """The Unix clock, moved when the test says so."""

    def __init__(self):
        self.ahead_s = 0.0

    def __call__(self):
        return time.time() + self.ahead_s


class Machine:
    """A key, and what it asks with."""

    def __init__(self):
        self.key = ec.generate_private_key(ec.SECP256R1())

    @property
    def request(self):
        builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()

    @property
    def key_pem(self):
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


class FleetOrigin:
    """A running origin with its parts in reach."""

    def __init__(self, directory, data_dir, store=None, clock=None, aws=None):
        self.clock = clock or WallClock()
        self.directory = AuthorityDirectory(directory)
        self.directory.open_or_begin(fresh_fleet="fleet-test", now_unix_s=time.time())
        self.store = store or signed_in_memory()
        self.data_dir = data_dir
        self.register = Register(self.store)
        self.enrolment = Enrolment(self.directory, self.store, data_dir, self.clock, look_s=0.05, aws=aws)
        self.url = ""

    @property
    def door_url(self):
        return self.enrolment.url

    def token(self, **said):
        said = {"now_unix_s": self.clock(), "ttl_s": 3600} | said
        token, _ = self.register.make_token(self.enrolment.door.authority.pin, **said)
        return token

    @asynccontextmanager
    async def running(self, **settings):
        said = {"port": 0, "nodes_port": 0, "catalog_refresh_s": 0.05, "heartbeat_s": 0.05} | settings
        config = OriginConfig(data_dir=self.data_dir, **said)
        async with running_origin(config, self.store, enrolment=self.enrolment) as url:
            self.url = url
            yield self


@pytest.fixture
def wall_clock():
    return WallClock()


@pytest.fixture
def machine():
    return Machine()


@pytest.fixture
async def fleet_origin(tmp_path, wall_clock):
    made = FleetOrigin(tmp_path / "keys", tmp_path / "origin", clock=wall_clock)
    async with made.running() as running:
        yield running
