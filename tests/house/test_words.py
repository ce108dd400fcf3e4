"""Every code, setting, metric and URL that a user can meet is explained in its package's README."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import re
import subprocess

import pytest

SETTINGS = [
    ("registry", "registry.store.config", "StoreConfig"),
    ("origin", "origin.config", "OriginConfig"),
    ("origin/sharing", "origin.sharing.config", "SharingConfig"),
    ("edge_node", "edge_node.config", "NodeConfig"),
    ("edge_node/client", "edge_node.client.config", "ClientConfig"),
]


def package_of(source):
    return source.name.partition("/")[0]


def declared_code(step):
    """The text that a class body gives to `code`; None for anything else."""
    if not isinstance(step, ast.Assign | ast.AnnAssign) or not isinstance(step.value, ast.Constant):
        return None
    target = step.targets[0] if isinstance(step, ast.Assign) else step.target
    named = getattr(target, "id", "") == "code" and isinstance(step.value.value, str)
    return step.value.value if named else None


def test_every_error_code_is_explained(sources, root):
    missing = []
    for source in sources:
        # The client's errors are explained beside the client.
        readme = "".join(
            page.read_text("utf-8") for page in sorted((root / package_of(source)).rglob("README.md"))
        )
        for definition in (node for node in ast.walk(source.tree) if isinstance(node, ast.ClassDef)):
            codes = filter(None, map(declared_code, definition.body))
            missing += [f"{source.name}: {code}" for code in codes if f"`{code}`" not in readme]
    assert missing == []


@pytest.mark.parametrize(("folder", "module", "name"), SETTINGS)
def test_every_setting_is_explained(folder, module, name, root):
    readme = (root / folder / "README.md").read_text("utf-8")
    kind = getattr(importlib.import_module(module), name)
    assert [field.name for field in dataclasses.fields(kind) if f"`{field.name}`" not in readme] == []


@pytest.mark.parametrize("package", ["origin", "edge_node"])
def test_every_url_is_explained(package, root):
    readme = (root / package / "README.md").read_text("utf-8")
    server = (root / package / "server.py").read_text("utf-8")
    urls = set(re.findall(r'"(/[a-z0-9][^"\s]*)"', server))
    plain = {re.sub(r"\{(\w+)(?::[^{}]*(?:\{[^{}]*\}[^{}]*)*)?\}", r"{\1}", url) for url in urls}
    assert plain, "the server's table of URLs was not found"
    assert sorted(url for url in plain if url not in readme) == []


@pytest.mark.parametrize("package", ["origin", "edge_node"])
def test_every_metric_is_explained(package, root):
    readme = (root / package / "README.md").read_text("utf-8")
    text = (root / package / "telemetry.py").read_text("utf-8")
    names = set(re.findall(r'"((?:edge|origin|router)_[a-z_]+)"', text))
    assert names, "no metric was found"
    assert sorted(name for name in names if f"`{name}" not in readme) == []


def test_nothing_of_one_machine_is_committed(root):
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True)
    for name in filter(None, tracked.stdout.split("\0")):
        path = root / name
        if not path.is_file():
            continue
        assert path.stat().st_size < 5_000_000, f"{name} is over 5 MB"
        text = path.read_bytes().decode("utf-8", "replace")
        assert not re.search(r"(?<![\w.])/(?:work|root|farm)/[a-z.]", text), (
            f"{name} holds a path of one machine"
        )
