"""The ports: real sockets, UDP and TCP, answered from the address that was asked."""

import asyncio
import contextlib
import socket
import struct

import dns.flags
import dns.message
import dns.rcode
import pytest

from origin.dns import tcp
from origin.dns.listening import listening
from origin.dns.rate import RateLimit
from origin.dns.serving import Serving
from origin.dns.tcp import TcpConnections
from origin.telemetry import Telemetry
from registry.errors import ConfigError


class Opened:
    """A door that listens, and what it counted."""

    def __init__(self, world, per_s=0):
        self.telemetry = Telemetry()
        self.serving = Serving(world.door, RateLimit(per_s), self.telemetry, lambda: 0.0)
        self.ports = {}

    def counted(self, text):
        lines = self.telemetry.rendered().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(text))

    def send(self, packet, host="127.0.0.1", *, bind=None):
        """A UDP socket that has sent a packet."""
        opened = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        opened.setblocking(False)
        if bind:
            opened.bind((bind, 0))
        opened.sendto(packet, (host, next(iter(self.ports.values()))))
        return opened

    async def ask(self, packet, host="127.0.0.1"):
        loop = asyncio.get_running_loop()
        with contextlib.closing(self.send(packet, host)) as opened:
            return await asyncio.wait_for(loop.sock_recvfrom(opened, 4096), 5)

    async def connect(self):
        return await asyncio.open_connection("127.0.0.1", self.ports["127.0.0.1"])


@pytest.fixture
async def opened(world):
    made = Opened(world)
    async with listening(("127.0.0.1", "::1"), 0, made.serving) as bound:
        made.ports = dict(bound)
        yield made


def framed(packet):
    return struct.pack("!H", len(packet)) + packet


async def read_one(reader):
    (length,) = struct.unpack("!H", await asyncio.wait_for(reader.readexactly(2), 5))
    return dns.message.from_wire(await asyncio.wait_for(reader.readexactly(length), 5))


class TestUdp:
    async def test_a_question(self, opened, wire):
        answer, _ = await opened.ask(wire.question("chat", subnet="80.1.2.0/24", id=99))
        message = dns.message.from_wire(answer)
        assert message.id == 99
        assert wire.texts(message)[0] == "198.51.100.2"
        assert opened.counted('origin_dns_answers_total{rcode="NOERROR"}') == 1

    async def test_over_ipv6(self, world, wire):
        made = Opened(world)
        async with listening(("::1",), 0, made.serving) as bound:
            made.ports = dict(bound)
            answer, sender = await made.ask(wire.question("chat"), "::1")
        assert dns.message.from_wire(answer).rcode() == dns.rcode.NOERROR
        assert sender[0] == "::1"

    async def test_the_answer_comes_from_the_address_that_was_asked(self, world, wire):
        made = Opened(world)
        async with listening(("0.0.0.0",), 0, made.serving) as bound:
            made.ports = dict(bound)
            for host in ("127.0.0.1", "127.0.0.53"):
                assert (await made.ask(wire.question("chat"), host))[1][0] == host

    async def test_a_burst_loses_nothing_and_silence_stays_silent(self, opened, wire):
        loop = asyncio.get_running_loop()
        with contextlib.closing(opened.send(b"x")) as asker:
            port = opened.ports["127.0.0.1"]
            for number in range(200):
                asker.sendto(wire.question("chat", id=number), ("127.0.0.1", port))
            ids = {
                struct.unpack("!H", (await asyncio.wait_for(loop.sock_recv(asker, 4096), 5))[:2])[0]
                for _ in range(200)
            }
        assert ids == set(range(200))
        assert opened.counted('origin_dns_dropped_total{reason="no_question"}') == 1

    async def test_the_largest_packet_is_refused_not_choked_on(self, opened):
        answer, _ = await opened.ask(b"\1\2\1\0\0\1" + b"\0" * 60_000)
        assert answer[:2] == b"\1\2"
        assert answer[3] & 15 == dns.rcode.FORMERR

    async def test_past_the_limit_a_resolver_is_sent_to_tcp(self, world, wire):
        made = Opened(world, per_s=1)
        async with listening(("127.0.0.1",), 0, made.serving) as bound:
            made.ports = dict(bound)
            await made.ask(wire.question("chat"))
            answer, _ = await made.ask(wire.question("CHAT", subnet="80.1.2.0/24"))
            message = dns.message.from_wire(answer)
            assert message.flags & dns.flags.TC
            assert message.question[0].name.labels[0] == b"CHAT"
            assert len(answer) < len(wire.question("CHAT", subnet="80.1.2.0/24"))
            with contextlib.closing(made.send(wire.question("chat"))):
                async with asyncio.timeout(5):
                    while not made.counted('origin_dns_dropped_total{reason="limited"}'):  # noqa: ASYNC110
                        await asyncio.sleep(0)
            reader, writer = await made.connect()
            writer.write(framed(wire.question("chat")))
            assert len(wire.texts(await read_one(reader))) == 3
            writer.close()

    async def test_a_defect_is_an_answer_and_the_door_goes_on(self, opened, world, wire, monkeypatch):
        with monkeypatch.context() as patch:
            patch.setattr(world.door, "answer", lambda *_, **__: 1 / 0)
            answer, _ = await opened.ask(wire.question("chat"))
            assert answer[3] & 15 == dns.rcode.SERVFAIL
        answer, _ = await opened.ask(wire.question("chat"))
        assert answer[3] & 15 == dns.rcode.NOERROR


