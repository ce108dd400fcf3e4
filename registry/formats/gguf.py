"""GGUF: where each header field and each tensor of a file lies, read without touching the tensors.

The layout is that of the GGUF specification (ggml, docs/gguf.md), versions 2 and 3, little-endian: magic
`GGUF`, version u32, tensor count u64, field count u64, the fields (key, type u32, value), the tensor infos
(name, dimension count u32, dimensions u64 each, type u32, offset u64), padding, tensor data.
"""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from registry.errors import FormatInvalidError
from registry.formats.file_format import FileFormat, Span, group_of, majority
from registry.formats.ggml_tables import FILE_TYPES, GGML_TYPES
from registry.formats.reading import HeaderReader

if TYPE_CHECKING:
    from typing import BinaryIO

MAGIC = b"GGUF"
CHAT_TEMPLATE_KEY = "tokenizer.chat_template"
TYPE_STRING = 8
TYPE_ARRAY = 9
SCALARS = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}
"""How a number or a truth value is stored, in the words of `struct`, by GGUF's number of its type."""
_SCALAR_BYTES = {type_id: struct.calcsize(form) for type_id, form in SCALARS.items()}

_DEFAULT_ALIGNMENT_BYTES = 32
_FIELD_LIMIT_COUNT = 1 << 16
_TENSOR_LIMIT_COUNT = 1 << 20
_KEY_LIMIT_BYTES = (1 << 16) - 1
_KEPT_STRING_LIMIT_BYTES = 1024
_ALIGNMENT_LIMIT_BYTES = 1 << 20
_DIMENSION_LIMIT_COUNT = 8
_ELEMENT_LIMIT_COUNT = 1 << 62
_NESTING_LIMIT_COUNT = 4
_CACHED = re.compile(r"blk\.[0-9]+\.(?:attn_[kv]|attn_kv_a_mqa)\.weight")
_F16_BYTES = 2
_BIG_ENDIAN_VERSIONS = {2 << 24, 3 << 24}


@dataclass(frozen=True, slots=True)
class GgufField:
    """One key and value of the header.

    Attributes:
        type: GGUF's number for the value's type (8 is a string, 9 an array).
        field_start: offset of the whole field: the length of its key comes first.
        start: offset of the value, just after the type.
        end: offset just past the value.
        value: the value itself when it is a scalar or a string of at most 1 KiB.
    """

    key: str
    type: int
    field_start: int
    start: int
    end: int
    value: int | float | bool | str | None


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """One tensor: `start` and `end` are offsets in the file, padding not included.

    Of a tensor whose type is not known here, `end` is where the next one starts.

    Attributes:
        dimensions: the length of a row first, as in the file.
    """

    name: str
    element: str
    dimensions: tuple[int, ...]
    element_count: int
    row_bytes: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """All of a GGUF file but the tensors' bytes.

    A file with one field replaced is: the bytes before `field.start`, the new value, the bytes up to
    `tensor_infos.end_bytes`, zeros up to a multiple of `alignment`, then everything from `data_start` on.
    Offsets of tensors are relative to `data_start`, so they need no change.

    Attributes:
        version: 2 or 3.
        tensor_infos: the stretch that lists the tensors.
        data_start: offset of the first tensor's bytes.
        alignment: every tensor starts at a multiple of this many bytes, counted from `data_start`.
        tensors: in the order of their offsets.
    """

    version: int
    kvs: tuple[GgufField, ...]
    tensor_infos: Span
    data_start: int
    alignment: int
    tensors: tuple[GgufTensor, ...]

    def field(self, key: str) -> GgufField | None:
        """The field with this key."""
        return next((field for field in self.kvs if field.key == key), None)

    def text(self, key: str) -> str:
        """A short string field; empty when it is missing or something else."""
        field = self.field(key)
        return field.value if field and isinstance(field.value, str) else ""

    def number(self, key: str) -> int | None:
        """A whole-number field; None when it is missing or something else."""
        field = self.field(key)
        return field.value if field and type(field.value) is int else None


def read_header(file: BinaryIO, size: int) -> GgufHeader:
    """Read and check the header of an open GGUF file of `size` bytes.

    Raises:
        FormatInvalidError: not GGUF, of a version or byte order that is not read here, or truncated.
    """
    reader = HeaderReader(file, size, "GGUF file")
    version = _check_start(reader)
    tensor_count = _bounded(reader.u64("the tensor count"), _TENSOR_LIMIT_COUNT, "tensors")
    field_count = _bounded(reader.u64("the field count"), _FIELD_LIMIT_COUNT, "header fields")
    fields = tuple(_read_field(reader) for _ in range(field_count))
    alignment = _alignment(fields)
    infos_start = reader.position
    infos = [_read_info(reader, alignment) for _ in range(tensor_count)]
    infos_end = reader.position
    data_start = _round_up(infos_end, alignment)
    tensors = _place_tensors(infos, data_start, size)
    return GgufHeader(
        version, fields, Span(infos_start, infos_end), min(data_start, size), alignment, tensors
    )


