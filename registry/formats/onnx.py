"""ONNX: where the weights of a model lie in its protobuf, found by walking its fields.

Field numbers are those of onnx.proto: ModelProto 1 ir_version, 7 graph, 14 metadata_props; GraphProto 2 name,
5 initializer; TensorProto 1 dims, 2 data_type, 4-7 and 9-11 data (9 raw_data), 8 name, 13 external_data.
Wire types: https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from registry.errors import FormatInvalidError
from registry.formats.file_format import FileFormat, Span, group_of, majority
from registry.formats.reading import HeaderReader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_SHORT_TEXT_BYTES = 4096
_DIMENSION_LIMIT_COUNT = 64
_VALUE_LIMIT = 1 << 62
_ELEMENTS = {
    1: ("FLOAT", 4), 2: ("UINT8", 1), 3: ("INT8", 1), 4: ("UINT16", 2), 5: ("INT16", 2), 6: ("INT32", 4),
    7: ("INT64", 8), 9: ("BOOL", 1), 10: ("FLOAT16", 2), 11: ("DOUBLE", 8), 12: ("UINT32", 4),
    13: ("UINT64", 8),
    16: ("BFLOAT16", 2), 17: ("FLOAT8E4M3FN", 1), 18: ("FLOAT8E4M3FNUZ", 1), 19: ("FLOAT8E5M2", 1),
    20: ("FLOAT8E5M2FNUZ", 1),
}  # fmt: skip
_HALF_BYTE_ELEMENTS = {21: "UINT4", 22: "INT4", 23: "FLOAT4E2M1"}
# Names that exporters give to every graph say nothing of the model.
_GENERIC_NAMES = {"", "main_graph", "torch_jit", "torch-jit-export", "tf2onnx", "graph", "main", "onnx_graph"}


class _Field(NamedTuple):
    number: int
    wire_type: int
    value: int  # of a varint; else 0
    start: int
    end: int


@dataclass(slots=True)
class _Tensor:
    dims: list[int] = field(default_factory=list)
    data_type: int = 0
    name: str = ""
    data: Span | None = None
    location: str = ""


@dataclass(slots=True)
class _Model:
    ir_version: int = 0
    has_graph: bool = False
    graph_name: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    tensors: list[_Tensor] = field(default_factory=list)


def read_format(file: BinaryIO, size: int) -> FileFormat:
    """Describe an open ONNX file of `size` bytes.

    Raises:
        FormatInvalidError: not ONNX, truncated, or a weight that contradicts its own shape.
    """
    walker = _Walker(HeaderReader(file, size, "ONNX file"))
    model = walker.model(size)
    if not model.has_graph or model.ir_version < 1:
        raise FormatInvalidError(
            "not an ONNX file: it has no graph or no version; give the model file itself"
        )
    weights: dict[str, int] = {}
    spans: list[Span] = []
    position = 0
    for tensor in model.tensors:
        if tensor.data is None:
            continue
        data = tensor.data
        weights[data.element] = weights.get(data.element, 0) + data.length_bytes
        spans += [Span(position, data.start_bytes), data]
        position = data.end_bytes
    spans.append(Span(position, size))
    named = model.metadata.get("architecture") or model.metadata.get("model_type") or model.graph_name
    return FileFormat(
        kind="onnx",
        spans=tuple(span for span in spans if span.length_bytes),
        architecture="" if named in _GENERIC_NAMES else named,
        quantization=majority(weights),
        parameter_count=sum(math.prod(tensor.dims) for tensor in model.tensors),
        companions=tuple(sorted({tensor.location for tensor in model.tensors if tensor.location})),
    )


class _Walker:
    def __init__(self, reader: HeaderReader) -> None:
        self._reader = reader

    def model(self, size: int) -> _Model:
        model = _Model()
        for item in self._fields(size, "the model"):
            if item.number == 1 and item.wire_type == _VARINT:
                model.ir_version = item.value
            elif item.number == 7 and item.wire_type == _LENGTH:
                model.has_graph = True
                self._graph(item.end, model)
            elif item.number == 14 and item.wire_type == _LENGTH:
                model.metadata.update([self._entry(item.end)])
        return model

    def _graph(self, end: int, model: _Model) -> None:
        for item in self._fields(end, "the graph"):
            if item.number == 2 and item.wire_type == _LENGTH:
                model.graph_name = self._text(item)
            elif item.number == 5 and item.wire_type == _LENGTH:
                model.tensors.append(self._tensor(item.end))

    def _tensor(self, end: int) -> _Tensor:
        tensor = _Tensor()
        raw: _Field | None = None
        for item in self._fields(end, "a weight"):
            if item.number == 1:
                self._dims(item, tensor.dims)
            elif item.number == 2 and item.wire_type == _VARINT:
                tensor.data_type = item.value
            elif item.number == 8 and item.wire_type == _LENGTH:
                tensor.name = self._text(item)
            elif item.number == 9 and item.wire_type == _LENGTH:
                raw = item
            elif item.number == 13 and item.wire_type == _LENGTH:
                key, value = self._entry(item.end)
                tensor.location = value if key == "location" else tensor.location
        if math.prod(tensor.dims) > _VALUE_LIMIT:
            raise FormatInvalidError(f"damaged ONNX file: a weight has impossible dimensions {tensor.dims}")
        if raw is not None:
            tensor.data = _data_span(tensor, raw)
        return tensor

    def _dims(self, item: _Field, dims: list[int]) -> None:
        if item.wire_type == _VARINT:
            dims.append(item.value)
        while item.wire_type == _LENGTH and self._reader.position < item.end:
            dims.append(self._varint(item.end))
            if len(dims) > _DIMENSION_LIMIT_COUNT:
                break
        if len(dims) > _DIMENSION_LIMIT_COUNT:
            raise FormatInvalidError("damaged ONNX file: a weight has too many dimensions; download it again")

    def _entry(self, end: int) -> tuple[str, str]:
        key = value = ""
        for item in self._fields(end, "an entry"):
            if item.wire_type == _LENGTH and item.number == 1:
                key = self._text(item)
            elif item.wire_type == _LENGTH and item.number == 2:
                value = self._text(item)
        return key, value

    def _text(self, item: _Field) -> str:
        return self._reader.take(min(item.end - item.start, _SHORT_TEXT_BYTES), "a text").decode(
            "utf-8", "replace"
        )

    def _fields(self, end: int, what: str) -> Iterator[_Field]:
        """Each field of the message that ends here, whether or not the one before was read."""
        reader = self._reader
        while reader.position < end:
            tag = self._varint(end)
            number, wire_type = tag >> 3, tag & 7
            value = length = 0
            if wire_type == _VARINT:
                value = self._varint(end)
            elif wire_type == _LENGTH:
                length = self._varint(end)
            elif wire_type in {_FIXED64, _FIXED32}:
                length = 8 if wire_type == _FIXED64 else 4
            if number == 0 or wire_type in {3, 4, 6, 7}:
                raise FormatInvalidError(
                    f"not an ONNX file, or a damaged one: byte {reader.position} starts no field of {what}; "
                    "give the model file itself"
                )
            start = reader.position
            reader.require(length, what)
            if start + length > end:
                raise FormatInvalidError(
                    f"damaged ONNX file: a field at byte {start} goes past {what} around it"
                )
            yield _Field(number, wire_type, value, start, start + length)
            reader.position = start + length

    def _varint(self, end: int) -> int:
        value = shift = 0
        while True:
            byte = self._reader.take(1, "a number")[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            if shift >= 70 or self._reader.position >= end:
                raise FormatInvalidError(
                    f"not an ONNX file, or a damaged one: no number at byte {self._reader.position}"
                )
        return value


def _data_span(tensor: _Tensor, raw: _Field) -> Span:
    count = math.prod(tensor.dims)
    length = raw.end - raw.start
    last = tensor.dims[-1] if tensor.dims else 1
    if tensor.data_type in _ELEMENTS:
        name, element_bytes = _ELEMENTS[tensor.data_type]
        expected, row_bytes = count * element_bytes, last * element_bytes
    elif tensor.data_type in _HALF_BYTE_ELEMENTS:
        name, expected, row_bytes = _HALF_BYTE_ELEMENTS[tensor.data_type], (count + 1) // 2, last // 2
    else:
        name, expected, row_bytes = f"type{tensor.data_type}", length, 1
    if expected != length:
        raise FormatInvalidError(
            f"damaged ONNX file: a weight at byte {raw.start} has {length} bytes, its shape {tensor.dims} "
            f"needs {expected}; download it again"
        )
    return Span(raw.start, raw.end, max(1, row_bytes), name, label=tensor.name, group=group_of(tensor.name))
