"""The house rules of the C code that a program can check."""

from __future__ import annotations

import re
import statistics
from pathlib import Path

import pytest
from c_tools import CORE, INCLUDE, ROOT, c_files, code_of, functions

EXT = ROOT / "mheap" / "ext"
PRELOAD = ROOT / "mheap" / "preload"
OBJECTS = CORE / "objects"
TESTS = Path(__file__).parent
CORE_FILES = c_files(CORE)
SOURCES = [*CORE_FILES, *c_files(INCLUDE), *c_files(EXT), *c_files(PRELOAD)]
ALL = [*SOURCES, *c_files(TESTS), *c_files(TESTS.parent / "preload")]


def words(text: str) -> list[str]:
    return text.split()


SYSTEM_CALLS = words("""
    open openat creat close read write pread pwrite preadv pwritev lseek mmap munmap mremap mprotect
    madvise mincore mlock munlock msync fsync fdatasync sync_file_range ftruncate truncate fallocate
    posix_fallocate stat fstat lstat fstatat statx statfs fstatfs ioctl fcntl flock lockf dup dup2 dup3 pipe
    fork vfork clone execve waitpid getpid gettid kill rename unlink link readlink mkdir rmdir syscall
    getrandom sysconf getpagesize clock_gettime gettimeofday nanosleep usleep sched_yield
""")
LIBC_ALLOCATION = words(
    "malloc calloc realloc free strdup strndup asprintf vasprintf aligned_alloc posix_memalign"
)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


every_file = pytest.mark.parametrize("path", ALL, ids=name)
core_file = pytest.mark.parametrize("path", CORE_FILES, ids=name)


def calls(path: Path, names: list[str]) -> list[str]:
    """Calls of these functions by a file, as "line: name"; members and own prefixes are none."""
    pattern = re.compile(rf"(?<![\w.>])({'|'.join(names)})\s*\(")
    lines = enumerate(code_of(path).splitlines(), 1)
    return [f"{number}: {match[1]}" for number, line in lines for match in pattern.finditer(line)]


def includes(path: Path) -> list[str]:
    return re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', path.read_text(encoding="utf-8"), re.MULTILINE)


@every_file
def test_file_is_short_and_introduces_itself(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 1000
    assert text.startswith(f"/* {path.name}:"), "the first comment names the file and says what it owns"
    long = [number for number, line in enumerate(text.splitlines(), 1) if len(line) > 110]
    assert not long, f"lines over 110 columns: {long}"
    assert "\t" not in text
    assert not re.search(r"[ \t]$", text, re.MULTILINE), "white space at the end of a line"


@every_file
def test_no_function_is_over_a_hundred_lines(path: Path) -> None:
    assert not [function for function in functions(path) if function.lines > 100]


def test_functions_fit_a_screen() -> None:
    lengths = sorted(function.lines for path in SOURCES for function in functions(path))
    assert len(lengths) > 100, "the scanner finds the functions"
    assert statistics.median(lengths) <= 12
    assert lengths[len(lengths) * 9 // 10] <= 30


@core_file
def test_core_knows_no_python(path: Path) -> None:
    assert not [
        header for header in includes(path) if "Python.h" in header or header.startswith(("../ext", "ext/"))
    ]


@core_file
def test_only_os_linux_calls_the_operating_system(path: Path) -> None:
    if path.name.startswith("os_linux"):
        assert calls(path, SYSTEM_CALLS), "the control: here the scanner finds some"
        return
    assert not calls(path, SYSTEM_CALLS)
    assert not [
        header for header in includes(path) if header.startswith("sys/") or header in ("fcntl.h", "unistd.h")
    ]


@core_file
def test_core_takes_no_memory_from_libc(path: Path) -> None:
    """A preloaded allocator must not call itself: internal memory comes from os.h."""
    assert not calls(path, LIBC_ALLOCATION)


def test_the_preloaded_library_calls_no_allocation_but_its_own() -> None:
    for path in c_files(PRELOAD):
        if path.name != "malloc.c":
            assert not calls(path, LIBC_ALLOCATION), name(path)
        assert not calls(path, SYSTEM_CALLS), name(path)


@core_file
def test_nothing_is_asserted_at_run_time(path: Path) -> None:
    """A file's contents are an attacker's: they are checked and reported, never asserted."""
    assert not calls(path, ["assert", "abort_if", "__builtin_unreachable", "__builtin_trap"])


def test_objects_know_nothing_of_the_operating_system() -> None:
    """But where memory comes from to look for damage and garbage with, how late it is, and chance."""
    for path in c_files(OBJECTS):
        used = set(re.findall(r"\bmh_os_\w+", code_of(path)))
        memory = {"mh_os_table", "mh_os_table_free", "mh_os_advise_huge"}
        assert used <= memory | {"mh_os_monotonic", "mh_os_random"}, name(path)


def test_stored_bytes_are_the_business_of_the_core_alone() -> None:
    """layout.h, the file format, is seen by the core: no public header, no binding includes it."""
    for path in [*c_files(INCLUDE), *c_files(EXT)]:
        assert "layout.h" not in {Path(header).name for header in includes(path)}, name(path)


def test_layout_depends_on_nothing_of_ours() -> None:
    for path, ours in ((CORE / "layout.h", []), (OBJECTS / "layout.h", ["../layout.h"])):
        assert re.findall(r'^#include "([^"]+)"', path.read_text(encoding="utf-8"), re.MULTILINE) == ours


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_nothing_is_half_built(path: Path) -> None:
    assert not re.search(r"\b(TODO|FIXME|XXX|HACK)\b", path.read_text(encoding="utf-8"))


def test_every_python_file_is_short() -> None:
    for directory in ("mheap", "tests", "examples", "benchmarks"):
        for path in (ROOT / directory).rglob("*.py*"):
            if path.suffix in (".py", ".pyi"):
                assert path.read_text(encoding="utf-8").count("\n") <= 1000, name(path)


@every_file
def test_memory_is_asked_for_in_the_one_way_that_no_compiler_leaves_out(path: Path) -> None:
    assert path.name == "prefetch.h" or "__builtin_prefetch" not in code_of(path)
