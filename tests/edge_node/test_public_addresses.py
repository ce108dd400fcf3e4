"""Which addresses a node tells, and which are refused."""

import pytest

from edge_node.config import NodeConfig
from edge_node.public_addresses import public_addresses
from registry.errors import ConfigError


@pytest.mark.parametrize(
    ("stated", "url", "told"),
    [
        (("203.0.113.7", "2001:DB8:0::7"), "http://x:1", ("203.0.113.7", "2001:db8::7")),
        ((), "http://203.0.113.7:7710", ("203.0.113.7",)),
        ((), "https://[2001:db8::7]:7710/", ("2001:db8::7",)),
        ((), "http://node.example:7710", ()),
        ((), "", ()),
        ((), "http://[x", ()),
    ],
)
def test_told(stated, url, told):
    assert public_addresses(stated, url) == told


@pytest.mark.parametrize(
    "texts",
    [
        ("x",),
        ("",),
        ("203.0.113.7:80",),
        ("0.0.0.0",),
        ("::",),
        ("224.0.0.1",),
        ("fe80::1%eth0",),
        ("10.0.0.1",) * 9,
    ],
)
def test_refused(texts):
    with pytest.raises(ConfigError, match=r"node\.public_addresses"):
        NodeConfig(public_addresses=texts)
