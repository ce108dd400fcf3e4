"""FileFormat: what Edgeward knows of one model file after reading its header, and its spans."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

FileKind = Literal["gguf", "onnx", "safetensors", "file"]

_LAYER = re.compile(r"(?:^|[./_])(?:blk|blocks?|layers?|h)[./_](\d+)[./_]")


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a file that belongs together: a header field, a tensor and its padding, or a gap.

    Attributes:
        start_bytes: offset of the first byte in the file.
        end_bytes: offset just past the last byte.
        row_bytes: cuts inside the span should fall on multiples of this, counted from its start.
        element: the type of its numbers, such as `Q4_1`; empty for a header.
        alone: never put into one piece with others, because it changes at other times than they do.
        label: what it is called in the file, such as a tensor's name; empty when it has no name.
        group: small spans of one group may share a piece; empty for the parts of a header.
    """

    start_bytes: int
    end_bytes: int
    row_bytes: int = 1
    element: str = ""
    alone: bool = False
    label: str = ""
    group: str = ""

    @property
    def length_bytes(self) -> int:
        """How long the span is."""
        return self.end_bytes - self.start_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFormat:
    """One model file, described.

    Attributes:
        spans: contiguous, in order, together exactly the file; empty for an empty file.
        architecture: such as `llama`; empty when the file does not say.
        quantization: such as `Q4_K_M` or `F16`; empty when it has no tensors.
        context_tokens: the longest context that the model was made for; 0 when the file does not say.
        parameter_count: how many numbers its tensors have.
        cache_token_bytes: what keys and values of one token take in f16; 0 when there are none, or nobody knows.
        abilities: hints, of `chat`, `completion`, `embedding`; the engine decides.
        companions: other files, relative to this one's directory, that this one cannot do without.
    """

    kind: FileKind
    spans: tuple[Span, ...]
    architecture: str = ""
    quantization: str = ""
    context_tokens: int = 0
    parameter_count: int = 0
    cache_token_bytes: int = 0
    has_chat_template: bool = False
    abilities: tuple[str, ...] = ()
    companions: tuple[str, ...] = ()


def majority(weights_bytes: dict[str, int]) -> str:
    """The label with the most bytes; the first by name among equals, empty when there is none."""
    return min(weights_bytes, key=lambda label: (-weights_bytes[label], label), default="")


def group_of(tensor: str) -> str:
    """The group of a tensor with this name: its layer, or all tensors that are outside of layers."""
    layer = _LAYER.search(tensor)
    return f"layer {layer[1]}" if layer else "tensors"
