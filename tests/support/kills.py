"""Processes that change a live heap, killed at some moment, again and again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mheap


def broken(heap: mheap.Heap) -> list[Any]:
    """What a check of the heap finds that is not sound."""
    findings: list[Any] = []
    heap.check(lambda finding: findings.append(finding) if finding.severity else None)
    return findings


def killed(worker: str, path: Path) -> Iterator[mheap.Heap]:
    """The heap, sound, after each kill of a program that prints a line when it begins to change it."""
    wait = random.Random(1)
    for _ in range(int(os.environ.get("MHEAP_KILLS", "25"))):
        process = subprocess.Popen([sys.executable, "-c", worker, str(path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(wait.random() * 0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        with mheap.open(path, mode="live") as heap:
            assert broken(heap) == []
            yield heap
