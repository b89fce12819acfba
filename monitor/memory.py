"""Giving memory back to the system: a sidecar's share is what stays resident, not what it once needed.

Calls into glibc by ctypes, harmless where there is another C library: nothing is done then.
"""

from __future__ import annotations

import ctypes
import sys

_SETTINGS = {
    -8: 2,  # M_ARENA_MAX: threads share two heaps, instead of each keeping its own
    -3: 256 << 10,  # M_MMAP_THRESHOLD: batches and messages are pages of their own, gone when they are freed
    -1: 1 << 20,  # M_TRIM_THRESHOLD
}
"""Options of mallopt(3). Setting them also stops glibc from raising the thresholds by itself."""


def frugal() -> None:
    """Make the allocator return memory early. To be called before threads start and before Arrow allocates."""
    library = _glibc()
    if library is not None:
        for option, value in _SETTINGS.items():
            library.mallopt(option, value)


def arrow_by_malloc() -> None:
    """Let Arrow use malloc as well: its own allocator keeps the memory of each thread that ever received a batch."""
    import pyarrow as pa

    if _glibc() is not None:
        pa.set_memory_pool(pa.system_memory_pool())


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
