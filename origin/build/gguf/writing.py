"""Writing a GGUF file: the fields of another one, some of them changed, and tensors one after the other."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from origin.build.gguf.model_file import TYPE_IDS, stored_bytes
from registry.durable import sync
from registry.formats.ggml_tables import FILE_TYPES
from registry.formats.gguf import MAGIC, SCALARS, TYPE_ARRAY, TYPE_STRING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from origin.build.gguf.model_file import ModelFile

_VERSION = 3
_U32, _I32, _F32, _BOOL = 4, 5, 6, 7
_MIXED_FILE_TYPE = 1024  # LLAMA_FTYPE_GUESSED: what the tensors are is said by the tensors
FILE_TYPE_IDS = {name: number for number, name in FILE_TYPES.items()}


@dataclass(frozen=True, slots=True)
class NewTensor:
    """A tensor to write; its bytes are made when it is its turn.

    Attributes:
        dimensions: the length of a row first.
        element: the name of ggml's type.
        content: gives exactly the bytes that the dimensions and the type need.
    """

    name: str
    dimensions: tuple[int, ...]
    element: str
    content: Callable[[], NDArray[Any]]

    @property
    def size_bytes(self) -> int:
        """How many bytes its content has."""
        return stored_bytes(math.prod(self.dimensions), self.element)


def kept(model: ModelFile, name: str, new_name: str = "") -> NewTensor:
    """The tensor `name` of `model` as it is, under the same name or a new one."""
    tensor = model.tensors[name]
    return NewTensor(new_name or name, tensor.dimensions, tensor.element, lambda: model.raw(name))


def plain(name: str, shape: tuple[int, ...], values: Callable[[], NDArray[np.floating[Any]]]) -> NewTensor:
    """A tensor of `shape`, rows first, as numbers are usual unquantized: matrices as F16, vectors as F32."""
    element, form = ("F32", "<f4") if len(shape) == 1 else ("F16", "<f2")
    return NewTensor(name, tuple(reversed(shape)), element, lambda: values().astype(form))


def file_type(label: str) -> int:
    """llama.cpp's number for a file of this label, or the one for a file whose tensors speak for themselves."""
    return FILE_TYPE_IDS.get(label, _MIXED_FILE_TYPE)


def write_model(
    target: Path,
    fields: Iterable[bytes],
    tensors: Sequence[NewTensor],
    *,
    alignment: int = 32,
    wrote: Callable[[int, int], None] = lambda _done, _total: None,
) -> None:
    """Write a GGUF file of version 3 and make it last; `wrote` hears how many tensors of how many are in it."""
    fields = list(fields)
    with target.open("wb") as file:
        file.write(MAGIC + struct.pack("<IQQ", _VERSION, len(tensors), len(fields)))
        file.writelines(fields)
        offset = 0
        for tensor in tensors:
            shape = struct.pack(f"<I{len(tensor.dimensions)}Q", len(tensor.dimensions), *tensor.dimensions)
            file.write(_text(tensor.name) + shape + struct.pack("<IQ", TYPE_IDS[tensor.element], offset))
            offset += -(-tensor.size_bytes // alignment) * alignment
        for done, tensor in enumerate(tensors):
            wrote(done, len(tensors))
            file.write(bytes(-file.tell() % alignment))
            content = np.ascontiguousarray(tensor.content())
            if content.nbytes != tensor.size_bytes:
                raise ValueError(f"{tensor.name} has {content.nbytes} bytes instead of {tensor.size_bytes}")
            content.tofile(file)
        file.write(bytes(-file.tell() % alignment))
        wrote(len(tensors), len(tensors))
    sync(target)


def edited_fields(
    model: ModelFile, changes: Mapping[str, Any], without: frozenset[str] = frozenset()
) -> list[bytes]:
    """The fields of `model` as bytes, some with another value of the same type, some left out; new ones at the end."""
    fields = []
    for field in model.header.kvs:
        if field.key in changes:
            whole = model.field_bytes(field)
            element = struct.unpack_from("<I", whole, field.start - field.field_start)[0]
            fields.append(new_field(field.key, changes[field.key], field.type, element))
        elif field.key not in without:
            fields.append(model.field_bytes(field))
    present = {field.key for field in model.header.kvs}
    return fields + [new_field(key, value) for key, value in changes.items() if key not in present]


def new_field(key: str, value: Any, type_id: int | None = None, element_id: int | None = None) -> bytes:
    """One field as bytes; without a type, whole numbers are u32, decimals f32, lists of numbers i32 or f32."""
    if isinstance(value, str):
        return _text(key) + struct.pack("<I", TYPE_STRING) + _text(value)
    if isinstance(value, bool):
        return _text(key) + struct.pack("<I?", _BOOL, value)
    if isinstance(value, int | float | np.number):
        chosen = type_id if type_id is not None else (_F32 if isinstance(value, float) else _U32)
        return _text(key) + struct.pack("<I", chosen) + struct.pack(SCALARS[chosen], value)
    items = list(value)
    if items and isinstance(items[0], str):
        head, body = TYPE_STRING, b"".join(map(_text, items))
    else:
        whole = not items or isinstance(items[0], int | np.integer)
        head = element_id if element_id is not None else (_I32 if whole else _F32)
        body = b"".join(struct.pack(SCALARS[head], item) for item in items)
    return _text(key) + struct.pack("<IIQ", TYPE_ARRAY, head, len(items)) + body


def _text(text: str) -> bytes:
    content = text.encode("utf-8", "surrogateescape")
    return struct.pack("<Q", len(content)) + content
