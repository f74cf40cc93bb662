"""The example makes its model, and four processes restore it and answer alike."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import mheap

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "word_model.py"


def run(directory: Path, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-X", "dev", EXAMPLE, *map(str, arguments)],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A directory with a small model."""
    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "a.py").write_text("import os\nimport re\nimport os\nreturn self other\nreturn self other\n")
    (sources / "b.py").write_text("import sys return self third\n" * 3)
    (sources / "c.py").write_text("never counted")
    output = run(tmp_path, "make", "--files", 2, sources)
    assert "8 words" in output
    return tmp_path


def test_the_model_is_what_was_counted(made: Path) -> None:
    with mheap.restore(made / "model.heap") as heap:
        assert heap.info().state == "sealed"
        assert heap.root["words"]["import"] == 6
        assert heap.root["next"]["import"] == [(3, "sys"), (2, "os"), (1, "re")]
        assert heap.root["after"]["return", "self"] == "third"
    assert run(made, "ask", "import").split() == ["sys", "os", "re"]
    assert run(made, "ask", "return", "self").split() == ["third"]
    assert run(made, "ask", "never", "self").split() == ["third", "other"]


def test_workers_answer_alike_and_are_measured(made: Path) -> None:
    output = run(made, "compare", "--workers", 4)
    rows = re.findall(r"^(\w+) +([\d.]+) +([\d.]+) +([\d.]+)$", output, re.MULTILINE)
    assert [row[0] for row in rows] == ["nothing", "unpickle", "restore"]
    assert all(float(row[3]) > 1 for row in rows)
    assert output.endswith("after 'return self' comes: third\n")
