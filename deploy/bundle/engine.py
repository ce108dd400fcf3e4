"""The compiled engine of a bundle: llama.cpp for a class of processors, not for the one that compiled it."""

from __future__ import annotations

import sys
from pathlib import Path

from deploy.bootstrap import SetupError, built_llama_wheel
from deploy.bundle.failing import BundleFailedError

_PORTABLE = "-DGGML_NATIVE=OFF"
"""Without the flags of this very processor llama.cpp takes those of x86-64-v3, or plain ARMv8."""


def portable_llama_wheel() -> Path:
    """The wheel of llama-cpp-python for any processor of the class; compiled at the first call, which takes minutes.

    Raises:
        BundleFailedError: it cannot be compiled.
    """
    try:
        return built_llama_wheel(Path(sys.executable), _PORTABLE)
    except SetupError as error:
        raise BundleFailedError(str(error)) from error
