"""What importing a module may not cost, looked at in a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys

import pytest

ENGINES = {"llama_cpp", "onnxruntime", "numpy", "tokenizers"}


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("edge_node.client", {"boto3", "prometheus_client", *ENGINES}),
        ("origin.api", {"aiohttp", "boto3", "asyncio", *ENGINES}),
        ("origin.client", {"boto3", *ENGINES}),
        ("registry.fetch", {"boto3", "aiohttp", *ENGINES}),
        ("edge_node.running", {"boto3", "llama_cpp", "onnxruntime"}),
        ("deploy.cli", {"aiohttp", "boto3", "msgspec", "rich", "structlog", "asyncio", *ENGINES}),
    ],
)
def test_import_is_light(module, heavy, root):
    code = f"import sys, {module}; print(*sorted(sys.modules.keys() & {heavy!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
