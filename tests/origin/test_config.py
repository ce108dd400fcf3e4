"""Settings of an origin that make no sense are refused by name."""

import pytest

from origin.config import OriginConfig
from registry.errors import ConfigError
from registry.settings import load_settings


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("port", 65_536),
        ("port", -1),
        ("heartbeat_s", 0),
        ("catalog_refresh_s", -1),
        ("route_ttl_s", float("nan")),
        ("stop_grace_s", -1),
        ("connection_idle_s", 0),
        ("connection_idle_s", float("nan")),
        ("body_limit_bytes", 10),
        ("blob_read_bytes", 0),
    ],
)
def test_out_of_range(key, value):
    with pytest.raises(ConfigError, match=rf"origin\.{key}"):
        OriginConfig(**{key: value})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", ""])
def test_a_host_that_others_can_reach_must_be_said_to_be_insecure(host):
    with pytest.raises(ConfigError, match=r"origin\.host.*--insecure"):
        OriginConfig(host=host)
    assert OriginConfig(host=host, insecure=True).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_this_machine_alone_is_fine(host):
    assert OriginConfig(host=host).host == host


def test_from_the_environment():
    environ = {
        "EDGEWARD_ORIGIN_PORT": "7701",
        "EDGEWARD_ORIGIN_BODY_LIMIT_BYTES": "1 MiB",
        "EDGEWARD_ORIGIN_HEARTBEAT_S": "500 ms",
    }
    config = load_settings(OriginConfig, "origin", environ=environ)
    assert (config.port, config.body_limit_bytes, config.heartbeat_s) == (7701, 2**20, 0.5)
