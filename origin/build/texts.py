"""Texts that models are calibrated, trained and judged on: read from files, cut to a size, named by their digest."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.errors import InputInvalidError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_FILE_LIMIT_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class TextSet:
    """Documents in a fixed order.

    Attributes:
        texts: none is empty.
        sha256: of the documents in their order; what a lineage names.
    """

    name: str
    texts: tuple[str, ...]
    sha256: str

    def overlap_count(self, other: TextSet) -> int:
        """How many documents are in both: what is judged on must not have been learned from."""
        return len(set(self.texts) & set(other.texts))


def read_texts(name: str, files: Sequence[Path], *, seed: int = 0, limit_count: int = 0) -> TextSet:
    """The documents of these files: of `.jsonl` the field `text` of each line, of `.txt` each paragraph.

    Of more than `limit_count` as many are drawn by `seed`; 0 is all, in the order of the files.

    Raises:
        InputInvalidError: a file is missing, is not UTF-8, or has no text in it.
    """
    texts = [text for file in files for text in _documents(file)]
    if not texts:
        raise InputInvalidError(
            f"[data.{name}] has no text; name .txt or .jsonl files that have", param="data"
        )
    if limit_count and limit_count < len(texts):
        texts = random.Random(seed).sample(texts, limit_count)  # noqa: S311 - to be repeated, not to be secret
    digest = hashlib.sha256()
    for text in texts:
        digest.update(len(encoded := text.encode()).to_bytes(8, "little") + encoded)
    return TextSet(name, tuple(texts), digest.hexdigest())


def _documents(file: Path) -> list[str]:
    try:
        if file.stat().st_size > _FILE_LIMIT_BYTES:
            raise InputInvalidError(f"{file} is larger than 1 GiB; give a part of it", param="data")
        content = file.read_text(encoding="utf-8")
    except OSError as error:
        raise InputInvalidError(f"cannot read {file}: {error.strerror}", param="data") from error
    except UnicodeDecodeError as error:
        raise InputInvalidError(f"{file} is not UTF-8 (byte {error.start})", param="data") from error
    if file.suffix == ".jsonl":
        return [
            text
            for number, line in enumerate(content.split("\n"), 1)  # in JSON no other sign ends a line
            if (text := _line(file, number, line))
        ]
    return [text for paragraph in content.split("\n\n") if (text := paragraph.strip())]


def _line(file: Path, number: int, line: str) -> str:
    if not line.strip():
        return ""
    try:
        row = json.loads(line)
    except ValueError as error:
        raise InputInvalidError(f"{file}, line {number}, is not JSON: {error}", param="data") from error
    text = row.get("text") if isinstance(row, dict) else row
    if not isinstance(text, str):
        raise InputInvalidError(f'{file}, line {number}, has no "text"', param="data")
    return text.strip()
