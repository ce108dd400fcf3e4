"""The README's examples, run against a scripted network."""

from __future__ import annotations

import asyncio
import re
import struct
from pathlib import Path

import edge_node.client

README = Path(edge_node.client.__file__).parent / "README.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)


async def test_the_examples_run(network, make, capsys):
    network.serve("paris")
    pieces = [make.chunk("Rayleigh "), make.chunk("scattering.", "stop"), make.usage_chunk]
    raw = struct.pack("<2f", 0.6, 0.8)

    def answer(request):
        body = network.bodies[-1]
        if body.get("stream"):
            return make.streaming(pieces)(request)
        if "input" in body:
            return make.packed({"data": [{"index": i, "embedding": raw} for i in range(len(body["input"]))]})
        return make.packed(make.whole)

    network.script["paris"] = [answer]
    here = str(network.server.make_url("")).rstrip("/")
    assert len(EXAMPLES) == 3
    for example in EXAMPLES:
        assert "http://127.0.0.1:7700" in example
        code = compile(example.replace("http://127.0.0.1:7700", here), str(README), "exec")
        await asyncio.to_thread(exec, code, {})
    shown = capsys.readouterr().out
    assert "The Loire.\nParis 12 km\n" in shown
    assert "Rayleigh scattering.\n2 tokens from named\n" in shown
    assert shown.endswith("1.0\nRayleigh scattering.")
