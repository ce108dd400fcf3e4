"""checkov over all modules: nothing fails, and every exception says why."""

import json
import re
import subprocess

import pytest

from tests.terraform import parts

pytestmark = pytest.mark.terraform

SKIP = re.compile(r"#\s*checkov:skip=(\w+):?(.*)")


def test_nothing_fails():
    try:
        python = parts.environment("checkov", (parts.CHECKOV,))
    except parts.PartMissingError as error:
        pytest.skip(str(error))
    done = subprocess.run(
        [python.parent / "checkov", "--directory", parts.TERRAFORM, "--framework", "terraform", "--skip-download",
         "--quiet", "--compact", "--output", "json"],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    report = json.loads(done.stdout)
    failed = [
        f"{check['check_id']} {check['resource']} ({check['check_name']})"
        for check in report["results"]["failed_checks"]
    ]
    assert failed == []
    assert report["summary"]["passed"] > 0


def test_every_exception_says_why():
    found = [
        (file.name, check, reason.strip())
        for file in parts.TERRAFORM.rglob("*.tf")
        for check, reason in SKIP.findall(file.read_text())
    ]
    assert found
    assert [entry for entry in found if len(entry[2]) < 8] == []
