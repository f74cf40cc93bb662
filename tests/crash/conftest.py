"""What crash tests share: the programs, built, and a directory in memory for heap files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from c_tools import ROOT, meson_build
from in_memory import temporary_directory


@pytest.fixture(scope="session")
def programs() -> Path:
    """The directory of the programs."""
    build = meson_build(Path(os.environ.get("MHEAP_UNITS", ROOT / ".cache" / "units")))
    return build / "tests" / "crash"


@pytest.fixture
def memory_directory() -> Iterator[Path]:
    with temporary_directory() as directory:
        yield Path(directory)
