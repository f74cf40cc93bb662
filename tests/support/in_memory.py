"""Files in memory, where there is room for them: a kill loses nothing there, and nothing waits for a disk."""

from __future__ import annotations

import os
import tempfile


def temporary_directory() -> tempfile.TemporaryDirectory[str]:
    """On a tmpfs, else where temporary files go."""
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    return tempfile.TemporaryDirectory(prefix="mheap-", dir=shared, ignore_cleanup_errors=True)
