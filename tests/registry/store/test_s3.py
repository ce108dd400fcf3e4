"""What can be said without a server; the verbs are in tests/conformance/test_store.py."""

import socket

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
