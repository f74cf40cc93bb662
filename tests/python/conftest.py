"""Heaps to test with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import mheap


@pytest.fixture
def heap(heap_path: Path) -> Iterator[mheap.Heap]:
    """A live heap in a file of its own; closed at the end if the test did not close it."""
    with mheap.open(heap_path, mode="live") as opened:
        yield opened


@pytest.fixture
def anonymous() -> Iterator[mheap.Heap]:
    """A heap in anonymous memory."""
    with mheap.attach(-1) as attached:
        yield attached
