"""A GGUF file with another chat template: the first and smallest way to make a new release of a model."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, BinaryIO

from registry.errors import FormatInvalidError, InputInvalidError
from registry.formats.gguf import CHAT_TEMPLATE_KEY, TYPE_STRING, read_header

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_COPY_BYTES = 1 << 20
_TEMPLATE_LIMIT_BYTES = 1 << 20


def replace_chat_template(source: Path, target: Path, edit: Callable[[str], str]) -> None:
    """Write `target` as a copy of `source` in which the chat template is what `edit` makes of it.

    Nothing but the template and the padding after the header changes: tensors keep their bytes, so a node that
    holds the old release fetches little more than the template. `target` appears whole or not at all.

    Raises:
        FormatInvalidError: `source` is not a GGUF file or has no chat template.
        InputInvalidError: both paths are the same file.
    """
    if target.exists() and target.samefile(source):
        raise InputInvalidError(f"{target} is the source itself; give another target")
    part = target.with_name(target.name + ".part")
    with source.open("rb") as reader:
        size_bytes = os.fstat(reader.fileno()).st_size
        header = read_header(reader, size_bytes)
        field = header.field(CHAT_TEMPLATE_KEY)
        if field is None or field.type != TYPE_STRING or field.end - field.start > _TEMPLATE_LIMIT_BYTES:
            raise FormatInvalidError(f"{source.name} has no chat template to replace")
        reader.seek(field.start + 8)
        template = reader.read(field.end - field.start - 8).decode("utf-8", "replace")
        value = edit(template).encode("utf-8")
        try:
            with part.open("wb") as writer:
                _copy(reader, writer, 0, field.start)
                writer.write(struct.pack("<Q", len(value)) + value)
                _copy(reader, writer, field.end, header.tensor_infos.end_bytes)
                writer.write(bytes(-writer.tell() % header.alignment))
                _copy(reader, writer, header.data_start, size_bytes)
                writer.flush()
                os.fsync(writer.fileno())
            part.rename(target)
        finally:
            part.unlink(missing_ok=True)


def _copy(reader: BinaryIO, writer: BinaryIO, start: int, end: int) -> None:
    reader.seek(start)
    while start < end:
        piece = reader.read(min(_COPY_BYTES, end - start))
        if not piece:
            raise FormatInvalidError("the source became shorter while it was read; try again")
        writer.write(piece)
        start += len(piece)
