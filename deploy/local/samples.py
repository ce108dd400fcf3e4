"""The sample models that set-up has fetched: a small chat model and a small embedding model, both real."""

from __future__ import annotations

import sys
from pathlib import Path

from registry.errors import ConfigError

CHAT_FILE = "smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
EMBED_DIRECTORY = "minilm"


def samples_home() -> Path:
    """Where set-up puts the sample models: in the virtual environment that this process runs in."""
    return Path(sys.prefix) / "share" / "edgeward" / "models"


def chat_model() -> Path:
    """SmolLM2-135M-Instruct, a GGUF file.

    Raises:
        ConfigError: set-up has not fetched it.
    """
    return _existing(samples_home() / CHAT_FILE)


def embedding_model() -> Path:
    """The directory of all-MiniLM-L6-v2 as int8 ONNX with its tokenizer.

    Raises:
        ConfigError: set-up has not fetched it.
    """
    home = samples_home() / EMBED_DIRECTORY
    _existing(home / "model.onnx")
    _existing(home / "tokenizer.json")
    return home


def _existing(path: Path) -> Path:
    if not path.exists():
        raise ConfigError(f"the sample model {path.name} is not here; `make setup` fetches it")
    return path
