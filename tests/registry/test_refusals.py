"""Errors by their codes, and when to come back."""

from __future__ import annotations

import subprocess
import sys

import pytest

from registry.errors import ArtifactError, BodyTooLargeError, EdgewardError, ObjectMissingError
from registry.refusals import kind_of_code, retry_after_in, retry_headers


def test_a_code_belongs_to_the_class_that_states_it():
    assert kind_of_code("store.object_missing") is ObjectMissingError
    assert kind_of_code("artifact.invalid") is ArtifactError
    assert kind_of_code("request.too_large") is BodyTooLargeError


@pytest.mark.parametrize("code", ["of.tomorrow", "internal", ""])
def test_a_code_of_nobody(code):
    assert kind_of_code(code) is None


def test_a_class_that_inherits_its_code_does_not_stand_for_it():
    class QuieterMissingError(ObjectMissingError):
        """States no code."""

    assert issubclass(QuieterMissingError, ObjectMissingError)
    assert kind_of_code("store.object_missing") is ObjectMissingError


def test_a_class_that_is_made_later_is_found_too():
    assert kind_of_code("test.later") is None

    class LaterError(EdgewardError):
        """Made after the first look."""

        code = "test.later"

    assert kind_of_code("test.later") is LaterError


@pytest.mark.parametrize(
    ("module", "codes"),
    [
        ("origin.client", ["node.none_available", "store.object_missing", "origin.body_too_large"]),
        (
            "edge_node.client.payload",
            ["node.none_available", "node.overloaded", "request.too_large", "model_not_found"],
        ),
    ],
)  # fmt: skip
def test_who_rebuilds_errors_has_imported_their_classes(module, codes):
    code = f"import {module}; from registry.refusals import kind_of_code; print(*map(kind_of_code, {codes}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "None" not in done.stdout


@pytest.mark.parametrize(
    ("headers", "expected_s"),
    [
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "²"}, None),
        ({"retry-after": "9" * 400}, None),
        ({}, None),
    ],
)
def test_when_to_come_back(headers, expected_s):
    assert retry_after_in(headers) == expected_s


def test_what_is_written_is_read():
    assert retry_headers(None) == {}
    assert retry_headers(1.25) == {"Retry-After": "2", "retry-after-ms": "1250"}
    assert retry_headers(0.0) == {"Retry-After": "1", "retry-after-ms": "1"}
    assert retry_after_in(retry_headers(0.2)) == 0.2
