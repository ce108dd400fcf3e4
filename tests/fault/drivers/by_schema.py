"""Drives a node with requests that Schemathesis makes from its OpenAPI document, allowed ones and broken ones."""

import sys
from collections import Counter

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

URL, COUNT = sys.argv[1], int(sys.argv[2])
# The others are read only, or for nodes among themselves.
PATHS = {
    "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings", "/v1/models/{id}",
    "/v1/chunks/{sha256}", "/v1/chunks/have",
}  # fmt: skip
seen = Counter()
schema = schemathesis.openapi.from_url(f"{URL}/openapi.json")
operations = [found.ok() for found in schema.get_all_operations()]
operations = [operation for operation in operations if operation.path in PATHS]
assert len(operations) == len(PATHS)


def check(case):
    response = case.call(timeout=60)
    status = response.status_code
    seen[status] += 1
    assert status < 500 or status == 503, (status, case.as_curl_command(), response.text[:500])
    if status >= 400:
        error = response.json()["error"]
        assert error["message"] and error["code"], response.text


for operation in operations:
    for mode in GenerationMode.POSITIVE, GenerationMode.NEGATIVE:
        run = given(case=operation.as_strategy(generation_mode=mode))(check)
        limits = settings(
            max_examples=max(1, COUNT // len(operations) // 2),
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        try:
            limits(run)()
        except Unsatisfiable:
            # Every text that a URL can hold is allowed in it: there is nothing to break.
            assert operation.method == "get" and mode is GenerationMode.NEGATIVE, operation.label
print(dict(seen))
print("outlived")
