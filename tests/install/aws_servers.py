"""The stand-ins for AWS as a process: `imds`, `sts PORT`, or `ssm CERTIFICATE KEY FOLDER` with a file a parameter."""

from __future__ import annotations

import asyncio
import ssl
import sys
import time
from pathlib import Path

from tests.aws_stand_in import StandInMetadata, StandInParameters, StandInSts
from tests.install.machine import HOST


class Folder:
    """Parameters are read when they are asked for."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def __contains__(self, name):
        return self._file(name).is_file()

    def __getitem__(self, name):
        return self._file(name).read_text()

    def _file(self, name):
        return self.folder / name.strip("/").replace("/", "-")


async def main(what, *words):
    if what == "imds":
        running = StandInMetadata().running(host="169.254.169.254", port=80)
    elif what == "sts":
        running = StandInSts(time.time).running(port=int(words[0]))
    else:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*words[:2])
        running = StandInParameters(time.time, Folder(words[2])).running(host=HOST, port=443, tls=tls)
    async with running:
        print("ready", flush=True)
        await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:]))
