"""Round trips to clients: whose are noted, how many are kept, and that none is told twice or lost."""

import asyncio

import pytest

from edge_node.client_rtts import ClientRtts


class Wire:
    """A connection to a loopback socket that claims to come from elsewhere: only the name is made up."""

    def __init__(self, peer, real):
        self._peer, self._real = peer, real

    def get_extra_info(self, name):
        return {"peername": self._peer, "socket": self._real.get_extra_info("socket")}[name]


@pytest.fixture
async def connection():
    made = asyncio.get_running_loop().create_future()

    async def accepted(_reader, writer):
        made.set_result(writer.transport)

    server = await asyncio.start_server(accepted, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"x")
    transport = await made
    yield transport
    writer.close()
    transport.abort()
    server.close()
    await server.wait_closed()
    del reader


async def test_the_kernels_least_round_trip_of_a_real_connection_is_read(connection):
    rtts = ClientRtts()
    rtts.look(Wire(("198.18.7.9", 5000), connection), 0.0)
    (sample,) = rtts.pending()
    assert sample.prefix == "198.18.7.0/24"
    assert 0 < sample.rtt_ms < 50


@pytest.mark.parametrize(
    "peer", ["127.0.0.1", "10.1.2.3", "192.168.0.9", "::1", "fe80::1%eth0", "100.64.0.1", "x", ""]
)
async def test_addresses_that_are_in_many_places_or_none_say_nothing(connection, peer):
    rtts = ClientRtts()
    rtts.look(Wire((peer, 5000), connection), 0.0)
    assert rtts.pending() == ()


@pytest.mark.parametrize("peer", [None, "", "/run/socket"])
async def test_what_is_no_tcp_connection_says_nothing(connection, peer):
    rtts = ClientRtts()
    rtts.look(Wire(peer, connection), 0.0)
    rtts.look(None, 0.0)
    assert rtts.pending() == ()


async def test_one_client_is_looked_at_once_a_second(connection):
    rtts, wire = ClientRtts(), Wire(("2001:db8:1:2::3", 1, 0, 0), connection)
    for now_s in (0.0, 0.5, 0.99, 1.0):
        rtts.look(wire, now_s)
    (sample,) = rtts.pending()
    assert (sample.prefix, sample.count) == ("2001:db8:1::/48", 2)


def test_a_report_that_was_lost_is_told_again_and_one_that_arrived_is_not():
    rtts = ClientRtts()
    rtts.note("192.0.2.0/24", 9.0)
    assert rtts.pending() == rtts.pending()
    rtts.told()
    assert rtts.pending() == ()


def test_what_is_seen_while_a_report_travels_is_in_the_next_one():
    rtts = ClientRtts()
    rtts.note("192.0.2.0/24", 9.0)
    rtts.pending()
    rtts.note("192.0.2.0/24", 7.0)
    rtts.told()
    (sample,) = rtts.pending()
    assert (sample.rtt_ms, sample.count) == (7.0, 2)


def test_memory_and_reports_are_bounded_and_nobody_waits_for_ever():
    rtts = ClientRtts()
    names = [f"198.{18 + n // 65536}.{n // 256 % 256}.{n % 256}/24" for n in range(10_000)]
    for name in names:
        rtts.note(name, 5.0)
    told = []
    while pending := rtts.pending():
        assert len(pending) <= 64
        told += [sample.prefix for sample in pending]
        rtts.told()
    assert told == names[-4096:]
