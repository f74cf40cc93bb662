"""SIGKILL at random instants loses nothing that was acknowledged, and leaks nothing.

500 kills of a process with one thread and 500 with two; many more with MHEAP_KILLS, as in

    MHEAP_KILLS=100000 pytest -s tests/crash/test_sigkill.py

which prints the seed's progress every thousand kills. MHEAP_SEED chooses another sequence.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from c_tools import run

KILLS = int(os.environ.get("MHEAP_KILLS", "500"))
SEED = os.environ.get("MHEAP_SEED", "1")


@pytest.mark.parametrize("threads", [1, 2])
def test_nothing_is_lost(threads: int, programs: Path, memory_directory: Path) -> None:
    output = run(
        programs / "crash_sigkill",
        memory_directory,
        *("--kills", KILLS),
        *("--threads", threads),
        *("--seed", SEED),
        timeout=60 + KILLS / 10,
    )
    print(output)
    last = output.splitlines()[-1]
    found = re.match(r"(\d+) kills, (\d+) inside an operation \(.*\), (\d+) .* acknowledged, 0 bad$", last)
    assert found, output
    kills, inside, acknowledged = map(int, found.groups())
    assert kills == KILLS
    assert inside > KILLS // 20, "kills hit the heap at work"
    assert acknowledged > KILLS


@pytest.mark.parametrize("damage", ["cleared", "leaked", "overwritten", "dangling"])
def test_the_judge_sees_damage(damage: str, programs: Path, memory_directory: Path) -> None:
    """Controls: a cleared alloc bit, a block too many, a byte changed, a root that lost its table."""
    output = run(programs / "crash_sigkill", memory_directory, "--control", damage, timeout=60)
    found = re.match(rf"{damage}: (\d+) complaints", output)
    assert found, output
    assert int(found[1]) > 0
