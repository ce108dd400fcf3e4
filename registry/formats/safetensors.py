"""safetensors: a JSON header that says where each tensor lies, then the tensors without a gap.

The rules are those of the format's own reader (huggingface/safetensors, README "Format"): header at most
100 MB, the tensors cover the rest of the file exactly and do not overlap.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from registry import wire
from registry.errors import FormatInvalidError, InputInvalidError
from registry.formats.file_format import FileFormat, Span, group_of, majority
from registry.formats.reading import HeaderReader

if TYPE_CHECKING:
    from typing import BinaryIO

_HEADER_LIMIT_BYTES = 100_000_000
_METADATA_KEY = "__metadata__"
_ELEMENT_BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
}
_Count = Annotated[int, Meta(ge=0, le=1 << 62)]


class _Tensor(Struct, frozen=True):
    dtype: str
    shape: tuple[_Count, ...]
    data_offsets: tuple[_Count, _Count]


def read_format(file: BinaryIO, size: int) -> FileFormat:
    """Describe an open safetensors file of `size` bytes.

    Raises:
        FormatInvalidError: not safetensors, truncated, or tensors that overlap or leave gaps.
    """
    reader = HeaderReader(file, size, "safetensors file")
    header_bytes = reader.u64("the header's length")
    if header_bytes > _HEADER_LIMIT_BYTES:
        raise FormatInvalidError(
            f"not a safetensors file: its first 8 bytes announce a header of {header_bytes} bytes, "
            f"and {_HEADER_LIMIT_BYTES} is the most; give the model file itself"
        )
    header = reader.take(header_bytes, "the header")
    data_start = reader.position
    tensors = _parse(header)
    _check(tensors, data_start, size)
    weights: dict[str, int] = {}
    spans = [Span(0, data_start, alone=True, label="header")]
    for name, tensor in tensors:
        begin, end = tensor.data_offsets
        weights[tensor.dtype] = weights.get(tensor.dtype, 0) + end - begin
        row_bytes = max(
            1, (tensor.shape[-1] if tensor.shape else 1) * _ELEMENT_BITS.get(tensor.dtype, 8) // 8
        )
        spans.append(
            Span(
                data_start + begin,
                data_start + end,
                row_bytes,
                tensor.dtype,
                label=name,
                group=group_of(name),
            )
        )
    return FileFormat(
        kind="safetensors",
        spans=tuple(span for span in spans if span.length_bytes),
        quantization=majority(weights),
        parameter_count=sum(math.prod(tensor.shape) for _, tensor in tensors),
    )


def _parse(header: bytes) -> list[tuple[str, _Tensor]]:
    try:
        table = wire.from_json(header, dict[str, dict[str, object]])
        table.pop(_METADATA_KEY, None)
        tensors = wire.convert(table, dict[str, _Tensor])
    except InputInvalidError as error:
        raise FormatInvalidError(
            f"not a safetensors file, or a damaged one: {error.message}; give the model file itself"
        ) from error
    return sorted(tensors.items(), key=lambda item: item[1].data_offsets)


def _check(tensors: list[tuple[str, _Tensor]], data_start: int, size: int) -> None:
    end = 0
    for name, tensor in tensors:
        begin, until = tensor.data_offsets
        if begin != end or until < begin:
            raise FormatInvalidError(
                f"damaged safetensors header: tensor {name} lies at {begin} to {until}, "
                f"and byte {end} comes next; download the file again"
            )
        bits = _ELEMENT_BITS.get(tensor.dtype)
        if bits is not None and math.prod(tensor.shape) * bits != (until - begin) * 8:
            raise FormatInvalidError(
                f"damaged safetensors header: tensor {name} ({tensor.dtype} {list(tensor.shape)}) "
                f"does not fit its {until - begin} bytes; download the file again"
            )
        end = until
    needed = data_start + end
    if needed != size:
        fault = (
            "truncated safetensors file"
            if needed > size
            else "safetensors file with bytes after its last tensor"
        )
        raise FormatInvalidError(
            f"{fault}: its {len(tensors)} tensors need {needed} bytes, but the file has {size}; get it again"
        )
