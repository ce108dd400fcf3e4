"""What is trained on when, and what counts in a loss."""

import numpy as np
import torch

from origin.build.encoder.distill import hidden_loss
from origin.build.encoder.forward import Encoded
from origin.build.encoder.training import step_batches

ROWS = [np.full(1 + number % 5, number, np.int64) for number in range(23)]


def passes(*, seed=1, count=3):
    """The places of the rows, in the order of their coming, by pass."""
    batch, per_pass_count = step_batches(ROWS, seed=seed, rows_count=4), 6
    return [
        [place for step in range(per_pass_count) for place in batch(turn * per_pass_count + step).places]
        for turn in range(count)
    ]


def test_each_pass_goes_over_all_rows_in_an_order_of_its_own():
    found = passes()
    assert all(sorted(places) == list(range(len(ROWS))) for places in found)
    assert len(set(map(tuple, found))) == 3
    assert found == passes()
    assert found != passes(seed=2)


def test_a_batch_is_known_by_its_number_alone():
    batch = step_batches(ROWS, seed=1, rows_count=4)
    ahead = [batch(number).ids.tolist() for number in range(18)]
    assert [batch(number).ids.tolist() for number in reversed(range(18))] == ahead[::-1]


def test_filled_up_places_count_in_no_loss():
    mask = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    taught, learned = torch.ones(2, 3, 4), torch.ones(2, 3, 4)
    learned[1, 1:] = 100.0
    assert hidden_loss(Encoded([learned], mask), Encoded([taught], mask)) == 0
    learned[1, 0] = 2.0
    assert (
        hidden_loss(Encoded([learned], mask), Encoded([taught], mask)) == 0.25
    )  # one of four tokens is off by all
