#!/usr/bin/env python3
"""How fast mheap allocates beside its peers, as ratios measured in one run.

    python benchmarks/alloc.py                    everything, some minutes
    python benchmarks/alloc.py --quick            a glance, some seconds
    python benchmarks/alloc.py --patterns slots --threads 1 --rounds 9

Peers from Debian packages: libmimalloc-dev libjemalloc-dev libboost-dev libpmemobj-dev.
What is not installed is named and left out. Each round runs every allocator once, in turn;
figures are medians over rounds, ratios medians of each round's ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

import targets
from peers import PEERS, Missing, Peer, build_all, compiler
from report import Spread, Verdict, file_system, judge, machine, print_facts, print_table, ratio, spread

PATTERNS: dict[str, tuple[int, str]] = {  # name: (operations, title)
    "pairs": (20_000_000, "64 bytes, freed at once (ns a pair)"),
    "slots": (10_000_000, "10,000 live blocks of 16 to 1024 bytes, random ones replaced (ns a replacement)"),
    "bulk": (10_000_000, "{count:,} blocks of 64 bytes, then all freed (ns a block)"),
    "bulk-untouched": (10_000_000, "the same, but nothing is ever stored in the blocks (ns a block)"),
    "handoff": (3_000_000, "one thread allocates 16 to 1024 bytes, another frees (ns a block)"),
}
QUICK = 200  # times fewer operations


@dataclass(frozen=True)
class Case:
    pattern: str
    threads: int


@dataclass
class Series:
    """One allocator in one place with one case: a value a round."""

    case: Case
    peer: Peer
    place: str
    count: int
    values: dict[str, list[float]] = field(default_factory=dict)
    version: str = ""

    def add(self, run: dict[str, float | str]) -> None:
        self.version = str(run.pop("version"))
        requested = float(run.pop("requested"))
        for name in ("file_size", "file_disk"):
            held = float(run.pop(name))
            if held and requested:
                self.values.setdefault(name, []).append(held / requested)
        for name, value in run.items():
            self.values.setdefault(name, []).append(float(value))

    def median(self, name: str) -> float | None:
        return spread(self.values[name]).median if name in self.values else None


@dataclass
class Row:
    """What is printed of a series."""

    pattern: str
    threads: int
    allocator: str
    place: str
    version: str
    operations: int
    ns: float
    ns_low: float
    ns_high: float
    alloc_ns: float | None
    free_ns: float | None
    ratio_to_glibc: float | None
    file_size_a_byte: float | None
    file_disk_a_byte: float | None
    verdicts: list[Verdict]


class Runs:
    """All series of a run, by case, allocator and place."""

    def __init__(self) -> None:
        self.series: dict[tuple[Case, str, str], Series] = {}

    def peer(self, case: Case, name: str, place: str) -> Series | None:
        """The series to compare with: of the same place if the peer keeps files, else in memory."""
        return self.series.get((case, name, place)) or self.series.get((case, name, "memory"))

    def ratio(self, one: Series, name: str, metric: str = "ns") -> Spread | None:
        other = self.peer(one.case, name, one.place)
        return ratio(one.values[metric], other.values[metric]) if other else None

    def scaling(self, one: Series) -> list[float] | None:
        single = self.series.get((Case(one.case.pattern, 1), one.peer.name, one.place))
        if one.case.threads == 1 or single is None:
            return None
        return [2 * a / b for a, b in zip(single.values["ns"], one.values["ns"], strict=True)]


def time_verdicts(runs: Runs, one: Series) -> list[Verdict]:
    verdicts = []
    for (pattern, name), limit in targets.SLOWER.items():
        measured = runs.ratio(one, name) if pattern == one.case.pattern else None
        if measured:
            verdicts.append(judge(limit, measured))
    for (pattern, name), limit in targets.FASTER.items():
        other = runs.series.get((one.case, name, one.place)) if pattern == one.case.pattern else None
        if other:
            verdicts.append(judge(limit, ratio(other.values["ns"], one.values["ns"])))
    return verdicts


def scaling_verdicts(runs: Runs, one: Series) -> list[Verdict]:
    glibc = runs.peer(one.case, "glibc", one.place)
    mine, theirs = runs.scaling(one), runs.scaling(glibc) if glibc else None
    if mine is None or theirs is None or one.case.pattern not in targets.SCALING_PATTERNS:
        return []
    return [judge(targets.SCALING, ratio(mine, theirs))]


def footprint_verdicts(one: Series) -> list[Verdict]:
    limit = targets.FOOTPRINT.get(one.case.pattern)
    if limit is None or "file_disk" not in one.values:
        return []
    return [judge(limit, spread(one.values["file_disk"]))]


def verdicts(runs: Runs, one: Series) -> list[Verdict]:
    if one.peer.name != "mheap":
        return []
    return time_verdicts(runs, one) + scaling_verdicts(runs, one) + footprint_verdicts(one)


def row(runs: Runs, one: Series) -> Row:
    ns = spread(one.values["ns"])
    against = runs.ratio(one, "glibc")
    return Row(
        pattern=one.case.pattern,
        threads=one.case.threads,
        allocator=one.peer.name,
        place=one.place,
        version=one.version,
        operations=one.count,
        ns=ns.median,
        ns_low=ns.low,
        ns_high=ns.high,
        alloc_ns=one.median("alloc_ns"),
        free_ns=one.median("free_ns"),
        ratio_to_glibc=against.median if against else None,
        file_size_a_byte=one.median("file_size"),
        file_disk_a_byte=one.median("file_disk"),
        verdicts=verdicts(runs, one),
    )


def run_once(program: Path, one: Series, directories: dict[str, str]) -> dict[str, float | str]:
    command = [str(program), one.case.pattern, str(one.case.threads), str(one.count)]
    name = None
    if one.place != "memory":
        name = Path(tempfile.mkdtemp(prefix="mheap-bench-", dir=directories[one.place])) / "file"
        command.append(str(name))
    try:
        environment = os.environ | {"PMEM_IS_PMEM_FORCE": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    finally:
        if name is not None:
            name.unlink(missing_ok=True)
            name.parent.rmdir()
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: exit {done.returncode}: {done.stderr.strip()}")
    result: dict[str, float | str] = json.loads(done.stdout)
    return result


def plan(options: argparse.Namespace, programs: dict[str, Path]) -> list[Series]:
    series = []
    for pattern in options.patterns:
        for threads in (2,) if pattern == "handoff" else options.threads:
            for peer in PEERS:
                share = peer.share / (QUICK if options.quick else 1) * options.scale
                count = max(int(PATTERNS[pattern][0] * share), 1000)
                for place in peer.places if peer.name in programs else ():
                    if place in options.places:
                        series.append(Series(Case(pattern, threads), peer, place, count))
    return series


def measure(options: argparse.Namespace, programs: dict[str, Path]) -> Runs:
    """A B C A B C …, one pattern after the other; the first round only warms the machine up."""
    runs, directories = Runs(), {"tmpfs": options.tmpfs, "disk": options.disk}
    series = plan(options, programs)
    for case in dict.fromkeys(one.case for one in series):
        mine = [one for one in series if one.case == case]
        for number in range(options.rounds + (not options.quick)):
            for one in mine:
                if sys.stderr.isatty():
                    what = f"{case.pattern}, {case.threads} threads, round {number}: {one.peer.name}"
                    print(f"\r\x1b[K{what} on {one.place}", end="", file=sys.stderr, flush=True)
                result = run_once(programs[one.peer.name], one, directories)
                if options.quick or number:
                    one.add(result)
        for one in mine:
            runs.series[case, one.peer.name, one.place] = one
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    return runs


def _number(value: float | None, form: str = ".2f") -> str:
    return "" if value is None else format(value, form)


def print_case(case: Case, rows: list[Row]) -> None:
    bulk = case.pattern.startswith("bulk")
    most = max(row.operations for row in rows)
    title = PATTERNS[case.pattern][1].format(count=most)
    threads = "1 thread" if case.threads == 1 else f"{case.threads} threads"
    halves = ["ns alloc", "ns free"] if bulk else []
    columns = ["allocator", "where", "ns", "+-", *halves, "x glibc", "aims"]
    cells = []
    for row in rows:
        wide = 100 * (row.ns_high - row.ns_low) / 2 / row.ns if row.ns else 0.0
        parts = [_number(row.alloc_ns), _number(row.free_ns)] if bulk else []
        aims = "\n".join(map(str, row.verdicts))
        fewer = f" ({row.operations:,})" if row.operations < most else ""
        times = [_number(row.ns), f"{wide:.0f}%", *parts, _number(row.ratio_to_glibc)]
        cells.append([row.allocator + fewer, row.place, *times, aims])
    print_table(f"{case.pattern}, {threads}: {title}", columns, cells)


def print_sizes(rows: list[Row]) -> None:
    cells = [
        [
            row.pattern,
            row.place,
            *(_number(size, ".3f") for size in (row.file_size_a_byte, row.file_disk_a_byte)),
        ]
        for row in rows
    ]
    if cells:
        columns = ["pattern", "where", "length", "on disk"]
        print_table("mheap: bytes of its file for each byte asked for and live", columns, cells)


def print_all(rows: list[Row], facts: dict[str, str], missing: list[Missing]) -> None:
    print_facts(facts)
    for case in dict.fromkeys(Case(row.pattern, row.threads) for row in rows):
        print_case(case, [row for row in rows if Case(row.pattern, row.threads) == case])
    print_sizes([row for row in rows if row.file_size_a_byte is not None])
    for peer in missing:
        print(f"left out: {peer.name}: {peer.remedy}\n  {peer.why}")


def facts(options: argparse.Namespace, rows: list[Row]) -> dict[str, str]:
    said = subprocess.run([compiler(), "--version"], capture_output=True, text=True, check=False)
    versions = dict.fromkeys(row.version for row in rows if row.allocator != "no allocator")
    return machine() | {
        "compiler": (said.stdout.splitlines() or ["unknown"])[0],
        "peers": ", ".join(versions),
        "tmpfs": f"{options.tmpfs} ({file_system(options.tmpfs)})",
        "disk": f"{options.disk} ({file_system(options.disk)})",
        "rounds": "1, quick: figures mean little" if options.quick else f"{options.rounds}, interleaved",
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names, places = [peer.name for peer in PEERS], ["tmpfs", "disk", "memory"]
    parser.add_argument("--patterns", nargs="+", choices=PATTERNS, default=list(PATTERNS))
    parser.add_argument("--threads", nargs="+", type=int, choices=(1, 2), default=[1, 2])
    parser.add_argument("--allocators", nargs="+", choices=names, default=names)
    parser.add_argument("--places", nargs="+", choices=places, default=places)
    parser.add_argument("--rounds", type=int, default=5, help="repetitions of everything (5)")
    parser.add_argument("--scale", type=float, default=1.0, help="times the usual number of operations")
    parser.add_argument("--quick", action="store_true", help=f"1 round, {QUICK} times fewer operations")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of tables")
    parser.add_argument("--tmpfs", default="/dev/shm", help="directory on tmpfs (/dev/shm)")
    parser.add_argument("--disk", default="/var/tmp", help="directory on a disk (/var/tmp)")
    parser.add_argument("--build", type=Path, help="keep what is built in this directory")
    parser.add_argument("--prefix", type=Path, help="use the libmheap in this directory's include/ and lib/")
    options = parser.parse_args()
    if options.quick:
        options.rounds = 1
    return options


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="mheap-bench-") as temporary:
        build = options.build.absolute() if options.build else Path(temporary)
        programs, missing = build_all(build, options.prefix, options.allocators)
        if not programs:
            raise SystemExit("\n".join(f"{peer.name}: {peer.why}" for peer in missing))
        runs = measure(options, programs)
    rows = [row(runs, one) for one in runs.series.values()]
    about = facts(options, rows)
    if options.json:
        document = {
            "machine": about,
            "rows": [asdict(one) for one in rows],
            "missing": [asdict(peer) for peer in missing],
        }
        json.dump(document, sys.stdout, indent=1)
        print()
    else:
        print_all(rows, about, missing)


if __name__ == "__main__":
    main()
