"""Boards, rules and alerts speak of metrics that nodes and origins really have; promtool says whether rules work."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
BOARDS = sorted((DEPLOY / "grafana").glob("*.json"))
METRIC = re.compile(r"\b((?:edge|origin|router)_[a-z_]+[a-z])\b")


def _known():
    texts = [
        (DEPLOY.parent / package / "README.md").read_text("utf-8") for package in ("edge_node", "origin")
    ]
    return set(METRIC.findall(" ".join(texts)))


def _base(name):
    return re.sub(r"_(bucket|sum|count)$", "", name)


def _expressions(board):
    return [target["expr"] for panel in board["panels"] for target in panel["targets"]]


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_boards_name_metrics_that_there_are(path):
    board = json.loads(path.read_text("utf-8"))
    expressions = _expressions(board)
    assert len(expressions) >= len(board["panels"]) > 5
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    named = {_base(name) for text in expressions for name in METRIC.findall(text)}
    assert named
    assert named <= _known()


@pytest.mark.parametrize("name", ["rules.yml", "alerts.yml"])
def test_rules_name_metrics_that_there_are(name):
    text = re.sub(r"#.*", "", (DEPLOY / "prometheus" / name).read_text("utf-8"))
    named = {_base(found) for line in text.splitlines() for found in METRIC.findall(line)}
    assert named <= _known()
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
