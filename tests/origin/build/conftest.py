"""Builds of toys, and a toy encoder with its graph in single precision."""

from __future__ import annotations

import pytest

from origin.build.onnx.rows import read_rows
from origin.build.onnx.running import embed, open_session
from origin.build.step import Artifact
from tests.origin.build.running_steps import run_step
from tests.origin.build.toy_bert import TEXTS, write_toy_bert
from tests.origin.build.toy_builds import ToyBuilds


@pytest.fixture
def toys(tmp_path):
    return ToyBuilds(tmp_path)


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    return Artifact("1" * 64, "bert", write_toy_bert(tmp_path_factory.mktemp("toy")))


@pytest.fixture(scope="session")
def exported(tmp_path_factory, toy):
    return run_step(tmp_path_factory.mktemp("exported"), "export_onnx", toy)[0]


@pytest.fixture(scope="session")
def vectors_of():
    def vectors(artifact, texts=TEXTS):
        session = open_session(str(artifact.model_file))
        return embed(session, read_rows(artifact.directory, texts, limit_tokens=32))

    return vectors
