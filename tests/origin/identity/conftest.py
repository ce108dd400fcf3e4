"""A fleet's authority in a directory, an origin with a door for nodes, and nodes' keys and requests."""

import secrets
import time

import aiohttp
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
from origin.identity.tokens import new_token


class WallClock:
    """The Unix clock, moved when the test says so."""

    def __init__(self):
        self.ahead_s = 0.0

    def __call__(self):
        return time.time() + self.ahead_s


class Site:
    """A machine that would be a node: a key, and what it asks with."""

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
    """An origin with its door open."""

    def __init__(self, directory, store, tmp_path, clock, config):
        self.directory, self.store, self.clock, self.config = directory, store, clock, config
        self.register = Register(store)
        self.enrolment = Enrolment(directory, store.signed, tmp_path / "origin", clock)
        self.url = ""

    @property
    def door_url(self):
        return self.enrolment.url

    def token(self, **said):
        pin = self.enrolment.door.authority.pin
        said = {"now_unix_s": self.clock(), "ttl_s": 3600} | said
        token, record = new_token(
            id_bytes=secrets.token_bytes(6), secret_bytes=secrets.token_bytes(32), pin=pin, **said
        )
        self.register.add_token(record)
        return token


@pytest.fixture
def wall_clock():
    return WallClock()


@pytest.fixture
def site():
    return Site()


@pytest.fixture
def another_site():
    return Site()


@pytest.fixture
def authority_directory(tmp_path):
    directory = AuthorityDirectory(tmp_path / "keys")
    directory.open_or_begin(fresh_fleet="fleet-test", now_unix_s=time.time())
    return directory


@pytest.fixture
async def fleet_origin(authority_directory, store, tmp_path, wall_clock):
    config = OriginConfig(port=0, nodes_port=0, catalog_refresh_s=0.05, data_dir=tmp_path / "origin")
    running = FleetOrigin(authority_directory, store, tmp_path, wall_clock, config)
    async with running_origin(config, store.signed, running.enrolment) as url:
        running.url = url
        yield running


@pytest.fixture
async def http():
    async with aiohttp.ClientSession() as session:
        yield session
