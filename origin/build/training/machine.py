"""Machine: where to train, and in which type to multiply matrices."""

from __future__ import annotations

import torch


def choose_machine(threads_count: int) -> tuple[torch.device, torch.dtype]:
    """A GPU where there is one, else the processor with so many threads; bfloat16 where hardware multiplies it.

    Elsewhere bfloat16 would be slower than single precision.
    """
    torch.set_num_threads(max(1, threads_count))
    if torch.cuda.is_available():
        return torch.device("cuda"), torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    able = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # nothing public says it
    return torch.device("cpu"), torch.bfloat16 if able is not None and able() else torch.float32
