"""The real parts that slow tests stand on: an S3 server and the sample models, started or found once a session."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from deploy.local.network import LocalNetwork, Site
    from registry.store.config import StoreConfig

# The same examples every time, and none held to a time: machines differ, and what is slow belongs to the benchmarks.
# `--hypothesis-profile default` looks for new ones.
settings.register_profile("edgeward", deadline=None, derandomize=True)
settings.load_profile("edgeward")


def pytest_configure(config: pytest.Config) -> None:
    """Let Ctrl-C reach what tests start: a shell's background job, and so all its children, begin with it ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def s3_store_config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreConfig]:
    """A SeaweedFS server of this session alone."""
    from deploy.local.network import LocalNetwork
    from deploy.local.ports import free_ports

    network = LocalNetwork(tmp_path_factory.mktemp("s3"), free_ports(0, start_port=23_000))
    try:
        asyncio.run(network.start_store())
        yield network.store_config
    finally:
        network.stop()


@pytest.fixture(scope="session")
def sample_models() -> Path:
    """The directory with `smollm2/…gguf` and `minilm/{model.onnx,tokenizer.json}`."""
    from deploy.local.samples import chat_model, embedding_model, samples_home

    chat_model()
    embedding_model()
    return samples_home()


@pytest.fixture(scope="session")
def start_network(sample_models: Path) -> Callable[[LocalNetwork, Sequence[Site]], None]:
    """Starts every part of a network at these sites, with both sample models published and served."""
    from registry.publish import publish

    async def start(network: LocalNetwork, sites: Sequence[Site]) -> None:
        store = await network.start_store()
        await network.start_origin()
        for name, path in (("chat", sample_models / "smollm2"), ("embed", sample_models / "minilm")):
            publish(path, name=name, version="1.0.0", store=store, created_unix_s=int(time.time()))
        for index, site in enumerate(sites):
            network.start_node(site, index)
        await network.wait_until_serving([("chat", "1.0.0"), ("embed", "1.0.0")], timeout_s=300)

    return lambda network, sites: asyncio.run(start(network, sites))


@pytest.fixture(scope="session")
def environment_with() -> Callable[..., Path]:
    """`environment_with(*requirements)`: the Python of an environment that has them, made once and kept in a cache.

    Skips the test where they cannot be installed.
    """
    import os
    import subprocess
    import sys
    from pathlib import Path

    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "edgeward" / "conformance"

    def make(*requirements: str) -> Path:
        place = home / "-".join(requirements).translate(str.maketrans("<>=,.", "_____"))
        python = place / "bin" / "python"
        if not (place / "complete").exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True)
            command = [
                python,
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                *requirements,
            ]
            made = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
            if made.returncode:
                pytest.skip(
                    f"{', '.join(requirements)} cannot be installed here: {made.stderr.strip()[-300:]}"
                )
            (place / "complete").touch()
        return python

    return make


@pytest.fixture
def self_signed(tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Makes a certificate for a host's name and its key, as files; another each time."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    def make(host: str, stem: str = "tls") -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
            .sign(key, hashes.SHA256())
        )
        files = tmp_path / f"{stem}.pem", tmp_path / f"{stem}.key"
        files[0].write_bytes(certificate.public_bytes(Encoding.PEM))
        files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return files

    return make
