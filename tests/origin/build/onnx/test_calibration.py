"""What flows into each product of a graph."""

import numpy as np

from origin.build.onnx.calibration import input_squares
from origin.build.onnx.rows import sample_rows

TEXTS = ("quarks", "the dog waits in the harbour and a map of the harbour waits in the rain on the roof")


def test_filled_up_places_do_not_count(exported):
    """Two texts of unlike length in one batch are the same as each alone, by their tokens."""
    counts = [len(row) for row in sample_rows(exported.directory, TEXTS)]
    assert counts[1] > 2 * counts[0]
    together = input_squares(exported, TEXTS, threads_count=1)
    alone = [input_squares(exported, [text], threads_count=1) for text in TEXTS]
    assert together
    for name, squares in together.items():
        expected = (counts[0] * alone[0][name] + counts[1] * alone[1][name]) / sum(counts)
        assert np.allclose(squares, expected, rtol=1e-3, atol=1e-6), name
