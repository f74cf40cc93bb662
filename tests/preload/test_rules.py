"""C programs that know malloc only: the rules of the C library, threads, forks, little memory."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mheap import _preload

Build = Callable[[str], Path]
Served = Callable[..., "subprocess.CompletedProcess[str]"]

COMPLAINTS = [
    ("free", "is of another allocator, or of none: it is left as it is"),
    ("free", "is of another allocator, or of none: it is left as it is"),
    ("free", "points into a block, not to its start; nothing was changed"),
    ("realloc", "is of another allocator, or of none: it is left as it is"),
    ("free", "is a block that is free already; nothing was changed"),
]


def test_the_rules_of_malloc_are_kept(build: Build, served: Served) -> None:
    done = served(build("rules"))
    assert done.stdout.endswith(" 0 failed\n")
    said = done.stderr.splitlines()
    assert len(said) == len(COMPLAINTS), done.stderr
    for line, (call, what) in zip(said, COMPLAINTS, strict=True):
        assert line.startswith(f"mheap: {call}: ")
        assert line.endswith(what)


def test_the_control_without_the_library_is_not_served(build: Build) -> None:
    done = subprocess.run([build("rules"), "the_library_serves"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "FAIL the_library_serves" in done.stdout


def test_threads_come_and_go_and_fork(build: Build, served: Served) -> None:
    assert served(build("threads")).stdout.endswith("3 passed, 0 failed\n")


def test_the_same_from_a_heap_file(build: Build, served: Served, heap_path: Path) -> None:
    """Every forked child goes on in a copy, the threads of the parent in the file."""
    shell = f"MHEAP_PRELOAD_HEAP=$$:{heap_path} exec {build('threads')}"
    done = served("env", "-u", "LD_PRELOAD", "sh", "-c", f"LD_PRELOAD={_preload.library()} {shell}")
    assert done.stdout.endswith("3 passed, 0 failed\n"), done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize("step", [64, 5000, 300_000, 5_000_000])
def test_little_memory_ends_in_enomem(build: Build, served: Served, step: int) -> None:
    limit = 600 << 20
    library = _preload.library()
    done = served(
        "sh",
        "-c",
        f"ulimit -v {limit >> 10}; LD_PRELOAD={library} exec {build('short')} {step}",
        LD_PRELOAD="",
    )
    taken, refused, again = map(int, done.stdout.split())
    assert limit / 8 < taken < limit
    assert (refused, again) == (1, 1)


# What they need of their own, under the C library's malloc, is half of this or less.
LIMITS = {"address space": (resource.RLIMIT_AS, 60000 << 10), "data": (resource.RLIMIT_DATA, 20000 << 10)}


@pytest.mark.parametrize("what", LIMITS)
@pytest.mark.parametrize(
    "command", [["ls", "/"], ["sh", "-c", "ls / | sort"], ["/usr/bin/python3", "-c", "pass"]]
)
def test_a_process_with_narrow_limits_is_served(what: str, command: list[str]) -> None:
    which, most = LIMITS[what]
    done = subprocess.run(
        command,
        env={"LD_PRELOAD": str(_preload.library()), "MHEAP_PRELOAD_STATS": "1", "PATH": os.environ["PATH"]},
        preexec_fn=lambda: resource.setrlimit(which, (most, most)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "blocks in use" in done.stderr
    assert not [line for line in done.stderr.splitlines() if not line.startswith("mheap: ")]


def test_a_limited_process_gets_what_the_limit_leaves(build: Build, served: Served) -> None:
    """The first region takes a quarter of it; more are added as they are needed."""
    limit = 200 << 20
    shell = f"ulimit -v {limit >> 10}; LD_PRELOAD={_preload.library()} exec {build('short')} 4096"
    taken = int(served("sh", "-c", shell, LD_PRELOAD="").stdout.split()[0])
    assert limit / 2 < taken < limit


def test_a_limit_on_memory_before_the_first_call(build: Build, served: Served) -> None:
    """So little that the heap's usual reservation is refused, and a smaller one is taken."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (200 << 20, 200 << 20))

    done = subprocess.run(
        [build("short"), "4096"],
        env={"LD_PRELOAD": str(_preload.library())},
        preexec_fn=limit,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert int(done.stdout.split()[0]) > 20 << 20
