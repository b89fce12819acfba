"""Giving memory back to the system: a sidecar's share is what stays resident, not what it once needed.

Calls into glibc by ctypes, harmless where there is another C library: nothing is done then.
"""

from __future__ import annotations

import ctypes
import sys

_M_ARENA_MAX = -8
_ARENAS = 2


def few_arenas() -> None:
    """Keep glibc from giving each thread a heap of its own. To be called before threads start."""
    library = _glibc()
    if library is not None:
        library.mallopt(_M_ARENA_MAX, _ARENAS)


def release() -> None:
    """Return what fitting a reference or a large batch has left behind."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """The C library, if it is glibc."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None
