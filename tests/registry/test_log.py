"""Logs: one line of JSON for machines, with the service in each, and never the local variables of a crash."""

from __future__ import annotations

import json
import subprocess
import sys

CODE = """
import structlog
from registry.log import configure_logging
configure_logging(service="node", level="info", form={form!r})
log = structlog.get_logger()
log.debug("thing.hidden")
log.info("thing.seen", size_bytes=3)
def fail(prompt):
    raise ValueError("odd")
try:
    fail("a secret prompt")
except ValueError:
    log.exception("thing.broke")
"""


def lines(form):
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(form=form)], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    return done.stderr


def test_json_lines():
    seen, broke = (json.loads(line) for line in lines("json").splitlines())
    assert seen["event"] == "thing.seen"
    assert (seen["service"], seen["size_bytes"], seen["level"]) == ("node", 3, "info")
    assert "ValueError: odd" in broke["exception"]


def test_no_form_prints_local_variables():
    for form in ("json", "console"):
        text = lines(form)
        assert "ValueError: odd" in text
        # The line of code is shown, the value that the caller passed is not.
        assert "prompt = " not in text


SERVER = """
import asyncio
from aiohttp import web
from registry.log import configure_logging
configure_logging(service="node", level="info", form="json")

async def leave(request):
    raise ConnectionResetError("Cannot write to closing transport")

async def fail(request):
    raise ValueError("odd")

async def send(port, line):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(line + b"\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n")
    await reader.read()
    writer.close()

async def main():
    app = web.Application()
    app.add_routes([web.get("/leave", leave), web.get("/fail", fail)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    bad = (b"\\x16\\x03 no HTTP", b"GET /leave HTTP/1.1\\r\\nno header", b"GET /leave HTTP/1.1")
    for line in (*bad, b"GET /fail HTTP/1.1"):
        await send(runner.addresses[0][1], line)
    await runner.cleanup()

asyncio.run(main())
"""


def test_what_clients_do_to_the_http_server_is_one_line_and_a_defect_a_traceback():
    done = subprocess.run([sys.executable, "-c", SERVER], capture_output=True, text=True, check=True)
    malformed, defect = done.stderr.split("aiohttp.server: Error handling request")
    assert "Traceback" not in malformed
    line = json.loads(malformed.splitlines()[-1])
    assert (line["event"], line["client"], line["reason"]) == (
        "request.malformed",
        "127.0.0.1",
        "BadHttpMessage",
    )
    assert "ValueError: odd" in defect
    assert "ConnectionResetError" not in done.stderr
