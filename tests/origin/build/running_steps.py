"""Run one operation as a build would, on artifacts in folders of the test."""

from __future__ import annotations

import hashlib
import importlib

import msgspec
import numpy as np

from edge_node.engines import Embed, EngineSpec
from edge_node.engines.onnx.engine import OnnxEngine
from origin.build.operations import OPERATIONS
from origin.build.step import Artifact, StepWork
from origin.build.texts import TextSet


def text_set(texts, name="data"):
    return TextSet(name, tuple(texts), hashlib.sha256("\n".join(texts).encode()).hexdigest())


def run_step(folder, op, source, *, texts=(), teacher=None, seed=1, report=lambda _: None, **fields):
    """The artifact that an operation makes of `source`, and its facts; `folder` is the build's."""
    kind = OPERATIONS[op]
    said = {"op": op, "id": "tried", **({"data": "data"} if texts else {}), **fields}
    step = msgspec.convert(said, kind)
    module = importlib.import_module(kind.MODULE)
    assert module.VERSION >= 1
    if hasattr(module, "check"):
        module.check(step, source)
    made, checkpoints = folder / "made", folder / "checkpoints"
    made.mkdir(parents=True, exist_ok=True)
    checkpoints.mkdir(exist_ok=True)
    work = StepWork(
        directory=made, checkpoints=checkpoints,
        inputs={"source": source, **({"teacher": teacher or source} if "teacher" in kind.INPUTS else {})},
        texts={"data": text_set(texts)} if texts else {}, seed=seed, report=report, threads_count=1,
    )  # fmt: skip
    facts = module.run(step, work)
    msgspec.json.encode(facts)
    return Artifact("0" * 64, kind.MAKES, made), facts


def serve(artifact, texts):
    """What a node says of the artifact, and its vectors of these texts: by the node's own engine."""
    files = tuple(
        str(file.relative_to(artifact.directory)) for file in artifact.directory.rglob("*") if file.is_file()
    )
    engine = OnnxEngine.load(
        EngineSpec(
            kind="onnx",
            name="toy",
            version="1.0.0",
            model_dir=str(artifact.directory),
            files=files,
            threads_count=1,
        )
    )
    engine.submit(Embed(request_id="one", inputs=tuple(texts)))
    said = []
    while engine.busy:
        said += engine.step()
    return engine.ready(), np.frombuffer(said[-1].vectors, "<f4").reshape(len(texts), said[-1].dims)
