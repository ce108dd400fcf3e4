"""Settings of the DNS door: names, name servers and ranges, refused by name where they make no sense."""

import pytest

from origin.config import OriginConfig
from origin.dns_settings import NameServer, check_host_name, name_servers_of
from registry.errors import ConfigError
from registry.settings import load_settings

ZONE = "route.example.org"


def test_name_servers_inside_and_outside_the_zone():
    texts = ("NS1.route.example.org. = 203.0.113.1 + 2001:DB8::1", "ns.example.net")
    assert name_servers_of(ZONE, texts) == (
        NameServer("ns1.route.example.org", ("203.0.113.1", "2001:db8::1")),
        NameServer("ns.example.net"),
    )


@pytest.mark.parametrize(
    "text",
    [
        "ns1.route.example.org",  # nobody else could tell its address
        "ns.example.net=203.0.113.1",  # not ours to tell
        "ns1.route.example.org=203.0.113",
        "a.b.route.example.org=203.0.113.1",  # would be below a name that may be a model's
        "route.example.org=203.0.113.1",
        "",
        "ns 1",
        "-a.example.net",
        "ns1..example.net",
    ],
)
def test_name_servers_that_make_no_sense(text):
    with pytest.raises(ConfigError, match=r"origin\.dns_ns"):
        name_servers_of(ZONE, (text,))


@pytest.mark.parametrize(
    "name", ["", ".", "a..b", "ü.example", "a b", "x" * 64, "-a", "a-", "a." * 95 + "b", "a\n"]
)
def test_names_that_are_none(name):
    with pytest.raises(ConfigError, match=r"dns_zone.*is not a domain name"):
        check_host_name(name, "origin.dns_zone")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("dns_port", 65_536),
        ("dns_node_port", 0),
        ("dns_ttl_s", 0),
        ("dns_nodes_count", 0),
        ("dns_nodes_count", 9),
        ("dns_keep_s", float("nan")),
        ("dns_keep_s", -1),
        ("dns_limit_per_s", -1),
        ("dns_hosts", ("localhost",)),
    ],
)
def test_out_of_range(key, value):
    with pytest.raises(ConfigError, match=rf"origin\.{key}"):
        OriginConfig(**{key: value})


def test_a_zone_needs_name_servers_and_addresses():
    with pytest.raises(ConfigError, match=r"origin\.dns_ns is empty"):
        OriginConfig(dns_zone=ZONE)
    with pytest.raises(ConfigError, match=r"origin\.dns_hosts is empty"):
        OriginConfig(dns_zone=ZONE, dns_ns=("ns.example.net",), dns_hosts=())
    with pytest.raises(ConfigError, match=r"origin\.dns_zone"):
        OriginConfig(dns_zone="a b", dns_ns=("ns.example.net",))


def test_from_the_environment():
    environ = {
        "EDGEWARD_ORIGIN_DNS_ZONE": ZONE,
        "EDGEWARD_ORIGIN_DNS_NS": f"ns1.{ZONE}=203.0.113.1+2001:db8::1, ns2.example.net",
        "EDGEWARD_ORIGIN_DNS_HOSTS": "0.0.0.0,::",
        "EDGEWARD_ORIGIN_DNS_TTL_S": "30 s",
    }
    config = load_settings(OriginConfig, "origin", environ=environ)
    assert config.dns_hosts == ("0.0.0.0", "::")
    assert config.dns_ttl_s == 30
    assert len(name_servers_of(config.dns_zone, config.dns_ns)) == 2
