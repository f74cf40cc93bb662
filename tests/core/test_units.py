"""Builds the C units (test_*.c here) with warnings as errors, and runs each."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from c_tools import ROOT, meson_build, run

UNITS = sorted(path.stem for path in Path(__file__).parent.glob("test_*.c"))


@pytest.fixture(scope="session")
def build() -> Path:
    return meson_build(Path(os.environ.get("MHEAP_UNITS", ROOT / ".cache" / "units")))


def test_there_are_units() -> None:
    assert UNITS


@pytest.mark.parametrize("unit", UNITS)
def test_unit(unit: str, build: Path) -> None:
    output = run(build / "tests" / "core" / unit, timeout=300)
    assert re.search(r"^[1-9]\d* passed, 0 failed$", output, re.MULTILINE), output
