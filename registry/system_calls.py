"""What transfers ask of the C library that Python does not offer: to write out early, and to keep freed memory.

Both only save time. On a system that has not got them, nothing happens.
"""

from __future__ import annotations

import ctypes
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SYNC_FILE_RANGE_WRITE = 2
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_LARGEST_HEAP_BLOCK_BYTES = 32 * 1024 * 1024  # glibc takes no more


def start_writing(descriptor: int, offset_bytes: int, length_bytes: int) -> bool:
    """Let the kernel begin to write a stretch of a file to the disk, and go on; whether it does.

    By itself it begins when much has been written, or after 5 s. So the disk idles while a release arrives, and then an
    fsync waits for all of it. It promises nothing: the fsync is still what makes the bytes last (sync_file_range(2)).
    """
    call = _function("sync_file_range")
    stretch = ctypes.c_int64(offset_bytes), ctypes.c_int64(length_bytes)
    return call is not None and call(descriptor, *stretch, _SYNC_FILE_RANGE_WRITE) == 0


@contextmanager
def freed_memory_kept(kept_bytes: int) -> Iterator[None]:
    """Let blocks of many MiB be used again, as long as this lasts, instead of going back to the kernel each time.

    Args:
        kept_bytes: what may lie idle at the end of the heap, which the process then holds beside all it uses.

    Every piece takes some MiB for its bytes and its planes. glibc gives such blocks back as soon as they are free, and
    threads have arenas of their own whose memory others cannot use; so the kernel clears the same pages again and
    again. This sets one arena and a high threshold for the whole process, for good (mallopt(3)), and gives back what is
    free at the end.
    """
    mallopt, malloc_trim = _function("mallopt"), _function("malloc_trim")
    if mallopt is None or malloc_trim is None:
        yield
        return
    mallopt(_M_ARENA_MAX, 1)
    mallopt(_M_MMAP_THRESHOLD, _LARGEST_HEAP_BLOCK_BYTES)
    mallopt(_M_TRIM_THRESHOLD, kept_bytes)
    try:
        yield
    finally:
        malloc_trim(0)


def _function(name: str) -> Callable[..., int] | None:
    found: Callable[..., int] | None = getattr(_LIBRARY, name, None)
    return found


_LIBRARY = ctypes.CDLL(None)
