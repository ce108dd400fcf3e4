"""What looks at the graph may fail; the library between it and the caller must not hide that."""

from __future__ import annotations

import pytest

from origin.build.gguf import trial
from origin.build.gguf.forward import open_forward
from origin.errors import StepFailedError


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt, StepFailedError])
@pytest.mark.parametrize("when", [True, False])
def test_what_an_observer_raises_arrives(toy, error, when):
    seen = []

    def observe(address, ask):
        seen.append(address)
        if ask is when:
            raise error("enough seen")
        return True

    with open_forward(toy.model_file, chunk_tokens=32, threads_count=1, observe=observe) as forward:
        with pytest.raises(error, match="enough seen"):
            forward.read(forward.tokens("the cat sat"))
        assert 1 <= len(seen) <= 2, "it is not asked again"


def test_a_ggml_laid_out_otherwise_is_not_written_to(toy, texts, monkeypatch):
    def refuse(_address):
        raise StepFailedError("laid out in an unknown way")

    monkeypatch.setattr(trial, "check_layout", refuse)
    with (
        pytest.raises(StepFailedError, match="unknown way"),
        trial.open_trial(toy.model_file, texts.texts, limit_tokens=100, threads_count=1),
    ):
        pytest.fail("the layout was not checked")
