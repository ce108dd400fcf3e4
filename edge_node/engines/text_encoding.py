"""A text model's `tokenizer.json` and configuration: how inputs become token ids, and how long they may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

import msgspec
from tokenizers import Tokenizer

from edge_node.errors import EngineFailedError, PromptTooLongError
from registry import wire
from registry.errors import InputInvalidError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edge_node.engines import EngineSpec

Pooling = Literal["mean", "first"]
Config = TypeVar("Config", bound=msgspec.Struct)

DEFAULT_LIMIT_TOKENS = 512
# Configurations that know no limit say so with a huge number.
_NO_LIMIT_TOKENS = 1 << 20


class _TokenizerConfig(msgspec.Struct, frozen=True):
    model_max_length: float | None = None


class _ModelConfig(msgspec.Struct, frozen=True):
    max_position_embeddings: int | None = None


class _PoolingConfig(msgspec.Struct, frozen=True):
    pooling_mode_cls_token: bool = False
    pooling_mode_mean_tokens: bool = False


class TextEncoder:
    """Texts to token ids, never cut: an input that is too long is refused."""

    def __init__(self, tokenizer: Tokenizer, *, limit_tokens: int) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self.limit_tokens = limit_tokens

    def encode(self, inputs: Sequence[str]) -> list[list[int]]:
        """The ids of each input, special tokens included.

        Raises:
            PromptTooLongError: an input has more tokens than the model reads; `param` names it.
        """
        encoded: list[list[int]] = []
        for index, text in enumerate(inputs):
            ids = self._tokenizer.encode(text).ids
            if len(ids) > self.limit_tokens:
                raise PromptTooLongError(
                    f"input[{index}] has {len(ids)} tokens, the model reads at most {self.limit_tokens}",
                    param=f"input[{index}]",
                )
            encoded.append(ids)
        return encoded


@dataclass(frozen=True, slots=True)
class TextSetup:
    """What lies beside an embedding model."""

    encoder: TextEncoder
    pooling: Pooling


def open_text_setup(folder: Path, spec: EngineSpec) -> TextSetup:
    """Read the tokenizer and the configuration beside the model file.

    Raises:
        EngineFailedError: the tokenizer is missing, something is unreadable, or the pooling is not one of ours.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise EngineFailedError(
            f"tokenizer.json is missing beside the ONNX model of {spec.name}@{spec.version}: publish the directory "
            "with model.onnx and tokenizer.json, not the model file alone"
        )
    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # tokenizers raises the bare class, and nothing else
        raise EngineFailedError(f"tokenizer.json cannot be read: {error}") from error
    limits = [
        _read(folder / "tokenizer_config.json", _TokenizerConfig()).model_max_length,
        _read(folder / "config.json", _ModelConfig()).max_position_embeddings,
    ]
    known = [int(limit) for limit in limits if limit is not None and 0 < limit < _NO_LIMIT_TOKENS]
    limit_tokens = min(known, default=DEFAULT_LIMIT_TOKENS)
    if spec.context_tokens:
        limit_tokens = min(limit_tokens, spec.context_tokens)
    return TextSetup(TextEncoder(tokenizer, limit_tokens=limit_tokens), _pooling(folder))


def _pooling(folder: Path) -> Pooling:
    path = folder / "1_Pooling" / "config.json"
    if not path.is_file():
        return "mean"
    config = _read(path, _PoolingConfig())
    if config.pooling_mode_mean_tokens != config.pooling_mode_cls_token:
        return "mean" if config.pooling_mode_mean_tokens else "first"
    raise EngineFailedError("1_Pooling/config.json asks for another pooling than the mean or the first token")


def _read(path: Path, absent: Config) -> Config:
    if not path.is_file():
        return absent
    try:
        return wire.from_json(path.read_bytes(), type(absent))
    except InputInvalidError as error:
        raise EngineFailedError(f"{path.name} cannot be read: {error.message}") from error
