"""A node of the local network that was turned out, when the network starts again."""

import time

import pytest

from deploy.local.network import SITES, LocalNetwork
from deploy.local.ports import free_ports
from edge_node.enrolment.membership import Membership, keep_membership, load_membership
from origin.identity.certificates import key_digest
from origin.identity.register import Register
from registry.trust.in_memory import signed_in_memory
from tests.fleet_origin import Machine

SITE = SITES[0]


@pytest.fixture
def network(tmp_path):
    network = LocalNetwork(tmp_path, free_ports(len(SITES)))
    network._register = Register(signed_in_memory())
    return network


@pytest.fixture
def data_dir(network):
    """The directory of a node that is in the fleet."""
    authority = network._authority.open_or_begin(fresh_fleet="fleet-test", now_unix_s=time.time())
    machine, now_unix_s = Machine(), time.time()
    data_dir = network.directory / "nodes" / SITE.node_id
    data_dir.mkdir(parents=True)
    keep_membership(
        data_dir,
        Membership(
            node_id=SITE.node_id,
            fleet=authority.fleet,
            origins=("https://127.0.0.1:7709",),
            key=machine.key_pem,
            certificate=authority.certify_node(machine.key.public_key(), SITE.node_id, now_unix_s),
            authorities=authority.pems,
        ),
    )
    token, _ = network._register.make_token(authority.pin, now_unix_s=now_unix_s, ttl_s=60)
    digest = key_digest(machine.key.public_key())
    network._register.admit(token.token_id, token.secret, SITE.node_id, digest, now_unix_s)
    return data_dir


def test_one_that_never_joined_or_is_in_stays_as_it_is(network, data_dir):
    assert not network.readmit(SITES[1])
    assert not network.readmit(SITE)
    assert load_membership(data_dir) is not None


def test_one_that_was_turned_out_joins_anew(network, data_dir):
    network._register.revoke_node(SITE.node_id, time.time())
    assert network.readmit(SITE)
    assert load_membership(data_dir) is None
    assert not network.readmit(SITE)
    assert network._token_for(SITE, data_dir).startswith("ejt1.")
