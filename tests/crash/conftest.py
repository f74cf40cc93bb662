"""What crash tests share: the programs, built, and a directory in memory for heap files."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from c_tools import ROOT, meson_build


@pytest.fixture(scope="session")
def programs() -> Path:
    """The directory of the programs."""
    build = meson_build(Path(os.environ.get("MHEAP_UNITS", ROOT / ".cache" / "units")))
    return build / "tests" / "crash"


@pytest.fixture
def memory_directory() -> Iterator[Path]:
    """On a tmpfs where there is one: a kill loses nothing there, and nothing waits for a disk."""
    shared = Path("/dev/shm")
    base = shared if shared.is_dir() and os.access(shared, os.W_OK) else None
    directory = Path(tempfile.mkdtemp(prefix="mheap-crash-", dir=base))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)
