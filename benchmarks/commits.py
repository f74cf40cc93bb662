#!/usr/bin/env python3
"""What commits cost: small ones beside SQLite, LMDB and ZODB, bulk beside write, readers, large heaps.

    python benchmarks/commits.py                     everything, some minutes
    python benchmarks/commits.py --quick             a glance, some seconds
    python benchmarks/commits.py --parts small bulk --disk /var/tmp
    python benchmarks/commits.py --markdown          tables for a page

Peers from PyPI: pip install lmdb ZODB; dbm.gnu is Debian's python3-gdbm. What is not installed is named
and left out. Rounds are interleaved; figures are medians over rounds, ratios medians of each round's ratio.
Syncs are counted by strace in short runs of their own. Needs an installed mheap and a C compiler.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from timeit import Timer

import targets
from commit_peers import STORES, Bare, Store, change_often, missing
from peers import FLAGS, HERE, Missing, compiler, mheap_flags
from report import file_system, machine
from rows import Row, against, aim, available, publish, row

import mheap

MIB, GIB = 2**20, 2**30
PARTS = {
    "small": "one small change a commit",
    "bulk": "much at once",
    "large": "a small commit, that does not wait for the disk, in a large heap",
    "readers": "readers beside a writer",
    "heap": "the heap layer between commits, and in mode live",
    "syncs": "fdatasync and fsync a commit, counted",
}
FROM_C = "mheap, 8 bytes, from C"
BARE = next(name for name, store in STORES.items() if store is Bare)


@dataclass
class Run:
    """What every part needs."""

    options: argparse.Namespace
    directory: Path  # on disk
    tmpfs: Path
    programs: dict[str, Path]
    missing: list[Missing] = field(default_factory=list)

    @property
    def rounds(self) -> int:
        rounds: int = self.options.rounds
        return rounds

    def count(self, many: int) -> int:
        return max(many // 100, 3) if self.options.quick else many

    def c(self, case: str, place: Path, *numbers: int) -> dict[str, float]:
        """One case of the C program, in a file of its own."""
        path = place / "c.heap"
        path.unlink(missing_ok=True)
        command = [str(self.programs["commits"]), case, str(path), *map(str, numbers)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        path.unlink(missing_ok=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}: exit {done.returncode}: {done.stderr.strip()}")
        result: dict[str, float] = json.loads(done.stdout)
        return result


def build(directory: Path) -> dict[str, Path]:
    """The C programs: of this benchmark, and those of alloc.py in both modes."""
    flags = mheap_flags(directory, None)
    if isinstance(flags, str):
        raise SystemExit(flags)
    adapter = '-DADAPTER="adapter_mheap.h"'
    sources: dict[str, tuple[str, list[str]]] = {
        "commits": ("commits/main.c", []),
        "live": ("alloc/main.c", [adapter]),
        "atomic": ("alloc/main.c", [adapter, "-DBENCH_ATOMIC"]),
    }
    programs = {}
    for name, (source, defines) in sources.items():
        programs[name] = directory / name
        command = [compiler(), "-std=c17", *FLAGS, *defines, str(HERE / source), "-o", str(programs[name])]
        done = subprocess.run([*command, *flags], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
    return programs


# ---- small commits ----


class Series:
    """One store in one place: commits a second, a value a round."""

    def __init__(self, run: Run, name: str, place: Path, durable: bool) -> None:
        self.run, self.name, self.durable = run, name, durable
        self.rates: list[float] = []
        self.next = 1
        self.directory = Path(tempfile.mkdtemp(dir=place))
        self.store: Store | None = None
        if name != FROM_C:
            self.store = STORES[name](self.directory, durable)
            self.commit(10)

    def commit(self, count: int) -> float:
        """Seconds a commit."""
        if self.store is None:
            return self.run.c("rate", self.directory, count, int(self.durable))["seconds"]
        begin = perf_counter()
        change_often(self.store, self.next, count)
        self.next += count
        return (perf_counter() - begin) / count

    def close(self) -> None:
        if self.store is not None:
            self.store.close()


def rates(run: Run, place: Path, durable: bool, count: int) -> dict[str, list[float]]:
    """Commits a second of every store, the stores taking turns."""
    names = [FROM_C, *STORES]
    there = [name for name in names if name == FROM_C or not missing(STORES[name])]
    wanted = [name for name in there if durable or name == FROM_C or STORES[name].can_skip_sync]
    series = [Series(run, name, place, durable) for name in wanted]
    for _ in range(run.rounds):
        for one in series:
            one.rates.append(1 / one.commit(count))
    for one in series:
        one.close()
    return {one.name: one.rates for one in series}


def rivals(name: str, among: dict[str, list[float]]) -> list[str]:
    return [peer for peer in (*targets.COMMIT_DURABLE, BARE) if peer in among and peer != name]


def small(run: Run) -> list[Row]:
    rows = []
    durable = rates(run, run.directory, True, run.count(300))
    for name, values in durable.items():
        one = row("small", name, "disk, durable", "/s", values)
        for peer in rivals(name, durable):
            limit = targets.COMMIT_DURABLE.get(peer) if name.startswith("mheap") else None
            against(one, peer, values, durable[peer], limit)
        rows.append(one)
    for place, where in ((run.directory, "disk, not durable"), (run.tmpfs, "tmpfs, not durable")):
        lazy = rates(run, place, False, run.count(5000))
        for name, values in lazy.items():
            one = row("small", name, where, "/s", values)
            for peer in rivals(name, lazy):
                against(one, peer, values, lazy[peer])
            if name.startswith("mheap") and place == run.tmpfs:
                aim(one, targets.COMMIT_NOT_DURABLE_TMPFS, values)
            elif name.startswith("mheap"):
                against(one, "durable", values, durable[name], targets.COMMIT_NOT_DURABLE_DISK)
            rows.append(one)
    return rows


# ---- bulk ----


def bulk(run: Run) -> list[Row]:
    size = 32 if run.options.quick else 1024
    passes: dict[str, list[dict[str, float]]] = {"bulk": [], "write": []}
    for _ in range(run.rounds):
        for case, results in passes.items():
            results.append(run.c(case, run.directory, size))
    rows = []
    titles = {"fresh": "into fresh space", "over": "anew"}
    limits = {"fresh": targets.COMMIT_FRESH, "over": targets.COMMIT_OVERWRITE}
    fresh = [size / one["fresh"] for one in passes["write"]]
    for name, title in titles.items():
        speeds = {case: [size / one[name] for one in results] for case, results in passes.items()}
        one = row("bulk", f"mheap, {size} MiB {title}", "disk, durable", "MiB/s", speeds["bulk"])
        against(one, "write to a new file", speeds["bulk"], fresh, limits[name])
        if name == "over":
            against(one, "write in place", speeds["bulk"], speeds["write"])
        rows.append(one)
        rows.append(
            row("bulk", f"write, fdatasync, {size} MiB {title}", "disk, durable", "MiB/s", speeds["write"])
        )
        within = [one[f"{name}_commit"] / one[name] for one in passes["bulk"]]
        rows.append(row("bulk", f"part of it in commit(), {title}", "disk, durable", "", within))
    return rows


# ---- large heaps ----


def fill(heap: mheap.Heap, size: int) -> None:
    """Objects only; all of them are read, so that all of it is mapped."""
    heap.root["number"] = 0
    heap.root["pieces"] = []
    for number in range(size // MIB):
        heap.root["pieces"].append(bytes([number % 251]) * (MIB - 4096))
        if number % 256 == 255:
            heap.commit(durable=False)
    heap.commit(durable=False)
    for number, piece in enumerate(heap.root["pieces"]):
        assert piece[-1] == number % 251


def commit_us(heap: mheap.Heap, count: int) -> float:
    """Microseconds of a commit of one int, without waiting for the disk."""
    root, start = heap.root, heap.root["number"]
    begin = perf_counter()
    for value in range(start + 1, start + 1 + count):
        root["number"] = value
        heap.commit(durable=False)
    return (perf_counter() - begin) / count * 1e6


def large(run: Run) -> list[Row]:
    little, big = (1, 16) if run.options.quick else (16, run.options.big)
    sizes: dict[int, list[float]] = {little: [], big: []}
    heaps = {
        size: mheap.open(run.directory / f"{size}.heap", max_size=2 * size * MIB + GIB) for size in sizes
    }
    for size, heap in heaps.items():
        fill(heap, size * MIB)
    for _ in range(run.rounds):
        for size, heap in heaps.items():
            sizes[size].append(commit_us(heap, run.count(2000)))
    for size, heap in heaps.items():
        heap.close()
        (run.directory / f"{size}.heap").unlink()
    rows = [
        row("large", f"objects, heap of {size} MiB", "disk", "us", values) for size, values in sizes.items()
    ]
    against(rows[1], f"{little} MiB", sizes[big], sizes[little], targets.COMMIT_LARGE)
    return rows + raw_memory(run, little, big)


def raw_memory(run: Run, little: int, big: int) -> list[Row]:
    """With blocks that the program has pointers into: all of them are looked at in each commit."""
    values: dict[int, list[float]] = {little: [], big: []}
    for _ in range(min(run.rounds, 3)):
        for size, results in values.items():
            results.append(run.c("size", run.directory, size, 20)["seconds"] * 1e3)
    rows = [
        row("large", f"raw memory out, heap of {size} MiB", "disk", "ms", results)
        for size, results in values.items()
    ]
    gib = (big - little) / 1024
    more = [(one - other) / gib for one, other in zip(values[big], values[little], strict=True)]
    rows.append(row("large", "more for each GiB of raw memory out", "disk", "ms", more))
    aim(rows[-1], targets.COMMIT_RAW_MS, more)
    return rows


# ---- readers ----

KEYS = 1000


def refresh_us(writer: mheap.Heap, reader: mheap.Heap, count: int) -> float:
    spent, start = 0.0, writer.root["number"]
    for value in range(start + 1, start + 1 + count):
        writer.root["number"] = value
        writer.commit(durable=False)
        begin = perf_counter()
        moved = reader.refresh()
        spent += perf_counter() - begin
        assert moved
    assert reader.root["number"] == start + count
    return spent / count * 1e6


def reads_ns(heaps: Sequence[mheap.Heap], loops: int) -> list[float]:
    statement = "; ".join(f'root["key{i}"]' for i in range(0, KEYS, KEYS // 10))
    return [Timer(statement, globals={"root": heap.root}).timeit(loops) / loops / 10 * 1e9 for heap in heaps]


def readers(run: Run) -> list[Row]:
    path = run.directory / "readers.heap"
    from_c: list[float] = []
    refreshes: list[float] = []
    reads: list[list[float]] = []
    with mheap.open(path) as writer:
        writer.root["number"] = 0
        for i in range(KEYS):
            writer.root[f"key{i}"] = i
        writer.commit()
        with mheap.open(path, mode="readonly") as reader:
            for _ in range(run.rounds):
                from_c.append(run.c("refresh", run.directory, run.count(5000))["seconds"] * 1e6)
                refreshes.append(refresh_us(writer, reader, run.count(5000)))
                reads.append(reads_ns((writer, reader), run.count(20_000)))
    own, theirs = (list(values) for values in zip(*reads, strict=True))
    rows = [
        row("readers", "refresh after a small commit, from C", "disk", "us", from_c),
        row("readers", "heap.refresh() after a small commit", "disk", "us", refreshes),
        row("readers", "root[key] in the writer", "disk", "ns", own),
        row("readers", "root[key] in a readonly handle", "disk", "ns", theirs),
    ]
    aim(rows[0], targets.REFRESH_US, from_c)
    aim(rows[1], targets.REFRESH_US, refreshes)
    against(rows[3], "the writer's", theirs, own, targets.READONLY_READS)
    return rows


# ---- the heap layer ----


def pattern_ns(program: Path, pattern: str, path: Path, count: int) -> float:
    done = subprocess.run(
        [str(program), pattern, "1", str(count), str(path)], capture_output=True, text=True, check=True
    )
    path.unlink(missing_ok=True)
    ns: float = json.loads(done.stdout)["ns"]
    return ns


def heap_layer(run: Run) -> list[Row]:
    rows = []
    for pattern, count in (("pairs", 10_000_000), ("slots", 20_000_000)):
        values: dict[str, list[float]] = {"live": [], "atomic": []}
        for _ in range(run.rounds):
            for mode, results in values.items():
                path = run.tmpfs / "pattern.heap"
                results.append(pattern_ns(run.programs[mode], pattern, path, run.count(count)))
        for mode, results in values.items():
            rows.append(row("heap", f"{pattern}, {mode}", "tmpfs", "ns", results))
        against(rows[-1], "live", values["atomic"], values["live"], targets.ATOMIC_HEAP)
    return rows


# ---- syncs ----


def syncs_of(run: Run, name: str, count: int) -> int:
    """How often a process syncs that commits so many times."""
    with tempfile.TemporaryDirectory(dir=run.directory) as directory:
        counts = Path(directory) / "counts"
        traced = ["strace", "-f", "-c", "-e", "trace=fdatasync,fsync", "-o", str(counts)]
        program = [sys.executable, str(HERE / "commit_peers.py"), name, directory, str(count)]
        done = subprocess.run([*traced, *program], capture_output=True, text=True, check=False)
        if done.returncode:
            raise OSError(f"strace: {done.stderr.strip()}")
        rows = [line.split() for line in counts.read_text(encoding="utf-8").splitlines()]
    # % time, seconds, microseconds a call, calls, errors if there were any, name
    return sum(int(cells[3]) for cells in rows if cells and cells[-1] in ("fdatasync", "fsync"))


def syncs(run: Run) -> list[Row]:
    """The difference between two runs: what opening and closing sync is not counted.

    As many commits as fill mheap's journal once: its growth, and the checkpoint, sync too.
    """
    rows, few, many = [], 200, 1300
    try:
        for name, store in STORES.items():
            if not missing(store):
                more = syncs_of(run, name, many) - syncs_of(run, name, few)
                rows.append(row("syncs", name, "disk, durable", "", [more / (many - few)]))
    except OSError as why:
        run.missing.append(Missing("counting syncs", str(why), "apt-get install strace"))
        return []
    return rows


# ---- all of it ----

MEASURES: dict[str, Callable[[Run], list[Row]]] = {
    "small": small,
    "bulk": bulk,
    "large": large,
    "readers": readers,
    "heap": heap_layer,
    "syncs": syncs,
}


def measure(run: Run) -> list[Row]:
    for name, store in STORES.items():
        why = missing(store)
        if why:
            installer = "apt-get install" if store.package.startswith("python3-") else "pip install"
            run.missing.append(Missing(name, why, f"{installer} {store.package}"))
    rows: list[Row] = []
    for part in run.options.parts:
        if sys.stderr.isatty():
            print(f"\r\x1b[K{PARTS[part]}", end="", file=sys.stderr, flush=True)
        rows += MEASURES[part](run)
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    return rows


def facts(options: argparse.Namespace) -> dict[str, str]:
    stores = [store for store in STORES.values() if not missing(store)]
    load = f"{os.getloadavg()[0]:.1f} (1 is this program)"
    return machine() | {
        "stores": ", ".join(dict.fromkeys(text for text in (store.about() for store in stores) if text)),
        "disk": f"{options.disk} ({file_system(options.disk)})",
        "tmpfs": f"{options.tmpfs} ({file_system(options.tmpfs)})",
        "load at the end": load,
        "rounds": "1, quick: figures mean little" if options.quick else f"{options.rounds}, interleaved",
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--rounds", type=int, default=7, help="repetitions of everything (7)")
    parser.add_argument("--quick", action="store_true", help="1 round, little of everything")
    parser.add_argument("--disk", default="/var/tmp", help="directory on a disk (/var/tmp)")
    parser.add_argument("--tmpfs", default="/dev/shm", help="directory on tmpfs (/dev/shm)")
    parser.add_argument(
        "--big",
        type=int,
        metavar="MIB",
        help="the large heap, which must fit into memory (16384 if a quarter more is free, else 4096)",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON document instead of tables")
    form.add_argument("--markdown", action="store_true", help="Markdown tables")
    options = parser.parse_args()
    if options.quick:
        options.rounds = 1
    if options.big is None:
        options.big = 16384 if available() > 20 * GIB else 4096
    return options


def main() -> None:
    options = arguments()
    with (
        tempfile.TemporaryDirectory(prefix="mheap-bench-", dir=options.disk) as disk,
        tempfile.TemporaryDirectory(prefix="mheap-bench-", dir=options.tmpfs) as tmpfs,
    ):
        run = Run(options, Path(disk), Path(tmpfs), build(Path(disk)))
        rows = measure(run)
    publish(PARTS, rows, facts(options), run.missing, options)


if __name__ == "__main__":
    main()
