"""Where a client's settings come from, and that importing it costs little."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import edge_node.client
from edge_node.client.config import load_client_config, stated_place
from origin.api import place_at
from registry.errors import ConfigError, InputInvalidError

ROOT = Path(edge_node.client.__file__).parents[2]


def test_the_short_variable_and_the_order(tmp_path):
    file = tmp_path / "e.toml"
    file.write_text('[client]\norigin = "http://file"\nplace = "1,2"\n[store]\nbucket = "b"\n')
    load = lambda environ, **flags: load_client_config(file=file, environ=environ, flags=flags)  # noqa: E731
    assert load({}).origin == ("http://file",)
    assert load({"EDGEWARD_ORIGIN": "http://short"}).origin == ("http://short",)
    assert load({"EDGEWARD_ORIGIN": "http://short", "EDGEWARD_CLIENT_ORIGIN": "http://long"}).origin == (
        "http://long",
    )
    assert load({"EDGEWARD_ORIGIN": "http://short"}, origin="http://flag").origin == ("http://flag",)
    assert load({}, origin=None).place == "1,2"
    assert load_client_config(environ={"EDGEWARD_CONFIG": str(file)}).origin == ("http://file",)
    assert load({"EDGEWARD_ORIGIN": "http://a, http://b"}).origin == ("http://a", "http://b")
    assert load({}, origin=["http://a", "http://b"]).origin == ("http://a", "http://b")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"origin": "ftp://x"}, "http"),
        ({"origin": ""}, "at least one"),
        ({"deadline_s": 0}, "deadline_s"),
        ({"idle_after_s": -1}, "idle_after_s"),
        ({"timeout_s": 0}, "positive"),
        ({"orgin": "x"}, "orgin"),
    ],
)
def test_settings_that_do_not_fit(flags, says, tmp_path):
    file = tmp_path / "e.toml"
    file.write_text("[client]\n" + "\n".join(f"{key} = {value!r}" for key, value in flags.items()))
    with pytest.raises(ConfigError, match=says):
        load_client_config(file=file, environ={})


def test_places():
    assert stated_place(" ") is None
    assert (stated_place("-33.87, 151.21").lat, place_at(1, 2).lon) == (-33.87, 2)
    for bad in ("1", "1,2,3", "a,b", "91,0", "nan,0", "0,inf"):
        with pytest.raises(InputInvalidError, match="is not a place"):
            stated_place(bad)


def test_every_export_is_there():
    for name in edge_node.client.__all__:
        assert getattr(edge_node.client, name).__name__ == name
    assert dir(edge_node.client) == edge_node.client.__all__
    with pytest.raises(AttributeError, match="Nope"):
        edge_node.client.Nope  # noqa: B018


def test_a_client_loads_nothing_heavy():
    heavy = "{'boto3', 'numpy', 'llama_cpp', 'onnxruntime', 'tokenizers', 'rich', 'prometheus_client'}"
    code = f"from edge_node.client import Client, AsyncClient; import sys; print(*{heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
    code = "import edge_node.client, sys; print(*{'aiohttp', 'asyncio', 'msgspec', 'zstandard'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
