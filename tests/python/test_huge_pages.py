"""Heaps on huge pages, from Python; the core's own tests are test_hugepages.c and test_hugefiles.c."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huge_pool import GIB, MIB, free_pages, mounted, pool

import mheap

PAGES = 16


@pytest.fixture
def pages() -> Iterator[int]:
    """Sixteen free pages of 2 MiB."""
    with pool(2 * MIB, PAGES) as got:
        if got < PAGES:
            pytest.skip("taking huge pages for the kernel's pool needs root")
        yield got


@pytest.fixture
def hugetlbfs(pages: int, tmp_path: Path) -> Iterator[Path]:
    with mounted("hugetlbfs", "pagesize=2M", tmp_path / "huge") as done:
        if not done:
            pytest.skip("mounting hugetlbfs needs root")
        yield tmp_path / "huge"


def test_a_heap_on_pages_of_the_pool(pages: int) -> None:
    with mheap.attach(-1, huge_pages="2M") as heap:
        heap.root["list"] = list(range(100_000))
        block = heap.calloc(1, 6 * MIB)
        found = heap.stats().pages
        assert (found.asked, found.page_size, found.fallback) == ("2M", 2 * MIB, "")
        assert found.bytes_2m == (pages - free_pages(2 * MIB)) * 2 * MIB >= 6 * MIB
        assert found.numa_node is not None
        heap.free(block)
        assert heap.check()
    assert free_pages(2 * MIB) == pages


def test_what_the_pool_lacks_is_reported(pages: int) -> None:
    with mheap.attach(-1, huge_pages="2M") as heap:
        view = heap.view(heap.malloc(60 * MIB), 60 * MIB)
        view[:] = b"x" * len(view)
        found = heap.stats().pages
        assert found.bytes_2m == pages * 2 * MIB
        assert "2M pages: the kernel's pool had not enough" in found.fallback
        assert view[-1] == ord("x")
        view.release()


def test_a_page_of_a_gibibyte() -> None:
    """Memory may be too scattered for one: then that is what is said."""
    with pool(GIB, 1) as got, mheap.attach(-1, huge_pages="1G") as heap:
        heap.root["a"] = 1
        found = heap.stats().pages
        assert found.bytes_1g == (GIB if got else 0)
        assert bool(found.fallback) is not bool(got)


def test_after_a_fork_both_go_on(pages: int) -> None:
    with mheap.attach(-1, huge_pages="2M") as heap:
        size = 2 * MIB * (pages - 4)
        block = heap.malloc(size)
        heap.view(block, size)[:] = b"p" * size
        child = os.fork()
        if child == 0:
            heap.view(block, size)[:] = b"c" * size  # more than the pool has pages for
            os._exit(0 if heap.view(block, size)[size // 2] == ord("c") else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert bytes(heap.view(block, size)[-10:]) == b"p" * 10


def test_a_file_on_hugetlbfs(hugetlbfs: Path, run_python: Any) -> None:
    path = hugetlbfs / "a.heap"
    with mheap.open(path, mode="live") as heap:
        heap.root["a"] = [1, 2, 3]
        heap.roots["block"] = heap.calloc(1, 3 * MIB)
        assert heap.stats().pages.page_size == 2 * MIB
        assert (
            run_python(
                "import mheap, sys\ntry: mheap.open(sys.argv[1], mode='live')\n"
                "except mheap.HeapBusy: print('busy')",
                path,
            ).stdout
            == "busy\n"
        )
    assert path.stat().st_size % (2 * MIB) == 0
    for mode in ("live", "readonly", "scratch"):
        with mheap.open(path, mode=mode) as heap:
            assert heap.root["a"] == [1, 2, 3]
            assert heap.check()
    with path.open("r+b") as file, mheap.attach(file) as heap:
        assert heap.root["a"] == [1, 2, 3]


def test_a_killed_writer_on_hugetlbfs(hugetlbfs: Path) -> None:
    path = hugetlbfs / "a.heap"
    code = (
        "import mheap, os, sys\nheap = mheap.open(sys.argv[1], mode='live')\n"
        "heap.root['n'] = [0] * 10000\nos.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    with mheap.open(path, mode="live") as heap:
        assert len(heap.root["n"]) == 10000
        assert heap.check()


def test_hugetlbfs_without_pages_is_full(hugetlbfs: Path) -> None:
    with mheap.open(hugetlbfs / "a.heap", mode="live") as heap:
        with pytest.raises(mheap.HeapFull, match="the kernel's pool"):
            heap.malloc(64 * MIB)
        heap.root["a"] = 1
        assert heap.check()


def test_the_command_line_knows_the_pages(hugetlbfs: Path) -> None:
    path = hugetlbfs / "a.heap"
    mheap.open(path, mode="live").close()
    said = subprocess.run(
        [sys.executable, "-m", "mheap", "info", str(path)], check=True, capture_output=True, text=True
    ).stdout
    assert "pages of      2.0 MiB (2097152)" in said


def test_a_tmpfs_with_huge_pages(tmp_path: Path) -> None:
    with mounted("tmpfs", "huge=always,size=64m", tmp_path / "huge") as done:
        if not done:
            pytest.skip("mounting tmpfs needs root")
        with mheap.open(tmp_path / "huge" / "a.heap", mode="live", huge_pages="transparent") as heap:
            heap.malloc(20 * MIB)
            assert heap.stats().pages.bytes_transparent >= 12 * MIB
            assert heap.stats().pages.fallback == ""


def test_collapse(anonymous: mheap.Heap) -> None:
    anonymous.view(anonymous.malloc(20 * MIB), 20 * MIB)[:] = bytes(20 * MIB)
    with contextlib.suppress(mheap.HeapOSError):  # a kernel before Linux 6.1
        anonymous.collapse()
    if tuple(map(int, os.uname().release.split(".")[:2])) >= (6, 1):
        assert anonymous.stats().pages.bytes_transparent >= 12 * MIB


def test_wrong_arguments(heap_path: Path) -> None:
    with pytest.raises(mheap.InvalidArgument, match="'2M' or '1G'"):
        mheap.attach(-1, huge_pages="4M")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="huge_pages must be a str"):
        mheap.attach(-1, huge_pages=2)  # type: ignore[arg-type]
    for node in (-1, 900, 2**31 - 1):
        with pytest.raises(mheap.InvalidArgument, match=r"numa_node|NUMA node"):
            mheap.attach(-1, numa_node=node)
    with pytest.raises(mheap.InvalidArgument, match="NUMA node 900"):
        mheap.open(heap_path, mode="live", numa_node=900)
    assert not heap_path.exists()
