"""What mode atomic needs of memory and of address space: what a transaction adds need not fit, what it
overwrites must."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from c_tools import run
from memory_groups import MemoryGroup, memory_group

import mheap

LIMIT = 128 << 20
LOAD = 2 * LIMIT + (1 << 20)

COMMON = f"""
import resource, sys, mheap
path, kind = sys.argv[1:3]
SIZE = 65000  # an object of so many bytes has a slice
COUNT = {LOAD} // SIZE

def bytes_of(i, salt): return (b"%08d" % (i + salt)) * (SIZE // 8)

def store(heap, salt, every=COUNT + 1):
    if kind == "raw":
        if heap.getkey(0) is None: heap.setkey(0, heap.malloc(COUNT * SIZE))
        for i in range(COUNT): heap.view(heap.getkey(0) + i * SIZE, SIZE)[:] = bytes_of(i, salt)
    else:
        items = heap.root.setdefault("items", [])
        if not items: items.extend([None] * COUNT)
        for i in range(COUNT):
            items[i] = bytes_of(i, salt)
            if i % every == every - 1: heap.commit(durable=False)

def verify(heap, salt):
    if kind == "raw": read = lambda i: bytes(heap.view(heap.getkey(0) + i * SIZE, SIZE))
    else: read = heap.root["items"].__getitem__
    assert all(read(i) == bytes_of(i, salt) for i in range(COUNT))
    assert heap.check()
"""
LOADS = "with mheap.open(path) as heap: store(heap, 1)\n"
OVERWRITES = "with mheap.open(path) as heap: store(heap, 2)\n"
OVERWRITES_IN_PARTS = "with mheap.open(path) as heap: store(heap, 2, 64)\n"
VERIFIES = "with mheap.open(path, mode='readonly') as heap: verify(heap, int(sys.argv[3]))\n"

FILLS = """
import sys
memory = bytearray(int(sys.argv[1]))
for i in range(0, len(memory), 4096): memory[i] = 1
"""


@pytest.fixture
def group() -> Iterator[MemoryGroup]:
    with memory_group(LIMIT) as made:
        yield made


@pytest.fixture
def on_disk(heap_path: Path) -> Path:
    """Where what is in the page cache can be written out."""
    if run("stat", "-f", "-c", "%T", heap_path.parent).strip() in ("tmpfs", "ramfs"):
        pytest.skip("temporary files are in memory here: nothing was tried")
    return heap_path


def python(code: str, *args: object) -> list[object]:
    return [sys.executable, "-c", COMMON + code, *args]


def test_a_group_has_no_more_memory_than_its_limit(group: MemoryGroup) -> None:
    """The control of those that follow."""
    assert group.run(sys.executable, "-c", FILLS, LIMIT // 2).returncode == 0
    assert group.run(sys.executable, "-c", FILLS, LOAD).returncode == -signal.SIGKILL


@pytest.mark.parametrize("kind", ["raw", "objects"])
def test_a_load_of_twice_the_memory_is_one_commit(kind: str, group: MemoryGroup, on_disk: Path) -> None:
    for code in (LOADS, VERIFIES):
        before = group.reached()
        done = group.run(*python(code, on_disk, kind, 1))
        assert done.returncode == 0, done.stderr
        assert group.reached() > before
    with mheap.open(on_disk, mode="readonly", relocate=True) as heap:
        assert heap.generation == 1


@pytest.mark.parametrize("kind", ["raw", "objects"])
def test_overwriting_more_than_the_memory_is_killed_and_undone(
    kind: str, group: MemoryGroup, on_disk: Path
) -> None:
    run(*python(LOADS, on_disk, kind))
    assert group.run(*python(OVERWRITES, on_disk, kind)).returncode == -signal.SIGKILL
    run(*python(VERIFIES, on_disk, kind, 1))


def test_overwriting_objects_in_parts_needs_memory_for_some(group: MemoryGroup, on_disk: Path) -> None:
    """All private copies together, which a commit leaves behind, would not fit."""
    run(*python(LOADS, on_disk, "objects"))
    done = group.run(*python(OVERWRITES_IN_PARTS, on_disk, "objects"))
    assert done.returncode == 0, done.stderr
    run(*python(VERIFIES, on_disk, "objects", 2))


# ---- address space ----

LIMITED = """
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[3]), resource.RLIM_INFINITY))
try:
    with mheap.open(path, max_size=int(sys.argv[4])) as heap: store(heap, 1)
except mheap.NoMemory as error:
    sys.exit(str(error))
"""


@pytest.mark.parametrize("kind", ["raw", "objects"])
def test_a_load_takes_its_max_size_of_address_space_twice(kind: str, heap_path: Path) -> None:
    size = LOAD + LOAD // 4
    run(*python(LIMITED, heap_path, kind, 5 * size // 2, size))
    run(*python(VERIFIES, heap_path, kind, 1))


def test_less_address_space_is_refused_in_words(heap_path: Path) -> None:
    size = LOAD + LOAD // 4
    command = [str(word) for word in python(LIMITED, heap_path, "raw", 3 * size // 2, size)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "max_size= makes it smaller" in done.stderr
    with mheap.open(heap_path) as heap:
        assert heap.root == {}
        assert heap.check()