def read_format(file: BinaryIO, size: int) -> FileFormat:
    """Describe an open GGUF file of `size` bytes.

    Raises:
        FormatInvalidError: as `read_header`.
    """
    header = read_header(file, size)
    architecture = header.text("general.architecture")
    if not architecture:
        raise FormatInvalidError("this GGUF file has no general.architecture; no engine can load it")
    weights: dict[str, int] = {}
    for tensor in header.tensors:
        weights[tensor.element] = weights.get(tensor.element, 0) + tensor.end - tensor.start
    file_type = header.number("general.file_type")
    label = FILE_TYPES.get(file_type) if file_type is not None else None
    has_template = header.field(CHAT_TEMPLATE_KEY) is not None
    if header.field(f"{architecture}.pooling_type") is not None:
        abilities: tuple[str, ...] = ("embedding",)
    else:
        abilities = ("chat", "completion") if has_template else ("completion",)
    return FileFormat(
        kind="gguf",
        spans=_spans(header, size),
        architecture=architecture,
        quantization=label or majority(weights),
        context_tokens=max(0, header.number(f"{architecture}.context_length") or 0),
        parameter_count=sum(tensor.element_count for tensor in header.tensors),
        cache_token_bytes=_cache_token_bytes(header, architecture),
        has_chat_template=has_template,
        abilities=abilities,
    )


