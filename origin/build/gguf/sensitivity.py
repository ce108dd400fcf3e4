"""What quantizing each group of matrices costs, measured as KL divergence of the whole model.

A group is the matrices of one kind in one band of layers. It is rounded to the smallest type alone, the rest left as
it is, and the model judged; for larger types the cost is scaled by how much less of the output's power they lose, as
divergence is close to proportional to that when it is small.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from origin.build.gguf.blocks import BLOCK, BLOCK_TYPES
from origin.build.gguf.rounding import loss
from origin.build.gguf.scale_search import searched
from origin.build.gguf.trial import open_trial
from origin.build.step import StepProgress
from registry.durable import write_durably

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from origin.build.gguf.model_file import ModelFile

_COMPARED_ROWS = 64
_KEPT = "costs.json"
_IN_LAYER = re.compile(r"blk\.(\d+)\.(.+)\.weight")


@dataclass(frozen=True, slots=True)
class Group:
    """Matrices that get one type.

    Attributes:
        name: such as `ffn_down 6-11`.
        types: what they may become, the smallest first.
    """

    name: str
    matrices: tuple[str, ...]
    types: tuple[str, ...]


class Cost(msgspec.Struct, frozen=True):
    """What one type costs a group: KL divergence in nats a token, and bytes."""

    kl: float
    size_bytes: int


def groups_of(
    names: Sequence[str], layers_count: int, bands_count: int, types_of: Callable[[str], Sequence[str]]
) -> list[Group]:
    """The matrices of `names` by kind and band; each that is in no layer is a group of its own."""
    found: dict[str, list[str]] = {}
    for name in names:
        parts = _IN_LAYER.fullmatch(name)
        if parts is None:
            found[name] = [name]
            continue
        band = int(parts[1]) * bands_count // layers_count
        first = -(-band * layers_count // bands_count)
        last = -(-(band + 1) * layers_count // bands_count) - 1
        found.setdefault(f"{parts[2]} {first}-{last}", []).append(name)
    return [
        Group(label, tuple(members), tuple(sorted(types_of(members[0]), key=_block_bytes)))
        for label, members in found.items()
    ]


def measured_before(kept_in: Path) -> dict[str, dict[str, Cost]]:
    """What `measure` wrote to `kept_in` before it was interrupted."""
    kept = kept_in / _KEPT
    return msgspec.json.decode(kept.read_bytes(), type=dict[str, dict[str, Cost]]) if kept.exists() else {}


def measure(
    model: ModelFile,
    groups: Sequence[Group],
    grams: Callable[[str, int], NDArray[np.float32]],
    texts: Sequence[str],
    *,
    limit_tokens: int,
    threads_count: int,
    report: Callable[[StepProgress], None],
    kept_in: Path,
) -> dict[str, dict[str, Cost]]:
    """The cost of each group under each of its types, by the group's name.

    What was measured is written to `kept_in` after each group, and not measured again.

    Raises:
        StepFailedError: the model cannot be run, or is quantized.
    """
    costs = measured_before(kept_in)
    todo = [group for group in groups if group.name not in costs]
    if not todo:
        return costs
    with open_trial(model.path, texts, limit_tokens=limit_tokens, threads_count=threads_count) as trial:
        for group in todo:
            done = len(costs)
            rounded, powers, sizes = _rounded(model, group, grams)
            with trial.changed(rounded):
                measured = max(trial.divergence(), 1e-7)
            most = max(powers[group.types[0]], 1e-30)
            costs[group.name] = {
                element: Cost(measured * powers[element] / most, sizes[element]) for element in group.types
            }
            write_durably(kept_in / _KEPT, msgspec.json.encode(costs))
            note = f"{group.name} as {group.types[0]}: KL {measured:.4f}"
            report(StepProgress(done=done + 1, total=len(groups), unit="groups", note=note))
    return costs


def _rounded(
    model: ModelFile, group: Group, grams: Callable[[str, int], NDArray[np.float32]]
) -> tuple[Mapping[str, NDArray[np.float32]], dict[str, float], dict[str, int]]:
    """The group's matrices in its smallest type; by type, the output's power lost and the bytes."""
    smallest: dict[str, NDArray[np.float32]] = {}
    powers, sizes = dict.fromkeys(group.types, 0.0), dict.fromkeys(group.types, 0)
    for name in group.matrices:
        values = model.values(name)
        gram = grams(name, values.shape[1])
        importance = np.ascontiguousarray(np.diag(gram))
        smallest[name] = searched(BLOCK_TYPES[group.types[0]], values, importance).values()
        # How types compare is seen on some of the rows.
        some = values[:: -(-len(values) // _COMPARED_ROWS)]
        whole = max(loss(some, np.zeros_like(some), gram), 1e-30)
        for element in group.types:
            new = searched(BLOCK_TYPES[element], some, importance).values()
            powers[element] += loss(some, new, gram) / whole
            sizes[element] += values.size // BLOCK * _block_bytes(element)
    return smallest, powers, sizes


def _block_bytes(element: str) -> int:
    return BLOCK_TYPES[element].block_bytes
