"""SIGKILL between any two instructions of an operation leaves it done or not done, and no leak.

Every image that the file goes through is judged by a fresh process: see stepper.c. The controls
apply an operation's stores in another order, or drop one, and must be caught.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from c_tools import run

SOURCES = [Path(__file__).with_name(f"scenarios{of}.c") for of in ("", "_objects", "_heaps", "_named")]
NAMES = [
    name for source in SOURCES for name in re.findall(r'^    \{"(\w+)",', source.read_text(), re.MULTILINE)
]

# These find what an earlier attach left and write nothing, until something is changed.
WITHOUT_STORES = {"attach", "attach_two_segments"}
CONTROLS = [
    "malloc_adds_a_segment",
    "malloc_a_huge_block",
    "dict_with_tags_gets_slots",
    "list_append",
    "set_add_gets_slots",
    "deque_append_drops_first",
    "attach_a_new_file",
    "arena_is_reserved_and_committed",
    "heap_is_made_in_an_arena",
    "heap_is_destroyed",
    "heap_is_deleted",
    "collect_a_destroyed_heap",
    "collect_a_deleted_heap",
    "kind_is_made",
    "kind_is_destroyed",
    "named_heap_is_made_with_a_long_name",
    "named_heap_is_destroyed",
    "collect_a_named_heap_half_destroyed",
]


def step(programs: Path, directory: Path, *arguments: str) -> str:
    return run(programs / "crash_stepper", directory, *arguments, timeout=120)


def test_every_operation_is_known(programs: Path) -> None:
    listed = subprocess.run([programs / "crash_stepper", "-l"], capture_output=True, text=True, check=True)
    assert listed.stdout.split() == NAMES
    assert len(NAMES) > 50


@pytest.mark.parametrize("name", NAMES)
def test_operation_is_done_or_not_done(name: str, programs: Path, memory_directory: Path) -> None:
    output = step(programs, memory_directory, name)
    found = re.search(rf"^{name}: (\d+) images in (\d+) instructions, 0 bad$", output, re.MULTILINE)
    assert found, output
    images, instructions = map(int, found.groups())
    assert instructions > 10
    assert (images == 0) == (name in WITHOUT_STORES), output


@pytest.mark.parametrize("how", ["reversed", "dropped"])
@pytest.mark.parametrize("name", CONTROLS)
def test_the_judge_sees_stores_that_are(how: str, name: str, programs: Path, memory_directory: Path) -> None:
    output = step(programs, memory_directory, f"--{how}", name)
    found = re.search(rf"^{name}: (\d+) images {how}, (\d+) caught$", output, re.MULTILINE)
    assert found, output
    assert int(found[2]) > 0


def instructions_of(name: str, programs: Path, directory: Path) -> int:
    found = re.search(r"in (\d+) instructions", step(programs, directory, name))
    assert found
    return int(found[1])


def test_destroying_a_heap_costs_its_slabs_not_its_objects(programs: Path, memory_directory: Path) -> None:
    """Counted, not timed: 2,000 objects against 40 in as many slabs, and these against 80 in twice that."""
    many, few, more_slabs = (
        instructions_of(f"named_heap_of_{of}_is_destroyed", programs, memory_directory)
        for of in ("many_objects", "few_objects", "more_slabs")
    )
    assert many <= few * 1.02
    assert more_slabs > few * 1.3
