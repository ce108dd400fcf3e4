"""Whether a model gives a row the same answer in any company: measured, by computing it alone and in batches.

Kernels that quantize their activations as they go take one scale for the whole tensor (`DynamicQuantizeLinear`),
so that a neighbour changes a result; a model that draws random numbers has no result to compare. Kernels of
floating point differ by rounding at most, often not at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edge_node.errors import EngineFailedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edge_node.engines.onnx.text_model import TextModel

# Of a unit vector's numbers, of a probability, or of a tensor's largest number: rounding in single precision.
TOLERANCE = 1e-5
_TRIALS_COUNT = 4
_PROBE_TOKENS = (2, 5, 6, 11, 19, 37, 80)
_PROBE_TEXT = (
    "Ships wait outside the harbour while rain drums on the roof; 42 people, three dogs and a violin are already "
    "inside, arguing about tariffs, quarks, soup and the price of an honest map. "
)


def text_deviation(model: TextModel) -> float:
    """By how much a text's numbers change in company: the largest difference, infinite where a batch fails.

    Texts of several lengths are computed alone, all together, and with copies of themselves.
    """
    limit_tokens = model.setup.encoder.limit_tokens
    rows = [
        model.setup.encoder.text(_PROBE_TEXT[place:] + _PROBE_TEXT * 4, "text", cut_tokens=count)
        for place, count in enumerate(_PROBE_TOKENS)
        if count <= limit_tokens
    ] or [model.setup.encoder.text("a", "text")]
    try:
        alone = np.vstack([model.compute([row]) for row in rows])
        together = model.compute(rows)
        copies = model.compute([rows[0]] * 3)
        pairs = np.vstack([model.compute([row, rows[0]])[:1] for row in rows])
    except EngineFailedError:
        return float("inf")
    deviations = (np.abs(alone - together), np.abs(alone - pairs), np.abs(copies - alone[0]))
    largest = max(float(deviation.max()) for deviation in deviations)
    return largest if np.isfinite(largest) else float("inf")


def same_within_rounding(left: NDArray[Any], right: NDArray[Any]) -> bool:
    """Whether two results are the same: floats within `TOLERANCE` of the largest of them, all else exactly."""
    if left.shape != right.shape or left.dtype != right.dtype:
        return False
    if left.dtype.kind != "f":
        return bool(np.array_equal(left, right))
    finite = np.isfinite(left)
    if not np.array_equal(left[~finite], right[~finite], equal_nan=True):
        return False
    largest = float(np.abs(left[finite], dtype=np.float64).max(initial=0.0))
    return bool(np.allclose(left[finite], right[finite], rtol=0.0, atol=TOLERANCE * largest))


class LiveTrials:
    """Whether requests of a model of any tensors may be computed together, learned from its first requests.

    What inputs make sense is not known before they come. So the first requests that wait together are computed
    alone and together, and the answers are those computed alone; after a few that agree, batches are trusted, and
    after one that does not, never.
    """

    def __init__(self) -> None:
        self._left_count = _TRIALS_COUNT
        self.refuted = False

    @property
    def trusted(self) -> bool:
        """Enough trials have agreed, and none has not."""
        return not self.refuted and self._left_count == 0

    def note(self, alone: Sequence[NDArray[Any]], together: Sequence[NDArray[Any]] | None) -> None:
        """One trial: the same rows computed alone and together; None where together did not work."""
        agreed = together is not None and all(map(same_within_rounding, alone, together))
        if agreed:
            self._left_count = max(0, self._left_count - 1)
        else:
            self.refuted = True
