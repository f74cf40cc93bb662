"""The benchmarks run and print sane tables. Nothing here is timed: figures of a quick run mean
nothing, and a test that fails when the machine is busy means less."""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"
HOWTO = ROOT / "docs" / "howto" / "run_benchmarks.md"

needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


def run(program: str, *options: str) -> str:
    command = [sys.executable, str(BENCHMARKS / program), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_json(program: str, *options: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(run(program, "--quick", "--json", *options))
    assert {"processor", "system", "python"} <= set(document["machine"])
    return document


def commands() -> list[str]:
    lines = (line.strip() for line in HOWTO.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line.startswith("python benchmarks/")]


@needs_cc
def test_programs_are_measured_with_allocators_preloaded() -> None:
    rows = run_json("preload.py", "--allocators", "glibc", "mheap")["rows"]
    assert {row["allocator"] for row in rows} == {"glibc", "mheap"}
    assert {"gcc", "python", "python-malloc", "slots, 1 thread", "handoff, 2 threads"} <= {
        row["case"] for row in rows
    }
    for row in rows:
        assert row["ms"] > 0
        assert row["peak_mib"] > 0.5
        assert len(row["verdicts"]) == (row["allocator"] == "mheap")


@needs_cc
def test_allocators_are_measured_beside_glibc(tmp_path: Path) -> None:
    names = ["no allocator", "glibc", "mheap"]
    places = ["--tmpfs", str(tmp_path), "--disk", str(tmp_path)]
    document = run_json("alloc.py", "--allocators", *names, *places)
    rows = document["rows"]
    assert {row["allocator"] for row in rows} == set(names), document["missing"]
    assert {(row["pattern"], row["threads"]) for row in rows} == {
        *itertools.product(("pairs", "slots", "bulk", "bulk-untouched"), (1, 2)),
        ("handoff", 2),
    }
    for row in rows:
        assert row["ns"] > 0
        assert row["ns_low"] <= row["ns"] <= row["ns_high"]
        assert row["ratio_to_glibc"] > 0
        if row["allocator"] == "glibc":
            assert row["ratio_to_glibc"] == 1


@needs_cc
def test_every_aim_for_mheap_has_its_verdict(tmp_path: Path) -> None:
    places = ["--tmpfs", str(tmp_path), "--disk", str(tmp_path)]
    rows = run_json("alloc.py", "--allocators", "glibc", "mheap", *places)["rows"]
    judged = [row for row in rows if row["verdicts"]]
    assert {row["allocator"] for row in judged} == {"mheap"}
    assert {row["pattern"] for row in judged} == {"pairs", "slots", "bulk"}
    for row in judged:
        aims = " ".join(verdict["aim"] for verdict in row["verdicts"])
        assert "glibc" in aims
        assert ("scaling" in aims) == (row["threads"] == 2)
        on_file = row["place"] != "memory" and row["threads"] == 1 and row["pattern"] != "pairs"
        assert ("file bytes" in aims) == on_file
        assert {verdict["verdict"] for verdict in row["verdicts"]} <= {"ok", "close", "missed"}


@needs_cc
def test_file_bytes_are_those_of_the_live_blocks(tmp_path: Path) -> None:
    options = ["--patterns", "bulk", "--threads", "1", "--places", "disk", "--disk", str(tmp_path)]
    (row,) = run_json("alloc.py", "--allocators", "mheap", *options)["rows"]
    assert row["file_size_a_byte"] >= 1
    assert row["ratio_to_glibc"] is None


@needs_cc
def test_an_allocator_that_cannot_be_built_is_named_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cc").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "cc").chmod(0o755)
    monkeypatch.setenv("CXX", str(tmp_path / "cc"))
    options = ["--patterns", "pairs", "--threads", "1", "--allocators", "glibc", "Boost"]
    text = run("alloc.py", "--quick", *options)
    assert "left out: Boost: apt-get install libboost-dev" in text


def test_calls_from_python_are_measured(tmp_path: Path) -> None:
    rows = run_json("python_calls.py", "--directory", str(tmp_path), "--big", "1")["rows"]
    assert all(0 < row["low"] <= row["value"] <= row["high"] for row in rows)
    judged = [row["what"] for row in rows if row["verdict"]]
    for what in ("heap.malloc", "heap.root[key]", "open 1 MiB", "1 GiB over 1 MiB", "import mheap"):
        assert any(what in one for one in judged), what


@needs_cc
@pytest.mark.parametrize("command", commands())
def test_commands_of_the_documentation_run(command: str) -> None:
    program, *options = command.removeprefix("python benchmarks/").split()
    text = run(program, "--quick", *options)
    assert "processor" in text
    assert "aim" in text


@needs_cc
def test_huge_pages_are_measured_beside_small_ones() -> None:
    rows = run_json("huge_pages.py")["rows"]
    assert len(rows) == 6
    for row in rows:
        assert 0 < row["ns_low"] <= row["ns"] <= row["ns_high"]
        assert 0.9 < row["present"] <= 1
        assert 0 <= row["huge"] <= 1
        if row["pages"] == "small":
            assert row["ratio_to_small"] == 1


def test_compacting_is_measured_beside_copying(tmp_path: Path) -> None:
    document = run_json("compact.py", "--disk", str(tmp_path))
    rows, walks = document["rows"], document["walks"]
    assert {(row["heap"], row["step"]) for row in rows} == {
        (heap, step) for heap in ("as filled", "aged") for step in ("copy", "check", "dry run", "compact")
    }
    for row in rows:
        assert row["seconds"] > 0
        assert row["ratio_to_copy"] > 0
    assert walks[1]["mb_after"] < walks[1]["mb_before"] / 1.5
    assert run("compact.py", "--quick", "--disk", str(tmp_path)).count("aged") == 5


@needs_cc
def test_commits_are_measured_beside_other_stores(tmp_path: Path) -> None:
    document = run_json("commits.py", "--disk", str(tmp_path), "--tmpfs", str(tmp_path))
    rows, left_out = document["rows"], {one["name"] for one in document["missing"]}
    assert {row["part"] for row in rows} >= {"small", "bulk", "large", "readers", "heap"}
    measured = [row for row in rows if row["unit"]]
    assert all(row["low"] <= row["value"] <= row["high"] for row in measured)
    # What a larger heap takes more than a small one may be less than nothing in so short a run.
    assert all(row["low"] > 0 for row in measured if not row["what"].startswith("more "))
    places = {"disk, durable", "disk, not durable", "tmpfs, not durable"}
    small = {(row["what"], row["where"]): row for row in rows if row["part"] == "small"}
    for name in ("mheap, 8 bytes, from C", "mheap, an int of heap.root", "mheap, 8 bytes of a view"):
        assert {where for what, where in small if what == name} == places
        assert small[name, "disk, durable"]["ratios"].keys() >= {"SQLite, WAL", "4 KiB written"}
        assert small[name, "disk, not durable"]["ratios"]["durable"] > 0
    for name, module in (("LMDB", "lmdb"), ("ZODB", "ZODB"), ("GNU dbm", "dbm.gnu")):
        there = importlib.util.find_spec(module) is not None and name not in left_out
        assert ((name, "disk, durable") in small) == there, "measured, or named as left out"
    for limit, value in vars(targets()).items():
        if limit.startswith(("COMMIT_", "REFRESH_", "READONLY_", "ATOMIC_")):
            for one in value.values() if isinstance(value, dict) else [value]:
                assert "lmdb" in str(one).lower() or any(
                    verdict["aim"] == str(one) for row in rows for verdict in row["verdicts"]
                ), f"{limit} is judged"


@needs_cc
def test_objects_are_measured_beside_other_stores(tmp_path: Path) -> None:
    document = run_json("objects.py", "--disk", str(tmp_path))
    rows, left_out = document["rows"], {one["name"] for one in document["missing"]}
    assert {row["part"] for row in rows} == {"ints", "records", "sequences", "open", "processes", "floors"}
    assert all(0 < row["low"] <= row["value"] <= row["high"] for row in rows if row["part"] != "processes")
    for name, module in (("LMDB", "lmdb"), ("ZODB", "ZODB"), ("diskcache", "diskcache")):
        there = importlib.util.find_spec(module) is not None and name not in left_out
        stored = f"store all, durable: {name}" in {row["what"] for row in rows}
        assert stored == there, "measured, or named as left out"
    for done in ("read, keys made anew", "key in table, half of them are", "len", "iterate over items"):
        (mine,) = (row for row in rows if row["part"] == "ints" and row["what"] == f"{done}: mheap")
        assert mine["ratios"].keys() >= {"dict's", "as fast as SQLite"}
    judged = {(row["part"], verdict["aim"]) for row in rows for verdict in row["verdicts"]}
    for part, aim in objects_aims():
        assert (part, aim) in judged or "LMDB" in aim or "restore" in left_out, f"{aim} is judged"


def objects_aims() -> set[tuple[str, str]]:
    of = targets()
    aims = {(part, str(aim)) for (part, _, _), peers in of.OBJECTS.items() for aim in peers.values()}
    aims |= {("open", str(aim)) for aim in of.OBJECTS_OPEN_MS.values()}
    return aims | {("sequences", str(of.OBJECTS_BUILT_IN)), ("processes", str(of.OBJECTS_TENTH_MIB))}


def test_what_takes_minutes_is_left_out_and_named(tmp_path: Path) -> None:
    options = ["--parts", "open", "--sizes", "100001", "--rounds", "1", "--json", "--disk", str(tmp_path)]
    document = json.loads(run("objects.py", *options))
    assert "shelve" not in {row["what"] for row in document["rows"]}
    assert "shelve of 100,001" in {one["name"] for one in document["missing"]}


@needs_cc
def test_each_durable_commit_syncs_once_and_that_is_counted(tmp_path: Path) -> None:
    options = ["--parts", "syncs", "--disk", str(tmp_path), "--tmpfs", str(tmp_path)]
    document = run_json("commits.py", *options)
    counts = {row["what"]: row["value"] for row in document["rows"]}
    if "counting syncs" in {one["name"] for one in document["missing"]}:
        assert counts == {}
        return
    assert counts["4 KiB written"] == 1
    for name in ("mheap, an int of heap.root", "mheap, 8 bytes of a view"):
        assert 1 <= counts[name] < 1.02, "one each, and few for the journal itself"


def targets() -> ModuleType:
    """benchmarks/targets.py, with what it imports from beside it."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return importlib.import_module("targets")
    finally:
        sys.path.remove(str(BENCHMARKS))
