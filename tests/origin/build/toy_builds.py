"""Builds of toys: a recipe written into a folder, planned, run, and looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from origin.build.building import Build
from origin.build.planning import plan_build
from origin.build.recipe import parse_recipe
from origin.build.workspace import Workspace
from tests.origin.build.toy_recipes import head, texts
from tests.origin.build.toy_steps import TOYS

if TYPE_CHECKING:
    from pathlib import Path

HEAD = head("chat", "model.gguf") + texts("calib", "calib.txt")


class Heard:
    """A watcher that remembers."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.progress = []

    def begun(self, what):
        self.words.append(f"begun {what}")

    def progressed(self, progress):
        self.progress.append(progress)

    def waiting(self, what):
        self.words.append(f"waiting {what}")

    def ended(self, what, took_s):
        self.words.append(f"ended {what}")


class ToyBuilds:
    """A folder with a source and texts, in which recipes are built."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workspace = Workspace(folder / "ws")
        (folder / "model.gguf").write_bytes(b"GGUF root")
        (folder / "calib.txt").write_text("one\n\ntwo\n\nthree")
        (folder / "eval.txt").write_text("four\n\nfive")

    def plan(self, text: str, **more):
        recipe = parse_recipe((HEAD + text).encode(), self.folder / "recipe.toml", operations=TOYS)
        return plan_build(recipe, self.workspace, **more)

    def build(self, text: str, watcher=None, **more):
        plan = self.plan(text, **more)
        return Build(plan, self.workspace, watcher or Heard(), threads_count=1).run()

    def runs(self) -> list[str]:
        """The steps that were run since the last time anybody asked."""
        path = self.workspace.root / "runs.txt"
        try:
            return path.read_text().split()
        finally:
            path.unlink(missing_ok=True)
