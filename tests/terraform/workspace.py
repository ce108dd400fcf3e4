"""A copy of the modules in which the real Terraform runs, offline."""

from __future__ import annotations

import json
import os
import signal
import subprocess

from tests.terraform import parts


class Workspace:
    """A copy of `terraform/` or of a part of it, with one provider."""

    def __init__(self, folder, plugin_dir):
        self.folder = folder
        self._plugin_dir = plugin_dir
        self._env = {
            **os.environ,
            "TF_IN_AUTOMATION": "1",
            "CHECKPOINT_DISABLE": "1",
            "TF_CLI_CONFIG_FILE": os.devnull,
            "AWS_ACCESS_KEY_ID": "none",
            "AWS_SECRET_ACCESS_KEY": "none",
        }

    def run(self, *words, at="", timeout_s=300, **env):
        """Run a command of Terraform there; gives the finished process."""
        with subprocess.Popen(
            [parts.terraform_binary(), *words],
            cwd=self.folder / at,
            env=self._env | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                out, err = process.communicate(timeout=timeout_s)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)  # its providers, too, which would stay
                raise
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def must(self, *words, at="", timeout_s=300, **env):
        """The same; a failure fails the test with what was printed."""
        done = self.run(*words, at=at, timeout_s=timeout_s, **env)
        assert done.returncode == 0, f"terraform {' '.join(words)} in {at}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def init(self, at=""):
        """`terraform init` from the folder of providers alone."""
        self.must("init", "-input=false", "-no-color", f"-plugin-dir={self._plugin_dir}", at=at)

    def plan(self, at="", **env):
        """The plan as Terraform's JSON has it."""
        self.must("plan", "-input=false", "-no-color", "-out=plan", at=at, **env)
        return json.loads(self.must("show", "-json", "plan", at=at))
