"""`/v1/rerank` and `/v1/classify` over a real port, with scripted scores: each text's is its length."""

import pytest


async def test_documents_come_back_by_relevance(front):
    body = {
        "model": "judge",
        "query": "q",
        "documents": ["aa", {"text": "aaaa"}, "bb"],
        "return_documents": True,
    }
    reply = await front.client.post("/v1/rerank", json=body)
    assert reply.status == 200
    assert reply.headers["x-edgeward-release"] == "judge@1"
    answer = await reply.json()
    assert answer["id"].startswith("rerank-")
    assert answer["results"] == [
        {"index": 1, "relevance_score": 4.0, "document": {"text": "aaaa"}},
        {"index": 0, "relevance_score": 2.0, "document": {"text": "aa"}},
        {"index": 2, "relevance_score": 2.0, "document": {"text": "bb"}},
    ]
    assert answer["usage"] == {"prompt_tokens": 9, "total_tokens": 9}
    command = front.residents.judge.commands[-1]
    assert (command.query, command.texts, command.cut_tokens) == ("q", ("aa", "aaaa", "bb"), 0)


async def test_the_best_ones_alone_without_their_texts(front):
    body = {"model": "judge", "query": "q", "documents": ["a", "aaa"], "top_n": 1, "max_tokens_per_doc": 7}
    answer = await (await front.client.post("/v1/rerank", json=body)).json()
    assert answer["results"] == [{"index": 1, "relevance_score": 3.0}]
    assert front.residents.judge.commands[-1].cut_tokens == 7


async def test_classes(front):
    reply = await front.client.post("/v1/classify", json={"model": "classes", "input": ["a", "bb"]})
    answer = await reply.json()
    assert answer["labels"] == ["bad", "good"]
    assert answer["data"] == [
        {"index": 0, "label": "good", "probs": [1.0, 2.0], "num_classes": 2},
        {"index": 1, "label": "good", "probs": [2.0, 3.0], "num_classes": 2},
    ]
    assert answer["created"] == 1_800_000_000
    reply = await front.client.post("/v1/classify", json={"model": "classes", "input": "a"})
    assert len((await reply.json())["data"]) == 1


@pytest.mark.parametrize(
    ("path", "changes", "param", "message"),
    [
        ("rerank", {"query": ""}, "query", "empty"),
        ("rerank", {"documents": []}, "documents", "no documents"),
        ("rerank", {"documents": ["a", ""]}, "documents[1]", "empty"),
        ("rerank", {"documents": ["a"] * 2049}, "documents", "2049 texts"),
        ("rerank", {"top_n": 0}, "top_n", ">= 1"),
        ("rerank", {"topn": 1}, "topn", "top_n"),
        (
            "rerank",
            {"model": "team/embed"},
            "model",
            "does not do rerank; it does embedding: it takes a cross-enc",
        ),
        ("classify", {"input": []}, "input", "empty"),
        ("classify", {"input": ["a", ""]}, "input[1]", "empty"),
        ("classify", {"input": ""}, "input", "empty"),
        ("classify", {"model": "judge", "input": "a"}, "model", "does not do classification"),
    ],
)
async def test_what_cannot_be_judged_is_named(front, path, changes, param, message):
    body = {"model": "judge", "query": "q", "documents": ["a"]} if path == "rerank" else {"model": "classes"}
    reply = await front.client.post(f"/v1/{path}", json={**body, **changes})
    assert reply.status == 400
    error = (await reply.json())["error"]
    assert error["param"] == param
    assert message in error["message"]
