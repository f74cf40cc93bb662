"""``mheap compact``: what it says, and that it does it."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import mheap

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def shrunk(tmp_path: Path) -> Path:
    """A heap that was larger once."""
    path = tmp_path / "shrunk.heap"
    with mheap.open(path) as heap:
        heap.root.update({f"key number {i}": ["x" * 50] for i in range(5000)})
    with mheap.open(path) as heap:
        for i in range(5000):
            if i % 10:
                del heap.root[f"key number {i}"]
    return path


def test_it_says_what_it_did(run: Run, shrunk: Path) -> None:
    before = os.stat(shrunk).st_size
    done = run("compact", shrunk)
    after = os.stat(shrunk).st_size
    assert (done.returncode, done.stderr) == (0, "")
    assert after < before / 3
    lines = done.stdout.splitlines()
    assert lines[0] == f"{shrunk}: was rewritten with its objects packed"
    assert lines[1].split() == ["bytes", "of", "the", "file", f"{before:,}", "->", f"{after:,}"]
    assert len(lines) == 7
    with mheap.open(shrunk, mode="readonly") as heap:
        assert len(heap.root) == 500
        assert heap.check()


def test_a_dry_run_writes_nothing(run: Run, shrunk: Path) -> None:
    before = shrunk.read_bytes()
    would = json.loads(run("compact", "--dry-run", "--json", shrunk).stdout)
    assert shrunk.read_bytes() == before
    did = json.loads(run("compact", "--json", shrunk).stdout)
    assert (would["dry_run"], did["dry_run"]) == (True, False)
    assert would["before"] == did["before"]
    assert would["after"]["file_size"] == did["after"]["file_size"] == os.stat(shrunk).st_size
    assert would["moved"] is did["moved"] is True
    assert would["kept"] is did["kept"] is None
    assert "would be rewritten" in run("compact", "--dry-run", shrunk).stdout


def test_raw_blocks_are_said_to_stay(run: Run, sample: Path) -> None:
    text = run("compact", "--dry-run", sample).stdout
    assert f"{sample}: nothing would be moved: there are raw blocks" in text
    assert "->" not in text
    done = run("compact", sample)
    assert done.returncode == 0
    assert f"{sample}: nothing was moved: there are raw blocks" in done.stdout
    assert "given back to the disk in place" in done.stdout
    fields = json.loads(run("compact", "--json", sample).stdout)
    assert fields["moved"] is False
    assert fields["kept"].startswith("there are raw blocks")


def test_errors_are_one_line(run: Run, shrunk: Path) -> None:
    with mheap.open(shrunk):
        done = run("compact", shrunk)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"mheap: {shrunk}: busy: ")
    assert done.stderr.count("\n") == 1
    done = run("compact", shrunk.parent / "absent")
    assert (done.returncode, done.stdout) == (1, "")
    assert run("compact").returncode == 2


def test_a_terminal_has_a_bar(shrunk: Path) -> None:
    controller, terminal = pty.openpty()
    command = [sys.executable, "-m", "mheap", "compact", str(shrunk)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=terminal, cwd=shrunk.parent, check=True, timeout=60
    )
    os.close(terminal)
    shown = os.read(controller, 65536)
    os.close(controller)
    assert b"was rewritten" in done.stdout
    assert shrunk.name.encode() in shown
