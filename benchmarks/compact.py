#!/usr/bin/env python3
"""What compacting and checking cost beside copying the file; and what is read faster afterwards.

    python benchmarks/compact.py                     a million dict entries; a minute
    python benchmarks/compact.py --quick             a glance, some seconds
    python benchmarks/compact.py --entries 3000000 --disk /var/tmp

Two heaps: one as it was filled, and one of which entries were replaced at random and half deleted. Rounds are
interleaved; figures are medians, of time on the clock and of time of the processor, which the load of the
machine changes less. Needs an installed mheap.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import targets
from report import Verdict, file_system, judge, machine, print_facts, print_table, ratio, spread

import mheap

MB = 1_000_000
STEPS = ("copy", "check", "dry run", "compact")


@dataclass
class Row:
    heap: str
    step: str
    mb: float  # of the file
    seconds: float
    processor: float
    ratio_to_copy: float
    verdict: Verdict | None


def entry(i: int) -> Any:
    if i % 2:
        return {"name": f"the name of {i}", "tags": ["red", "a longer tag", i], "number": i * 0.1}
    return [i, f"a text of {i}", i / 7, [1, 2, 3]]


def fill(path: Path, entries: int) -> None:
    with mheap.open(path, mode="live") as heap:
        heap.root["users"] = {}
        users = heap.root["users"]
        for start in range(0, entries, 10_000):
            stop = min(start + 10_000, entries)
            users.update({f"user number {i}": entry(i) for i in range(start, stop)})


def age(path: Path, entries: int) -> None:
    """Replaces and deletes, so that what is read one after the other lies here and there."""
    draw = random.Random(1)
    with mheap.open(path, mode="live") as heap:
        users = heap.root["users"]
        for _ in range(entries):
            users[f"user number {draw.randrange(entries)}"] = entry(draw.randrange(entries))
        for i in draw.sample(range(entries), entries // 2):
            del users[f"user number {i}"]


def walk(path: Path) -> float:
    """Seconds of the processor to come by everything once."""
    with mheap.open(path, mode="readonly") as heap:
        used = processor()
        for user in heap.root["users"].values():
            for _ in user:
                pass
        return processor() - used


def copy(path: Path, to: Path) -> None:
    shutil.copyfile(path, to)
    with to.open("rb+") as file:
        os.fdatasync(file.fileno())


def check(path: Path) -> None:
    with mheap.open(path, mode="readonly") as heap:
        if not heap.check():
            raise SystemExit(f"{path} is not sound")


def processor() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def timed(work: Callable[[], object]) -> tuple[float, float]:
    used, start = processor(), perf_counter()
    work()
    return perf_counter() - start, processor() - used


def measure(name: str, original: Path, options: argparse.Namespace) -> list[Row]:
    path = original.with_name("round.heap")
    to = original.with_name("copy.heap")
    works: dict[str, Callable[[], object]] = {
        "copy": lambda: copy(path, to),
        "check": lambda: check(path),
        "dry run": lambda: mheap.compact(path, dry_run=True),
        "compact": lambda: mheap.compact(path),
    }
    times: dict[str, list[tuple[float, float]]] = {step: [] for step in STEPS}
    for _ in range(options.rounds):
        copy(original, path)
        for step in STEPS:
            times[step].append(timed(works[step]))
        to.unlink()
    mb = original.stat().st_size / MB
    rows = []
    for step in STEPS:
        seconds = [clock for clock, _ in times[step]]
        against = ratio(seconds, [clock for clock, _ in times["copy"]])
        used = spread([used for _, used in times[step]])
        rate = spread([mb / used for _, used in times[step]])
        verdict = judge(targets.COMPACT[step], rate) if step in targets.COMPACT else None
        rows.append(Row(name, step, mb, spread(seconds).median, used.median, against.median, verdict))
    return rows


@dataclass
class Walk:
    heap: str
    mb_before: float
    mb_after: float
    before: float
    after: float


def measure_walk(name: str, original: Path, options: argparse.Namespace) -> Walk:
    path = original.with_name("walk.heap")
    copy(original, path)
    mheap.compact(path)
    before, after = [], []
    for _ in range(options.rounds):
        before.append(walk(original))
        after.append(walk(path))
    sizes = original.stat().st_size / MB, path.stat().st_size / MB
    return Walk(name, *sizes, spread(before).median, spread(after).median)


def measure_all(options: argparse.Namespace) -> tuple[list[Row], list[Walk]]:
    rows, walks = [], []
    with tempfile.TemporaryDirectory(dir=options.disk) as directory:
        path = Path(directory) / "original.heap"
        fill(path, options.entries)
        for name in ("as filled", "aged"):
            if name == "aged":
                age(path, options.entries)
            rows += measure(name, path, options)
            walks.append(measure_walk(name, path, options))
    return rows, walks


def show(rows: list[Row], walks: list[Walk], options: argparse.Namespace) -> None:
    print_facts({**machine(), "directory": f"{options.disk}, {file_system(options.disk)}"})
    cells = [
        [
            row.heap,
            row.step,
            f"{row.mb:.0f}",
            f"{row.seconds * 1000:.0f}",
            f"{row.mb / row.seconds:.0f}",
            f"{row.processor * 1000:.0f}",
            f"{row.mb / row.processor:.0f}",
            f"{row.ratio_to_copy:.1f}",
            str(row.verdict or ""),
        ]
        for row in rows
    ]
    heads = ["heap", "step", "MB", "ms", "MB/s", "ms of the processor", "MB/s of it", "ratio to copy", "aim"]
    print_table(f"{options.entries} entries, {options.rounds} rounds", heads, cells)
    cells = [
        [
            walk.heap,
            f"{walk.mb_before:.0f} -> {walk.mb_after:.0f}",
            f"{walk.before * 1000:.0f}",
            f"{walk.after * 1000:.0f}",
            f"{walk.after / walk.before:.2f}",
        ]
        for walk in walks
    ]
    print_table(
        "all of it read once", ["heap", "MB", "ms of the processor before", "ms after", "ratio"], cells
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="only show that it works")
    parser.add_argument("--entries", type=int, help="entries of the dict (1000000)")
    parser.add_argument("--rounds", type=int, help="rounds (5)")
    parser.add_argument("--disk", default=tempfile.gettempdir(), help="a directory on disk")
    parser.add_argument("--json", action="store_true", help="print one document for a program to read")
    options = parser.parse_args()
    options.entries = options.entries or (20_000 if options.quick else 1_000_000)
    options.rounds = options.rounds or (2 if options.quick else 5)
    return options


def main() -> None:
    options = arguments()
    rows, walks = measure_all(options)
    if options.json:
        document = {"machine": machine(), "rows": list(map(asdict, rows)), "walks": list(map(asdict, walks))}
        print(json.dumps(document))
    else:
        show(rows, walks, options)


if __name__ == "__main__":
    main()
