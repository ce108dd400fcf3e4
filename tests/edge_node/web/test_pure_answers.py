"""Vectors, scores, classes and tensors: computed once for the same input, whoever asks and when; then kept."""

import asyncio
import io
import json

import pytest

from edge_node.engines import Score

TENSOR = {"name": "x", "shape": [2], "datatype": "FP32", "data": [1, 2.5]}
ASKS = {
    "embed": ("/v1/embeddings", {"model": "team/embed", "input": ["some text"]}, "embed"),
    "rerank": ("/v1/rerank", {"model": "judge", "query": "q", "documents": ["aa", "aaa"]}, "judge"),
    "classify": ("/v1/classify", {"model": "classes", "input": ["a", "bb"]}, "classes"),
    "infer": ("/v2/models/team/tensors/infer", {"inputs": [TENSOR]}, "tensors"),
}
EACH = pytest.mark.parametrize(("path", "body", "lease"), ASKS.values(), ids=ASKS)


@pytest.fixture
async def front(make_front):
    """A node that keeps answers."""
    return await make_front(cache_bytes=64 << 20)


async def asked(front, path, body, **headers):
    response = await front.client.post(path, json=body, headers=headers)
    data = await response.read()
    assert response.status == 200, data
    return response.headers, data


@EACH
async def test_the_same_input_is_computed_once(front, path, body, lease):
    answers = [await asked(front, path, body) for _ in range(3)]
    assert [headers["x-edgeward-cache"] for headers, _ in answers] == ["miss", "hit", "hit"]
    assert len({data for _, data in answers}) == 1, (
        "ids and times are those of the answer, not of the request"
    )
    assert "Age" in answers[1][0]
    assert len(getattr(front.residents, lease).commands) == 1


@EACH
async def test_at_the_same_time_too(front, path, body, lease, monkeypatch, until):
    scripted, gate = getattr(front.residents, lease), asyncio.Event()
    whole = type(scripted).compute

    async def slow(self, command):
        await gate.wait()
        return await whole(self, command)

    monkeypatch.setattr(type(scripted), "compute", slow)
    both = [asyncio.create_task(asked(front, path, body)) for _ in range(2)]
    await until(lambda: front.residents.held_count == 2)
    gate.set()
    answers = await asyncio.gather(*both)
    assert sorted(headers["x-edgeward-cache"] for headers, _ in answers) == ["coalesced", "miss"]
    assert len({data for _, data in answers}) == 1
    assert len(scripted.commands) == 1
    assert front.residents.held_count == 0


@EACH
@pytest.mark.parametrize(
    ("headers", "state"),
    [
        ({"Authorization": "Bearer someone"}, "miss"),
        ({"Cache-Control": "no-cache"}, "miss"),
        ({"Cache-Control": "no-store"}, "bypass"),
    ],
    ids=["another client", "a new one wanted", "nothing to be kept"],
)
async def test_what_is_not_for_this_request_is_computed(front, path, body, lease, headers, state):
    await asked(front, path, body)
    answered, _ = await asked(front, path, body, **headers)
    assert answered["x-edgeward-cache"] == state
    assert len(getattr(front.residents, lease).commands) == 2


@EACH
async def test_only_what_is_kept(front, path, body, lease):
    only = {"Cache-Control": "only-if-cached"}
    assert (await front.client.post(path, json=body, headers=only)).status == 504
    await asked(front, path, body)
    answered, _ = await asked(front, path, body, **only)
    assert answered["x-edgeward-cache"] == "hit"
    assert len(getattr(front.residents, lease).commands) == 1


async def test_what_is_cut_elsewhere_is_another_answer(front):
    path, body, _ = ASKS["rerank"]
    await asked(front, path, body)
    await asked(front, path, {**body, "max_tokens_per_doc": 3})
    assert [command.cut_tokens for command in front.residents.judge.commands] == [0, 3]
    # How many are shown is not the engine's matter.
    headers, _ = await asked(front, path, {**body, "top_n": 1})
    assert headers["x-edgeward-cache"] == "hit"
    assert all(isinstance(command, Score) for command in front.residents.judge.commands)


async def test_answers_that_are_too_large_are_not_kept(front):
    wide = {"name": "x", "shape": [5 << 20], "datatype": "INT8", "parameters": {"binary_data_size": 5 << 20}}
    head = json.dumps({"inputs": [wide], "parameters": {"binary_data_output": True}}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
    for _ in range(2):
        response = await front.client.post(
            ASKS["infer"][0], data=io.BytesIO(head + bytes(5 << 20)), headers=headers
        )
        assert (await response.read()).endswith(bytes(5 << 20))
        assert response.headers["x-edgeward-cache"] == "miss"
    assert len(front.residents.tensors.commands) == 2


async def test_a_node_that_keeps_nothing_says_bypass(make_front):
    headers, _ = await asked(await make_front(cache_bytes=0), *ASKS["rerank"][:2])
    assert headers["x-edgeward-cache"] == "bypass"
