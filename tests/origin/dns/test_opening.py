"""The door of a whole origin: off by itself, and with a zone answering what nodes report over HTTP."""

import asyncio
import socket

import dns.message
import structlog

from origin.api import ModelReport, NodeReport
from origin.client import OriginClient
from origin.config import OriginConfig
from origin.daemon import running_origin


async def ask(port, packet):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.setblocking(False)
        asker.sendto(packet, ("127.0.0.1", port))
        return dns.message.from_wire(
            await asyncio.wait_for(asyncio.get_running_loop().sock_recv(asker, 4096), 5)
        )


async def test_a_node_that_reports_is_found_by_name(store, publish, wire, tmp_path):
    publish(store, "chat", "1.0")
    config = OriginConfig(
        port=0, catalog_refresh_s=0.01, heartbeat_s=0.05, data_dir=tmp_path,
        dns_zone=wire.zone, dns_port=0, dns_ns=("ns.example.net",), dns_ttl_s=1,
    )  # fmt: skip
    report = NodeReport(
        node_id="a", incarnation=1, url="http://192.0.2.1:7710", addresses=("192.0.2.1",),
        models=(ModelReport(name="chat", version="1.0", state="ready", slots=1),),
    )  # fmt: skip
    with structlog.testing.capture_logs() as lines:
        async with running_origin(config, store.signed) as url, OriginClient(url) as client:
            (port,) = [line["port"] for line in lines if line["event"] == "dns.opened"]
            async with asyncio.timeout(10):
                while not (answer := await ask(port, wire.question("chat"))).answer:
                    await client.report(report)
                    await asyncio.sleep(0.02)
    assert wire.texts(answer) == ["192.0.2.1"]
    assert answer.answer[0].ttl == 1


async def test_without_a_zone_nothing_is_opened(store, tmp_path):
    with structlog.testing.capture_logs() as lines:
        async with running_origin(OriginConfig(port=0, data_dir=tmp_path), store.signed):
            pass
    assert "dns.opened" not in {line["event"] for line in lines}
