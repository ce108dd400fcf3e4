"""Boards, rules and alerts speak of metrics that nodes and origins really have; promtool says whether rules work."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from edge_node.telemetry import Metrics
from origin.telemetry import Telemetry

register_default_plugins()
DEPLOY = Path(__file__).parent.parent.parent / "deploy"
BOARDS = sorted((DEPLOY / "grafana").glob("*.json"))
METRIC = re.compile(r"\b((?:edge|origin|router)_[a-z_]+[a-z])\b")


def _collectors():
    """Every metric that a node and an origin have, by the names of its series."""
    node, origin = Metrics(node_id="fra-1", software="0"), Telemetry()
    return node._registry._names_to_collectors | origin._registry._names_to_collectors


COLLECTORS = _collectors()
OF_PROMETHEUS = {"instance", "job", "le"}


def _check(expression):
    """Whether what an expression names is there, with the labels that it asks for."""
    names = set(METRIC.findall(expression))
    assert names <= COLLECTORS.keys(), expression
    labels = OF_PROMETHEUS | {label for name in names for label in COLLECTORS[name]._labelnames}
    for name, matchers in re.findall(r"(\w+)\{([^}]*)\}", expression):
        asked = set(re.findall(r"(\w+)\s*[=!]", re.sub(r'"[^"]*"', "", matchers)))
        own = set(COLLECTORS[name]._labelnames) if name in COLLECTORS else labels
        assert asked <= own | OF_PROMETHEUS, expression
    for grouped in re.findall(r"\bby\s*\(([^)]*)\)", expression):
        assert {label.strip() for label in grouped.split(",")} <= labels, expression
    return names


def _expressions(board):
    return [target["expr"] for panel in board["panels"] for target in panel["targets"]]


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_boards_name_metrics_and_labels_that_there_are(path):
    board = json.loads(path.read_text("utf-8"))
    expressions = _expressions(board)
    assert len(expressions) >= len(board["panels"]) > 5
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    for panel in board["panels"]:
        for target in panel["targets"]:
            assert _check(target["expr"]) or target["expr"].startswith("edgeward:")
            shown = set(re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", "")))
            kept = {
                label.strip()
                for it in re.findall(r"by \(([^)]*)\)", target["expr"])
                for label in it.split(",")
            }
            assert shown <= (kept or OF_PROMETHEUS), target["expr"]


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_boards_are_what_grafana_reads(path):
    """Grafana's own models of a dashboard, made from its schema, know every field that a board has, and keep it."""
    board = json.loads(path.read_text("utf-8"))
    assert _lost(board) == []
    assert _lost(board | {"panles": []}) == ["/panles"]  # and no others
    board["panels"][0]["fieldConfig"]["defaults"]["uint"] = "s"
    assert _lost(board) == ["/panels/0/fieldConfig/defaults/uint"]


def _lost(board):
    """The fields of a board that Grafana's models drop or change; defaults that they add do not count."""
    read = json.loads(json.dumps(Dashboard.from_json(board), cls=JSONEncoder))
    return list(_differing(board, read, ""))


def _differing(ours, theirs, path):
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key, value in ours.items():
            yield from _differing(value, theirs.get(key), f"{path}/{key}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from _differing(one, other, f"{path}/{index}")
    elif ours != theirs:
        yield path


@pytest.mark.parametrize("name", ["rules.yml", "alerts.yml"])
def test_rules_name_metrics_and_labels_that_there_are(name):
    text = re.sub(r"#.*", "", (DEPLOY / "prometheus" / name).read_text("utf-8"))
    expressions = re.findall(r"expr: (?:\|\n((?:            ? ?.*\n)+)|(.*))", text)
    assert len(expressions) == text.count("expr:")
    for several, one in expressions:
        _check(several or one)
    recorded = set(re.findall(r"record: (\S+)", (DEPLOY / "prometheus" / "rules.yml").read_text("utf-8")))
    assert set(re.findall(r"edgeward:[a-z0-9_:]+", text)) <= recorded


def _promtool(*words):
    program = os.environ.get("EDGEWARD_PROMTOOL") or shutil.which("promtool")
    if program is None:
        pytest.skip("there is no promtool (apt-get install prometheus, or EDGEWARD_PROMTOOL)")
    done = subprocess.run(
        [program, *words], cwd=DEPLOY / "prometheus", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_takes_the_rules():
    _promtool("check", "rules", "rules.yml", "alerts.yml")


def test_promtool_takes_the_settings():
    _promtool("check", "config", "prometheus.yml")


def test_alerts_fire_when_they_should_and_for_no_other():
    _promtool("test", "rules", "alerts_test.yml")


def test_queries_of_boards_are_sound(tmp_path):
    rules = [
        {
            "record": f"board:query:{number}",
            "expr": text.replace("$__rate_interval", "5m").replace("$instance", ".*"),
        }
        for number, text in enumerate(
            text for path in BOARDS for text in _expressions(json.loads(path.read_text()))
        )
    ]
    document = tmp_path / "queries.yml"
    document.write_text(json.dumps({"groups": [{"name": "boards", "rules": rules}]}))  # JSON is YAML
    _promtool("check", "rules", str(document))
