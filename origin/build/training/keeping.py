"""Keeping: where training stands, written so that going on gives the same bits as never having stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_NAME = "training.safetensors"

log = structlog.get_logger()


def keep(
    directory: Path, done_count: int, tensors: Mapping[str, torch.Tensor], notes: Mapping[str, str]
) -> None:
    """Write how many steps are done, and all numbers; the file before is replaced only by a whole one."""
    part = directory / (_NAME + ".part")
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(whole, part, metadata={"done_count": str(done_count), **notes})
    part.rename(directory / _NAME)


def kept(directory: Path, tensors: Mapping[str, torch.Tensor]) -> tuple[int, dict[str, str]]:
    """Read what `keep` wrote into these tensors; (0, {}) where nothing fits: all is done again.

    Returns:
        How many steps are done, and the notes.
    """
    file = directory / _NAME
    if not file.exists():
        return 0, {}
    try:
        with safe_open(file, framework="pt") as reader:
            notes = dict(reader.metadata() or {})
            loaded = {name: reader.get_tensor(name) for name in reader.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as error:
        log.warning("checkpoint.discarded", file=str(file), reason=str(error))
        return 0, {}
    if _shapes(loaded) != _shapes(tensors):
        log.warning("checkpoint.discarded", file=str(file), reason="it is of another training")
        return 0, {}
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(loaded[name])
    return int(notes.pop("done_count")), notes


def _shapes(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {name: one.shape for name, one in tensors.items()}
