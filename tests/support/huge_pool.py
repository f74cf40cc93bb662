"""The kernel's pools of huge pages, for tests that need real ones, and mounts made of them.

What is taken is given back whatever becomes of the test; a lock, which the C units hold too,
keeps tests that use the pools apart.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

MIB = 1 << 20
GIB = 1 << 30
LOCK = "mheap-huge-pages.lock"


def _file(page: int, name: str) -> Path:
    return Path(f"/sys/kernel/mm/hugepages/hugepages-{page >> 10}kB") / name


def _read(page: int, name: str) -> int:
    try:
        return int(_file(page, name).read_text())
    except OSError:
        return 0


def free_pages(page: int) -> int:
    return _read(page, "free_hugepages")


@contextlib.contextmanager
def pool(page: int, pages: int) -> Iterator[int]:
    """Makes the pool have so many free pages, or as many as can be had: that number."""
    lock = os.open(Path(tempfile.gettempdir()) / LOCK, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = _read(page, "nr_hugepages")
        writable = os.access(_file(page, "nr_hugepages"), os.W_OK)
        try:
            if writable:
                _file(page, "nr_hugepages").write_text(str(before - free_pages(page) + pages))
            got = free_pages(page)
            print(f"{got} of {pages} pages of {page // MIB} MiB taken")
            yield got
        finally:
            if writable:
                _file(page, "nr_hugepages").write_text(str(before))
    finally:
        os.close(lock)


@contextlib.contextmanager
def mounted(kind: str, options: str, place: Path) -> Iterator[bool]:
    """Mounts a hugetlbfs or a tmpfs at `place`; False where that is not granted."""
    place.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-t", kind, "-o", options, "none", str(place)], capture_output=True)
    try:
        yield done.returncode == 0
    finally:
        if done.returncode == 0:
            subprocess.run(["umount", "-l", str(place)], check=True)