class TestTcp:
    async def test_many_questions_on_one_connection_in_their_order(self, opened, wire):
        reader, writer = await opened.connect()
        writer.write(b"".join(framed(wire.question("chat", id=number)) for number in range(50)))
        assert [(await read_one(reader)).id for _ in range(50)] == list(range(50))
        writer.close()

    async def test_byte_by_byte(self, opened, wire):
        reader, writer = await opened.connect()
        for byte in framed(wire.question("chat")):
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)
        assert (await read_one(reader)).rcode() == dns.rcode.NOERROR
        writer.close()

    async def test_a_transfer_is_refused(self, opened, wire):
        reader, writer = await opened.connect()
        writer.write(framed(wire.question("", "AXFR")))
        answer = await read_one(reader)
        assert answer.rcode() == dns.rcode.REFUSED
        assert answer.answer == []
        writer.close()

    async def test_what_is_no_question_ends_the_connection(self, opened):
        for data in (framed(b"\1\2\x80\0" + b"\0" * 8), framed(b""), framed(b"x")):
            reader, writer = await opened.connect()
            writer.write(data)
            assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.close()

    async def test_too_long_a_question_is_refused_before_it_has_come(self, opened):
        reader, writer = await opened.connect()
        writer.write(b"\xff\xff" + b"\1\2\1\0\0\1" + b"\0" * 5000)
        assert (await read_one(reader)).rcode() == dns.rcode.FORMERR
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()

    async def test_silence_ends_the_connection(self, opened):
        connections = TcpConnections(opened.serving, idle_s=0.01)
        server = await asyncio.start_server(connections.serve, "127.0.0.1", 0)
        for data in (b"", b"\0", b"\0\x20abc"):
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(data)
            assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.close()
        server.close()

    async def test_when_it_is_crowded_the_one_silent_longest_goes(self, opened, wire):
        connections = TcpConnections(opened.serving, limit_count=2)
        server = await asyncio.start_server(connections.serve, "127.0.0.1", 0)
        pairs = []
        for _ in range(2):
            pairs.append(await asyncio.open_connection(*server.sockets[0].getsockname()))
            pairs[-1][1].write(framed(wire.question("chat")))
            await read_one(pairs[-1][0])
        pairs[0][1].write(
            framed(wire.question("chat"))
        )  # now the second is the one that has been silent longest
        await read_one(pairs[0][0])
        pairs.append(await asyncio.open_connection(*server.sockets[0].getsockname()))
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(pairs[1][0].read(), 5) == b""
        for reader, writer in (pairs[0], pairs[2]):
            writer.write(framed(wire.question("chat")))
            assert (await read_one(reader)).rcode() == dns.rcode.NOERROR
        assert opened.counted('origin_dns_dropped_total{reason="crowded"}') == 1
        for _, writer in pairs:
            writer.close()
        connections.close()
        server.close()


class TestPorts:
    async def test_taken(self, opened, world):
        port = opened.ports["127.0.0.1"]
        with pytest.raises(ConfigError, match=rf"dns_port: port {port} on 127\.0\.0\.1 is in use"):
            async with listening(("127.0.0.1",), port, opened.serving):
                pass

    async def test_not_ours(self, opened):
        with pytest.raises(ConfigError, match=r"dns_hosts: '192\.0\.2\.1' is not an address of this machine"):
            async with listening(("192.0.2.1",), 0, opened.serving):
                pass

    async def test_the_second_failure_gives_the_first_port_back(self, opened):
        port = opened.ports["127.0.0.1"]
        with pytest.raises(ConfigError):
            async with listening(("127.0.0.9", "127.0.0.1"), port, opened.serving):
                pass
        async with listening(("127.0.0.9",), port, opened.serving) as bound:
            assert bound == [("127.0.0.9", port)]


def test_the_time_a_connection_may_be_silent():
    assert tcp.IDLE_S >= 5  # RFC 7766 section 6.2.3: of the order of a few seconds
