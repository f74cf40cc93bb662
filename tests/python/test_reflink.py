"""Heaps whose blocks a reflink copy shares: a store must never need a block that a full disk lacks."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import mheap


def mounted(filesystem: str, folder: Path) -> Path:
    """A file system of its own on a loop device."""
    maker = shutil.which(f"mkfs.{filesystem}")
    if os.geteuid() != 0 or maker is None:
        pytest.skip(f"mounting {filesystem} needs root and mkfs.{filesystem}")
    image, place = folder / "image", folder / "mount"
    place.mkdir()
    image.touch()
    os.truncate(image, 512 << 20)
    subprocess.run([maker, "-q", str(image)], check=True)
    done = subprocess.run(["mount", "-o", "loop", str(image), str(place)], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"no loop mount of {filesystem} here: {done.stderr.strip()}")
    return place


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    where = mounted(request.param, tmp_path)
    yield where
    subprocess.run(["umount", str(where)], check=True)


def shared_pair(place: Path) -> tuple[Path, Path]:
    original, copy = place / "a.heap", place / "b.heap"
    with mheap.open(original, mode="live") as heap:
        heap.root["text"] = "x" * 1_000_000
    subprocess.run(["cp", "--reflink=always", str(original), str(copy)], check=True)
    return original, copy


def shares(path: Path) -> bool:
    said = subprocess.run(["filefrag", "-v", str(path)], check=True, capture_output=True, text=True).stdout
    return "shared" in said


@pytest.mark.parametrize("place", ["xfs", "btrfs"], indirect=True)
def test_reading_leaves_the_blocks_shared(place: Path) -> None:
    for path in shared_pair(place):
        with mheap.open(path, mode="readonly") as heap:
            assert len(heap.root["text"]) == 1_000_000
        assert shares(path)


@pytest.mark.parametrize("place", ["xfs", "btrfs"], indirect=True)
def test_changes_are_refused(place: Path) -> None:
    for path in shared_pair(place):
        before = path.read_bytes()
        with mheap.open(path, mode="live") as heap, pytest.raises(mheap.MheapError, match="reflink"):
            heap.root["more"] = 1
        assert path.read_bytes() == before


@pytest.mark.parametrize("place", ["xfs", "btrfs"], indirect=True)
def test_a_full_copy_can_be_changed(place: Path) -> None:
    original, _ = shared_pair(place)
    full = place / "c.heap"
    subprocess.run(["cp", "--reflink=never", str(original), str(full)], check=True)
    with mheap.open(full, mode="live") as heap:
        heap.root["more"] = 1
    with mheap.open(full, mode="readonly") as heap:
        assert heap.root["more"] == 1
