"""The OpenAPI document says what the server does: its URLs, and the fields that requests are read into."""

from __future__ import annotations

import json
import re

import jsonschema
import msgspec

from edge_node.api.openapi import OPERATIONS
from edge_node.api.requests import ChatRequest


async def document(front):
    async with front.client.get("/openapi.json") as response:
        assert response.content_type == "application/json"
        return json.loads(await response.read())


async def test_it_tells_of_every_url_and_of_no_other(front):
    told = {
        (method.upper(), path)
        for path, methods in (await document(front))["paths"].items()
        for method in methods
    }
    routes = {
        (route.method, re.sub(r":[^}]*", "", route.resource.canonical))
        for route in front.client.server.app.router.routes()
        if route.method != "HEAD"
    }
    assert told == routes == {(operation.method, operation.path) for operation in OPERATIONS}


async def test_every_field_of_a_request_is_in_it(front):
    schemas = (await document(front))["components"]["schemas"]
    for operation in OPERATIONS:
        if operation.asks is not None:
            fields = {field.encode_name for field in msgspec.structs.fields(operation.asks)}
            assert set(schemas[operation.asks.__name__]["properties"]) == fields
    assert schemas["ChatRequest"]["additionalProperties"] is False


async def test_its_schemas_hold_for_what_is_sent_and_answered(front):
    told = await document(front)
    asked = {"model": "chat", "messages": [{"role": "user", "content": "Hi"}], "temperature": 0.5, "n": 2}
    jsonschema.validate(asked, {"$ref": "#/components/schemas/ChatRequest", **told})
    async with front.client.post("/v1/chat/completions", json=asked) as response:
        answer = json.loads(await response.read())
    jsonschema.validate(answer, {"$ref": "#/components/schemas/ChatCompletion", **told})
    async with front.client.post("/v1/responses", json={"model": "chat", "input": "Hi"}) as response:
        answer = json.loads(await response.read())
    jsonschema.validate(answer, {"$ref": "#/components/schemas/Response", **told})
    async with front.client.post("/v1/chat/completions", json={**asked, "n": 99}) as response:
        assert response.status == 400
        jsonschema.validate(
            json.loads(await response.read()), {"$ref": "#/components/schemas/ErrorBody", **told}
        )
    assert msgspec.json.decode(msgspec.json.encode(asked), type=ChatRequest).n == 2
