"""Commits on a disk with few pages left are refused or whole, and go through once there is space: see full.c.

Every number of pages from 0 to 200; more with MHEAP_PAGES. Mounting is for root.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from c_tools import run
from disks import image_of, mounted, must_be_root

PAGES = int(os.environ.get("MHEAP_PAGES", "200"))


def sweep(programs: Path, directory: Path) -> None:
    output = run(programs / "crash_full", directory, PAGES, timeout=60 + PAGES)
    found = re.fullmatch(r"(\d+) disks, (\d+) refusals, 0 bad", output.strip())
    assert found, output
    assert int(found[1]) == PAGES + 1
    assert int(found[2]) > PAGES, "the disk was full"


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_what_does_not_fit_is_refused_whole(kind: str, programs: Path, memory_directory: Path) -> None:
    must_be_root()
    place = memory_directory / "small"
    options = ("-t", "tmpfs", "-o", "size=6m") if kind == "tmpfs" else ()
    source = (
        "none" if options else image_of(memory_directory / "image", 8 << 20, "mkfs.ext4", "-q", "-m", "0")
    )
    with mounted(source, place, *options):
        sweep(programs, place)
