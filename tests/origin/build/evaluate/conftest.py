import random

import pytest

from origin.build.evaluate.evaluation import EvaluationWork
from origin.build.step import Artifact
from origin.build.texts import TextSet
from tests.origin.build.toy_llama import write_toy_llama

WORDS = [
    "sand",
    "tin",
    "rate",
    "tone",
    "lend",
    "route",
    "sedan",
    "ration",
    "tear",
    "line",
    "seat",
    "road",
    "noise",
    "turn",
    "idea",
    "letter",
    "sun",
    "rain",
]


def some_texts(count, words_count, seed=3):
    rng = random.Random(seed)
    return tuple(" ".join(rng.choices(WORDS, k=words_count)) for _ in range(count))


@pytest.fixture(scope="session")
def chat_texts():
    return TextSet("eval", some_texts(6, 90), "e" * 64)


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    directory = tmp_path_factory.mktemp("toy")
    write_toy_llama(directory / "model.gguf")
    return Artifact("toy", "gguf", directory)


@pytest.fixture(scope="session")
def chat_work(tmp_path_factory):
    return EvaluationWork(
        kept=tmp_path_factory.mktemp("kept"), seed=7, report=lambda _: None, tokens_count=900, speeds=False
    )
