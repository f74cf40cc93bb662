"""A dump that is killed, or that fails, at any moment leaves the old file or the new one, never a half one.

At each call of the operating system: dumps.c. At any instant: here, from Python.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import mheap


def run(programs: Path, name: str, directory: Path) -> tuple[int, str]:
    done = subprocess.run(
        [programs / "crash_dumps", name, directory],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=200,
    )
    return done.returncode, done.stdout


def numbers(output: str) -> list[int]:
    """Of the program's last line."""
    return [int(number) for number in re.findall(r"\d+", output.splitlines()[-1])]


def test_killed_at_each_call(programs: Path, memory_directory: Path) -> None:
    code, output = run(programs, "kill", memory_directory)
    calls, olds, news, lefts, wholes, bad = numbers(output)
    assert (code, bad) == (0, 0), output
    assert calls > 15
    assert olds + news >= 2 * calls
    assert news >= 3, "behind the renaming"
    assert 1 <= wholes <= 4, "between the first page and the renaming"
    assert lefts > calls


def test_the_judge_sees_a_half_file_that_attaches(programs: Path, memory_directory: Path) -> None:
    code, output = run(programs, "early", memory_directory)
    assert code == 1
    assert numbers(output)[-1] > 10
    assert "what is left is taken for a heap" in output


def test_an_error_at_each_call_is_said_and_leaves_nothing(programs: Path, memory_directory: Path) -> None:
    code, output = run(programs, "fail", memory_directory)
    calls, told, late, bad = numbers(output)
    assert (code, bad) == (0, 0), output
    assert told == calls > 15
    assert late == 1, "the directory could not be synced; all else was done"


def test_what_is_written_is_synced_before_it_counts(programs: Path, memory_directory: Path) -> None:
    _, output = run(programs, "order", memory_directory)
    calls = output.splitlines()
    assert calls[:3] == ["create", "mark", "copy_permissions"]
    assert calls[-6:] == ["write", "sync", "first page", "sync", "rename", "sync_name"]
    assert set(calls[3:-5]) == {"truncate", "write"}


WRITER = """
import sys, mheap
values = [{f"word {i}": number for i in range(20000)} for number in (1, 2)]
mheap.dump(values[0], sys.argv[1])
print("ready", flush=True)
while True:
    for value in values:
        mheap.dump(value, sys.argv[1])
"""


def test_killed_at_any_instant(memory_directory: Path) -> None:
    path = memory_directory / "x.heap"
    left = memory_directory / ".x.heap.mheap-dump"
    found, unfinished = set(), 0
    for _ in range(20):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE, cwd="/")
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        time.sleep(random.uniform(0, 0.1))
        writer.kill()
        assert writer.wait() == -signal.SIGKILL
        writer.stdout.close()
        with mheap.restore(path) as heap:
            assert heap.check()
            assert len(heap.root) == 20000
            (number,) = set(heap.root.values())
            found.add(number)
        unfinished += left.exists()
    assert found == {1, 2}
    assert unfinished > 0
    mheap.dump({}, path)
    assert os.listdir(memory_directory) == ["x.heap"]


FULL = """
import ctypes, errno, os, sys
import mheap
directory = sys.argv[1]
libc = ctypes.CDLL(None, use_errno=True)
uid, gid = os.getuid(), os.getgid()
if libc.unshare(0x20000) != 0:
    assert libc.unshare(0x10000000 | 0x20000) == 0, "no right to mount"
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
assert libc.mount(b"none", b"/", None, 0x44000, None) == 0
assert libc.mount(b"tmpfs", directory.encode(), b"tmpfs", 0, b"size=2048k") == 0
path = directory + "/x.heap"
mheap.dump({"old": 1}, path)
full = 0
for size in range(1 << 18, 3 << 20, 1 << 18):
    try:
        mheap.dump({"new": bytes([1]) * size}, path)
    except mheap.HeapFull as error:
        assert error.errno == errno.ENOSPC and path in str(error), error
        full += 1
    assert os.listdir(directory) == ["x.heap"]
    with mheap.restore(path) as heap:
        assert heap.check()
        last = len(heap.root["new"])
    assert last == size or full, (last, size)
assert full > 3 and last >= 1 << 18
print(full)
"""


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, tmp_path],
        capture_output=True,
        text=True,
        cwd="/",
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
