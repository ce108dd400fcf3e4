"""Clients that others made, unchanged, against a running node: all routes, streams, tools and errors."""

import pytest

pytestmark = pytest.mark.conformance


def test_the_official_client_2(drive):
    drive("official.py", "openai>=2,<3")


def test_the_official_client_3(drive):
    drive("official.py", "openai>=3,<4")


def test_litellm(drive):
    # With tools it imports `mcp`, which it does not ask for.
    drive("through_litellm.py", "litellm", "mcp")


def test_langchain(drive):
    drive("through_langchain.py", "langchain-openai")
