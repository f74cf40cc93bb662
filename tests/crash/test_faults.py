"""An error of the operating system at any call of a workload of commits is said, and costs nothing.

See faults.c: the k-th call fails, for every k, once or from then on until somebody is told, and the workload
goes on to its end. The control is a sync that fails and is said to be made.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

CALLS = {  # and whether a failure must be told
    "write": True,
    "sync": True,
    "truncate": True,
    "allocate": True,
    "punch": False,
    "read": True,
    "seek": True,
    "map": True,
    "commit": True,
    "reserve": True,
    "written": True,
    "table": True,
    "sizes": True,
}


def fail(programs: Path, name: str) -> tuple[int, int, int, str]:
    """How many lives there were, how often a failure was told, how many bad ones, and all that was said."""
    done = subprocess.run(
        [programs / "crash_faults", name],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=200,
    )
    found = re.search(
        rf"^{name}: \d+ calls, (\d+) lives, (\d+) refusals, (\d+) bad$", done.stdout, re.MULTILINE
    )
    assert found, f"{done.returncode}\n{done.stdout}"
    assert done.returncode == (int(found[3]) > 0), done.stdout
    return int(found[1]), int(found[2]), int(found[3]), done.stdout


@pytest.mark.parametrize("call", CALLS)
def test_an_error_is_said_and_costs_nothing(call: str, programs: Path) -> None:
    lives, refusals, bad, output = fail(programs, call)
    assert bad == 0, output
    assert lives > 5
    assert refusals > lives // 2 if CALLS[call] else refusals == 0


def test_the_judge_sees_syncs_that_are_said_to_be_made(programs: Path) -> None:
    lives, refusals, bad, _ = fail(programs, "untold")
    assert refusals == 0
    assert bad > lives // 2
