"""The Open Inference Protocol as Triton's own Python client speaks it, to a running front with a real engine.

The client lives in an environment of its own (it brings gevent), named by TRITON_PYTHON; without one the test is
skipped and says so. What goes over the wire is also checked byte by byte in `tests/edge_node/web/test_inference.py`.
"""

import asyncio
import os
import time

import pytest
from aiohttp.test_utils import TestServer

from edge_node.api.health import NodeStatus
from edge_node.engine_plan import RunnerLimits
from edge_node.engines.process import EngineProcess
from edge_node.model_store import InstalledRelease
from edge_node.runner import Runner
from edge_node.scheduler import Scheduler
from edge_node.server import NodeParts, build_app
from edge_node.supervisor import Clock
from edge_node.telemetry import Metrics
from origin.api import ModelReport
from tests.onnx_writer import adder, echo, write_model

pytestmark = pytest.mark.system

CLIENT = """
import sys
import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

client = triton.InferenceServerClient(sys.argv[1])
assert client.is_server_live() and client.is_server_ready()
assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
assert client.is_model_ready("add") and client.is_model_ready("add", "1") and not client.is_model_ready("nobody")
assert client.get_model_metadata("add")["inputs"][0] == {"name": "a", "datatype": "FP32", "shape": [-1, -1]}

a, b = np.random.rand(3, 5).astype(np.float32), np.random.rand(3, 5).astype(np.float32)
for binary in (True, False):
    inputs = [triton.InferInput(name, [3, 5], "FP32") for name in ("a", "b")]
    inputs[0].set_data_from_numpy(a, binary_data=binary)
    inputs[1].set_data_from_numpy(b, binary_data=binary)
    for outputs in (None, [triton.InferRequestedOutput("total", binary_data=binary)]):
        result = client.infer("add", inputs, outputs=outputs, request_id="7", model_version="1")
        assert result.get_response()["id"] == "7"
        assert np.allclose(result.as_numpy("total"), a + b)
texts = np.array([["gr\\u00fc\\u00df".encode(), b""]], dtype=np.object_)
given = triton.InferInput("x", [1, 2], "BYTES")
given.set_data_from_numpy(texts)
assert client.infer("words", [given]).as_numpy("y").tolist() == texts.tolist()
try:
    client.infer("add", inputs[:1])
except InferenceServerException as error:
    assert "'b' is missing" in error.message() and error.status() == "400", error
else:
    raise AssertionError("an input that is missing must be refused")
print("spoken")
"""


def release_of(folder, name, data):
    class Release(InstalledRelease):
        files_dir = folder

    return Release(
        name=name, version="1", directory=folder, kind="onnx", files=write_model(folder, data), total_bytes=0,
        created_unix_s=0, manifest_sha256=None, content_sha256=None,
    )  # fmt: skip


@pytest.mark.skipif(
    "TRITON_PYTHON" not in os.environ, reason="TRITON_PYTHON names no Python with tritonclient[http]"
)
async def test_tritons_client_speaks_with_a_node(tmp_path):
    runner = Runner(
        build=EngineProcess, clock=Clock(now_s=time.monotonic, sleep=asyncio.sleep), channel="stable",
        limits=RunnerLimits(),
    )  # fmt: skip
    for name, data in (("add", adder()), ("words", echo("BYTES"))):
        assert await runner.activate(release_of(tmp_path / name, name, data))
    report = ModelReport(name="add", version="1", state="ready", slots=1)
    parts = NodeParts(
        node_id="n", residents=runner, scheduler=Scheduler(), metrics=Metrics(node_id="n", software=""),
        status=lambda: NodeStatus(draining=False, models=(report,), origin_up=False, origin_age_s=None),
    )  # fmt: skip
    server = TestServer(build_app(parts))
    await server.start_server()
    try:
        process = await asyncio.create_subprocess_exec(
            os.environ["TRITON_PYTHON"], "-c", CLIENT, f"127.0.0.1:{server.port}",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await process.communicate()
    finally:
        await server.close()
        await runner.close()
    assert said.decode().strip() == "spoken"
