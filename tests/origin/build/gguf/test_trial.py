"""Weights are changed in an open model and put back; the cost is the KL divergence."""

from __future__ import annotations

import numpy as np
import pytest

from origin.build.gguf.model_file import ModelFile
from origin.build.gguf.trial import open_trial
from origin.errors import StepFailedError


def test_a_change_costs_and_is_put_back(toy, texts):
    file = ModelFile(toy.model_file)
    with open_trial(toy.model_file, texts.texts, limit_tokens=300, threads_count=1, chunk_tokens=64) as trial:
        nothing = trial.divergence()
        assert abs(nothing) < 1e-4
        name = "blk.1.ffn_down.weight"
        with trial.changed({name: np.zeros_like(file.values(name))}):
            gone = trial.divergence()
        with trial.changed({name: file.values(name) * np.float32(0.9)}):
            weaker = trial.divergence()
        assert gone > weaker > 1e-4
        assert trial.divergence() == nothing
        with trial.changed({"token_embd.weight": file.values("token_embd.weight")}):
            assert trial.divergence() == nothing


def test_it_is_put_back_after_an_error(toy, texts):
    file = ModelFile(toy.model_file)
    with open_trial(toy.model_file, texts.texts, limit_tokens=100, threads_count=1, chunk_tokens=64) as trial:
        name = "blk.0.attn_q.weight"
        before = trial.divergence()
        with pytest.raises(KeyboardInterrupt), trial.changed({name: -file.values(name)}):
            raise KeyboardInterrupt
        assert trial.divergence() == before
        with (
            pytest.raises(StepFailedError, match=r"nope\.weight"),
            trial.changed({"nope.weight": np.zeros(3)}),
        ):
            pass
        with pytest.raises(StepFailedError, match="8 bytes"), trial.changed({name: np.zeros(4)}):
            pass
