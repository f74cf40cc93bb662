#!/usr/bin/env python3
"""Objects in a heap beside dict, pickle, shelve, SQLite, LMDB with msgspec, ZODB and diskcache.

    python benchmarks/objects.py                     everything, some ten minutes
    python benchmarks/objects.py --quick             a glance, some seconds
    python benchmarks/objects.py --parts ints open --sizes 100000
    python benchmarks/objects.py --stores mheap dict LMDB
    python benchmarks/objects.py --markdown          tables for a page

Peers from PyPI: pip install "mheap[benchmarks]", or lmdb msgspec ZODB diskcache. What is not installed is
named and left out, and so is what takes minutes with so many entries. Rounds are interleaved; figures are
medians over rounds, ratios medians of each round's ratio. Needs an installed mheap, and a C compiler for
the floors.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, thread_time
from typing import Any

import targets
from floors import Floors
from object_stores import INTS, RECORDS, STORES, Mapped, Objects, Store, make, missing
from peers import Missing
from report import Limit, file_system, machine
from rows import Row, against, aim, publish, row

import mheap

PARTS = {
    INTS: "int values by str keys",
    RECORDS: "records of id, name, score and three tags by str keys",
    "sequences": "the ends of a list and of a deque, beside the built-in ones",
    "open": "from a closed file to the first value",
    "processes": "memory of the tenth process that reads the same heap",
    "floors": "what memory and the kernel take alone: loops in C, without a store",
}
# What is done, in what order: title, unit, what it is done by.
TITLES = {
    "store": "store all, durable",
    "read": "read, keys made anew",
    "again": "read, the same keys again",
    "field": "read one field",
    "contains": "key in table, half of them are",
    "length": "len",
    "iterate": "iterate over items",
    "change": "change 5,000, no sync",
    "update": "change 5,000, one durable commit",
    "bytes": "bytes of files on disk",
}
MHEAP = ("mheap", "mheap, Record", "mheap, live")
TENTH = 10
SAMPLE = 100_000  # entries read, if there are as many
COMMITS = 4  # in a row: after the first a store may know what pages they touch


@dataclass
class Run:
    """What every part needs."""

    options: argparse.Namespace
    directory: Path
    missing: list[Missing] = field(default_factory=list)
    random: random.Random = field(default_factory=lambda: random.Random(1))

    @property
    def rounds(self) -> int:
        rounds: int = self.options.rounds
        return rounds

    @property
    def sizes(self) -> list[int]:
        sizes: list[int] = self.options.sizes
        return sizes


class Key:
    """What all keys begin with: short ones are in their words in a heap, longer ones in blocks."""

    prefix = "user"


def key(number: int) -> str:
    return f"{Key.prefix}{number}"


def keys(numbers: Sequence[int]) -> list[str]:
    """As keys come from outside: equal to those stored, not the same, their hashes not yet known."""
    return [key(number) for number in numbers]


class Clock:
    """What time is measured by: perf_counter; or, where others keep the machine busy, thread_time."""

    now = staticmethod(perf_counter)


def seconds(work: Callable[[], Any]) -> float:
    """Without the collector of Python, which would look at everybody's objects on behalf of one."""
    gc.collect()
    gc.disable()
    try:
        begin = Clock.now()
        work()
        return Clock.now() - begin
    finally:
        gc.enable()


# ---- tables ----


