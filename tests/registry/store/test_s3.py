"""What can be said without a server; the verbs are in tests/conformance/test_store.py."""

import random
import socket
import threading
import time

import pytest

from registry.errors import ConfigError, StoreUnavailableError
from registry.store.config import StoreConfig
from registry.store.s3 import open_s3


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (StoreConfig(endpoint="127.0.0.1:8333"), "not a URL"),
        (StoreConfig(bucket=""), "store.bucket is empty"),
        (StoreConfig(access_key="only"), "go together"),
    ],
)
def test_settings_that_cannot_work_are_refused(config, message):
    with pytest.raises(ConfigError, match=message):
        open_s3(config)


def test_an_unreachable_store_is_named_with_the_setting():
    with socket.socket() as taken:  # bound and not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"
        store = open_s3(StoreConfig(endpoint=endpoint, access_key="a", secret_key="b"))
        with pytest.raises(
            StoreUnavailableError, match=f"{endpoint} cannot be reached.*EDGEWARD_STORE_ENDPOINT"
        ):
            store.get("packs/x")


def test_the_secret_is_not_in_the_repr():
    assert "hush" not in repr(StoreConfig(access_key="a", secret_key="hush"))


class SlowLine:
    """A server that takes an upload in bits, as an uplink does, and says that it has it."""

    def __init__(self, *, bit_bytes, pause_s):
        self._bit_bytes, self._pause_s = bit_bytes, pause_s
        self.received = b""
        self._listener = socket.socket()
        # What waits in the kernel is sent for the sender: little of it, so that it has to wait.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._listener.close()
        self._thread.join(timeout=60)

    def _serve(self):
        connection, _ = self._listener.accept()
        with connection:
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(4096)
            head, _, self.received = head.partition(b"\r\n\r\n")
            (length,) = (
                int(line.split(b":")[1])
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-length")
            )
            if b"100-continue" in head:
                connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            while len(self.received) < length and (bit := connection.recv(self._bit_bytes)):
                self.received += bit
                time.sleep(self._pause_s)
            connection.sendall(b'HTTP/1.1 200 OK\r\nETag: "e"\r\nContent-Length: 0\r\n\r\n')


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_a_slow_line_is_no_broken_one(kind):
    """The time in which a connection must open is not that in which a pack must be sent."""
    data = kind(random.Random(2).randbytes(8 << 20))
    with SlowLine(bit_bytes=1 << 20, pause_s=0.02) as line:
        store = open_s3(
            StoreConfig(
                endpoint=line.endpoint,
                access_key="a",
                secret_key="b",
                connect_timeout_s=1.0,
                read_timeout_s=60,
            )
        )
        started_s = time.monotonic()
        assert store.put_if_absent("packs/x", data)
        assert time.monotonic() - started_s > 1.0
        assert line.received == data
