"""What tests of the command line share: running it, and a heap with a bit of everything."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import mheap

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs ``python -m mheap`` as a shell would: its output piped, away from the source tree."""

    def run(*args: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mheap", *map(str, args)]
        environment = {**os.environ, **(env or {})}
        return subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="surrogateescape", cwd=tmp_path,
            env=environment, check=False, timeout=60,
        )  # fmt: skip

    return run


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """A heap file, closed in order."""
    path = tmp_path / "sample.heap"
    with mheap.open(path, mode="live") as heap:
        root = heap.root
        root["users"] = {"ada": {"age": 36, "tags": ["x", "y", 3.5, None, True]}, "bob": {}}
        root["a/b"] = "slash"
        root["back\\slash"] = "backslash"
        root["1"] = "str one"
        root[1] = "int one"
        root[2] = 2**100
        root[""] = "empty"
        root["been\x1b[31m"] = "coloured\x1b[0m"
        root["clé"] = "été"
        root["bytes"] = b"\x00\xff"
        root["nan"] = float("nan")
        root["numbers"] = list(range(10))
        root["long"] = "x" * 5000
        heap.setkey(3, heap.malloc(100))
        heap.roots["blob"] = heap.malloc(200000)
    return path
