"""The example keeps its index right whatever happens to the sources, and to itself."""

from __future__ import annotations

import json
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import mheap

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "code_index.py"
SOURCES = {
    "alpha.py": "import os\n\ndef first(x):\n    return os.path.join(x, x)\n",
    "package/beta.py": "from alpha import first\nfirst('first')  # first\nprint(first)\n",
    "package/odd.py": "# -*- coding: no-such-coding -*-\nsecond = 1\n",
    "notes.txt": "first",
}


def run(*arguments: object, check: int | None = 0) -> str:
    done = subprocess.run(
        [sys.executable, EXAMPLE, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if check is not None:
        assert done.returncode == check, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    for name, text in SOURCES.items():
        path = tmp_path / "sources" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "sources"


def places(heap: Path, name: str) -> list[str]:
    """Where the example says a name is: "file:line", without the directory."""
    output = run("find", "--heap", heap, "--limit", 0, name, check=None)
    assert re.search(r"attached in [\d.]+ ms, answered in [\d.]+ ms", output), output
    return re.findall(r"(\w+\.py:\d+)$", output, re.MULTILINE)


def test_names_are_found_where_they_stand(sources: Path, heap_path: Path) -> None:
    output = run("build", "--heap", heap_path, sources)
    assert "3 files read (1 of them unreadable), 0 gone" in output
    assert places(heap_path, "first") == ["alpha.py:3", "beta.py:1", "beta.py:2", "beta.py:3"]
    assert places(heap_path, "os") == ["alpha.py:1", "alpha.py:4"]
    for absent in ("second", "import", "no_such_name"):
        assert places(heap_path, absent) == []


def test_only_what_changed_is_read_again(sources: Path, heap_path: Path) -> None:
    run("build", "--heap", heap_path, sources)
    assert "0 files read" in run("build", "--heap", heap_path, sources)
    (sources / "alpha.py").write_text("def other(): pass\n")
    (sources / "package" / "gamma.py").write_text("first = other = 1\n")
    assert "2 files read (0 of them unreadable), 0 gone" in run("build", "--heap", heap_path, sources)
    assert places(heap_path, "first") == ["beta.py:1", "beta.py:2", "beta.py:3", "gamma.py:1"]
    assert places(heap_path, "other") == ["alpha.py:1", "gamma.py:1"]
    assert places(heap_path, "os") == []


def test_a_file_that_is_gone_vanishes(sources: Path, heap_path: Path) -> None:
    run("build", "--heap", heap_path, sources)
    shutil.rmtree(sources / "package")
    assert "0 files read (0 of them unreadable), 2 gone" in run("build", "--heap", heap_path, sources)
    assert places(heap_path, "first") == ["alpha.py:3"]
    with mheap.open(heap_path, mode="readonly") as heap:
        assert "print" not in heap.root["names"]


def write_many(directory: Path) -> None:
    for number in range(400):
        names = "\n".join(f"common{i} = own_{number}_{i}" for i in range(200))
        (directory / f"many{number}.py").write_text(names)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_build_is_gone_on_with(sources: Path, heap_path: Path, how: signal.Signals) -> None:
    write_many(sources)
    process = subprocess.Popen(
        [sys.executable, EXAMPLE, "build", "--heap", heap_path, sources],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # ignored where this runs behind an &
    )
    assert process.stdout is not None
    assert "indexed 100 of 403" in process.stdout.readline()
    process.send_signal(how)
    process.communicate(timeout=60)
    assert process.returncode != 0, "it was interrupted in the middle"
    output = run("build", "--heap", heap_path, sources)
    read = re.search(r"(\d+) files read", output)
    assert read
    assert 0 < int(read[1]) < 403 - 99, "what was done before is kept"
    assert len(places(heap_path, "common7")) == 400
    assert places(heap_path, "own_399_7") == ["many399.py:8"]
    assert places(heap_path, "first") == ["alpha.py:3", "beta.py:1", "beta.py:2", "beta.py:3"]


def start_build(sources: Path, heap_path: Path) -> subprocess.Popen[bytes]:
    options = ["--heap", str(heap_path), "--commit-every", "7", str(sources)]
    command = [sys.executable, str(EXAMPLE), "build", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def committed(heap_path: Path) -> int:
    """How many files the index has, each of them whole; none is a part of one."""
    if not heap_path.exists() or not heap_path.stat().st_size:
        return 0
    with mheap.open(heap_path, mode="readonly") as heap:
        index = mheap.to_python(heap.root)
        assert heap.check()
    files = index.get("files", {})
    places = {(number, name) for name, numbers in index.get("names", {}).items() for number in numbers}
    assert places == {(entry["number"], name) for entry in files.values() for name in entry["names"].split()}
    assert all(entry["stamp"] for entry in files.values())
    return len(files)


def files_read(sources: Path, heap_path: Path) -> int:
    read = re.search(r"(\d+) files read", run("build", "--heap", heap_path, "--commit-every", 7, sources))
    assert read
    return int(read[1])


def test_killed_at_any_moment_it_goes_on_to_the_same_index(sources: Path, tmp_path: Path) -> None:
    write_many(sources)
    undisturbed, heap_path = tmp_path / "undisturbed.heap", tmp_path / "killed.heap"
    begin = time.monotonic()
    total = files_read(sources, undisturbed)
    assert total == 403
    span = time.monotonic() - begin
    moments, halfway = random.Random(7), 0
    for _ in range(3):
        heap_path.unlink(missing_ok=True)
        for attempt in range(3):
            with start_build(sources, heap_path) as building:
                if attempt == 0:
                    assert building.stdout is not None
                    assert b"indexed 100" in building.stdout.readline()
                else:
                    time.sleep(moments.uniform(0.1, 0.4) * span)
                building.kill()
            done = committed(heap_path)
            assert building.returncode == -signal.SIGKILL or done == total
            halfway += 0 < done < total
        assert files_read(sources, heap_path) == total - done, "what was committed is not read again"
        with mheap.open(undisturbed, mode="readonly") as one, mheap.open(heap_path, mode="readonly") as other:
            assert list(one.root["paths"]) == list(other.root["paths"])
            assert one.root == other.root
    assert halfway, "it was killed in the middle"


def test_without_an_index_find_says_what_to_do(heap_path: Path) -> None:
    assert "build" in run("find", "--heap", heap_path, "name", check=1)
    assert not heap_path.exists()


def test_a_directory_that_is_none_is_refused(tmp_path: Path, heap_path: Path) -> None:
    assert "not a directory" in run("build", "--heap", heap_path, tmp_path / "nothing", check=2)
    assert not heap_path.exists()


def test_a_file_of_another_program_is_left_alone(sources: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"not a heap, but some text of another program\n" * 100)
    before = other.read_bytes()
    assert "code_index:" in run("build", "--heap", other, sources, check=1)
    assert other.read_bytes() == before


def test_the_benchmark_compares_like_with_like(tmp_path: Path) -> None:
    program = str(ROOT / "benchmarks" / "code_index.py")
    command = [sys.executable, program, "--quick", "--json", "--directory", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    rows = {row["what"]: row for row in json.loads(done.stdout)["rows"]}
    assert rows["pickle"]["answers"] == rows["mheap"]["answers"] > 0
    assert all(row["pss_mib"] > 0 for row in rows.values())
