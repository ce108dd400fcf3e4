"""The README's examples, run against a scripted network."""

from __future__ import annotations

import asyncio
import json
import re
import struct
from pathlib import Path

from aiohttp import web

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
        if "tensors" in body:
            sizes = {"binary_data_size": 8}
            output = {"name": "vectors", "datatype": "FP32", "shape": [1, 2], "parameters": sizes}
            head = json.dumps({"model_name": "embed", "model_version": "1", "outputs": [output]}).encode()
            headers = {"Inference-Header-Content-Length": str(len(head))}
            return web.Response(body=head + raw, headers=headers)
        if "input" in body:
            return make.packed({"data": [{"index": i, "embedding": raw} for i in range(len(body["input"]))]})
        return make.packed(make.whole)

    network.script["paris"] = [answer]
    here = str(network.server.make_url("")).rstrip("/")
    assert len(EXAMPLES) == 4
    for example in EXAMPLES:
        assert "http://127.0.0.1:7700" in example
        code = compile(example.replace("http://127.0.0.1:7700", here), str(README), "exec")
        await asyncio.to_thread(exec, code, {})
    shown = capsys.readouterr().out
    assert "The Loire.\nParis 12 km\n" in shown
    assert "Rayleigh scattering.\n2 tokens from named\n" in shown
    assert shown.endswith("1.0\nRayleigh scattering.vectors FP32 (1, 2)\n")
