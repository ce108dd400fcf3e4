"""Rebuilding a quantized GGUF from its parent, bit for bit, to prove that it is what it claims to be.

Needs neither llama.cpp nor torch. It covers what is a function of the parent alone: tensors kept, dequantized to
F16 or F32, and quantized to Q4_0, Q4_1, Q5_0, Q5_1 or Q8_0 without an importance matrix. Of everything else it says
that it cannot tell, which is no proof of harm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from origin.build.gguf.blocks import BLOCK, encode
from origin.build.gguf.model_file import ModelFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from registry.formats.gguf import GgufTensor

EXACT_TYPES = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0")
"""Block types that are rebuilt."""
_PLAIN = {"F16": "<f2", "F32": "<f4"}
_MAY_CHANGE = frozenset({"general.file_type", "general.quantization_version"})
_PIECE_ROWS = 4096


@dataclass(frozen=True, slots=True)
class Rederived:
    """What came of it, tensors by name.

    Attributes:
        exact: the same bytes, by type.
        different: not what its parent gives; the file was changed, or made otherwise than said.
        untold: of a type, or from a parent, of which nothing can be told here.
        fields: keys of the header that the parent has otherwise.
    """

    exact: dict[str, tuple[str, ...]]
    different: tuple[str, ...]
    untold: tuple[str, ...]
    fields: tuple[str, ...]

    @property
    def proven(self) -> bool:
        """Every byte of the weights follows from the parent's, and so does the header."""
        return not (self.different or self.untold or self.fields)


def rederive(
    parent: Path, child: Path, report: Callable[[int, int], None] = lambda _done, _total: None
) -> Rederived:
    """Rebuild each tensor of `child` from `parent` and compare; `report` hears how many of how many are done.

    Raises:
        FormatInvalidError: one of them is no GGUF file.
    """
    old, new = ModelFile(parent), ModelFile(child)
    exact: dict[str, list[str]] = {}
    different = [name for name in old.tensors if name not in new]
    untold = []
    for done, tensor in enumerate(new):
        report(done, len(new.tensors))
        verdict = _same(old, new, tensor)
        if verdict is None:
            untold.append(tensor.name)
        elif verdict:
            exact.setdefault(tensor.element, []).append(tensor.name)
        else:
            different.append(tensor.name)
    report(len(new.tensors), len(new.tensors))
    found = {element: tuple(names) for element, names in exact.items()}
    return Rederived(found, tuple(different), tuple(untold), _changed_fields(old, new))


def _same(old: ModelFile, new: ModelFile, tensor: GgufTensor) -> bool | None:
    """Whether the parent gives these bytes; None when that cannot be told."""
    before = old.tensors.get(tensor.name)
    if before is None or before.dimensions != tensor.dimensions:
        return False
    raw = new.raw(tensor.name)
    if before.element == tensor.element:
        return np.array_equal(old.raw(tensor.name), raw)
    rebuilt = _rebuilder(tensor)
    if rebuilt is None:
        return None
    values = old.values(tensor.name)
    values = values.reshape(-1, values.shape[-1])
    rows = range(0, len(values), _PIECE_ROWS)
    return all(np.array_equal(rebuilt(values[r : r + _PIECE_ROWS]), raw[r : r + _PIECE_ROWS]) for r in rows)


def _rebuilder(tensor: GgufTensor) -> Callable[[NDArray[np.float32]], NDArray[np.uint8]] | None:
    if tensor.element in _PLAIN:
        form = _PLAIN[tensor.element]
        return lambda values: np.ascontiguousarray(values.astype(form)).view(np.uint8)
    if tensor.element in EXACT_TYPES and tensor.dimensions[0] % BLOCK == 0:
        return lambda values: encode(tensor.element, values).to_bytes()
    return None


def _changed_fields(old: ModelFile, new: ModelFile) -> tuple[str, ...]:
    sides = [{f.key: m.field_bytes(f) for f in m.header.kvs if f.key not in _MAY_CHANGE} for m in (old, new)]
    keys = sides[0].keys() | sides[1].keys()
    return tuple(sorted(key for key in keys if sides[0].get(key) != sides[1].get(key)))
