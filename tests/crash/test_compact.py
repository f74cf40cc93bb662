"""mheap_compact killed at every system call, and told of an error by every call: the heap is there, whole."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from c_tools import run

LINE = re.compile(r"(\w+): (\d+) (?:kills|runs), (\d+) (?:left a file for the next|refused), (\d+) bad")


def lines(output: str) -> dict[str, tuple[int, int, int]]:
    found = {match[1]: (int(match[2]), int(match[3]), int(match[4])) for match in LINE.finditer(output)}
    assert found, output
    return found


def test_a_kill_at_any_system_call_leaves_one_file_or_the_other(
    programs: Path, memory_directory: Path
) -> None:
    output = run(programs / "crash_compact", memory_directory, "kills", timeout=300)
    print(output)
    found = lines(output)
    assert set(found) == {"live", "atomic", "raw"}
    for kills, _, bad in found.values():
        assert kills > 50
        assert bad == 0
    assert found["live"][1] > 0, "one between the name and the place was hit"


def test_an_error_of_any_call_leaves_the_file_as_it_was(programs: Path, memory_directory: Path) -> None:
    output = run(programs / "crash_compact", memory_directory, "errors", timeout=300)
    print(output)
    found = lines(output)
    assert set(found) == {"live", "atomic", "raw"}
    for runs, refused, bad in found.values():
        assert runs > refused > 20
        assert bad == 0


def test_the_judge_sees_a_file_that_is_rewritten_in_place(programs: Path, memory_directory: Path) -> None:
    """Control."""
    done = subprocess.run(
        [programs / "crash_compact", memory_directory, "control"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert lines(done.stdout)["live"][2] > 0
