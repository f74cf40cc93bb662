"""An error of the operating system at any call of a workload of commits is said, and costs nothing.

See faults.c. The control is a write that is not made, and is said to be.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

CALLS = ["write", "sync", "allocate", "truncate", "map", "reserve", "table", "commit", "read", "written"]


def fail(programs: Path, *arguments: str) -> tuple[int, int, str]:
    """How many errors there were, how many of them were handled badly, and all that was said."""
    done = subprocess.run(
        [programs / "crash_faults", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=100,
    )
    found = re.search(rf"^{arguments[0]}: (\d+) errors, (\d+) bad$", done.stdout, re.MULTILINE)
    assert found, f"{done.returncode}\n{done.stdout}"
    assert done.returncode == (int(found[2]) > 0), done.stdout
    return int(found[1]), int(found[2]), done.stdout


@pytest.mark.parametrize("call", CALLS)
def test_an_error_is_said_and_costs_nothing(call: str, programs: Path) -> None:
    errors, bad, output = fail(programs, call)
    assert errors > 0
    assert bad == 0, output


def test_the_judge_sees_a_write_that_is_not_made(programs: Path) -> None:
    errors, bad, _ = fail(programs, "write", "swallowed")
    assert bad > errors // 4
