"""SIGKILL at random instants of a process that commits leaves the last commit, or the one it was in, whole.

500 kills; many more with MHEAP_KILLS, as in

    MHEAP_KILLS=100000 pytest -s tests/crash/test_kills.py

which takes some 20 minutes. MHEAP_SEED chooses another sequence.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from c_tools import run

KILLS = int(os.environ.get("MHEAP_KILLS", "500"))
SEED = os.environ.get("MHEAP_SEED", "1")
TALLY = re.compile(r"(\d+) kills \((.*)\), (\d+) commits, (\d+) bad$")


def test_what_was_committed_is_there(programs: Path, memory_directory: Path) -> None:
    command = [programs / "crash_kills", memory_directory, "--kills", KILLS, "--seed", SEED]
    output = run(*command, timeout=60 + KILLS / 10)
    print(output)
    found = TALLY.match(output.splitlines()[-1])
    assert found, output
    assert (int(found[1]), int(found[4])) == (KILLS, 0)
    assert int(found[3]) > KILLS
    phases = dict(re.findall(r"([a-z][a-z ]*) (\d+)", found[2]))
    assert int(phases["committing"]) > KILLS // 25, "kills hit commits"
    assert int(phases["attaching"]) > KILLS // 50, "and recoveries"


def test_a_reader_sees_what_was_committed(programs: Path, memory_directory: Path) -> None:
    kills = KILLS // 5
    output = run(programs / "crash_kills", memory_directory, "--kills", kills, "--beside", timeout=60 + kills)
    found = TALLY.match(output.splitlines()[-1])
    assert found, output
    assert (int(found[1]), int(found[4])) == (kills, 0)
    assert int(found[3]) > 10 * kills


def test_the_judge_sees_changes_in_place(programs: Path, memory_directory: Path) -> None:
    """Control: blocks that are changed in the file itself, as in mode live, are half changed after a kill."""
    done = subprocess.run(
        [programs / "crash_kills", memory_directory, "--in-place", "--kills", "500", "--seed", SEED],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    found = TALLY.match(done.stdout.splitlines()[-1])
    assert found, done.stdout + done.stderr
    assert (done.returncode, int(found[4])) == (1, 1)
