"""What becomes of memory that a worker has freed: it is kept for the next step."""

from __future__ import annotations

import ctypes
import platform

KEPT = 1 << 30
"""Bytes at the end of the heap that stay with the process."""

LARGEST = 32 << 20
"""Bytes of the largest block that comes from the heap: more is refused by the GNU C library."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Names of the settings for ``mallopt``, from malloc.h."""


def keep_freed_memory() -> bool:
    """Have this process keep what it frees, as far as its C library is GNU's; says whether it is.

    By itself the library gives large blocks back to the kernel as soon as they are free. Training asks for blocks of
    the same sizes at every step, and the kernel clears each page anew: a tenth of a step's time where activations take
    megabytes (docs/speed.md). No result depends on it. It cannot be undone, so it is for processes of the lab's own.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    library.mallopt(_TRIM_THRESHOLD, KEPT)
    return bool(library.mallopt(_MMAP_THRESHOLD, LARGEST) == 1)
