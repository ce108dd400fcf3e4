"""One zstd frame whose length is known before: unpacked whole, in no more memory than that, or refused."""

from __future__ import annotations

import zstandard

from registry.errors import ChunkMismatchError

_LENGTH_UNKNOWN = -1


def unpack_frame(
    frame: memoryview, length_bytes: int, what: str, *, dictionary: bytes | None = None
) -> bytes:
    """The content of a frame.

    Args:
        frame: its bytes.
        length_bytes: what it must hold.
        what: what it is part of, for the error.
        dictionary: raw bytes that it copies from.

    Raises:
        ChunkMismatchError: it is not a whole frame, or has another length.
    """
    base = (
        zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
        if dictionary is not None
        else None
    )
    try:
        # A frame that declares a length gets that much memory, whatever limit is given.
        if zstandard.frame_content_size(frame) not in {_LENGTH_UNKNOWN, length_bytes}:
            raise ChunkMismatchError(f"{what} is damaged: a frame in it declares another length")
        content = zstandard.ZstdDecompressor(dict_data=base).decompress(
            frame, max_output_size=max(1, length_bytes), allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise ChunkMismatchError(f"{what} is damaged: {error}") from error
    if len(content) != length_bytes:
        raise ChunkMismatchError(
            f"{what} is damaged: a frame has {len(content)} bytes instead of {length_bytes}"
        )
    return content