class Table:
    """One store of so many entries: values of each thing done, in rounds."""

    def __init__(self, run: Run, kind: str, size: int, name: str, data: dict[str, Any]) -> None:
        self.run, self.kind, self.size, self.name = run, kind, size, name
        self.values: dict[str, list[float]] = {}
        self.directory = Path(tempfile.mkdtemp(dir=run.directory))
        self.store: Store = STORES[name](self.directory, kind)
        self.data = self.store.natural(data)
        self.changed: dict[str, Any] = {}
        self.filled = False

    def note(self, what: str, value: float) -> None:
        self.values.setdefault(what, []).append(value)

    def fill(self) -> None:
        """Anew, where that does not take too long."""
        if self.filled and self.store.slow:
            return
        if self.filled:
            self.store.close()
            shutil.rmtree(self.directory)
            self.directory.mkdir()
        self.changed.clear()
        self.store.open()
        taken = seconds(lambda: self.store.store(self.data))
        self.filled = True
        if "store" in self.store.can:
            self.note("store", taken / self.size * 1e9)

    def do(self, what: str, numbers: Sequence[int], others: Sequence[int]) -> None:
        if what in self.store.can and (what != "field" or self.kind == RECORDS):
            WORK[what](self, numbers, others)

    def each(self, what: str, count: int, work: Callable[[], Any], expected: Any) -> None:
        found: list[Any] = []
        self.note(what, seconds(lambda: found.append(work())) / count * 1e9)
        if expected is not None and found != [expected]:
            raise SystemExit(f"{self.name}: {TITLES[what]}: {found[0]!r} instead of {expected!r}")

    def read(self, numbers: Sequence[int], others: Sequence[int]) -> None:
        wanted = keys(numbers)
        expected = self.changed.get(wanted[-1], numbers[-1]) if self.kind == INTS else None
        self.each("read", len(wanted), lambda: self.store.read(wanted), expected)
        if "again" in self.store.can:
            self.each("again", len(wanted), lambda: self.store.read(wanted), expected)

    def field(self, numbers: Sequence[int], others: Sequence[int]) -> None:
        wanted = keys(numbers)
        score = self.changed.get(wanted[-1], make(RECORDS, numbers[-1])["score"])
        self.each("field", len(wanted), lambda: self.store.field(wanted), score)

    def contains(self, numbers: Sequence[int], others: Sequence[int]) -> None:
        wanted = keys([one + self.size * (i % 2) for i, one in enumerate(numbers)])
        self.each("contains", len(wanted), lambda: self.store.contains(wanted), len(wanted) % 2 == 1)

    def length(self, numbers: Sequence[int], others: Sequence[int]) -> None:
        times = 10 if self.name == "SQLite" else 1000
        self.each("length", times, lambda: self.store.length(times), self.size)

    def iterate(self, numbers: Sequence[int], others: Sequence[int]) -> None:
        self.each("iterate", self.size, self.store.iterate, self.size)

    def other_values(self, others: Sequence[int]) -> list[tuple[str, Any]]:
        """Not those that are there."""
        more = len(self.values.get("update", [])) * self.size + self.size
        entries = [(key(one), one + more if self.kind == INTS else float(one + more)) for one in others]
        self.changed.update(entries)
        return entries

    def change(self, numbers: Sequence[int], others: Sequence[int]) -> None:
        assert isinstance(self.store, Mapped)
        self.in_turn("change", others, self.store.change)

    def update(self, numbers: Sequence[int], others: Sequence[int]) -> None:
        entries = self.in_turn("update", others, self.store.update)
        if "read" in self.store.can:
            again = self.store.read if self.kind == INTS else self.store.field
            assert again([entries[-1][0]]) == entries[-1][1], "the change is there"

    def in_turn(
        self, what: str, others: Sequence[int], work: Callable[[Sequence[tuple[str, Any]]], None]
    ) -> list[tuple[str, Any]]:
        """So many of the others, then so many more, and so on; the last of them."""
        batch = len(others) // COMMITS
        entries = [self.other_values(others[i * batch : (i + 1) * batch]) for i in range(COMMITS)]

        def all_of_them() -> None:
            for some in entries:
                work(some)

        self.each(what, COMMITS * batch, all_of_them, None)
        return entries[-1]

    def finish(self) -> None:
        self.store.close()
        if "bytes" in self.store.can:
            self.note("bytes", self.store.bytes() / self.size)
        shutil.rmtree(self.directory)


# In this order in each round; "again" goes with "read".
WORK: dict[str, Callable[[Table, Sequence[int], Sequence[int]], None]] = {
    "read": Table.read,
    "field": Table.field,
    "contains": Table.contains,
    "length": Table.length,
    "iterate": Table.iterate,
    "change": Table.change,
    "update": Table.update,
}


def wanted_stores(run: Run, kind: str, size: int) -> list[str]:
    wanted = [name for name in STORES if name in run.options.stores]
    there = [name for name in wanted if kind in STORES[name].kinds and not missing(STORES[name])]
    for name in there:
        if size > STORES[name].most and not any(one.name == f"{name} of {size:,}" for one in run.missing):
            why = f"it is measured with at most {STORES[name].most:,} entries: more take minutes"
            run.missing.append(Missing(f"{name} of {size:,}", why, f"--sizes {STORES[name].most}"))
    return [name for name in there if size <= STORES[name].most]


