"""Answers with tensors from a node that is wrong."""

import json

import pytest

from edge_node.client.answers import Served
from edge_node.client.tensors import Tensor, decode_infer, encode_infer, infer_path
from edge_node.errors import AnswerInvalidError

SERVED = Served(
    node_id="n", url="", label="", release="", distance_km=None, rtt_ms=0, ttft_ms=0, total_ms=0, attempts=1
)


def answer(size):
    output = {"name": "y", "datatype": "INT8", "shape": [2], "parameters": {"binary_data_size": size}}
    return json.dumps({"model_name": "m", "model_version": "1", "outputs": [output]}).encode()


def test_an_answer_is_read():
    head = answer(2)
    given = decode_infer(head + b"\1\2", str(len(head)), SERVED)
    assert given == {"y": Tensor("INT8", (2,), b"\1\2")}
    assert given.model == "m@1"


@pytest.mark.parametrize(
    ("body", "stated"),
    [
        (answer(2) + b"\1", str(len(answer(2)))),
        (answer(-1), None),
        (answer(2), "99999"),
        (answer(2), "-1"),
        (b"{}", None),
        (b"", None),
    ],
)
def test_one_that_is_wrong_is_refused(body, stated):
    with pytest.raises(AnswerInvalidError):
        decode_infer(body, stated, SERVED)


def test_what_is_sent():
    body, headers = encode_infer({"a": Tensor("INT8", (2,), b"\1\2"), "b": Tensor("INT8", (0,), b"")}, ())
    head_bytes = int(headers["Inference-Header-Content-Length"])
    assert body[head_bytes:] == b"\1\2"
    assert [tensor["name"] for tensor in json.loads(body[:head_bytes])["inputs"]] == ["a", "b"]
    assert infer_path("team/m:canary") == "/v2/models/team/m:canary/infer"
    assert infer_path("a?b") == "/v2/models/a%3Fb/infer"
