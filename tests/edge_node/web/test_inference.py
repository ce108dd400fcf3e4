"""The Open Inference Protocol over a real port; the scripted engine gives tensors back as they came."""

import json
import struct

import pytest

from edge_node.errors import EngineFailedError

INFER = "/v2/models/team/tensors/infer"
ROW = {"name": "x", "shape": [1, 2], "datatype": "FP32"}


async def ask(front, body, *, path=INFER, after=b"", **headers):
    text = json.dumps(body).encode()
    sizes = {"Inference-Header-Content-Length": str(len(text))} if after else {}
    return await front.client.post(
        path, data=text + after, headers={"Content-Type": "application/json", **sizes, **headers}
    )


async def test_the_server_says_what_it_is_and_how(front, make_front, make_status):
    answer = await (await front.client.get("/v2")).json()
    assert answer == {"name": "edgeward", "version": "", "extensions": ["binary_tensor_data"]}
    assert (await front.client.get("/v2/health/live")).status == 200
    assert (await front.client.get("/v2/health/ready")).status == 200
    draining = await make_front(status=lambda: make_status(draining=True))
    assert (await draining.client.get("/v2/health/ready")).status == 503


@pytest.mark.parametrize(
    "path", ["team/tensors", "team/tensors/versions/3", "team%2Ftensors", "team/tensors@3"]
)
async def test_a_model_says_what_it_takes(front, path):
    tensor = {"name": "x", "datatype": "FP32", "shape": [-1, 2]}
    answer = await (await front.client.get(f"/v2/models/{path}")).json()
    assert answer == {
        "name": "team/tensors", "versions": ["3"], "platform": "onnx_onnxruntime",
        "inputs": [tensor], "outputs": [tensor],
    }  # fmt: skip
    assert (await front.client.get(f"/v2/models/{path}/ready")).status == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [("nobody", 404), ("team/tensors/versions/4", 404), ("team/tensors@3/versions/3", 404), ("chat", 400)],
)
async def test_errors_have_the_protocols_form(front, path, status):
    reply = await front.client.get(f"/v2/models/{path}")
    assert reply.status == status
    assert isinstance((await reply.json())["error"], str)


@pytest.mark.parametrize("data", [[1.5, -2], [[1.5, -2]]])
async def test_json_in_json_out(front, data):
    reply = await ask(front, {"id": "42", "inputs": [{**ROW, "data": data}]})
    assert reply.headers["Content-Type"] == "application/json"
    assert await reply.json() == {
        "model_name": "team/tensors", "model_version": "3", "id": "42",
        "outputs": [{**ROW, "data": [1.5, -2.0]}],
    }  # fmt: skip
    (tensor,) = front.residents.tensors.commands[-1].inputs
    assert (tensor.shape, tensor.data) == ((1, 2), struct.pack("<2f", 1.5, -2))


async def test_bytes_in_bytes_out(front):
    raw = struct.pack("<2f", 0.1, float("nan"))
    body = {
        "inputs": [{**ROW, "parameters": {"binary_data_size": 8}}],
        "parameters": {"binary_data_output": True},
    }
    reply = await ask(front, body, after=raw)
    assert reply.headers["Content-Type"] == "application/octet-stream"
    answer, head_bytes = await reply.read(), int(reply.headers["Inference-Header-Content-Length"])
    assert answer[head_bytes:] == raw
    assert json.loads(answer[:head_bytes])["outputs"] == [{**ROW, "parameters": {"binary_data_size": 8}}]


async def test_each_output_may_have_its_own_form(front):
    wanted = {"name": "x", "parameters": {"binary_data": False}}
    body = {
        "inputs": [{**ROW, "data": [1, 2]}],
        "outputs": [wanted],
        "parameters": {"binary_data_output": True},
    }
    assert (await (await ask(front, body)).json())["outputs"][0]["data"] == [1.0, 2.0]
    assert front.residents.tensors.commands[-1].outputs == ("x",)


@pytest.mark.parametrize(
    ("datatype", "data"),
    [
        ("BOOL", [True, False]), ("UINT8", [0, 255]), ("UINT64", [0, 2**64 - 1]), ("INT8", [-128, 127]),
        ("INT64", [-(2**63), 2**63 - 1]), ("FP16", [0.5, -2.0]), ("FP64", [0.1, 1e300]), ("BYTES", ["", "grüß"]),
    ],
)  # fmt: skip
async def test_every_datatype_goes_there_and_back(front, datatype, data):
    tensor = {"name": "x", "shape": [2], "datatype": datatype}
    reply = await ask(front, {"inputs": [{**tensor, "data": data}]})
    assert (await reply.json())["outputs"] == [{**tensor, "data": data}]


