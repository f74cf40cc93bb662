"""A process that commits in mode atomic and is killed leaves a whole commit, none older than acknowledged.

See kills.c, which says how to kill more often. The control acknowledges commits that were not made.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path


def kill(programs: Path, directory: Path, *arguments: str) -> tuple[int, int, int, str]:
    """Kills, commits acknowledged, bad ones, and all that was said."""
    done = subprocess.run(
        [programs / "crash_kills", directory, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=200,
    )
    found = re.search(r"^(\d+) kills, (\d+) commits acknowledged, (\d+) bad$", done.stdout, re.MULTILINE)
    assert found, f"{done.returncode}\n{done.stdout}"
    assert done.returncode == int(found[3]), done.stdout
    return int(found[1]), int(found[2]), int(found[3]), done.stdout


def test_nothing_acknowledged_is_lost(programs: Path, memory_directory: Path) -> None:
    kills, commits, bad, output = kill(programs, memory_directory, "500")
    assert bad == 0, output
    assert kills == 500
    assert commits > kills


def test_the_judge_sees_a_commit_that_was_not_made(programs: Path, memory_directory: Path) -> None:
    assert kill(programs, memory_directory, "20", "unnoted")[2] == 1