def changes(size: int) -> int:
    return min(size // 2, 5000 * COMMITS)


def fill_and_use(run: Run, kind: str, size: int) -> dict[str, dict[str, list[float]]]:
    numbers = list(range(size))
    run.random.shuffle(numbers)
    if run.options.sorted:
        numbers.sort(key=key)
    data = {key(number): make(kind, number) for number in numbers}
    tables = [Table(run, kind, size, name, data) for name in wanted_stores(run, kind, size)]
    for _ in range(run.rounds):
        for table in tables:
            table.fill()
        sample = run.random.sample(numbers, min(size, SAMPLE))
        others = run.random.sample(numbers, changes(size))
        for what in WORK:
            for table in tables:
                table.do(what, sample, others)
    for table in tables:
        table.finish()
    return {table.name: table.values for table in tables}


def first(values: Sequence[float], others: Sequence[float]) -> tuple[Sequence[float], Sequence[float]]:
    """Those of the rounds that both were in."""
    count = min(len(values), len(others))
    return values[:count], others[:count]


def compare(one: Row, name: str, what: str, measured: dict[str, dict[str, list[float]]]) -> None:
    """How many times as fast as each peer, or as large; and the aims that there are."""
    mine = measured[name][what]
    best = "mheap, Record" if name == "mheap" and "mheap, Record" not in measured else name
    limits: dict[str, Limit] = targets.OBJECTS.get((one.part, what, name)) or targets.OBJECTS.get(
        (one.part, what, best), {}
    )
    for peer, results in measured.items():
        if peer in MHEAP or what not in results:
            continue
        own, theirs = first(mine, results[what])
        limit = limits.get(peer)
        if what == "bytes" or peer == "dict":
            against(one, f"{peer}'s", own, theirs, limit)
        else:
            against(one, f"as fast as {peer}", theirs, own, limit)
    if what == "change" and "LMDB" in measured:
        own, theirs = first(mine, measured["LMDB"]["update"])
        against(one, "as fast as LMDB's commit", theirs, own)


def table_rows(run: Run, kind: str) -> list[Row]:
    rows = []
    for size in run.sizes:
        measured = fill_and_use(run, kind, size)
        for what, title in TITLES.items():
            for name, results in measured.items():
                if what not in results:
                    continue
                unit = "bytes" if what == "bytes" else "ns"
                rows.append(row(kind, f"{title}: {name}", f"{size:,}", unit, results[what]))
                if name in MHEAP:
                    compare(rows[-1], name, what, measured)
    return rows


# ---- lists and deques ----

SEQUENCE_LENGTH = 1000


def append_and_pop(of: Any, times: int) -> float:
    """Nanoseconds of both."""
    append, pop = of.append, of.pop

    def work() -> None:
        for value in range(times):
            append(value)
            pop()

    return seconds(work) / times * 1e9


def append_many(of: Any, times: int) -> float:
    append = of.append

    def work() -> None:
        for value in range(times):
            append(value)

    result = seconds(work) / times * 1e9
    assert len(of) == SEQUENCE_LENGTH + times
    return result


def pop_many(of: Any, times: int) -> float:
    pop = of.pop

    def work() -> None:
        for _ in range(times):
            pop()

    return seconds(work) / times * 1e9


def read_all(of: Any, times: int) -> float:
    repeats = max(times // len(of), 1)

    def work() -> None:
        for _ in range(repeats):
            for _value in of:
                pass

    return seconds(work) / repeats / len(of) * 1e9


SEQUENCE_WORK = {
    "append": append_many,
    "pop": pop_many,
    "append and pop": append_and_pop,
    "iterate": read_all,
}


def sequences(run: Run) -> list[Row]:
    times = 1000 if run.options.quick else 100_000
    values: dict[tuple[str, str, bool], list[float]] = {}
    with mheap.open(run.directory / "sequences.heap") as heap:
        plain = {"list": list(range(SEQUENCE_LENGTH)), "deque": deque(range(SEQUENCE_LENGTH))}
        heap.root.update(plain)
        for _ in range(run.rounds):
            for name, own in plain.items():
                for what, work in SEQUENCE_WORK.items():
                    values.setdefault((name, what, True), []).append(work(heap.root[name], times))
                    values.setdefault((name, what, False), []).append(work(own, times))
    rows = []
    for name, what, ours in values:
        title = f"{what}: {'mheap, ' if ours else ''}{name}"
        rows.append(row("sequences", title, "", "ns", values[name, what, ours]))
        if ours:
            limit = targets.OBJECTS_BUILT_IN
            against(rows[-1], f"the {name}'s", values[name, what, True], values[name, what, False], limit)
    return rows


# ---- opening ----


OPENS = 5


def open_ms(store: Store, wanted: str) -> float:
    """The median of some, unless one takes long."""

    def work() -> None:
        store.open()
        assert "read" not in store.can or store.read([wanted]) is not None

    results: list[float] = []
    while len(results) < OPENS and sum(results) < 100:
        results.append(seconds(work) * 1e3)
        store.close()
    return statistics.median(results)


def restore_ms(image: Path, wanted: str) -> float:
    restore: Any = mheap.restore  # type: ignore[attr-defined, unused-ignore]
    results: list[float] = []

    def work() -> Any:
        heap = restore(image)
        assert heap.root["table"][wanted] is not None
        return heap

    for _ in range(OPENS):
        begin = Clock.now()
        heap = work()
        results.append((Clock.now() - begin) * 1e3)
        heap.close()
    return statistics.median(results)


def make_image(run: Run, store: Objects) -> Path | None:
    """A dump of the store's heap, if this mheap can restore one."""
    if not hasattr(mheap, "restore"):
        run.missing.append(Missing("restore", "this mheap has no restore()", "a later mheap"))
        return None
    image = store.directory / "image"
    heap: Any = mheap.open(store.path)
    heap.dump(image)
    heap.close()
    return image


def opening(run: Run) -> list[Row]:
    size = max(run.sizes)
    data = {key(number): number for number in range(size)}
    stores: dict[str, Store] = {}
    for name in wanted_stores(run, INTS, size):
        if "open" in STORES[name].can:
            directory = Path(tempfile.mkdtemp(dir=run.directory))
            stores[name] = STORES[name](directory, INTS)
            stores[name].open()
            stores[name].store(stores[name].natural(data))
            stores[name].close()
    ours = stores.get("mheap")
    image = make_image(run, ours) if isinstance(ours, Objects) else None
    values: dict[str, list[float]] = {name: [] for name in stores}
    if image is not None:
        values["mheap, restore"] = []
    for turn in range(run.rounds):
        wanted = key(turn * 7919 % size)
        for name, store in stores.items():
            values[name].append(open_ms(store, wanted))
        if image is not None:
            values["mheap, restore"].append(restore_ms(image, wanted))
    rows = [row("open", name, f"{size:,}", "ms", results) for name, results in values.items()]
    for one in rows:
        if one.what in targets.OBJECTS_OPEN_MS:
            aim(one, targets.OBJECTS_OPEN_MS[one.what], values[one.what])
            for peer in values:
                if not peer.startswith("mheap"):
                    against(one, f"as fast as {peer}", values[peer], values[one.what])
    return rows


# ---- processes ----

READER = """
import random, sys
import mheap

def own():
    with open("/proc/self/smaps_rollup", encoding="utf-8") as lines:
        return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))

path, size, prefix = sys.argv[1], int(sys.argv[2]), sys.argv[3]
pick = random.Random(size).randrange
own()
before = own()
heap = mheap.open(path, mode="readonly")
table = heap.root["table"]
for _ in range(size // 2):
    number = pick(size)
    assert table[f"{prefix}{number}"] == number
print(own() - before, flush=True)
sys.stdin.read()
"""


def own_mib(path: Path, size: int) -> list[float]:
    """MiB that are each process's alone, more than before it opened the heap, once the others are there."""
    readers: list[subprocess.Popen[str]] = []
    results = []
    try:
        for _ in range(TENTH):
            command = [sys.executable, "-c", READER, str(path), str(size), Key.prefix]
            readers.append(
                subprocess.Popen(
                    command,
                    cwd="/",  # the source tree has a directory named mheap, too
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            output = readers[-1].stdout
            assert output is not None
            results.append(int(output.readline()) / 1024)
        return results
    finally:
        for reader in readers:
            reader.communicate()


def processes(run: Run) -> list[Row]:
    size = max(run.sizes)
    path = run.directory / "processes.heap"
    with mheap.open(path) as heap:
        heap.root["table"] = {key(number): number for number in range(size)}
        heap.commit()
    found = [own_mib(path, size) for _ in range(min(run.rounds, 3))]
    file_mib = path.stat().st_size / 2**20
    first_one, tenth = [one[0] for one in found], [one[-1] for one in found]
    rows = [
        row("processes", "the file", f"{size:,}", "MiB", [file_mib]),
        row("processes", "the first process's own", f"{size:,}", "MiB", first_one),
        row("processes", "the tenth process's own", f"{size:,}", "MiB", tenth),
    ]
    aim(rows[-1], targets.OBJECTS_TENTH_MIB, tenth)
    return rows


# ---- floors ----

FLOORS = {
    "read a word of a slot, an entry, a record": Floors.read,
    "change a word in a file, its pages on the disk": Floors.change,
}


def floors(run: Run) -> list[Row]:
    """With as many reads, and changes, as of the tables."""
    rows = []
    for size in run.sizes:
        floor = Floors(run.directory, size)
        for what, work in FLOORS.items():
            steps = min(size, SAMPLE) if work is Floors.read else changes(size)
            rows.append(
                row("floors", what, f"{size:,}", "ns", [work(floor, steps) for _ in range(run.rounds)])
            )
    return rows


# ---- all of it ----

MEASURES: dict[str, Callable[[Run], list[Row]]] = {
    INTS: lambda run: table_rows(run, INTS),
    RECORDS: lambda run: table_rows(run, RECORDS),
    "sequences": sequences,
    "open": opening,
    "processes": processes,
    "floors": floors,
}


def measure(run: Run) -> list[Row]:
    for name, store in STORES.items():
        why = missing(store)
        if why:
            remedy = "a later mheap" if store.needs else f"pip install {' '.join(store.packages)}"
            run.missing.append(Missing(name, why, remedy))
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
    return machine() | {
        "stores": ", ".join(dict.fromkeys(text for text in (store.about() for store in stores) if text)),
        "disk": f"{options.disk} ({file_system(options.disk)})",
        "time": "of the processor, waiting left out" if options.processor_time else "elapsed",
        "keys": f"{Key.prefix}0 and so on, {'sorted' if options.sorted else 'in no order'}",
        "load at the end": f"{os.getloadavg()[0]:.1f} (1 is this program)",
        "rounds": "1, quick: figures mean little" if options.quick else f"{options.rounds}, interleaved",
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--stores", nargs="+", choices=STORES, default=list(STORES), metavar="STORE")
    parser.add_argument("--sizes", nargs="+", type=int, default=[100_000, 1_000_000], help="entries")
    parser.add_argument("--rounds", type=int, default=5, help="repetitions of everything (5)")
    parser.add_argument("--quick", action="store_true", help="1 round, few entries")
    parser.add_argument(
        "--processor-time", action="store_true", help="not the time that passes: for a busy machine"
    )
    parser.add_argument("--sorted", action="store_true", help="store the entries in the order of their keys")
    parser.add_argument("--prefix", default=Key.prefix, help="what keys begin with, before a number (user)")
    parser.add_argument("--disk", default="/var/tmp", help="directory on a disk (/var/tmp)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON document instead of tables")
    form.add_argument("--markdown", action="store_true", help="Markdown tables")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.sizes = 1, [1000]
    return options


def main() -> None:
    options = arguments()
    Key.prefix = options.prefix
    if options.processor_time:
        Clock.now = staticmethod(thread_time)
    with tempfile.TemporaryDirectory(prefix="mheap-bench-", dir=options.disk) as disk:
        run = Run(options, Path(disk))
        rows = measure(run)
    publish(PARTS, rows, facts(options), run.missing, options)


if __name__ == "__main__":
    main()
