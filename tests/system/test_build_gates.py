"""Real models, spoiled on purpose: each way is refused, and what was not spoiled is let through."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from deploy.local.samples import chat_model, embedding_model
from origin.build.evaluate.evaluation import EvaluationWork, evaluate
from origin.build.gates import Limit, judge
from origin.build.step import Artifact
from origin.build.texts import TextSet, read_texts
from registry.errors import ConfigError
from tests.origin.build.spoiling import SPOILED_GGUF, SPOILED_ONNX, spoil_gguf, spoil_onnx

pytestmark = pytest.mark.system
TEXTS = Path(__file__).parents[2] / "origin" / "build" / "examples" / "texts"
NEAR = {"kl_mean": Limit(max=0.01), "top1": Limit(min=0.95)}
NEAR_VECTORS = {"cosine_mean": Limit(min=0.998), "nn10": Limit(min=0.98)}
"""A model beside itself has nothing to lose, so much less is allowed than by default."""


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return EvaluationWork(
        kept=tmp_path_factory.mktemp("kept"), seed=7, report=lambda _: None, tokens_count=1200, speeds=False
    )


@pytest.fixture(scope="module")
def chat(tmp_path_factory):
    try:
        path = chat_model()
    except ConfigError as error:
        pytest.skip(error.message)
    directory = tmp_path_factory.mktemp("chat")
    shutil.copyfile(path, directory / "model.gguf")
    return Artifact("chat", "gguf", directory)


@pytest.fixture(scope="module")
def encoder():
    try:
        return Artifact("encoder", "onnx", embedding_model())
    except ConfigError as error:
        pytest.skip(error.message)


@pytest.fixture(scope="module")
def pages():
    """The examples' text in pieces as long as a page."""
    words = (TEXTS / "judge.txt").read_text("utf-8").split()
    return TextSet(
        "judge", tuple(" ".join(words[at : at + 400]) for at in range(0, len(words) - 400, 400)), "p" * 64
    )


@pytest.fixture(scope="module")
def sentences():
    found = read_texts("judge", [TEXTS / "judge.txt"])
    return TextSet("judge", found.texts[:150], found.sha256)


@pytest.mark.parametrize("how", ["", *SPOILED_GGUF])
def test_a_chat_model(how, chat, pages, work, tmp_path):
    if how:
        spoil_gguf(chat.model_file, tmp_path / "model.gguf", how)
    candidate = Artifact(how, "gguf", tmp_path) if how else chat
    verdict = judge(evaluate(candidate, chat, pages, (), work), NEAR)
    assert verdict.passed == (how == ""), verdict.reasons


@pytest.mark.parametrize("how", ["", *SPOILED_ONNX])
def test_an_encoder(how, encoder, sentences, work, tmp_path):
    spoiled = spoil_onnx(encoder.directory, tmp_path / "spoiled", how) if how else None
    candidate = Artifact(how, "onnx", spoiled) if spoiled else encoder
    verdict = judge(evaluate(candidate, encoder, sentences, (), work), NEAR_VECTORS)
    assert verdict.passed == (how == ""), verdict.reasons
