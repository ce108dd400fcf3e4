"""Steps are kept now and then, taken up again, and end at a loss that is no number."""

from __future__ import annotations

import math

import pytest
import torch

from origin.build.training import steps
from origin.build.training.steps import Losses, adam_state, take_steps
from origin.errors import StepFailedError


def taken(tmp_path, take, steps_count, **changed):
    settings = {
        "smoothing": 0.5,
        "loss_name": "loss",
        "advice": "sleep on it",
        "checkpoints": tmp_path,
        "report": lambda _: None,
    }
    return take_steps(take, {"weights": torch.zeros(2)}, steps_count=steps_count, **(settings | changed))


def test_the_mean_runs_on_from_the_first_loss(tmp_path):
    seen = []
    assert taken(tmp_path, [8.0, 4.0, 2.0].__getitem__, 3, report=seen.append) == Losses(first=8.0, last=4.0)
    assert [(one.done, one.total, one.note) for one in seen] == [
        (1, 3, "loss 8.00000"), (2, 3, "loss 6.00000"), (3, 3, "loss 4.00000"),
    ]  # fmt: skip
    assert taken(tmp_path, [].__getitem__, 0) == Losses(first=0.0, last=0.0)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_ends_it_with_advice(tmp_path, loss):
    with pytest.raises(StepFailedError, match=rf"after 1 of 3 steps the loss is {loss}; sleep on it"):
        taken(tmp_path, [1.0, loss, 1.0].__getitem__, 3)


def test_keeping_is_seldom_costs_little_and_spares_the_last_step(tmp_path, monkeypatch):
    now_s, kept = 0.0, []

    def take(_step):
        nonlocal now_s
        now_s += 50.0
        return 1.0

    def keep(_directory, done_count, _state, _notes):
        nonlocal now_s
        now_s += 30.0
        kept.append(done_count)

    monkeypatch.setattr(steps, "keep", keep)
    taken(tmp_path, take, 29, clock=lambda: now_s)
    assert kept == [3, 16], (
        "after two minutes; then 30 s are a twentieth of ten minutes; never after the last"
    )


def test_adams_own_numbers_are_those_that_it_makes_itself(tmp_path):
    def trained(*, made_before):
        weights = {"a": torch.ones(3, requires_grad=True), "b": torch.ones(2, 2, requires_grad=True)}
        optimizer = torch.optim.AdamW(weights.values(), fused=True)
        state = adam_state(optimizer, weights) if made_before else {}
        for _ in range(3):
            optimizer.zero_grad()
            sum(weight.square().sum() for weight in weights.values()).backward()
            optimizer.step()
        assert all(state[f"{name}/step"] == 3 for name in weights if made_before)
        return weights

    own, theirs = trained(made_before=True), trained(made_before=False)
    assert all(torch.equal(own[name], theirs[name]) for name in own)
