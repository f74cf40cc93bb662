"""What tests of the preloaded library share: programs compiled once, and running them with it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from c_tools import CC, run

from mheap import _preload

HERE = Path(__file__).parent

Served = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Compiles a program of this directory, as a stranger to mheap."""
    directory = tmp_path_factory.mktemp("programs")
    flags = ["-std=c17", "-D_GNU_SOURCE", "-O1", "-g", "-w"]  # what is wrong in them is on purpose

    def build(name: str) -> Path:
        binary = directory / name
        if not binary.exists():
            run(*CC, *flags, "-fno-builtin", "-pthread", HERE / f"{name}.c", "-o", binary, "-ldl")
        return binary

    return build


@pytest.fixture
def served(tmp_path: Path) -> Served:
    """Runs a command with libmheap-preload before it, its output in the result; it must succeed."""

    def served(
        *command: object, check: bool = True, timeout: float = 300, **settings: str
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            list(map(str, command)),
            cwd=tmp_path,
            env={**os.environ, "LD_PRELOAD": str(_preload.library()), **settings},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode != 0:
            pytest.fail(f"exit {done.returncode}: {command}\n{done.stdout}\n{done.stderr}")
        return done

    return served
