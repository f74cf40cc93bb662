"""File systems of a test's own, which only root can mount."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from c_tools import run


@contextlib.contextmanager
def mounted(source: object, place: Path, *options: str) -> Iterator[Path]:
    """What `mount OPTIONS SOURCE PLACE` shows; without options `source` is an image."""
    place.mkdir()
    run("mount", *(options or ("-o", "loop")), source, place)
    try:
        yield place
    finally:
        run("umount", place)
        place.rmdir()


def image_of(path: Path, size: int, *make: str) -> Path:
    """A file of `size` bytes, in which the command makes a file system."""
    path.touch()
    os.truncate(path, size)
    run(*make, path)
    return path


def must_be_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting file systems is for root: nothing was tried")
