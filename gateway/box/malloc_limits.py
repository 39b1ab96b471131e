"""What the C library may keep of memory that was freed, for the gateway's process and those it starts.

By default glibc gives every thread an arena of its own and keeps what is freed there. A large block, which the system gave and
was to take back, raises once freed the size from which blocks are large, up to 32 MB (mallopt(3), "M_MMAP_THRESHOLD"). So every
thread that ever put a part of 8 MB into a store would keep as much for the rest of its life: 71 MB with 16 cameras recorded to
S3 (measured). Setting a limit by hand ends that. It lies above the 1 MiB pieces in which files are read: mapped each time,
these took ten times as long (measured).
"""

from __future__ import annotations

import ctypes
from contextlib import suppress

_LIMITS = {
    # as the environment calls it, as glibc's malloc.h numbers it for mallopt, arenas or bytes
    "MALLOC_ARENA_MAX": (-8, 2),
    "MALLOC_TRIM_THRESHOLD_": (-1, 4_000_000),
    "MALLOC_MMAP_THRESHOLD_": (-3, 2_000_000),
}

ENVIRON = {name: str(most) for name, (_, most) in _LIMITS.items()}
"""For a process to be started: there the limits hold from the beginning."""


def keep_little() -> None:
    """Set the limits in this process. Harmless where the C library knows none."""
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for number, most in _LIMITS.values():
            mallopt(number, most)
