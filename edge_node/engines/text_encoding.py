"""A text model's `tokenizer.json` and configuration: how inputs become token ids, and how long they may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from edge_node.errors import EngineFailedError, PromptTooLongError
from registry import wire
from registry.errors import InputInvalidError

if TYPE_CHECKING:
    from pathlib import Path

    from tokenizers import Encoding

    from edge_node.engines.spec import EngineSpec

Integers = NDArray[np.int64]
Pooling = Literal["mean", "first"]
Config = TypeVar("Config", bound=msgspec.Struct)

DEFAULT_LIMIT_TOKENS = 512
# Configurations that know no limit say so with a huge number.
_NO_LIMIT_TOKENS = 1 << 20


# Far more than any language needs: what is longer than this for each token is refused before it is tokenized.
_TOKEN_CHARACTERS = 64


class _TokenizerConfig(msgspec.Struct, frozen=True):
    model_max_length: float | None = None


class _ModelConfig(msgspec.Struct, frozen=True):
    max_position_embeddings: int | None = None
    id2label: dict[str, str] = {}
    problem_type: str | None = None
    is_matryoshka: bool = False
    matryoshka_dimensions: tuple[int, ...] = ()
    pad_token_id: int | None = None


class _PoolingConfig(msgspec.Struct, frozen=True):
    pooling_mode_cls_token: bool = False
    pooling_mode_mean_tokens: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A text, or a pair of texts, as the model reads it; `types` is None where all tokens are of the first type."""

    ids: Integers
    types: Integers | None = None

    def __len__(self) -> int:
        return len(self.ids)


class TextEncoder:
    """Texts to token ids; never cut unless that is asked for: an input that is too long is refused."""

    def __init__(self, tokenizer: Tokenizer, *, limit_tokens: int) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self.limit_tokens = limit_tokens
        self._limit_characters = limit_tokens * _TOKEN_CHARACTERS

    def check_length(self, text: str, param: str) -> None:
        """Refuse a text so long that it cannot be meant for this model, before any time is spent on it.

        Raises:
            PromptTooLongError: `param` names it.
        """
        if len(text) > self._limit_characters:
            raise PromptTooLongError(
                f"{param} has {len(text)} characters, the model reads at most {self.limit_tokens} tokens "
                f"({self._limit_characters} characters)",
                param=param,
            )

    def text(self, text: str, param: str, *, cut_tokens: int = 0) -> Row:
        """A text as a row, special tokens included; `cut_tokens` over 0 cuts it to that many, -1 to the limit.

        Of a text that is to be cut only so many characters are read as one that is not may have at all: no tokenizer
        has to go through megabytes to find the first few hundred tokens, while others wait.

        Raises:
            PromptTooLongError: it has more tokens than the model reads; `param` names it.
        """
        if cut_tokens:
            text = text[: self._limit_characters]
        encoding = self._tokenizer.encode(text)
        most_tokens = self.limit_tokens if cut_tokens < 0 else cut_tokens
        if most_tokens and len(encoding.ids) > most_tokens:
            room_tokens = most_tokens - self._tokenizer.num_special_tokens_to_add(is_pair=False)
            encoding = self._tokenizer.encode(self._beginning(text, max(0, room_tokens)))
        return self._row(encoding, param)

    def pair(self, query: str, text: str, param: str, *, cut_tokens: int = 0) -> Row:
        """Query and text as one row; the text is first cut to `cut_tokens`, as in `text`, if that is over 0.

        Raises:
            PromptTooLongError: together they have more tokens than the model reads; `param` names the text.
        """
        if cut_tokens > 0:
            text = self._beginning(text[: self._limit_characters], cut_tokens)
        return self._row(self._tokenizer.encode(query, text), param)

    def _beginning(self, text: str, most_tokens: int) -> str:
        offsets = self._tokenizer.encode(text, add_special_tokens=False).offsets
        if len(offsets) <= most_tokens:
            return text
        return text[: offsets[most_tokens - 1][1]] if most_tokens else ""

    def _row(self, encoding: Encoding, param: str) -> Row:
        ids = encoding.ids
        if len(ids) > self.limit_tokens:
            raise PromptTooLongError(
                f"{param} has {len(ids)} tokens, the model reads at most {self.limit_tokens}", param=param
            )
        types = encoding.type_ids
        return Row(np.asarray(ids, np.int64), np.asarray(types, np.int64) if any(types) else None)


@dataclass(frozen=True, slots=True)
class TextSetup:
    """What lies beside a text model.

    Attributes:
        labels: of the classes, in their order; empty where the configuration names none.
        many_labels: a text may belong to several classes, so each has a probability of its own.
        shorter_dims: lengths that vectors may be cut to; with `any_shorter_dims`, any.
        pad_token: what fills a row up.
    """

    encoder: TextEncoder
    pooling: Pooling
    labels: tuple[str, ...] = ()
    many_labels: bool = False
    shorter_dims: tuple[int, ...] = ()
    any_shorter_dims: bool = False
    pad_token: int = 0


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
    config = _read(folder / "config.json", _ModelConfig())
    limits = [
        _read(folder / "tokenizer_config.json", _TokenizerConfig()).model_max_length,
        config.max_position_embeddings,
    ]
    known = [int(limit) for limit in limits if limit is not None and 0 < limit < _NO_LIMIT_TOKENS]
    limit_tokens = min(known, default=DEFAULT_LIMIT_TOKENS)
    if spec.context_tokens:
        limit_tokens = min(limit_tokens, spec.context_tokens)
    return TextSetup(
        encoder=TextEncoder(tokenizer, limit_tokens=limit_tokens),
        pooling=_pooling(folder),
        labels=_labels(config),
        many_labels=config.problem_type == "multi_label_classification",
        shorter_dims=tuple(sorted(dims for dims in set(config.matryoshka_dimensions) if dims > 0)),
        any_shorter_dims=config.is_matryoshka and not config.matryoshka_dimensions,
        pad_token=config.pad_token_id if config.pad_token_id is not None and config.pad_token_id >= 0 else 0,
    )


def _labels(config: _ModelConfig) -> tuple[str, ...]:
    names = {
        int(key): name
        for key, name in config.id2label.items()
        if key.isascii() and key.isdigit() and len(key) < 6
    }
    return tuple(names.get(index, f"LABEL_{index}") for index in range(max(names, default=-1) + 1))


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
