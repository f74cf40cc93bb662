"""mheap_compact killed at every system call, and told of an error by every call: the heap is there, whole."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from c_tools import run
from disks import mounted, must_be_root

import mheap

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


def test_a_disk_of_any_size_holds_the_old_file_or_the_new(tmp_path: Path) -> None:
    """Without room for both it is HeapFull, and nothing has changed."""
    must_be_root()
    full = done = 0
    with mounted("tmpfs", tmp_path / "disk", "-t", "tmpfs", "-o", "size=8m") as disk:
        path, filler = disk / "a.heap", disk / "filler"
        with mheap.open(path, mode="live") as heap:
            heap.root.update({f"key number {i}": ["x" * (i % 100), i] for i in range(3000)})
            for i in range(0, 3000, 2):
                del heap.root[f"key number {i}"]
            plain = mheap.to_python(heap.root)
        mheap.open(path, mode="live").close()  # its lock file is there
        original = path.read_bytes()
        path.write_bytes(original)  # without holes
        space = os.statvfs(disk)
        for pages in range(space.f_bfree):
            filler.write_bytes(bytes(space.f_bsize * (space.f_bfree - pages)))
            before, refusal = sorted(os.listdir(disk)), ""
            try:
                done += mheap.compact(path).moved
            except mheap.HeapFull as error:
                refusal = str(error)
            assert sorted(os.listdir(disk)) == before
            if refusal:
                assert str(path) in refusal
                assert path.read_bytes() == original
                full += 1
            filler.unlink()
            with mheap.open(path, mode="readonly") as heap:
                assert heap.check()
                assert heap.root == plain
            if done > 3:
                break
            path.write_bytes(original)
    assert full > 50
    assert done > 3