@pytest.mark.parametrize(
    ("tensor", "param", "message"),
    [
        ({"data": [1]}, "inputs[0]", "has 1 elements, its shape [1, 2] needs 2"),
        ({"data": [[1], [2]]}, "inputs[0]", "neither flat nor of the shape"),
        ({"data": [[1, 2], 3]}, "inputs[0]", "neither flat nor of the shape"),
        ({"data": 7}, "inputs[0]", "must be a list"),
        ({"data": ["a", "b"]}, "inputs[0]", "holds something else"),
        ({"data": [True, False]}, "inputs[0]", "holds something else"),
        ({"data": [1, 300], "datatype": "UINT8"}, "inputs[0]", "beyond UINT8"),
        ({"data": [1, 2], "datatype": "BYTES"}, "inputs[0]", "elements are texts"),
        ({"data": [1, 2], "datatype": "BF17"}, "inputs[0]", "the datatypes here are"),
        ({"data": [], "shape": [0, 2**62, 4]}, "inputs[0]", "larger than any memory"),
        ({"data": [], "shape": [1] * 33}, "inputs[0]", "33 dimensions"),
        ({"data": [], "shape": [2**21]}, "inputs[0]", "more than 1048576 elements"),
        ({"data": [], "shape": [-1]}, "inputs[0].shape[0]", ">= 0"),
        ({}, "inputs[0].data", "needs either `data`"),
        ({"parameters": {"binary_data_size": 9}}, "inputs[0]", "more bytes than the body"),
        (
            {"parameters": {"binary_data_size": True}},
            "inputs[0].parameters.binary_data_size",
            "number of bytes",
        ),
        (
            {"parameters": {"shared_memory_region": "r"}},
            "inputs[0].parameters.shared_memory_region",
            "does not support",
        ),
        ({"data": [1, 2], "dataa": 1}, "inputs[0].dataa", "data"),
    ],
)
async def test_what_is_wrong_with_a_tensor_is_named(front, tensor, param, message):
    reply = await ask(front, {"inputs": [{**ROW, **tensor}]})
    assert reply.status == 400
    answer = await reply.json()
    assert message in answer["error"]
    assert answer["param"] == param


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parameters": {"sequence_id": 5}}, "'sequence_id'"),
        ({"outputs": [{"name": "x"}, {"name": "x"}]}, "asked for twice"),
        ({"outputs": [{"name": "x", "parameters": {"classification": 3}}]}, "'classification'"),
        ({"inputs": "x"}, "array"),
    ],
)
async def test_what_is_wrong_with_a_request_is_named(front, changes, message):
    reply = await ask(front, {"inputs": [{**ROW, "data": [1, 2]}], **changes})
    assert reply.status == 400
    assert message in (await reply.json())["error"]


async def test_bytes_must_belong_to_an_input_and_the_header_to_the_body(front):
    body = {"inputs": [{**ROW, "parameters": {"binary_data_size": 8}}]}
    assert "no input says" in (await (await ask(front, body, after=b"123456789")).json())["error"]
    for length in ("x", "9999999"):
        reply = await ask(front, body, after=b"12345678", **{"Inference-Header-Content-Length": length})
        assert (reply.status, (await reply.json())["param"]) == (400, "Inference-Header-Content-Length")


async def test_who_states_no_content_type_must_be_no_web_page(front):
    body = json.dumps({"inputs": [{**ROW, "data": [1, 2]}]}).encode()
    for headers, status in (
        ({"Content-Type": "application/octet-stream"}, 200),
        ({"Content-Type": "application/octet-stream", "Origin": "https://a.example"}, 415),
        ({"Content-Type": "text/plain"}, 415),
    ):
        assert (await front.client.post(INFER, data=body, headers=headers)).status == status


async def test_a_broken_engine_is_told_in_the_protocols_form(front):
    front.residents.tensors.script = (EngineFailedError("it broke"),)
    reply = await ask(front, {"inputs": [{**ROW, "data": [1, 2]}]})
    assert (reply.status, await reply.json()) == (
        502,
        {"error": "it broke", "code": "engine.failed", "param": None},
    )
