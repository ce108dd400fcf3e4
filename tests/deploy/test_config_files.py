"""The settings files that installations begin with: every key is there, and what is commented out is the default."""

from __future__ import annotations

import dataclasses
import itertools
import re
import tomllib
from pathlib import Path
from typing import get_type_hints

import pytest

from edge_node.config import NodeConfig
from origin.config import OriginConfig
from origin.sharing.config import SharingConfig
from registry.settings import load_settings
from registry.store.config import StoreConfig

CONFIG = Path(__file__).parent.parent.parent / "deploy" / "config"
SECTIONS = [
    ("node.toml", "node", NodeConfig),
    ("origin.toml", "origin", OriginConfig),
    ("origin.toml", "store", StoreConfig),
    ("origin.toml", "sharing", SharingConfig),
]
KEY = re.compile(r"# (\w+) = (.*?)(  # none)?")


def _lines(file, section):
    text = (CONFIG / file).read_text("utf-8")
    part = text.partition(f"\n[{section}]\n")[2]
    return re.split(r"\n\[\w+\]\n", part)[0].splitlines()


@pytest.mark.parametrize(("file", "section", "kind"), SECTIONS, ids=str)
def test_every_key_is_there_with_its_default_and_an_explanation(file, section, kind, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(Path.home()))
    lines = _lines(file, section)
    found = {}
    for above, line in itertools.pairwise(lines):
        if match := KEY.fullmatch(line):
            assert above.startswith("# "), f"{match[1]} is not explained"
            found[match[1]] = (match[2], bool(match[3]))
    assert list(found) == [field.name for field in dataclasses.fields(kind)]
    for name, (text, none) in found.items():
        default = getattr(kind(), name)
        if none:
            assert default is None, name
            continue
        document = tmp_path / "one.toml"
        document.write_text(f"[{section}]\n{name} = {text}\n")
        said = getattr(load_settings(kind, section, file=document, environ={}), name)
        if get_type_hints(kind)[name] is Path:
            said = said.expanduser()
        assert said == default, name


@pytest.mark.parametrize("file", ["node.toml", "origin.toml"])
def test_as_it_is_a_file_changes_nothing(file):
    document = tomllib.loads((CONFIG / file).read_text("utf-8"))
    assert all(table == {} for table in document.values())
    for name, section, kind in SECTIONS:
        if name == file:
            assert load_settings(kind, section, file=CONFIG / file, environ={}) == kind()