def _cache_token_bytes(header: GgufHeader, architecture: str) -> int:
    """What one token takes in the cache of keys and values, in f16, every layer looking back over everything.

    Layers that look back over a window alone need less; the estimate is on the safe side.
    """

    def said(key: str) -> int:
        return max(0, header.number(f"{architecture}.{key}") or 0)

    width = said("embedding_length")
    if not width:
        return 0
    # The projections tell layer by layer, also where the header has a list, which is not kept.
    rows = sum(tensor.element_count // width for tensor in header.tensors if _CACHED.fullmatch(tensor.name))
    if not rows:
        heads = said("attention.head_count")
        head = width // heads if heads else 0
        of_a_head = (said("attention.key_length") or head) + (said("attention.value_length") or head)
        rows = said("block_count") * said("attention.head_count_kv") * of_a_head
    return rows * _F16_BYTES


def _check_start(reader: HeaderReader) -> int:
    magic = reader.take(4, "the magic")
    if magic != MAGIC:
        raise FormatInvalidError(
            f"not a GGUF file: it starts with {magic!r} instead of {MAGIC!r}; give the model file itself"
        )
    version = reader.u32("the version")
    if version in _BIG_ENDIAN_VERSIONS:
        raise FormatInvalidError("this GGUF file is big-endian; convert it to little-endian first")
    if version not in {2, 3}:
        raise FormatInvalidError(
            f"GGUF version {version} is not read here (2 and 3 are); convert the file again"
        )
    return version


def _bounded(count: int, limit: int, what: str) -> int:
    if count > limit:
        raise FormatInvalidError(
            f"damaged GGUF header: it announces {count} {what}, and {limit} is the most; download it again"
        )
    return count


def _read_text(reader: HeaderReader, limit_bytes: int, what: str) -> str:
    length = reader.u64(what)
    if length > limit_bytes:
        raise FormatInvalidError(
            f"damaged GGUF header: {what} at byte {reader.position} claims {length} bytes; download it again"
        )
    return reader.take(length, what).decode("utf-8", errors="replace")


def _read_field(reader: HeaderReader) -> GgufField:
    field_start = reader.position
    key = _read_text(reader, _KEY_LIMIT_BYTES, "a field's key")
    type_id = reader.u32(f"the type of {key}")
    start = reader.position
    value: int | float | bool | str | None = None
    if type_id in SCALARS:
        value = struct.unpack(SCALARS[type_id], reader.take(_SCALAR_BYTES[type_id], key))[0]
    elif type_id == TYPE_STRING:
        length = reader.u64(key)
        reader.require(length, key)
        if length <= _KEPT_STRING_LIMIT_BYTES:
            value = reader.take(length, key).decode("utf-8", errors="replace")
        else:
            reader.skip(length, key)
    else:
        _skip_value(reader, type_id, key, 0)
    return GgufField(key, type_id, field_start, start, reader.position, value)


def _skip_value(reader: HeaderReader, type_id: int, key: str, depth: int) -> None:
    if type_id != TYPE_ARRAY or depth >= _NESTING_LIMIT_COUNT:
        raise FormatInvalidError(
            f"damaged GGUF header: {key} has the unknown type {type_id}; download the file again"
        )
    element_type = reader.u32(key)
    count = reader.u64(key)
    if element_type in _SCALAR_BYTES:
        reader.skip(count * _SCALAR_BYTES[element_type], key)
    elif element_type == TYPE_STRING:
        reader.skip_strings(count, key)
    else:
        reader.require(count * 12, key)  # an array takes at least its type and count
        for _ in range(count):
            _skip_value(reader, element_type, key, depth + 1)


def _alignment(fields: tuple[GgufField, ...]) -> int:
    for field in fields:
        if field.key == "general.alignment":
            value = field.value
            if type(value) is not int or not 1 <= value <= _ALIGNMENT_LIMIT_BYTES or value & (value - 1):
                raise FormatInvalidError(
                    f"damaged GGUF header: general.alignment is {value!r}, not a power of two"
                )
            return value
    return _DEFAULT_ALIGNMENT_BYTES


@dataclass(frozen=True, slots=True)
class _TensorInfo:
    name: str
    type_id: int
    dimensions: tuple[int, ...]
    offset_bytes: int


def _read_info(reader: HeaderReader, alignment: int) -> _TensorInfo:
    name = _read_text(reader, _KEY_LIMIT_BYTES, "a tensor's name")
    count = _bounded(reader.u32(name), _DIMENSION_LIMIT_COUNT, f"dimensions of {name}")
    dimensions = tuple(reader.u64(name) for _ in range(count))
    type_id = reader.u32(name)
    offset = reader.u64(name)
    if math.prod(dimensions) > _ELEMENT_LIMIT_COUNT:
        raise FormatInvalidError(f"damaged GGUF header: tensor {name} has impossible dimensions {dimensions}")
    if offset % alignment:
        raise FormatInvalidError(f"damaged GGUF header: tensor {name} is not aligned to {alignment} bytes")
    return _TensorInfo(name, type_id, dimensions, offset)


def _place_tensors(infos: list[_TensorInfo], data_start: int, size: int) -> tuple[GgufTensor, ...]:
    if not infos:  # a vocabulary alone
        return ()
    infos = sorted(infos, key=lambda info: info.offset_bytes)
    starts = [data_start + info.offset_bytes for info in infos]
    placed = []
    for info, start, limit in zip(infos, starts, [*starts[1:], max(size, data_start)], strict=True):
        count = math.prod(info.dimensions)
        known = GGML_TYPES.get(info.type_id)
        if known is None:  # a type newer than this list: its size is not known, its place is
            end, row, element = max(start, limit), 1, f"type{info.type_id}"
        else:
            row_elements = info.dimensions[0] if info.dimensions else 1
            if row_elements % known.block_elements:
                raise FormatInvalidError(
                    f"damaged GGUF header: rows of {info.name} have {row_elements} numbers, "
                    f"and {known.name} needs a multiple of {known.block_elements}"
                )
            row = row_elements // known.block_elements * known.block_bytes
            end = start + count // known.block_elements * known.block_bytes
            element = known.name
        placed.append(GgufTensor(info.name, element, info.dimensions, count, max(1, row), start, end))
    _check_places(placed, size)
    return tuple(placed)


def _check_places(tensors: list[GgufTensor], size: int) -> None:
    needed = max((tensor.end for tensor in tensors), default=0)
    if needed > size:
        raise FormatInvalidError(
            f"truncated GGUF file: its {len(tensors)} tensors need {needed} bytes, but the file has "
            f"{size} ({needed - size} are missing); copy or download it again"
        )
    for before, after in pairwise(tensors):
        if before.end > after.start:
            raise FormatInvalidError(f"damaged GGUF header: tensors {before.name} and {after.name} overlap")


def _spans(header: GgufHeader, size: int) -> tuple[Span, ...]:
    first_field = header.kvs[0].field_start if header.kvs else header.tensor_infos.start_bytes
    spans = [Span(0, first_field)]
    spans += [Span(field.field_start, field.end, label=field.key) for field in header.kvs]
    infos = header.tensor_infos
    spans.append(Span(infos.start_bytes, infos.end_bytes, alone=True, label="tensors"))
    # The padding changes length with every edit of the header, and goes with its parts.
    data = header.tensors[0].start if header.tensors else header.data_start
    spans.append(Span(infos.end_bytes, max(data, infos.end_bytes)))
    ends = [tensor.start for tensor in header.tensors[1:]] + [size]
    spans += [
        Span(
            tensor.start,
            end,
            tensor.row_bytes,
            tensor.element,
            label=tensor.name,
            group=group_of(tensor.name),
        )
        for tensor, end in zip(header.tensors, ends if header.tensors else [], strict=True)
    ]
    if not header.tensors:
        spans.append(Span(max(data, infos.end_bytes), size))
    return tuple(span for span in spans if span.length_bytes)


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
