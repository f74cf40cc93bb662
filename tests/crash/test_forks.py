"""A process whose threads use heaps forks a thousand times: see forks.c."""

from __future__ import annotations

import os
from pathlib import Path

from c_tools import run

FORKS = int(os.environ.get("MHEAP_FORKS", "1000"))


def test_children_use_the_default_heap_only(programs: Path, memory_directory: Path) -> None:
    output = run(programs / "crash_forks", memory_directory, FORKS, timeout=60 + FORKS)
    assert f"{FORKS} of {FORKS} children as expected" in output
    assert output.rstrip().endswith("the heap is sound")
