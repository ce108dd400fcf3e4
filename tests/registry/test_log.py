"""Logs: one line of JSON for machines, with the service in each, and never the local variables of a crash."""

from __future__ import annotations

import json
import subprocess
import sys

CODE = """
import structlog
from registry.log import configure_logging
configure_logging(service="node", level="info", form={form!r})
log = structlog.get_logger()
log.debug("thing.hidden")
log.info("thing.seen", size_bytes=3)
def fail(prompt):
    raise ValueError("odd")
try:
    fail("a secret prompt")
except ValueError:
    log.exception("thing.broke")
"""


def lines(form):
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(form=form)], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    return done.stderr


def test_json_lines():
    seen, broke = (json.loads(line) for line in lines("json").splitlines())
    assert seen["event"] == "thing.seen"
    assert (seen["service"], seen["size_bytes"], seen["level"]) == ("node", 3, "info")
    assert "ValueError: odd" in broke["exception"]


def test_no_form_prints_local_variables():
    for form in ("json", "console"):
        text = lines(form)
        assert "ValueError: odd" in text
        # The line of code is shown, the value that the caller passed is not.
        assert "prompt = " not in text
