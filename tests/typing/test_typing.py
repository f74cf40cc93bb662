"""The stubs: types are what the examples say, and the stubs are what there is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import mheap

HERE = Path(__file__).parent


def run(tmp_path: Path, *arguments: str) -> tuple[str, int]:
    """Elsewhere than in the source tree, so that the installed package is what is looked at."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr, done.returncode


def test_types_are_as_the_examples_say(tmp_path: Path) -> None:
    output, code = run(tmp_path, "mypy", "--strict", str(HERE / "examples.py"))
    assert code == 0, output


def test_a_wrong_example_would_be_found(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    right = "assert_type(address, int)"
    content = (HERE / "examples.py").read_text()
    assert right in content
    wrong.write_text(content.replace(right, "assert_type(address, str)"))
    output, code = run(tmp_path, "mypy", "--strict", str(wrong))
    assert code == 1
    assert '"int", not "str"' in output or "assert-type" in output


def test_mistakes_are_refused(tmp_path: Path) -> None:
    output, code = run(tmp_path, "mypy", "--strict", str(HERE / "mistakes.py"))
    assert code == 0, output


def test_the_stubs_are_what_there_is(tmp_path: Path) -> None:
    known = [f"--allowlist={HERE / 'stubtest_allowlist'}", "--ignore-unused-allowlist"]
    output, code = run(tmp_path, "mypy.stubtest", "mheap", "--ignore-missing-stub", *known)
    assert code == 0, output


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(mheap.__path__[0]) / "py.typed").exists()
