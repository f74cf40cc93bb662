"""What every test may rely on: the installed package, the repository, a place for heap files."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def pytest_configure() -> None:
    """A source tree on the path has no extension: say so once, not in every test."""
    import mheap

    if Path(mheap.__path__[0]) == ROOT / "mheap" and not hasattr(mheap, "attach"):
        pytest.exit(
            "this imports the source tree, not the installed package: use ./dev test, or pytest "
            "(not python -m pytest) in an environment where mheap is installed",
            returncode=2,
        )


@pytest.fixture(scope="session", autouse=True)
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests run outside the repository: in it, `python -c` would take its mheap/ for the package."""
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("elsewhere"))
    yield
    os.chdir(before)


@pytest.fixture(scope="module", autouse=True)
def quick_collections() -> None:
    """A full collection, of which some tests make many, does not look at what was there before."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture
def heap_path(tmp_path: Path) -> Path:
    """Where a heap file may be made."""
    return tmp_path / "test.heap"


RunPython = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run_python(tmp_path: Path) -> RunPython:
    """Runs a piece of Python in a new process, elsewhere than here; its stdout is in the result.

    Other arguments are sys.argv[1:]; a failure raises with what it printed, unless check=False.
    """

    def run(
        code: str, *args: object, check: bool = True, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, args)],
            cwd=tmp_path,
            env=os.environ,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode != 0:
            pytest.fail(f"exit {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    return run
