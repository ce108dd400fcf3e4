"""The client without an event loop of one's own; the scripted network runs in the test's loop."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading

import pytest

from edge_node.client import Client, ClientConfig
from edge_node.errors import PromptTooLongError
from registry.errors import InputInvalidError


def config_of(network):
    return ClientConfig(origin=(str(network.server.make_url("")).rstrip("/"),), timeout_s=5.0)


async def test_every_call(network, make):
    network.serve("paris")
    network.script["paris"] = [
        lambda _: make.packed(make.whole),
        make.streaming([make.chunk("a"), make.chunk("b", "stop")]),
        make.streaming([make.chunk("c", "stop"), make.usage_chunk]),
        lambda _: make.packed({"choices": [{"text": "d"}]}),
        lambda _: make.packed({"data": [{"embedding": [1.0]}]}),
        lambda _: make.failure("context_length_exceeded", 400, "too long"),
    ]

    def use():
        with Client(config=config_of(network), place=(1, 2)) as client:
            assert client.chat("x").text == "The Loire."
            stream = client.chat("x", stream=True)
            assert stream.served.node_id == "named"
            assert [piece.text for piece in stream] == ["a", "b"]
            assert (stream.text, stream.finish_reason) == ("ab", "stop")
            with client.stream_complete("x", model="chat") as stream:
                with pytest.raises(InputInvalidError, match="after the first piece"):
                    _ = stream.served
                assert [piece.text for piece in stream] == ["c"]
                assert stream.usage.total_tokens == 5
            assert client.complete("x").text == "d"
            assert client.embed("x") == [[1.0]]
            with pytest.raises(PromptTooLongError):
                client.chat("x")
            assert [node.node_id for node in client.route().nodes] == ["paris"]
            assert client.nodes() == ()
            assert len(client.models().releases) == 2
        client.close()
        with pytest.raises(InputInvalidError, match="closed"):
            client.chat("x")

    before = set(threading.enumerate())
    await asyncio.to_thread(use)
    assert not [thread for thread in set(threading.enumerate()) - before if thread.name == "edgeward-client"]


PROGRAM = """
import sys
from edge_node.client import Client, ClientConfig
client = Client(config=ClientConfig(origin=(sys.argv[1],)))
for piece in client.stream_chat("x", model="chat"):
    print(piece.text, flush=True)
    if len(sys.argv) > 2:
        break
"""


async def run_program(network, *words):
    return await asyncio.create_subprocess_exec(
        sys.executable, "-X", "dev", "-W", "error", "-c", PROGRAM, config_of(network).origin[0], *words,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip


def endless(make, stopped):
    async def write(request):
        import msgpack
        from aiohttp import web

        response = web.StreamResponse(headers={"content-type": "application/x-edgeward-frames+msgpack"})
        await response.prepare(request)
        try:
            await response.write(msgpack.packb(make.chunk("more")))
            await asyncio.Event().wait()
        finally:
            stopped.set()

    return write


async def test_an_open_client_does_not_hold_up_the_interpreters_end(network, make):
    stopped = asyncio.Event()
    network.serve("paris")
    network.script["paris"] = [endless(make, stopped)]
    program = await run_program(network, "leave")
    out, err = await asyncio.wait_for(program.communicate(), 30)
    assert (out, err, program.returncode) == (b"more\n", b"", 0)
    await asyncio.wait_for(stopped.wait(), 10)


async def test_ctrl_c_in_a_stream_stops_the_node_too(network, make):
    stopped = asyncio.Event()
    network.serve("paris")
    network.script["paris"] = [endless(make, stopped)]
    program = await run_program(network)
    assert await program.stdout.readline() == b"more\n"
    program.send_signal(signal.SIGINT)
    _, err = await asyncio.wait_for(program.communicate(), 30)
    assert program.returncode == -signal.SIGINT, err.decode()
    assert err.strip().endswith(b"KeyboardInterrupt")
    assert b"Exception ignored" not in err
    await asyncio.wait_for(stopped.wait(), 10)
