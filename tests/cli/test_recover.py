"""``mheap recover``, and the other commands on heaps whose last commits are in a journal."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import mheap

Run = Callable[..., "subprocess.CompletedProcess[str]"]

COMMITS = 5
WRITER = """
import sys, mheap
heap = mheap.open(sys.argv[1])
for number in range(1, int(sys.argv[2]) + 1):
    heap.root["number"] = number
    heap.root["text"] = str(number) * 100
    heap.commit()
heap.root["number"] = "not committed"
print("ready", flush=True)
sys.stdin.read()
"""
# Never still, and with checkpoints: what is read in two generations is damage, or two numbers.
RESTLESS = """
import sys, mheap
heap = mheap.open(sys.argv[1], journal_limit=64 << 20)
for number in range(1, 1 << 60):
    heap.root["pair"] = {"left": number, "filler": "x" * (number % 5000), "right": number}
    heap.commit(durable=False)
    if number == 50: print("ready", flush=True)
"""


@contextmanager
def written_by(program: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A writer in another process, that has committed; killed at the end."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    writer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/")
    assert writer.stdout is not None
    try:
        assert writer.stdout.readline() == "ready\n"
        yield writer
    finally:
        writer.kill()
        writer.communicate()
    assert writer.returncode == -signal.SIGKILL, "it was killed, and did not end by itself"


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """A heap whose writer was killed, with records in its journal."""
    path = tmp_path / "killed.heap"
    with written_by(WRITER, path, COMMITS):
        pass
    assert mheap.journal(path).records == COMMITS
    return path


def one_line(text: str) -> bool:
    return text.startswith("mheap: ") and text.count("\n") == 1 and "Traceback" not in text


def contents(path: Path) -> object:
    with mheap.open(path, mode="readonly") as heap:
        return mheap.to_python(heap.root)


LAST = {"number": COMMITS, "text": str(COMMITS) * 100}

# ---- looking ----


def test_a_dry_run_says_what_there_is_and_writes_nothing(run: Run, killed: Path) -> None:
    before = killed.read_bytes()
    done = run("recover", killed)
    info = mheap.journal(killed)
    assert done.returncode == 0
    assert done.stdout == (
        f"{killed}: {COMMITS} records, {info.used} bytes, to be brought into the pages: "
        f"generation {info.pages_generation} to {info.generation}\n"
    )
    assert one_line(done.stderr)
    assert "--apply" in done.stderr
    assert killed.read_bytes() == before
    report = json.loads(run("recover", "--json", killed).stdout)
    assert (report["file"], report["applied"], report["busy"]) == (str(killed), False, False)
    assert report["journal"] == {
        name: getattr(info, name)
        for name in ("offset", "size", "used", "records", "pages_generation", "generation")
    }


def test_applied_the_pages_are_the_last_commit(run: Run, killed: Path) -> None:
    before = mheap.journal(killed)
    assert before.pages_generation < before.generation
    report = json.loads(run("recover", "--apply", "--json", killed).stdout)
    assert report["applied"] is True
    assert report["journal"]["records"] == COMMITS
    after = mheap.journal(killed)
    assert (after.records, after.used) == (0, 0)
    assert after.pages_generation == after.generation == before.generation
    assert contents(killed) == LAST
    done = run("recover", "--apply", killed)
    assert (done.returncode, done.stderr) == (0, "")
    assert "nothing to recover" in done.stdout


def test_applied_it_says_what_it_did(run: Run, killed: Path) -> None:
    info = mheap.journal(killed)
    done = run("recover", "--apply", killed)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{COMMITS} records, {info.used} bytes, brought into the pages" in done.stdout


def test_info_tells_generation_and_journal(run: Run, killed: Path) -> None:
    info = mheap.journal(killed)
    report = json.loads(run("info", "--json", killed).stdout)
    assert report["generation"] == info.generation == COMMITS
    assert report["has_journal"] is True
    assert report["journal"]["offset"] == info.offset
    assert report["journal"]["records"] == COMMITS
    lines = dict(line.split(None, 1) for line in run("info", killed).stdout.splitlines() if line)
    assert lines["generation"] == str(COMMITS)
    assert re.fullmatch(
        rf"at {info.offset:#x}: .* \({info.size}\), .* \({info.used}\) used, {COMMITS} records; "
        rf"pages of generation {info.pages_generation}",
        lines["journal"],
    )
    assert "in the journal" in lines["state"]


# ---- the other commands ----


def test_commands_see_what_the_killed_writer_committed(run: Run, killed: Path) -> None:
    before = killed.read_bytes()
    for command, *rest in (["check"], ["ls"], ["get", "number"], ["info"]):
        done = run(command, killed, *rest)
        assert (done.returncode, done.stderr) == (0, ""), command
    assert run("check", killed).stdout == f"{killed}: sound, 0 notes\n"
    assert run("get", killed, "number").stdout == f"{COMMITS}\n"
    assert killed.read_bytes() == before


def test_commands_beside_a_living_writer_need_no_remark(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "living.heap"
    with written_by(WRITER, path, COMMITS):
        for command, *rest in (["check"], ["ls"], ["get", "number"], ["info"]):
            done = run(command, path, *rest)
            assert (done.returncode, done.stderr) == (0, ""), command
        assert run("get", path, "number").stdout == f"{COMMITS}\n"


def test_commands_beside_a_writer_at_work_read_one_commit(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "restless.heap"
    generations: set[int] = set()
    end = time.monotonic() + 60
    with written_by(RESTLESS, path):
        while len(generations) < 4 and time.monotonic() < end:
            done = run("get", "--json", path, "pair")
            assert (done.returncode, done.stderr) == (0, "")
            pair = json.loads(done.stdout)
            assert pair["left"] == pair["right"]
            assert len(pair["filler"]) == pair["left"] % 5000
            done = run("check", path)
            assert (done.returncode, done.stdout, done.stderr) == (0, f"{path}: sound, 0 notes\n", "")
            generations.add(pair["left"])
            info = mheap.journal(path)
            assert info.pages_generation + info.records == info.generation
    assert len(generations) == 4, "the writer went on meanwhile"


# ---- what cannot be done ----


def test_a_file_that_is_open_is_said_to_be(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "open.heap"
    with written_by(WRITER, path, COMMITS):
        assert mheap.journal(path).busy
        done = run("recover", path)
        assert done.returncode == 0
        assert one_line(done.stderr)
        assert "a writer has it open" in done.stderr
        done = run("recover", "--apply", path)
        assert (done.returncode, done.stdout) == (1, "")
        assert one_line(done.stderr)
        assert "busy" in done.stderr
        assert mheap.journal(path).records == COMMITS
        with pytest.raises(mheap.HeapBusy) as refused:
            mheap.recover(path)
        assert refused.value.filename == str(path)


def test_a_reader_that_keeps_an_earlier_commit_is_not_disturbed(run: Run, killed: Path) -> None:
    reader = mheap.open(killed, mode="readonly")
    with reader.snapshot():
        with written_by(WRITER, killed, 1):
            pass
        done = run("recover", "--apply", killed)
        assert done.returncode == 1
        assert "a reader keeps an earlier commit" in done.stderr
        assert one_line(done.stderr)
        assert mheap.to_python(reader.root) == LAST
    assert run("recover", "--apply", killed).returncode == 0
    assert reader.root["number"] == 1
    reader.close()


@pytest.mark.parametrize("options", [[], ["--apply"]])
def test_without_a_journal_there_is_nothing_to_do(run: Run, sample: Path, options: list[str]) -> None:
    before = sample.read_bytes()
    done = run("recover", *options, sample)
    assert (done.returncode, done.stdout) == (0, "")
    assert one_line(done.stderr)
    assert "no journal" in done.stderr
    report = json.loads(run("recover", "--json", *options, sample).stdout)
    assert report == {"file": str(sample), "applied": False, "busy": False, "journal": None}
    assert json.loads(run("info", "--json", sample).stdout)["journal"] is None
    assert sample.read_bytes() == before


@pytest.mark.parametrize("options", [[], ["--apply"]])
def test_a_damaged_journal_is_said_to_be(run: Run, killed: Path, options: list[str]) -> None:
    """One that a checkpoint had begun with: its records must all be there."""
    before = mheap.journal(killed)
    with killed.open("r+b") as file:
        file.seek(CHECKPOINT)
        assert int.from_bytes(file.read(8), "little") == before.pages_generation, "the field is where it was"
        file.seek(CHECKPOINT)
        file.write((before.generation).to_bytes(8, "little"))
    assert run("recover", killed).returncode == 0, "so far it is only one that was begun"
    with killed.open("r+b") as file:
        file.seek(before.offset + 8)
        file.write(b"\xff")
    done = run("recover", *options, killed)
    assert (done.returncode, done.stdout) == (1, "")
    assert one_line(done.stderr)
    assert "journal" in done.stderr
    assert "offset" in done.stderr
    with pytest.raises(mheap.CorruptHeap):
        mheap.recover(killed)


CHECKPOINT = 448  # in the superblock


@pytest.mark.parametrize("options", [[], ["--apply"]])
def test_what_is_no_heap_is_one_line(run: Run, tmp_path: Path, options: list[str]) -> None:
    text, none = tmp_path / "text", tmp_path / "none"
    text.write_text("to be or not to be" * 1000)
    for path in (text, none, tmp_path):
        done = run("recover", *options, path)
        assert (done.returncode, done.stdout) == (1, "")
        assert one_line(done.stderr)
        assert str(path) in done.stderr
    assert text.read_text() == "to be or not to be" * 1000
    assert not none.exists()


def test_a_file_that_cannot_be_written_is_one_line(killed: Path) -> None:
    """Looked at it can be."""
    killed.chmod(0o444)
    before = killed.read_bytes()
    # The superuser may write to everything, unless that is taken from it.
    rights = "-dac_override,-dac_read_search"
    limited = ["setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}"] if os.getuid() == 0 else []

    def recover(*options: str) -> subprocess.CompletedProcess[str]:
        command = [*limited, sys.executable, "-m", "mheap", "recover", *options, str(killed)]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", timeout=60)

    done = recover()
    assert done.returncode == 0, done.stderr
    assert f"{COMMITS} records" in done.stdout
    done = recover("--apply")
    assert (done.returncode, done.stdout) == (1, "")
    assert one_line(done.stderr)
    assert "Permission denied" in done.stderr
    assert killed.read_bytes() == before


def test_the_help_says_what_it_does(run: Run) -> None:
    text = run("recover", "--help").stdout
    assert "--apply" in text
    assert "--json" in text
