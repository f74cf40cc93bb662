#!/usr/bin/env python3
"""What huge pages gain: random access to an anonymous heap on small, transparent and 2 MiB pages.

    python benchmarks/huge_pages.py             2 GiB a heap; half a minute, 6 GiB of memory
    python benchmarks/huge_pages.py --quick     a glance at 32 MiB, which says nothing

Needs an installed mheap and a C compiler. Fill the kernel's pool of 2 MiB pages before
(vm.nr_hugepages=1040); what the pool lacks is said, and measured as what it then is.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Literal

import targets
from peers import compiler
from report import Verdict, judge, machine, print_facts, print_table, ratio, spread

import mheap

HERE = Path(__file__).resolve().parent
MIB = 1 << 20
LINE = 64
KINDS: tuple[Literal["never", "transparent", "2M"], ...] = ("never", "transparent", "2M")
NAMES = {"never": "small", "transparent": "transparent", "2M": "2 MiB, of the pool"}
PATTERNS = {"follow": "read, each after the last", "change": "change, many at a time"}


@dataclass
class Row:
    access: str
    pages: str
    present: float  # part of the block that has memory of its own, before it is read
    huge: float  # part of it that the kernel says is on huge pages
    ns: float
    ns_low: float
    ns_high: float
    ratio_to_small: float
    verdict: Verdict | None
    fallback: str


@dataclass
class Place:
    """A block in a heap of its own."""

    heap: mheap.Heap
    address: int
    size: int
    present: float
    huge: float
    fallback: str


def resident() -> int:
    """Bytes of this process in memory, without pages of the pool and the system's page of zeros."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def make(kind: Literal["never", "transparent", "2M"], size: int) -> Place:
    heap = mheap.attach(-1, huge_pages=kind, max_size=size + (64 << 20))
    before = resident()
    address = heap.malloc(size)
    ctypes.memset(address, 0, size)  # what is only read is the system's one page of zeros
    pages = heap.stats().pages
    huge = pages.bytes_1g + pages.bytes_2m + pages.bytes_transparent
    present = resident() - before + pages.bytes_1g + pages.bytes_2m
    return Place(heap, address, size, min(1.0, present / size), min(1.0, huge / size), pages.fallback)


def library(build: Path) -> ctypes.CDLL:
    target = build / "access.so"
    source = HERE / "huge_pages" / "access.c"
    subprocess.run([compiler(), "-O2", "-shared", "-fPIC", str(source), "-o", str(target)], check=True)
    return ctypes.CDLL(str(target))


def caller(lib: ctypes.CDLL, name: str) -> Callable[[Place, int], float]:
    """Nanoseconds an access."""
    function = getattr(lib, name)
    function.argtypes = [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64]
    function.restype = ctypes.c_uint64

    def timed(place: Place, steps: int) -> float:
        start = perf_counter()
        function(place.address, place.size // LINE, steps, 1)
        return (perf_counter() - start) / steps * 1e9

    return timed


def rows_of(
    access: str, timed: Callable[[Place, int], float], places: dict[str, Place], options: argparse.Namespace
) -> list[Row]:
    """All kinds take turns in every round."""
    times: dict[str, list[float]] = {kind: [] for kind in places}
    for _ in range(options.rounds + 1):
        for kind, place in places.items():
            times[kind].append(timed(place, options.steps))
    rows = []
    for kind, place in places.items():
        measured = spread(times[kind][1:])
        against = ratio(times[kind][1:], times["never"][1:])
        verdict = judge(targets.HUGE_PAGES, against) if kind != "never" else None
        figures = (place.present, place.huge, measured.median, measured.low, measured.high, against.median)
        rows.append(Row(access, NAMES[kind], *figures, verdict, place.fallback))
    return rows


def measure(options: argparse.Namespace) -> list[Row]:
    with tempfile.TemporaryDirectory() as build:
        lib = library(Path(build))
        places: dict[str, Place] = {kind: make(kind, options.mib * MIB) for kind in KINDS}
        rows = []
        for name, access in PATTERNS.items():
            rows += rows_of(access, caller(lib, name), places, options)
        for place in places.values():
            place.heap.detach()
    return rows


def show(rows: list[Row], options: argparse.Namespace) -> None:
    print_facts(machine())
    cells = [
        [
            row.access,
            row.pages,
            f"{row.huge:.0%}",
            f"{row.ns:.1f}",
            f"{(row.ns_high - row.ns_low) / 2 / row.ns:.0%}",
            f"{row.ratio_to_small:.2f}",
            str(row.verdict or ""),
        ]
        for row in rows
    ]
    heads = ["random access", "pages", "on huge pages", "ns", "+-", "ratio to small", "aim"]
    print_table(f"{options.mib} MiB, {options.rounds} rounds", heads, cells)
    for text in dict.fromkeys(row.fallback for row in rows if row.fallback):
        print(text)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="only show that it works")
    parser.add_argument("--mib", type=int, help="MiB of each heap's block (2048)")
    parser.add_argument("--rounds", type=int, help="rounds (9)")
    parser.add_argument("--json", action="store_true", help="print one document for a program to read")
    options = parser.parse_args()
    options.mib = options.mib or (32 if options.quick else 2048)
    options.rounds = options.rounds or (3 if options.quick else 9)
    options.steps = 20_000 if options.quick else 3_000_000
    return options


def main() -> None:
    options = arguments()
    rows = measure(options)
    if options.json:
        json.dump({"machine": machine(), "rows": [asdict(row) for row in rows]}, sys.stdout, indent=2)
        return
    show(rows, options)


if __name__ == "__main__":
    main()
