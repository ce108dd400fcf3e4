"""Settings: four sources in one order, and no key that is silently wrong."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from registry.errors import ConfigError
from registry.settings import find_config_file, load_settings


@dataclass(frozen=True, slots=True)
class Sample:
    host: str = "127.0.0.1"
    port: int = 7700
    insecure: bool = False
    cache_bytes: int = 5
    patience_s: float = 1.5
    follows: tuple[str, ...] = ("*",)
    data_dir: Path = Path("/x")


def write(tmp_path, text):
    file = tmp_path / "edgeward.toml"
    file.write_text(text)
    return file


def load(file=None, environ=None, flags=None):
    return load_settings(Sample, "node", file=file, environ=environ or {}, flags=flags)


def test_defaults_file_environment_flags_in_that_order(tmp_path):
    file = write(tmp_path, '[node]\nhost = "a"\nport = 1\ncache_bytes = 1\n[origin]\nport = 9\n')
    assert load() == Sample()
    assert load(file).port == 1
    environ = {"EDGEWARD_NODE_PORT": "2", "EDGEWARD_NODE_CACHE_BYTES": "2", "OTHER": "x"}
    assert load(file, environ) == Sample(host="a", port=2, cache_bytes=2)
    assert load(file, environ, {"port": 3, "host": None}) == Sample(host="a", port=3, cache_bytes=2)


@pytest.mark.parametrize(
    ("text", "value"),
    [("7", 7), ("200 GiB", 200 * 2**30), ("1.5kb", 1500), ("10 MB", 10**7)],
)
def test_sizes_have_units(text, value):
    assert load(environ={"EDGEWARD_NODE_CACHE_BYTES": text}).cache_bytes == value


@pytest.mark.parametrize(("text", "value"), [("3", 3.0), ("250 ms", 0.25), ("2 min", 120.0), ("1h", 3600.0)])
def test_durations_have_units(text, value):
    assert load(environ={"EDGEWARD_NODE_PATIENCE_S": text}).patience_s == pytest.approx(value)


def test_lists_paths_and_switches(tmp_path):
    environ = {
        "EDGEWARD_NODE_FOLLOWS": "a, b*,",
        "EDGEWARD_NODE_DATA_DIR": "~/d",
        "EDGEWARD_NODE_INSECURE": "true",
    }
    loaded = load(environ=environ)
    assert loaded.follows == ("a", "b*")
    assert loaded.data_dir == Path("~/d").expanduser()
    assert loaded.insecure is True
    assert load(write(tmp_path, '[node]\nfollows = ["x"]\n')).follows == ("x",)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[node]\nprot = 1\n", "did you mean 'port'"),
        ("[nod]\nport = 1\n", "did you mean 'node'"),
        ("[node]\nport = 'many'\n", "node.port = 'many' does not fit"),
        ("[node]\nport = [1]\n", "node.port"),
        ("node = 3\n", "must be a table"),
        ("[node\n", "cannot read the settings"),
        ("[node]\ncache_bytes = '3 parsecs'\n", "unknown unit 'parsecs'"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, text, says):
    with pytest.raises(ConfigError, match=says):
        load(write(tmp_path, text))


def test_an_unknown_variable_is_refused():
    with pytest.raises(ConfigError, match=r"EDGEWARD_NODE_PROT.*did you mean 'port'"):
        load(environ={"EDGEWARD_NODE_PROT": "1"})


def test_the_file_that_is_named_must_exist(tmp_path):
    file = write(tmp_path, "")
    assert find_config_file({"EDGEWARD_CONFIG": str(file)}) == file
    with pytest.raises(ConfigError, match="no such file"):
        find_config_file({"EDGEWARD_CONFIG": str(tmp_path / "none.toml")})


def test_the_file_beside_the_command_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".edgeward").mkdir()
    (tmp_path / ".edgeward" / "edgeward.toml").touch()
    assert find_config_file({}) == Path(".edgeward/edgeward.toml")
