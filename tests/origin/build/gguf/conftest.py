"""A toy model as an artifact, and a step run on it."""

from __future__ import annotations

import hashlib
import importlib

import pytest

from origin.build.step import Artifact, StepWork
from origin.build.texts import TextSet
from tests.origin.build.toy_llama import ToyShape, write_toy_llama

WORDS = """the cat sat on the mat and then another cat told a story of rain and stone in the old
harbour""".split()  # noqa: SIM905


@pytest.fixture
def texts():
    """Thirty short documents, all different."""
    found = tuple(" ".join(WORDS[(i + j * (i % 3 + 1)) % len(WORDS)] for j in range(40)) for i in range(30))
    return TextSet("calib", found, hashlib.sha256(repr(found).encode()).hexdigest())


@pytest.fixture
def toy(tmp_path):
    """The toy with its default shape, as the source of a recipe."""
    return toy_artifact(tmp_path / "source")


def toy_artifact(directory, shape: ToyShape | None = None, seed: int = 0) -> Artifact:
    write_toy_llama(directory / "model.gguf", shape, seed=seed)
    return Artifact("0" * 64, "gguf", directory)


@pytest.fixture
def do(tmp_path, texts):
    """Run a step as a build does, check included; gives what it made and its facts."""
    made = []

    def run(step, source, *, checkpoints=None, **inputs):
        module = importlib.import_module(type(step).MODULE)
        if hasattr(module, "check"):
            module.check(step, source)
        directory = tmp_path / f"made-{len(made)}"
        checkpoints = checkpoints or tmp_path / f"checkpoints-{len(made)}"
        directory.mkdir()
        checkpoints.mkdir(exist_ok=True)
        made.append(directory)
        progress = []
        work = StepWork(
            directory=directory,
            checkpoints=checkpoints,
            inputs={"source": source, **inputs},
            texts=dict.fromkeys(type(step).TEXTS, texts),
            seed=7,
            report=progress.append,
            threads_count=1,
        )
        facts = module.run(step, work)
        assert progress, "a step says how far it is"
        return Artifact(f"{len(made):064x}", type(step).MAKES, directory), facts

    return run
