"""Programs that people run, doing what they do: python and its own tests, git, gcc, sqlite."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Served = Callable[..., "subprocess.CompletedProcess[str]"]

# Who allocated, said by the process itself.
WHO = (
    "import ctypes, sys\n"
    "c = ctypes.CDLL(None)\n"
    "c.malloc.restype = ctypes.c_void_p\n"
    "c.mheap_is_in_region.argtypes = [ctypes.c_void_p]\n"
    "c.mheap_is_in_region.restype = c.mheap_is_redirected.restype = ctypes.c_bool\n"
    "assert c.mheap_is_redirected() and c.mheap_is_in_region(c.malloc(1000))\n"
)


def program(name: str) -> str:
    path = shutil.which(name)
    assert path is not None, f"{name} is not installed: see .ci/run"
    return path


def python_with_tests() -> str:
    """An interpreter that has its own tests."""
    for candidate in (sys.executable, "/usr/bin/python3"):
        if subprocess.run([candidate, "-c", "import test.test_dict"], check=False).returncode == 0:
            return candidate
    pytest.fail("no Python has its tests: apt-get install libpython3-testsuite")


def test_python_says_that_it_is_served(served: Served) -> None:
    served(sys.executable, "-c", WHO)
    served(sys.executable, "-c", "import mheap; assert mheap.is_redirected()")


def test_without_the_library_it_says_no(run_python: Callable[..., object]) -> None:
    run_python("import mheap; assert not mheap.is_redirected()")


@pytest.mark.parametrize("allocator", ["pymalloc", "malloc", "malloc_debug"])
def test_python_on_real_work(served: Served, allocator: str) -> None:
    work = (
        "import json, subprocess, sys, threading\n"
        "table = {str(i): [i, str(i) * 5] for i in range(60000)}\n"
        "assert json.loads(json.dumps(table)) == table\n"
        "def grow():\n"
        "    parts = bytearray()\n"
        "    for i in range(30000): parts += b'x' * (i % 700)\n"
        "    assert len(parts) == sum(i % 700 for i in range(30000))\n"
        "threads = [threading.Thread(target=grow) for _ in range(4)]\n"
        "for t in threads: t.start()\n"
        "for t in threads: t.join()\n"
        "assert subprocess.run([sys.executable, '-c', 'print(sorted(range(9)))']).returncode == 0\n"
    )
    served(sys.executable, "-c", WHO + work, PYTHONMALLOC=allocator)


@pytest.mark.parametrize(
    "names", [["test_dict", "test_list", "test_json"], ["test_threading", "test_subprocess"]]
)
def test_python_passes_its_own_tests(served: Served, names: list[str]) -> None:
    done = served(python_with_tests(), "-m", "test", "-j2", "--timeout", "250", *names)
    assert "result: success" in done.stdout.lower()


def test_git(served: Served, tmp_path: Path) -> None:
    git = program("git")
    identity = ["-c", "user.name=A", "-c", "user.email=a@b.c"]
    served(git, "init", "-q", "one")
    for i in range(30):
        (tmp_path / "one" / f"f{i % 7}.txt").write_text(
            "".join(f"line {j} {j % (i + 3)}\n" for j in range(3000))
        )
        served(git, *identity, "-C", "one", "add", "-A")
        served(git, *identity, "-C", "one", "commit", "-qm", f"change {i}")
    served(git, "clone", "-q", "--no-local", "one", "two")
    served(git, "-C", "two", "gc", "-q", "--aggressive", "--prune=now")
    served(git, "-C", "two", "fsck", "--strict")
    assert len(served(git, "-C", "two", "log", "--stat", "-M").stdout.splitlines()) > 100
    assert served(git, "-C", "two", "log", "--oneline").stdout.count("\n") == 30


def test_gcc_compiles_the_core(served: Served, root: Path) -> None:
    """Byte by byte what it makes without mheap."""
    core = root / "mheap" / "core"
    flags = ["-O2", "-std=c17", "-D_GNU_SOURCE", f"-I{core.parent}/include", f"-I{core}", "-c"]
    for name in ("arena.c", "heap.c", "region.c"):
        served(program("gcc"), *flags, core / name, "-o", "with.o")
        with_mheap = served("cksum", "with.o").stdout
        served(program("gcc"), *flags, core / name, "-o", "with.o", LD_PRELOAD="")
        assert served("cksum", "with.o").stdout == with_mheap


def test_sqlite(served: Served) -> None:
    script = (
        "create table t(a integer primary key, b text, c blob);"
        "with recursive n(x) as (select 1 union all select x+1 from n where x<60000)"
        " insert into t select x, printf('%d-%d', x % 977, x), zeroblob(x % 300) from n;"
        "create index i on t(b); delete from t where a % 3 = 0; vacuum;"
        "select count(*), count(distinct substr(b, 1, 3)), sum(length(c)) from t;"
        "select group_concat(b) from (select b from t order by b desc limit 3);"
        "pragma integrity_check;"
    )
    with_mheap = served(program("sqlite3"), "t.db", script).stdout
    assert with_mheap == served(program("sqlite3"), ":memory:", script, LD_PRELOAD="").stdout
    assert with_mheap.endswith("ok\n")


def test_shells_pipe_and_exec(served: Served) -> None:
    script = "for i in 1 2 3; do echo $i; done | sort -r | (read a; exec env X=$a sh -c 'echo got $X')"
    assert served("sh", "-c", script).stdout == "got 3\n"


def test_the_library_counts_what_it_serves(served: Served) -> None:
    """A figure that only the allocator can know: blocks of a size nobody else asks for."""
    code = (
        "import ctypes; c = ctypes.CDLL(None); c.malloc.restype = ctypes.c_void_p\n"
        "for _ in range(123): c.malloc(50000)\n"
    )
    said = served(sys.executable, "-c", code, MHEAP_PRELOAD_STATS="1").stderr.splitlines()
    counts = {line.split()[1]: int(line.split()[2]) for line in said[1:]}
    assert "blocks in use" in said[0]
    assert counts["53248"] >= 123
    assert json.dumps(counts)
