from __future__ import annotations

import json

import pytest

from deploy.machine.doctor import examine
from deploy.machine.layout import Layout
from edge_node.config import NodeConfig

WELL = {"ready": True, "draining": False, "models": [{"name": "chat", "version": "1", "state": "ready"}]}


@pytest.fixture
def layout(tmp_path):
    layout = Layout(tmp_path)
    release = layout.releases / "1"
    release.mkdir(parents=True)
    layout.current.symlink_to(release)
    layout.token.parent.mkdir(parents=True)
    layout.token.touch(0o600)
    return layout


def _findings(layout, running=WELL, *, skew_s=0.0, left_s=80_000.0):
    config = NodeConfig(data_dir=layout.state / "node")
    found = examine(layout, config, running, skew_s=skew_s, certificate_left_s=left_s)
    return {it.what: it for it in found}


def test_a_node_that_is_well_has_nothing_bad(layout):
    assert not [it for it in _findings(layout).values() if it.verdict == "bad"]


@pytest.mark.parametrize(
    ("changes", "what", "verdict", "said"),
    [
        ({"running": None}, "process", "bad", "journalctl"),
        ({"running": WELL | {"draining": True}}, "process", "warning", "uncordon"),
        ({"running": WELL | {"ready": False}}, "process", "warning", "chat@1"),
        ({"skew_s": None}, "origin", "bad", "does not answer"),
        ({"skew_s": -400.0}, "clock", "bad", "-400 s"),
        ({"left_s": None}, "fleet", "warning", "rejoin"),
        ({"left_s": -1.0}, "fleet", "warning", "renews"),
        ({"left_s": -31 * 86_400.0}, "fleet", "bad", "rejoin"),
    ],
)
def test_what_is_wrong_is_found(layout, changes, what, verdict, said):
    found = _findings(layout, **changes)[what]
    assert found.verdict == verdict
    assert said in found.text


def test_what_the_processor_lacks_is_named(layout):
    (layout.releases / "1" / "manifest.json").write_text(json.dumps({"cpu_features": ["avx9000"]}))
    assert "avx9000" in _findings(layout)["processor"].text


def test_a_token_that_others_read_is_bad(layout):
    layout.token.chmod(0o644)
    assert _findings(layout)["join token"].verdict == "bad"
    layout.token.unlink()
    assert _findings(layout)["join token"].verdict == "bad"
