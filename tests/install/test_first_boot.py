"""The user data that Terraform gives to instances, run on a real Debian: no token, no secret, a node that serves."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
import urllib.request

import pytest

from deploy.bootstrap import ROOT
from tests.aws_stand_in import INSTANCE, ROLE
from tests.install.machine import GUEST, HOST

pytestmark = pytest.mark.install

TEMPLATE = ROOT / "terraform/modules/edge-region/user_data.sh.tftpl"
ORIGIN, SSM = "origin.example.com", "ssm.eu-central-1.amazonaws.com"
PORT, NODES_PORT, DNS_PORT, STS_PORT = 17800, 17843, 17853, 17854
ZONE = "ai.example.com"
NODE = f"{INSTANCE}.nodes.{ZONE}"
SETTINGS = f"""
[store]
endpoint = "file://{{fleet}}/store"
keys_dir = "{{fleet}}/keys"
[origin]
host = "{HOST}"
port = {PORT}
nodes_port = {NODES_PORT}
public_url = "https://{ORIGIN}:{PORT}"
nodes_public_url = "https://{ORIGIN}:{NODES_PORT}"
tls_cert_file = "{{own}}/origin.pem"
tls_key_file = "{{own}}/origin.key"
keys_dir = "{{fleet}}/keys"
data_dir = "{{own}}/origin"
bundles_dir = "{{fleet}}/bundles"
admitted_aws_roles = ["{ROLE}"]
aws_sts_url = "http://127.0.0.1:{STS_PORT}"
dns_zone = "{ZONE}"
dns_hosts = ["{HOST}"]
dns_port = {DNS_PORT}
dns_ns = ["ns1.{ZONE}={HOST}"]
dns_node_port = 443
"""


def _user_data(pin):
    """As Terraform renders it; there is nothing in it but `${name}`."""
    said = {
        "region": "eu-central-1", "architecture": "amd64", "session_manager": "false",
        "origin_url": f"https://{ORIGIN}:{PORT}", "origin_nodes_url": f"https://{ORIGIN}:{NODES_PORT}",
        "origin_ca_pin": pin, "public_host": f"{{id}}.nodes.{ZONE}",
        "certificate_parameter": "/edgeward/tls/certificate", "key_parameter": "/edgeward/tls/key",
        "parameter_region": "eu-central-1", "port": "443", "lat": "50.11", "lon": "8.68",
        "label": "Frankfurt", "follows": '["*"]',
    }  # fmt: skip
    return re.sub(r"\$\{(\w+)\}", lambda match: said[match[1]], TEMPLATE.read_text())


@contextlib.contextmanager
def _process(command, log):
    with log.open("ab") as sink:
        process = subprocess.Popen(
            command, stdout=sink, stderr=sink, env=os.environ | {"PYTHONPATH": str(ROOT)}
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def _python(script, *words):
    return [sys.executable, str(ROOT / "tests/install" / script), *map(str, words)]


def _until(true, log, *, limit_s=120):
    until_s = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < until_s, log()
        time.sleep(0.3)


def _answers(url):
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except urllib.error.URLError as error:
        return "CERTIFICATE_VERIFY_FAILED" in str(error)  # it is there, and we know no authority of it
    except OSError:
        return False


@pytest.fixture
def cloud(bare, fleet, self_signed, tmp_path):
    """AWS and the origin as the instance sees them, and what its certificates are."""
    own = tmp_path / "own"
    (own / "parameters").mkdir(parents=True)
    hosts = {"origin": ORIGIN, "ssm": SSM, "node": NODE}
    pairs = {host: self_signed(host, stem) for stem, host in hosts.items()}
    for path in pairs[ORIGIN]:
        (own / path.name).write_bytes(path.read_bytes())
    for name, path in zip(("certificate", "key"), pairs[NODE], strict=True):
        (own / "parameters" / f"edgeward-tls-{name}").write_bytes(path.read_bytes())
    for host in (ORIGIN, SSM):
        (bare.root / "usr/local/share/ca-certificates" / f"{host}.crt").write_bytes(
            pairs[host][0].read_bytes()
        )
    bare.run(f"echo '{HOST} {ORIGIN} {SSM}' >> /etc/hosts; update-ca-certificates")
    subprocess.run(
        ["nsenter", "-t", str(bare._leader), "-n", "ip", "addr", "add", "169.254.169.254/32", "dev", "lo"],
        check=True,
    )
    (own / "edgeward.toml").write_text(SETTINGS.format(fleet=fleet.directory, own=own))
    log = tmp_path / "cloud.log"
    with contextlib.ExitStack() as stack:
        inside = ["nsenter", "-t", str(bare._leader), "-n"]
        for command in (
            [*inside, *_python("aws_servers.py", "imds")],
            _python("aws_servers.py", "sts", STS_PORT),
            _python("aws_servers.py", "ssm", *pairs[SSM], own / "parameters"),
            [sys.executable, "-m", "deploy.cli", "--config", own / "edgeward.toml", "origin", "serve"],
        ):
            stack.enter_context(_process(command, log))
        _until(lambda: _answers(f"https://{HOST}:{PORT}/healthz"), log.read_text)
        _until(lambda: log.read_text().count("ready\n") == 3, log.read_text)
        yield bare, own, pairs


def _curl(machine, authority, path, *words):
    """From this machine, by the node's name, over TLS that is checked."""
    done = subprocess.run(
        ["curl", "-sS", "--max-time", "60", "--cacert", authority, "--resolve", f"{NODE}:443:{GUEST}",
         f"https://{NODE}:443{path}", *words],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout if done.returncode == 0 else done.stderr


def test_user_data_of_terraform_make_a_node_that_serves(cloud, fleet, self_signed):
    machine, own, pairs = cloud
    words = ["--config", str(own / "edgeward.toml"), "token", "pin"]
    pin = subprocess.run(
        [sys.executable, "-m", "deploy.cli", *words], capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ).stdout.strip()  # fmt: skip
    (machine.root / "opt/user-data.sh").write_text(_user_data(pin))
    began_s = time.monotonic()
    done = machine.run("umask 077; sh /opt/user-data.sh", timeout_s=400, check=False)
    assert done.returncode == 0, done.stderr + machine.run("journalctl -u edgeward-node | tail -40").stdout
    authority = pairs[NODE][0]
    _until(
        lambda: '"ready":true' in _curl(machine, authority, "/readyz").replace(" ", ""),
        lambda: machine.run("journalctl -u edgeward-node | tail -30").stdout,
    )
    print(
        f"from user data to ready: {time.monotonic() - began_s:.1f} s; load average {os.getloadavg()[0]:.1f}"
    )
    body = {"model": "chat", "max_tokens": 8, "messages": [{"role": "user", "content": "Hi"}]}
    answer = _curl(
        machine,
        authority,
        "/v1/chat/completions",
        "-H",
        "content-type: application/json",
        "-d",
        json.dumps(body),
    )
    assert json.loads(answer)["choices"][0]["message"]["content"], answer
    # The fleet knows it by the id of its instance, and sends clients to its name.
    asked = subprocess.run(
        ["curl", "-sS", "--cacert", pairs[ORIGIN][0], "--resolve", f"{ORIGIN}:{PORT}:{HOST}",
         f"https://{ORIGIN}:{PORT}/v1/nodes"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    [view] = json.loads(asked.stdout)["nodes"]
    assert (view["report"]["node_id"], view["report"]["enrolled"]) == (INSTANCE, True)
    assert view["report"]["url"] == f"https://{NODE}:443"
    assert _addresses() == ["203.0.113.7"]
    status = json.loads(machine.run("edgeward node status --json").stdout)
    assert status["enrolment"]["node_id"] == INSTANCE
    assert "insecure" not in machine.run("cat /etc/edgeward/edgeward.toml").stdout
    assert machine.run("stat -c '%a %U:%G' /etc/edgeward/tls/key.pem").stdout == "640 root:edgeward\n"
    assert (
        machine.run("systemctl is-enabled edgeward-certificate.timer edgeward-node").stdout
        == "enabled\nenabled\n"
    )

    # A renewed certificate is put into the parameters; the running node takes it over.
    for name, path in zip(("certificate", "key"), renewed := self_signed(NODE, "renewed"), strict=True):
        (own / "parameters" / f"edgeward-tls-{name}").write_bytes(path.read_bytes())
    pid = machine.run("systemctl show edgeward-node --property=MainPID --value").stdout
    machine.run("systemctl start edgeward-certificate")
    _until(
        lambda: "ready" in _curl(machine, renewed[0], "/readyz"),
        lambda: _curl(machine, renewed[0], "/readyz"),
    )
    assert machine.run("systemctl show edgeward-node --property=MainPID --value").stdout == pid


def _addresses():
    """What DNS says of the node."""
    import dns.message
    import dns.query

    reply = dns.query.udp(dns.message.make_query(NODE, "A"), HOST, port=DNS_PORT, timeout=5)
    return [str(record) for entry in reply.answer for record in entry]
