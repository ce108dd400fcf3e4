"""Kills a node's engines with SIGKILL at random moments, and looks how long each death lasts."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

ENGINES = {"chat@1.0.0": "chat", "embed@1.0.0": "embed"}


def engines_of(node_pid):
    """The running engines of a node: what they run, by process id."""
    found = {}
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
            words = (process / "cmdline").read_bytes().decode().split("\0")
            if int(parent) == node_pid and "edge_node.engines.worker" in words:
                found[int(process.name)] = next(name for name in ENGINES if name in words)
    return found


class EngineKiller:
    """While the context is open, an engine is killed, mended, and then another one.

    Attributes:
        mended_s: for each kill, how long until a fresh question was answered.
        unmended: engines that did not come back within a minute.
    """

    def __init__(self, node_pid, port, chance, *, pause_s=(1.0, 8.0)):
        self.mended_s = {name: [] for name in ENGINES}
        self.unmended = []
        self._node_pid, self._port = node_pid, port
        self._chance, self._pause_s = chance, pause_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="engine killer")

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def _work(self):
        number = 0
        # The first one dies at once: what goes on beside may be over before the first pause is.
        while number == 0 or not self._over.wait(self._chance.uniform(*self._pause_s)):
            engines = engines_of(self._node_pid)
            pid = self._chance.choice(sorted(engines))
            killed_s = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            number += 1
            if self._answers(ENGINES[engines[pid]], number, killed_s + 60):
                self.mended_s[engines[pid]].append(time.monotonic() - killed_s)
            else:
                self.unmended.append(engines[pid])

    def _answers(self, model, number, until_s):
        """Whether the model answers a new question by then; asked again and again, as a client that is in a hurry."""
        while time.monotonic() < until_s:
            with contextlib.suppress(urllib.error.URLError, OSError):
                if good_answer(self._port, model, f"question {number} at {time.monotonic()}"):
                    return True
            time.sleep(0.02)
        return False


def good_answer(port, model, text):
    """Ask something that nobody asked before."""
    path, body = "/v1/embeddings", {"model": model, "input": text}
    if model == "chat":
        messages = [{"role": "user", "content": text}]
        path, body = "/v1/chat/completions", {"model": model, "messages": messages, "max_tokens": 1}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "Cache-Control": "no-store"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.status == 200 and bool(answer.read())
