"""From Python a full disk is HeapFull, never a signal, and the heap can be used afterwards.

On a tmpfs of a few hundred KiB or MiB, which takes the right to mount one: as root, or in a user
namespace. The C units sweep the sizes (tests/core/test_full.c).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# Runs in a process of its own, with mounts of its own.
SCRIPT = """
import ctypes, errno, os, sys
import pytest
import mheap

directory, kib = sys.argv[1], int(sys.argv[2])
libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, CLONE_NEWUSER, MS_PRIVATE_ALL = 0x20000, 0x10000000, 0x44000


def must(result):
    if result != 0:
        print("no right to mount:", os.strerror(ctypes.get_errno()))
        sys.exit(77)


uid, gid = os.getuid(), os.getgid()
if libc.unshare(CLONE_NEWNS) != 0:
    must(libc.unshare(CLONE_NEWUSER | CLONE_NEWNS))
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
must(libc.mount(b"none", b"/", None, MS_PRIVATE_ALL, None))
must(libc.mount(b"tmpfs", directory.encode(), b"tmpfs", 0, f"size={kib}k".encode()))
path = directory + "/full.heap"


def fill(heap, size):
    blocks = []
    try:
        while True:
            blocks.append(heap.malloc(size))
            with heap.view(blocks[-1], size) as view:  # every byte can be stored to
                view[:] = bytes([len(blocks) % 256]) * size
    except mheap.HeapFull as error:
        assert error.errno == errno.ENOSPC, error
        assert isinstance(error, MemoryError) and isinstance(error, OSError)
        assert path in str(error), error
    return blocks


def check_blocks(heap, blocks, size):
    for number, address in enumerate(blocks, 1):
        with heap.view(address, size) as view:
            assert view == bytes([number % 256]) * size


heap = mheap.open(path, mode="live")
counts = []
for size in (100, 1000, 10_000, 70_000, 300_000):
    blocks = fill(heap, size)
    assert len(blocks) * size > kib * 1024 // 4, (size, len(blocks))
    check_blocks(heap, blocks, size)
    assert heap.check()
    with pytest.raises(mheap.HeapFull):
        heap.realloc(blocks[0], 10 << 20)
    check_blocks(heap, blocks, size)
    heap.free(blocks.pop(0))
    assert heap.malloc(size)
    heap.sync()
    heap.close()
    heap = mheap.open(path, mode="live")
    assert heap.stats().chunks_used == len(blocks) + 1
    for address in blocks:
        heap.free(address)
    os.unlink(path)
    heap.close()
    heap = mheap.open(path, mode="live")

written = 0
with pytest.raises(mheap.HeapFull):
    while True:
        heap.root[f"a key of some length {written}"] = {"a value": ["of several", written, "objects"] * 10}
        written += 1
assert written > 100
assert heap.check()
assert len(heap.root) in (written, written + 1)
assert heap.root["a key of some length 0"]["a value"][1] == 0
for number in range(0, written, 2):
    del heap.root[f"a key of some length {number}"]
heap.root["there is room again"] = 1
heap.close()
with mheap.open(path, mode="readonly") as heap:
    assert heap.check()
    assert heap.root["there is room again"] == 1
    assert heap.root["a key of some length 1"]["a value"][1] == 1

with open(directory + "/rest", "wb", buffering=0) as rest, pytest.raises(OSError):
    while True:
        rest.write(bytes(4096))
with pytest.raises(mheap.HeapFull):
    mheap.open(directory + "/another.heap", mode="live")
assert sorted(os.listdir(directory)) == ["full.heap", "full.heap.lock", "rest"]
print("done")
"""


@pytest.mark.parametrize("kib", [1024, 3000, 9000])
def test_a_full_disk_is_an_exception(kib: int, tmp_path: Path) -> None:
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, mounted, str(kib)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        timeout=120,
    )
    if done.returncode == 77:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    assert done.stdout == "done\n"
