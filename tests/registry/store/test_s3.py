"""What can be said without a server; the verbs are in tests/conformance/test_store.py."""

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


@pytest.mark.system
def test_a_store_that_takes_its_time_and_never_stops_gets_all():
    data = bytearray(bytes(range(256)) * 128 * 1024)
    got = bytearray()

    def take(listener):
        connection, _ = listener.accept()
        with connection:
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(65536)
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            while len(got) < len(data):
                got.extend(connection.recv(128 * 1024))
                time.sleep(0.03)
            connection.sendall(b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: 0\r\n\r\n')

    with socket.create_server(("127.0.0.1", 0)) as listener:
        taker = threading.Thread(target=take, args=(listener,), daemon=True)
        taker.start()
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
        config = StoreConfig(endpoint=endpoint, access_key="a", secret_key="b", read_timeout_s=3.0)
        assert open_s3(config).put_if_absent("packs/x", data)
        taker.join(60)
    assert got == data


def test_the_secret_is_not_in_the_repr():
    assert "hush" not in repr(StoreConfig(access_key="a", secret_key="hush"))
