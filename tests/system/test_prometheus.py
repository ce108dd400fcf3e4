"""A real Prometheus over a real network: it takes our settings and rules, and boards ask for what it has."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from deploy.local.network import SITES, LocalNetwork
from deploy.local.ports import free_ports
from edge_node.client import Client, ClientConfig

pytestmark = pytest.mark.system

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
METRIC = re.compile(r"\b((?:edge|origin|router)_[a-z_]+[a-z])\b")
# Nothing of it happens here: one origin, no DNS, nobody hands on, all released bytes come before the first look.
QUIET = {"origin_dns_answers_total", "edge_requests_handed_on_total", "edge_artifact_pull_bytes_total"}


def program():
    found = os.environ.get("EDGEWARD_PROMETHEUS") or shutil.which("prometheus")
    if found is None:
        pytest.skip("there is no prometheus (apt-get install prometheus, or EDGEWARD_PROMETHEUS)")
    return found


@pytest.fixture(scope="module")
def network(tmp_path_factory, start_network):
    program()
    network = LocalNetwork(tmp_path_factory.mktemp("network"), free_ports(1, start_port=24_800))
    try:
        start_network(network, SITES[:1])
        yield network
    finally:
        network.stop()


class Prometheus:
    def __init__(self, url):
        self.url = url

    def ask(self, path, **said):
        query = urllib.parse.urlencode(said)
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=10) as reply:
                answer = json.load(reply)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{said}: {error.read().decode()[:300]}") from error
        assert answer["status"] == "success", answer
        return answer["data"]

    def has(self, expression):
        return self.ask("query", query=expression)["result"]


@pytest.fixture(scope="module")
def prometheus(network, tmp_path_factory):
    """With the settings as they are shipped, but for who is asked and how often."""
    folder = tmp_path_factory.mktemp("prometheus")
    text = (DEPLOY / "prometheus/prometheus.yml").read_text()
    text = text.replace("scrape_interval: 15s", "scrape_interval: 500ms\n  evaluation_interval: 500ms")
    text = text.replace("node.example:7710", f"127.0.0.1:{network.ports.node(0)}")
    text = text.replace("origin.example:7700", network.origin_url.removeprefix("http://"))
    (folder / "prometheus.yml").write_text(text)
    for name in ("rules.yml", "alerts.yml"):
        shutil.copy(DEPLOY / "prometheus" / name, folder)
    port = free_ports(0, start_port=24_900).origin
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program(), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
             f"--web.listen-address=127.0.0.1:{port}"],
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        made = Prometheus(f"http://127.0.0.1:{port}")
        until_s = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError):
                if len(made.has("up == 1")) == 2:
                    break
            assert process.poll() is None, (folder / "log").read_text()[-2000:]
            assert time.monotonic() < until_s, (folder / "log").read_text()[-2000:]
            time.sleep(0.2)
        yield made
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def used(network, prometheus):
    """Some requests between scrapes, so that there is something to see."""
    with Client(config=ClientConfig(origin=(network.origin_url,))) as client:
        for round_ in range(4):
            client.chat("Hi", model="chat", max_tokens=4, temperature=1.0)
            client.chat("Hi", model="chat", max_tokens=4, temperature=0)
            client.route("chat")
            time.sleep(1 if round_ < 3 else 2)


EXPRESSIONS = [
    pytest.param(target["expr"], id=f"{path.stem}: {panel['title']}: {target['refId']}")
    for path in sorted((DEPLOY / "grafana").glob("*.json"))
    for panel in json.loads(path.read_text())["panels"]
    for target in panel["targets"]
]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_a_board_shows_something(prometheus, used, expression):
    found = prometheus.has(expression.replace("$__rate_interval", "1m").replace("$instance", ".*"))
    names = set(METRIC.findall(expression))
    known = {name for target in prometheus.ask("targets/metadata") for name in [target["metric"]]}
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in names} <= known
    assert found or names & QUIET, f"nothing is shown for {expression}"


def test_variables_of_boards_have_values(prometheus, used):
    values = prometheus.ask("series", **{"match[]": "edge_build_info"})
    assert [it["instance"] for it in values]


def test_every_rule_is_evaluated_and_no_alert_fires_on_a_sound_fleet(prometheus, used):
    groups = prometheus.ask("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert {rule["health"] for rule in rules} == {"ok"}, [rule for rule in rules if rule["health"] != "ok"]
    assert [rule["name"] for rule in rules if rule["type"] == "alerting" and rule["state"] == "firing"] == []
    assert prometheus.has("edgeward:requests:rate5m")
    assert prometheus.has("edgeward:time_to_first_token_seconds:p95_5m")
