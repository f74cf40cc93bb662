"""What a real file system keeps of a heap when the power goes: its disk is copied while commits go on.

The heap lies on an ext4 whose disk is a file on XFS. A copy by reflink is that disk at one moment, between
any two writes that the file system sent to it, with all that a sync had waited for. Mounting the copy replays
the journal of ext4; then the heap must be the commit that was acknowledged before the copy was begun, or a
later one, whole. 200 copies; many more with MHEAP_POWER_CUTS, as in

    MHEAP_POWER_CUTS=5000 pytest -s tests/crash/test_power_cuts.py

which takes some 25 minutes. Mounting is for root: elsewhere nothing is shown, and the test says so.
"""

from __future__ import annotations

import contextlib
import os
import random
import struct
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from c_tools import run
from disks import image_of, mounted, must_be_root

CUTS = int(os.environ.get("MHEAP_POWER_CUTS", "200"))
SEED = int(os.environ.get("MHEAP_SEED", "1"))
OUTER, INNER = 2 << 30, 64 << 20  # bytes, most of them never used


@dataclass(frozen=True)
class Disk:
    image: Path  # which can be copied
    mounted: Path
    copies: Path  # where copies are made and mounted

    @contextlib.contextmanager
    def copy(self) -> Iterator[Path]:
        """The disk as it is at a moment between call and return."""
        image = self.copies / "copy.image"
        run("cp", "--reflink=always", self.image, image)
        try:
            with mounted(image, self.copies / "copy") as place:
                yield place
        finally:
            image.unlink()


@pytest.fixture
def disk(memory_directory: Path) -> Iterator[Disk]:
    must_be_root()
    outer = image_of(memory_directory / "outer.image", OUTER, "mkfs.xfs", "-q", "-m", "reflink=1")
    with mounted(outer, memory_directory / "outer") as copies:
        image = image_of(copies / "disk.image", INNER, "mkfs.ext4", "-q")
        with mounted(image, copies / "disk") as place:
            yield Disk(image, place, copies)


@dataclass(frozen=True)
class Ledger:
    path: Path

    def numbers(self) -> tuple[int, int, int]:
        """Of the newest state that a commit was tried with, that one returned with, that is durable."""
        with self.path.open("rb") as file:
            return struct.unpack("=3Q", file.read(24))


@contextlib.contextmanager
def committing(programs: Path, ledger: Ledger, heap: Path, *options: str) -> Iterator[None]:
    """A process that commits, past its first hundred states."""
    program = [programs / "crash_disk", "work", ledger.path, heap, "--seed", SEED, *options]
    with subprocess.Popen([str(word) for word in program]) as process:
        try:
            while not ledger.path.exists() or ledger.path.stat().st_size == 0 or ledger.numbers()[1] < 100:
                assert process.poll() is None, "the process ended by itself"
                time.sleep(0.01)
            yield
            assert process.poll() is None, "the process ended by itself"
        finally:
            process.kill()


def judge(programs: Path, ledger: Ledger, disk: Disk) -> tuple[int, str]:
    """The exit code of the judge of one copy, and what it says."""
    least = ledger.numbers()[2]
    with disk.copy() as copy:
        done = subprocess.run(
            [programs / "crash_disk", "judge", ledger.path, copy / "a.heap", str(least)],
            capture_output=True,
            text=True,
            check=False,
        )
    return done.returncode, done.stdout + done.stderr


def test_acknowledged_commits_are_on_the_disk(programs: Path, memory_directory: Path, disk: Disk) -> None:
    chance = random.Random(SEED)
    ledger = Ledger(memory_directory / "ledger")
    with_records, states = 0, set()
    with committing(programs, ledger, disk.mounted / "a.heap"):
        for number in range(1, CUTS + 1):
            time.sleep(chance.uniform(0, 0.02))
            states.add(ledger.numbers()[2])
            code, said = judge(programs, ledger, disk)
            assert code == 0, f"copy {number}: {said}"
            with_records += not said.startswith("0 ")
            if number % 100 == 0:
                print(f"{number} copies, {with_records} with records in the journal, {len(states)} states")
    assert with_records > CUTS // 4, "the power went while there was something to lose"
    assert len(states) > CUTS // 2, "commits went on"


def test_the_judge_sees_that_nothing_was_synced(programs: Path, memory_directory: Path, disk: Disk) -> None:
    """Control: the same process without its fdatasync, once the heap is on the disk."""
    ledger = Ledger(memory_directory / "ledger")
    with committing(programs, ledger, disk.mounted / "a.heap", "--no-sync"):
        run("sync", "-f", disk.mounted)
        synced = ledger.numbers()[2]
        while ledger.numbers()[2] < synced + 10:
            time.sleep(0.01)
        code, said = judge(programs, ledger, disk)
    assert code == 1
    assert "a.heap: " in said, said
