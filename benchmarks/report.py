"""What the benchmarks share: statistics of interleaved rounds, verdicts, tables, the machine.

Standard library only, rich for the tables where it is installed, so that the programs run
before mheap is.
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Spread:
    """A median with the quartiles around it."""

    low: float
    median: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    if len(values) < 2:
        return Spread(values[0], values[0], values[0])
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(low, median, high)


def ratio(values: Sequence[float], reference: Sequence[float]) -> Spread:
    """Ratios of one round to the same round of the reference: what slowed both cancels out."""
    return spread([a / b for a, b in zip(values, reference, strict=True)])


@dataclass(frozen=True)
class Limit:
    """An aim: a number that should be at most, or at least, so much."""

    bound: float
    of: str
    at_least: bool = False

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.bound:g}{self.of}"

    def verdict(self, measured: Spread) -> str:
        """ok, missed, or close: on the wrong side, with the aim between the quartiles."""
        reached = measured.median >= self.bound if self.at_least else measured.median <= self.bound
        if reached:
            return "ok"
        near = measured.high >= self.bound if self.at_least else measured.low <= self.bound
        return "close" if near else "missed"


@dataclass(frozen=True)
class Verdict:
    aim: str
    measured: float
    verdict: str

    def __str__(self) -> str:
        return f"{self.aim}: {self.measured:.3g} {self.verdict}"


def judge(limit: Limit, measured: Spread) -> Verdict:
    return Verdict(str(limit), measured.median, limit.verdict(measured))


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    virtual = any(line.startswith("flags") and " hypervisor" in line for line in lines)
    return (names[0] if names else platform.machine()) + (", virtual machine" if virtual else "")


def file_system(directory: str) -> str:
    """The type of the file system that holds a directory, as the kernel lists it."""
    place = os.path.realpath(directory)
    best = ("", "unknown")
    for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
        _, mount, kind = line.split()[:3]
        inside = place == mount or place.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best[0]):
            best = (mount, kind)
    return best[1]


def machine() -> dict[str, str]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": f"{_cpu()}, {len(os.sched_getaffinity(0))} to use",
        "memory": f"{memory:.0f} GiB",
        "system": f"Linux {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
    }


def print_facts(facts: dict[str, str]) -> None:
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name:{width}}  {value}")


def _plain(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = [[cell.split("\n") for cell in row] for row in [columns, *rows]]
    widths = [max(len(line) for row in table for line in row[i]) for i in range(len(columns))]
    print(f"\n{title}")
    for row in table:
        for i in range(max(map(len, row))):
            lines = (cell[i] if i < len(cell) else "" for cell in row)
            print("  ".join(f"{line:{width}}" for line, width in zip(lines, widths, strict=True)).rstrip())


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table; cells may hold several lines. Numbers need no alignment of their own."""
    try:
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        _plain(title, columns, rows)
        return
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for column in columns:
        number = column.startswith(("ns", "x ", "us", "+-", "ms", "ratio"))
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell, style="red" if " missed" in cell else "") for cell in row))
    wide = max(Console(file=sys.stdout).width, 140)
    Console(file=sys.stdout, width=wide).print(table)
