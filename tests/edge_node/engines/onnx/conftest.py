"""Engines on tiny models, in this process and stepped by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edge_node.engines import Embed, Infer, Score, Tensor
from edge_node.engines.onnx.engine import OnnxEngine
from edge_node.engines.spec import EngineSpec
from tests.onnx_writer import write_model


class Stepped:
    """An engine whose steps a test makes."""

    def __init__(self, engine):
        self.engine = engine
        self.ready = engine.ready()
        self.numbers = iter(range(10**6))

    def submit(self, kind, **fields):
        request_id = f"r{next(self.numbers)}"
        self.engine.submit(kind(request_id=request_id, **fields))
        return request_id

    def finish(self):
        """Every event until nothing is left to do, by request."""
        events = {}
        while self.engine.busy:
            for event in self.engine.step():
                assert event.request_id not in events, "one answer each"
                events[event.request_id] = event
        return events

    def embed(self, *requests, **fields):
        """The vectors of each request, all submitted before the first step."""
        ids = [self.submit(Embed, inputs=tuple(inputs), **fields) for inputs in requests]
        events = self.finish()
        return [np.frombuffer(events[name].vectors, "<f4").reshape(-1, events[name].dims) for name in ids]

    def score(self, texts, **fields):
        name = self.submit(Score, texts=tuple(texts), **fields)
        event = self.finish()[name]
        return np.frombuffer(event.values, "<f4").reshape(-1, event.width)

    def infer(self, *requests, outputs=()):
        """The outputs of each request, as a map of arrays of float32."""
        ids = [
            self.submit(
                Infer, inputs=tuple(tensor(name, array) for name, array in request.items()), outputs=outputs
            )
            for request in requests
        ]
        events = self.finish()
        return [
            {t.name: np.frombuffer(t.data, "<f4").reshape(t.shape) for t in events[name].outputs}
            for name in ids
        ]


def tensor(name, array):
    array = np.asarray(array, np.float32)
    return Tensor(name=name, datatype="FP32", shape=array.shape, data=array.tobytes())


@pytest.fixture
def load(tmp_path):
    """`load(file, text=…, config…)`, with `spec` for fields of the spec."""

    def make(data, *, spec=None, **config):
        files = write_model(tmp_path / "model", data, **config)
        fields = {
            "kind": "onnx",
            "name": "tiny",
            "version": "1",
            "model_dir": str(tmp_path / "model"),
            "files": files,
        }
        return Stepped(OnnxEngine.load(EngineSpec(**fields, **(spec or {}))))

    return make


@pytest.fixture
def make_tensor():
    return tensor
