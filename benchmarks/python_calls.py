#!/usr/bin/env python3
"""What mheap costs from Python: a call, a key of the root, an attach, the import.

    python benchmarks/python_calls.py             some seconds
    python benchmarks/python_calls.py --quick     a glance, with a smaller big heap

Needs an installed mheap. The empty call is a C method that does nothing, compiled here; without
a C compiler or Python's headers `{}.get(64)` stands in, which does a little more than nothing.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import sysconfig
import tempfile
import timeit
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Literal

import targets
from peers import compiler
from report import (
    Limit,
    Verdict,
    file_system,
    judge,
    machine,
    print_facts,
    print_table,
    ratio,
    spread,
)

import mheap

HERE = Path(__file__).resolve().parent
GIB = 2**30
KEYS = 1000
Mode = Literal["live", "readonly"]
UNROLLED = 10  # statements a loop, so that the loop itself does not count


@dataclass
class Row:
    what: str
    unit: str
    value: float
    low: float
    high: float
    ratio: float | None = None
    verdict: Verdict | None = None


def row(what: str, unit: str, values: list[float], limit: Limit | None = None) -> Row:
    measured = spread(values)
    verdict = judge(limit, measured) if limit else None
    return Row(what, unit, measured.median, measured.low, measured.high, None, verdict)


def compared(what: str, unit: str, values: list[float], reference: list[float], limit: Limit) -> Row:
    result, against = row(what, unit, values), ratio(values, reference)
    result.ratio, result.verdict = against.median, judge(limit, against)
    return result


def empty_call(build: Path) -> tuple[str, dict[str, object]]:
    """A statement that calls into C and does nothing, twice, and what it needs."""
    target = build / "empty.so"
    include = sysconfig.get_paths()["include"]
    source = HERE / "python_calls" / "empty.c"
    command = [compiler(), "-O2", "-shared", "-fPIC", f"-I{include}", str(source), "-o", str(target)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return "empty.get(empty.get(64))", {"empty": {}}
    spec = importlib.util.spec_from_file_location("empty", target)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return "empty.call(empty.call(64))", {"empty": module.Empty()}


def nanoseconds(
    statements: list[str], names: dict[str, object], rounds: int, loops: int
) -> list[list[float]]:
    """Of each statement, a value a round, the statements taking turns."""
    timers = [timeit.Timer(statement, globals=names) for statement in statements]
    results: list[list[float]] = [[] for _ in timers]
    for _ in range(rounds + 1):
        for result, timer in zip(results, timers, strict=True):
            result.append(timer.timeit(loops) / loops / UNROLLED * 1e9)
    return [result[1:] for result in results]


def call_rows(heap: mheap.Heap, build: Path, rounds: int, loops: int) -> list[Row]:
    statement, names = empty_call(build)
    statements = ["; ".join([one] * UNROLLED) for one in (statement, "heap.free(heap.malloc(64))")]
    empty, pair = nanoseconds(statements, names | {"heap": heap}, rounds, loops)
    return [
        row(f"{statement}", "ns", empty),
        compared("heap.free(heap.malloc(64))", "ns", pair, empty, targets.PYTHON_PAIR),
    ]


def root_rows(heap: mheap.Heap, rounds: int, loops: int) -> list[Row]:
    plain = {f"key{i}": i for i in range(KEYS)}
    root = heap.root
    for key, value in plain.items():
        root[key] = value
    some = range(0, KEYS, KEYS // UNROLLED)
    statements = ["; ".join(f'{name}["key{i}"]' for i in some) for name in ("plain", "root")]
    slow, fast = nanoseconds(statements, {"plain": plain, "root": root}, rounds, loops)
    return [
        row("plain[key], str to int", "ns", slow),
        compared("heap.root[key], str to int", "ns", fast, slow, targets.PYTHON_ROOT),
    ]


def make_small(path: Path) -> None:
    """Some 1 MiB in use."""
    with mheap.open(path, mode="live") as heap:
        for _ in range(12):
            heap.malloc(64 * 1024)


def make_big(path: Path, size: int) -> None:
    """A heap of at least `size` bytes, nearly all of it hole: alignment spreads blocks over it."""
    step = 1 << ((size // 128).bit_length() - 1)
    with mheap.open(path, mode="live", max_size=2 * size) as heap:
        for _ in range(size // step + 1):
            heap.memalign(step, 64 * 1024)
            heap.malloc(1024)
        total = heap.stats().bytes_total
    if total < size:
        raise SystemExit(f"the big heap came out as {total} bytes of {size}")


def attach_times(paths: list[Path], mode: Mode, change: bool, rounds: int) -> list[list[float]]:
    """Microseconds of mheap.open, and of a first change if wanted, the files taking turns."""
    results: list[list[float]] = [[] for _ in paths]
    for _ in range(rounds + 1):
        for result, path in zip(results, paths, strict=True):
            start = perf_counter()
            heap = mheap.open(path, mode=mode)
            if change:
                heap.free(heap.malloc(64))
            result.append((perf_counter() - start) * 1e6)
            heap.detach()
    return [result[1:] for result in results]


def attach_rows(directory: Path, size: int, rounds: int) -> list[Row]:
    paths = [directory / "small.heap", directory / "big.heap"]
    make_small(paths[0])
    make_big(paths[1], size)
    names = ["1 MiB", f"{size / GIB:.0f} GiB"]
    rows = []
    modes: tuple[Mode, ...] = ("live", "readonly")
    for mode in modes:
        small, big = attach_times(paths, mode, False, rounds)
        rows.append(row(f"open {names[0]}, {mode}", "us", small, targets.ATTACH_US))
        rows.append(row(f"open {names[1]}, {mode}", "us", big, targets.ATTACH_US))
        rows.append(compared(f"{names[1]} over {names[0]}, {mode}", "us", big, small, targets.ATTACH_RATIO))
    # The first change marks the file as open, durably: on a disk that is a sync.
    small, big = attach_times(paths, "live", True, rounds)
    rows.append(row(f"open {names[0]} and change it", "us", small))
    rows.append(row(f"open {names[1]} and change it", "us", big))
    return rows


def import_rows(rounds: int) -> list[Row]:
    program = "from time import perf_counter as t; a = t(); import mheap; print((t() - a) * 1e3)"
    command = [sys.executable, "-c", program]
    # From elsewhere than the source tree, which has a directory of that name.
    times = [
        float(subprocess.run(command, check=True, capture_output=True, cwd="/").stdout)
        for _ in range(rounds + 1)
    ]
    return [row("import mheap, over bare Python", "ms", times[1:], targets.IMPORT_MS)]


def measure(options: argparse.Namespace, directory: Path) -> list[Row]:
    rounds, loops = (3, 200) if options.quick else (15, 20_000)
    rows: list[Row] = []
    with mheap.open(directory / "calls.heap", mode="live") as heap:
        rows += call_rows(heap, directory, rounds, loops)
        rows += root_rows(heap, rounds, loops)
    rows += attach_rows(directory, options.big * GIB, 5 if options.quick else 200)
    return rows + import_rows(3 if options.quick else 15)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few repetitions: figures mean little")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    parser.add_argument("--directory", default="/var/tmp", help="where the heaps are made (/var/tmp)")
    parser.add_argument("--big", type=int, help="GiB of the big heap (100; with --quick 4)")
    options = parser.parse_args()
    options.big = options.big or (4 if options.quick else 100)
    return options


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="mheap-bench-", dir=options.directory) as directory:
        rows = measure(options, Path(directory))
    about = machine() | {
        "mheap": mheap.__version__,
        "heaps in": f"{options.directory} ({file_system(options.directory)})",
    }
    if options.json:
        json.dump({"machine": about, "rows": [asdict(one) for one in rows]}, sys.stdout, indent=1)
        print()
        return
    print_facts(about)
    cells = [
        [
            one.what,
            f"{one.value:.1f} {one.unit}",
            f"{one.low:.1f} to {one.high:.1f}",
            "" if one.ratio is None else f"{one.ratio:.2f}",
            str(one.verdict or ""),
        ]
        for one in rows
    ]
    print_table("from Python", ["what", "median", "quartiles", "ratio", "aim"], cells)


if __name__ == "__main__":
    main()
