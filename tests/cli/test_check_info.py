"""``mheap check``, ``mheap info``, ``mheap config``: sound heaps, broken ones, and files that are none."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import mheap
from mheap import arenas

Run = Callable[..., "subprocess.CompletedProcess[str]"]

ALL = ["info", "ls", "check"]


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def one_line(text: str) -> bool:
    return text.startswith("mheap: ") and text.count("\n") == 1 and "Traceback" not in text


# ---- sound heaps ----


def test_check_of_a_sound_heap(run: Run, sample: Path) -> None:
    done = run("check", sample)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{sample}: sound, 0 notes\n"
    report = json.loads(run("check", "--json", sample).stdout)
    assert report == {"file": str(sample), "findings": [], "sound": True}


def test_info_tells_what_the_heap_itself_tells(run: Run, sample: Path) -> None:
    report = json.loads(run("info", "--json", sample).stdout)
    with mheap.open(sample, mode="readonly") as heap:
        info, stats = heap.info(), heap.stats()
    assert report["file"] == str(sample)
    for name in ("uuid", "version", "state", "size", "file_size", "disk_size", "stored_base", "segments"):
        assert report[name] == getattr(info, name), name
    assert report["file_size"] == sample.stat().st_size
    assert report["usage"]["chunks_used"] == stats.chunks_used
    assert (
        sum(row["used"] for row in report["usage"]["classes"]) + report["usage"]["spans"]["used"]
        == stats.chunks_used
    )
    assert report["roots"] == {"root_items": 13, "names": ["blob"], "keys": [3]}


def test_info_in_words(run: Run, sample: Path) -> None:
    done = run("info", sample)
    assert (done.returncode, done.stderr) == (0, "")
    lines = dict(line.split(None, 1) for line in done.stdout.splitlines() if line)
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", lines["uuid"])
    assert lines["state"].startswith("clean")
    assert lines["root"] == "13 items"
    assert "'blob'" in done.stdout
    assert "spans" in lines


@pytest.fixture
def divided(sample: Path) -> Path:
    """The sample with two arenas and three more heaps."""
    with mheap.open(sample, mode="live") as heap:
        arenas.reserve_os_memory(8 << 20, exclusive=True, md=heap)
        arenas.reserve_os_memory(4 << 20, commit=True, md=heap)
        mheap.heap_new_in_arena(arenas.list(heap)[0]).malloc(100)
        heap.heap_new_ex(7, False).malloc(100)
    return sample


def test_info_tells_arenas_and_heaps(run: Run, divided: Path) -> None:
    report = json.loads(run("info", "--json", divided).stdout)
    with mheap.open(divided, mode="readonly") as heap:
        ids, (main, first, second) = arenas.list(heap), heap.heaps()
        offsets = [id.address - heap.base for id in ids]
        used = [id.used for id in ids]
    assert report["rocompat"] & 4
    assert report["arenas"] == [
        {"offset": offsets[0], "size": 8 << 20, "used": used[0], "exclusive": True, "committed": False},
        {"offset": offsets[1], "size": 4 << 20, "used": used[1], "exclusive": False, "committed": True},
    ]
    assert report["heaps"] == [
        {"number": main.number, "tag": 0, "arena": None, "destroyable": False},
        {"number": first.number, "tag": 0, "arena": offsets[0], "destroyable": True},
        {"number": second.number, "tag": 7, "arena": None, "destroyable": False},
    ]
    lines = run("info", divided).stdout.splitlines()
    shown = [line for line in lines if line.startswith(("arena", "heap "))]
    assert re.fullmatch(rf"arena +at {offsets[0]:#x}: 8\.0 MiB \(8388608\), .* used, exclusive", shown[0])
    assert re.fullmatch(rf"arena +at {offsets[1]:#x}: 4\.0 MiB \(4194304\), .* used, committed", shown[1])
    assert re.fullmatch(
        rf"heap {first.number} +tag 0, only in the arena at {offsets[0]:#x}, destroyable", shown[2]
    )
    assert re.fullmatch(rf"heap {second.number} +tag 7", shown[3])
    assert len(shown) == 4


def test_check_of_a_heap_with_arenas_and_heaps(run: Run, divided: Path) -> None:
    assert run("check", divided).stdout == f"{divided}: sound, 0 notes\n"


ARENA_ROW, HEAP_ROW = (20 << 10) + 64, (12 << 10) + 2 * 64  # the first arena's and the first more heap's


@pytest.mark.parametrize(
    ("offset", "value", "finding"),
    [
        (ARENA_ROW + 24, 1, r"offset 0x5058: broken: arena: .*expected 0.*found 0x1"),
        (ARENA_ROW + 16, 1 << 40, r"offset 0x50\w\w: broken: arena: "),
        (ARENA_ROW, 0, r"broken: heap: row 2: expected an arena in use, found 0x2"),
        (HEAP_ROW + 8, 99, r"offset 0x3088: broken: heap: row 2: expected an arena in use, found 0x63"),
        (HEAP_ROW + 24, 5, r"offset 0x3098: broken: heap: "),
        (HEAP_ROW, 0, r"broken: .*heap"),
    ],
)
def test_findings_about_arenas_and_heaps(
    run: Run, divided: Path, offset: int, value: int, finding: str
) -> None:
    overwrite(divided, offset, value.to_bytes(8, "little"))
    done = run("check", divided)
    assert done.returncode == 1
    assert re.search(finding, done.stdout), done.stdout
    assert "Traceback" not in done.stderr
    done = run("info", divided)
    assert "Traceback" not in done.stderr
    assert "uuid" in done.stdout


# ---- they never disturb anybody ----


@pytest.mark.parametrize("command", ALL)
def test_nothing_is_written(run: Run, sample: Path, command: str) -> None:
    before, status = sample.read_bytes(), sample.stat()
    sample.chmod(0o400)
    assert run(command, sample).returncode == 0
    after = sample.stat()
    assert sample.read_bytes() == before
    assert (after.st_mtime_ns, after.st_size, after.st_blocks) == (
        status.st_mtime_ns, status.st_size, status.st_blocks)  # fmt: skip
    assert sorted(
        entry.name for entry in sample.parent.glob("sample*") if not entry.name.endswith(".lock")
    ) == [sample.name]


@pytest.mark.parametrize("command", ALL)
def test_a_heap_that_is_open_elsewhere_is_looked_at_and_that_is_said(
    run: Run, sample: Path, command: str
) -> None:
    with mheap.open(sample, mode="live") as heap:
        heap.root["more"] = 1
        done = run(command, sample)
        assert done.returncode == 0
        assert "a writer has it open" in done.stderr
        assert one_line(done.stderr)
        assert heap.root["more"] == 1
    report = run(command, sample)
    assert report.stderr == ""


def test_info_names_the_process_that_has_it_open(run: Run, sample: Path) -> None:
    with mheap.open(sample, mode="live") as heap:
        heap.malloc(10)
        report = json.loads(run("info", "--json", sample).stdout)
    assert report["state"] == "open"
    assert report["owner_pid"] == os.getpid()


def test_a_copy_of_an_open_heap_can_be_examined(run: Run, sample: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.heap"
    with mheap.open(sample, mode="live") as heap:
        heap.malloc(10)
        copy.write_bytes(sample.read_bytes())
    for command in ALL:
        done = run(command, copy)
        assert done.returncode == 0, done.stderr
        assert "not detached in order" in done.stderr
        assert one_line(done.stderr)


# ---- broken heaps ----


def test_check_prints_all_findings_with_their_places(run: Run, sample: Path) -> None:
    overwrite(sample, 12288 + 16, b"\1")  # reserved, of the first heap's row
    overwrite(sample, 65536 + 32, b"\1")  # reserved, of the first segment's header
    overwrite(sample, 4096 + 8 * 7, b"\1")  # key 7
    done = run("check", sample)
    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    for place in ("0x3010", "0x10020", "0x1038"):
        assert any(line.startswith(f"offset {place}: broken: ") for line in lines), place
    assert lines[-1] == f"{sample}: 3 broken, 0 notes"
    report = json.loads(run("check", "--json", sample).stdout)
    assert report["sound"] is False
    assert {finding["offset"] for finding in report["findings"]} == {0x3010, 0x10020, 0x1038}
    assert all(set(finding) == {"severity", "offset", "what", "text"} for finding in report["findings"])


@pytest.mark.parametrize("command", ["info", "check"])
def test_a_heap_too_broken_to_attach_is_reported_with_its_offset(
    run: Run, sample: Path, command: str
) -> None:
    overwrite(sample, 100, b"\xff")
    done = run(command, sample)
    assert done.returncode == 1
    assert one_line(done.stderr)
    assert "offset 0x" in done.stderr
    done = run(command, "--json", sample)
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert report["error"]["name"] == "CorruptHeap"
    assert isinstance(report["error"]["offset"], int)
    assert one_line(done.stderr)


def test_info_tells_as_much_as_it_can_of_a_heap_at_fault(run: Run, sample: Path) -> None:
    overwrite(sample, 65536, b"\0")  # a segment's magic number: usage can still be counted
    assert run("info", sample).returncode == 0
    overwrite(sample, 65536 + 64, b"\xff\xff")  # a descriptor: it cannot
    done = run("info", sample)
    assert done.returncode == 1
    assert "uuid" in done.stdout
    assert one_line(done.stderr)
    report = json.loads(run("info", "--json", sample).stdout)
    assert report["error"]["offset"] == 65536 + 64
    assert report["uuid"]


@pytest.mark.parametrize("length", [0, 1, 100, 4095, 4096, 65536, 65537, 131072, 200000])
@pytest.mark.parametrize("command", ALL)
def test_a_file_cut_short_is_one_line(run: Run, sample: Path, command: str, length: int) -> None:
    os.truncate(sample, length)
    done = run(command, sample)
    assert done.returncode == 1
    assert one_line(done.stderr)
    assert sample.stat().st_size == length
    # What no attach gets past, `mheap check` does not either.
    assert "mheap check" not in done.stderr
    assert "restore a copy" in done.stderr or length < 8


@pytest.mark.parametrize("command", ALL)
def test_what_is_no_heap_is_one_line(run: Run, tmp_path: Path, command: str) -> None:
    text, fifo = tmp_path / "text", tmp_path / "fifo"
    text.write_text("to be or not to be" * 1000)
    os.mkfifo(fifo)
    for path in (text, fifo, tmp_path):
        done = run(command, path)
        assert done.returncode == 1, path
        assert one_line(done.stderr)
        assert done.stdout == ""


@pytest.mark.parametrize("seed", range(8))
def test_noise_is_survived(run: Run, sample: Path, seed: int) -> None:
    import random

    noise = random.Random(seed)
    size = sample.stat().st_size
    for _ in range(40):
        place = noise.choice(
            [noise.randrange(256, 4096), noise.randrange(65536, 73728), noise.randrange(size)]
        )
        overwrite(sample, place, noise.randbytes(noise.choice([1, 8, 64])))
    for command in [*ALL, "get"]:
        done = run(command, sample, *(["/"] if command == "get" else []))
        assert done.returncode in (0, 1), done.stderr
        assert "Traceback" not in done.stderr


# ---- usage ----


def test_a_file_that_is_not_there_is_a_heap_at_fault(run: Run, tmp_path: Path) -> None:
    none = tmp_path / "none"
    for args in (["info", none], ["check", none], ["ls", none], ["get", none, "key"]):
        done = run(*args)
        assert (done.returncode, done.stdout) == (1, ""), args
        assert one_line(done.stderr)
        assert str(none) in done.stderr
        assert "No such file" in done.stderr
    done = run("check", "--json", none)
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["name"] == "HeapFileNotFound"


def test_an_absent_argument_is_usage(run: Run, tmp_path: Path) -> None:
    none = tmp_path / "none"
    for args in (
        ["info"],
        ["get", tmp_path],
        ["nonsense"],
        ["check", "--loud", none],
        ["config"],
    ):
        done = run(*args)
        assert done.returncode == 2, args
        assert one_line(done.stderr)


def test_no_command_shows_the_help(run: Run) -> None:
    assert "Commands:" in run("--help").stdout
    assert "Commands:" in run().stderr
    for command in ("info", "ls", "get", "check", "config"):
        done = run(command, "--help")
        assert done.returncode == 0
        assert "--json" in done.stdout


def test_version(run: Run) -> None:
    assert run("--version").stdout == f"mheap {mheap.__version__}\n"


def test_config_is_what_the_package_says(run: Run) -> None:
    import mheap.config

    assert run("config", "--cflags").stdout == f"{mheap.config.cflags()}\n"
    assert run("config", "--libs").stdout == f"{mheap.config.libs()}\n"
    assert run("config", "--libdir").stdout == f"{mheap.config.libdir()}\n"
    assert run("config", "--cflags", "--libs").stdout == f"{mheap.config.cflags()} {mheap.config.libs()}\n"
    assert json.loads(run("config", "--json").stdout)["libdir"] == mheap.config.libdir()


def test_help_imports_neither_the_core_nor_rich(run: Run) -> None:
    code = (
        "import sys\nfrom mheap.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
        "print({'rich', 'numpy', 'mheap.cli.info'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert done.stderr == "set()\n"


# ---- places it runs in ----


LOCALES = [
    {"LC_ALL": "C"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"LANG": "C", "LC_ALL": "", "PYTHONIOENCODING": "ascii"},
]


@pytest.mark.parametrize("locale", LOCALES)
def test_every_locale_shows_everything(run: Run, sample: Path, locale: dict[str, str]) -> None:
    for command in ALL:
        assert run(command, sample, env=locale).returncode == 0
    done = run("get", sample, r"'cl\\xe9'", env=locale)
    assert done.returncode == 0
    assert done.stdout in ("été\n", "\\xe9t\\xe9\n")


def test_piped_output_has_no_colours_and_no_wrapping(run: Run, sample: Path) -> None:
    narrow = {"COLUMNS": "20", "TERM": "xterm-256color"}
    for command in ALL:
        assert run(command, sample, env=narrow).stdout == run(command, sample).stdout
        assert "\x1b" not in run(command, sample, env=narrow).stdout


def test_progress_is_for_terminals_and_findings_are_not_mixed_with_it(sample: Path, tmp_path: Path) -> None:
    import pty

    overwrite(sample, 12288 + 16, b"\1")
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "mheap", "check", str(sample)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=slave, check=False, cwd=tmp_path, text=True)
    os.close(slave)
    assert done.returncode == 1
    assert done.stdout.splitlines()[0].startswith("offset 0x3010: broken")
    assert os.read(master, 4096)
    os.close(master)
