"""Processes that together get so much memory and no more, page cache included: control groups, by root."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

LIMITS = ("memory.max", "memory.limit_in_bytes")  # version 2, version 1
SWAP = 1 << 20  # next to none; with none at all version 1 does not count how often the limit is reached


@dataclass(frozen=True)
class MemoryGroup:
    """A group of processes, empty at first."""

    directory: Path

    def run(self, *command: object) -> subprocess.CompletedProcess[str]:
        """Runs a command in it; a negative return code is the signal that ended it."""
        join = ["sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', self.directory, *command]
        return subprocess.run([str(word) for word in join], capture_output=True, text=True, check=False)

    def reached(self) -> int:
        """How often it had all it may have, and had to give something back."""
        events = self.directory / "memory.events"  # version 2
        if events.exists():
            return int(dict(line.split() for line in events.read_text().splitlines())["max"])
        return int((self.directory / "memory.failcnt").read_text())


def _mounted(kind: str, option: str) -> Iterator[Path]:
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, found, options, *_ = line.split()
        if found == kind and option in options.split(","):
            yield Path(place)


def _parents() -> Iterator[Path]:
    """Beneath which a group may be made: that of this process, or else the topmost that is to be seen."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, own = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        for top in _mounted("cgroup", "memory") if controllers else _mounted("cgroup2", "rw"):
            yield top / own.lstrip("/")
            yield top


def _set_limit(directory: Path, limit: int) -> bool:
    """False where the group has no say in memory."""
    names = [name for name in LIMITS if (directory / name).exists()]
    for name in names:
        (directory / name).write_text(str(limit))
    for name, most in (("memory.swap.max", SWAP), ("memory.memsw.limit_in_bytes", limit + SWAP)):
        if (directory / name).exists():
            (directory / name).write_text(str(most))
    return names != []


def _make(parent: Path, limit: int) -> Path | None:
    directory = parent / f"mheap-{os.getpid()}"
    try:
        directory.mkdir()
    except OSError:
        return None
    with contextlib.suppress(OSError):
        if _set_limit(directory, limit):
            return directory
    directory.rmdir()
    return None


def _remove(directory: Path) -> None:
    """A process that has just died may still be counted."""
    for _ in range(100):
        with contextlib.suppress(OSError):
            return directory.rmdir()
        time.sleep(0.05)
    return directory.rmdir()


@contextlib.contextmanager
def memory_group(limit: int) -> Iterator[MemoryGroup]:
    """A group with `limit` bytes of memory and no swap; where none can be made the test is skipped."""
    made = (_make(parent, limit) for parent in _parents())
    directory = next((one for one in made if one is not None), None)
    if directory is None:
        pytest.skip("a control group with a limit on memory cannot be made here: nothing was tried")
    try:
        yield MemoryGroup(directory)
    finally:
        _remove(directory)
