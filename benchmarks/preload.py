#!/usr/bin/env python3
"""Real programs, and the allocation patterns, each with another allocator preloaded: time and peak memory.

    python benchmarks/preload.py                  three programs and five patterns, some minutes
    python benchmarks/preload.py --quick          a glance, some seconds
    python benchmarks/preload.py --cases gcc sqlite --rounds 15

glibc is what runs when nothing is preloaded. Every round runs each allocator once, in turn; figures
are medians over rounds, ratios medians of each round's ratio. Peak memory is what the kernel
says of the largest process of a case (maximum resident set).

Peers from Debian packages: libmimalloc-dev libjemalloc-dev; programs: gcc, sqlite3.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

import targets
from peers import FLAGS, HERE, compiler, library_path
from report import Verdict, judge, machine, print_facts, print_table, ratio, spread

LIBRARIES = {"mimalloc": "libmimalloc.so", "jemalloc": "libjemalloc.so", "mheap": "libmheap-preload.so"}

PYTHON_WORK = """
import json, re
table = {f"key{i}": {"name": f"n{i % 997}", "tags": [str(i), i, i * 0.5]} for i in range(SIZE)}
again = json.loads(json.dumps(table))
words = re.findall(r"[a-z]+[0-9]+", json.dumps(again))
lines = sorted(words, key=lambda word: word[::-1])
text = "".join(line + "\\n" for line in lines)
assert again == table and text.count("\\n") == len(words)
"""

SQL_WORK = """
create table t(a integer primary key, b text, c blob);
with recursive n(x) as (select 1 union all select x + 1 from n where x < SIZE)
 insert into t select x, printf('%d-%d-%s', x * 7919 % 100003, x, hex(randomblob(x % 40))),
 zeroblob(x % 300) from n;
create index i on t(b);
select count(*), sum(length(c)) from t where b like '1%7%';
select substr(b, 1, 3) as k, count(*), max(length(b)), group_concat(a % 10, '') from t
 group by k order by 2 limit 5;
delete from t where a % 3 = 0;
select count(*) from (select x.a from t x join t y on x.b = y.b order by x.c, y.a);
"""


@dataclass(frozen=True)
class Case:
    name: str
    title: str
    command: tuple[str, ...]
    pattern: bool = False


@dataclass
class Series:
    case: Case
    allocator: str
    seconds: list[float] = field(default_factory=list)
    kilobytes: list[float] = field(default_factory=list)


@dataclass
class Row:
    case: str
    allocator: str
    ms: float
    ms_low: float
    ms_high: float
    peak_mib: float
    time_to: dict[str, float]
    peak_to: dict[str, float]
    verdicts: list[Verdict]


def programs(directory: Path, quick: bool) -> list[Case]:
    """The real programs that are there, with work for a second or so."""
    cases, core = [], HERE.parent / "mheap" / "core"
    if compiler() and shutil.which(compiler()):
        sources = ["arena.c"] if quick else ["arena.c", "heap.c", "region.c", "check.c"]
        flags = ["-std=c17", "-O2", "-g", "-D_GNU_SOURCE", "-DMHEAP_BUILDING", "-S", "-o", "/dev/null"]
        include = [f"-I{core.parent / 'include'}", f"-I{core}"]
        line = " && ".join(" ".join([compiler(), *flags, *include, str(core / one)]) for one in sources)
        cases.append(Case("gcc", f"compiles {len(sources)} files of mheap's core", ("sh", "-c", line)))
    script = directory / "work.py"
    script.write_text(PYTHON_WORK.replace("SIZE", "2000" if quick else "40000"), encoding="utf-8")
    python = os.path.realpath(sys.executable)
    cases.append(Case("python", "json, a regular expression, sorting", (python, str(script))))
    # Without its own pools every object is the allocator's.
    cases.append(
        Case(
            "python-malloc",
            "the same, PYTHONMALLOC=malloc",
            ("env", "PYTHONMALLOC=malloc", python, str(script)),
        )
    )
    sql = directory / "work.sql"
    sql.write_text(SQL_WORK.replace("SIZE", "3000" if quick else "60000"), encoding="utf-8")
    if sqlite := shutil.which("sqlite3"):
        cases.append(
            Case("sqlite", "fills, indexes, groups, joins in memory", (sqlite, ":memory:", f".read {sql}"))
        )
    return cases


def patterns(program: Path, quick: bool) -> list[Case]:
    """The patterns of benchmarks/alloc; cold: no memory is touched beforehand, which would count."""
    counts = {("pairs", 1): 20e6, ("slots", 1): 8e6, ("slots", 2): 5e6, ("bulk", 1): 4e6, ("handoff", 2): 3e6}
    return [
        Case(
            f"{name}, {threads} thread{'s' if threads > 1 else ''}",
            "a pattern of benchmarks/alloc.py",
            (
                "env",
                "BENCH_COLD=1",
                str(program),
                name,
                str(threads),
                str(int(count / (200 if quick else 1))),
            ),
            pattern=True,
        )
        for (name, threads), count in counts.items()
    ]


def build(directory: Path, source: Path, name: str, *flags: str) -> Path:
    program = directory / name
    command = [compiler(), "-std=c17", *FLAGS, *flags, str(source), "-o", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    return program


def run_once(measure: Path, one: Series, library: str) -> None:
    done = subprocess.run(
        [str(measure), library, *one.case.command], capture_output=True, text=True, check=False
    )
    lines = done.stderr.strip().splitlines()
    if done.returncode or len(lines) != 1:
        raise SystemExit(
            f"{one.allocator}: {' '.join(one.case.command)}: exit {done.returncode}\n{done.stderr}"
        )
    seconds, kilobytes = lines[0].split()
    if one.case.pattern:  # the program's own clock, without its start
        result = json.loads(done.stdout)
        seconds = result["ns"] * int(one.case.command[-1]) / 1e9
        if one.allocator not in result["version"] and one.allocator != "glibc":
            raise SystemExit(f"{one.allocator} was to serve, {result['version']} did")
    one.seconds.append(float(seconds))
    one.kilobytes.append(float(kilobytes))


def measure_all(options: argparse.Namespace, cases: list[Case], measure: Path) -> list[Series]:
    """A B C A B C …, one case after the other; the first round only warms the machine up."""
    result = []
    for case in cases:
        mine = [Series(case, name) for name in options.allocators]
        for number in range(options.rounds + (not options.quick)):
            for one in mine:
                run_once(measure, one, options.libraries.get(one.allocator, ""))
                if number == 0 and not options.quick:
                    one.seconds.clear()
                    one.kilobytes.clear()
        result += mine
    return result


def row(one: Series, series: list[Series]) -> Row:
    time, peers = spread(one.seconds), [s for s in series if s.case == one.case]
    verdicts = []
    for peer in peers if one.allocator == "mheap" else ():
        if (limit := targets.PRELOAD_TIME.get(peer.allocator)) is not None:
            verdicts.append(judge(limit, ratio(one.seconds, peer.seconds)))
        if (limit := targets.PRELOAD_PEAK.get(peer.allocator)) is not None:
            verdicts.append(judge(limit, ratio(one.kilobytes, peer.kilobytes)))
    return Row(
        case=one.case.name,
        allocator=one.allocator,
        ms=time.median * 1e3,
        ms_low=time.low * 1e3,
        ms_high=time.high * 1e3,
        peak_mib=spread(one.kilobytes).median / 1024,
        time_to={peer.allocator: ratio(one.seconds, peer.seconds).median for peer in peers},
        peak_to={peer.allocator: ratio(one.kilobytes, peer.kilobytes).median for peer in peers},
        verdicts=verdicts,
    )


def print_rows(cases: list[Case], rows: list[Row]) -> None:
    for case in cases:
        cells = []
        for one in (r for r in rows if r.case == case.name):
            wide = 100 * (one.ms_high - one.ms_low) / 2 / one.ms
            times = [f"{one.ms:.1f}", f"{wide:.0f}%", f"{one.time_to.get('glibc', 0):.2f}"]
            peaks = [f"{one.peak_mib:.1f}", f"{one.peak_to.get('mimalloc', 0):.2f}"]
            cells.append([one.allocator, *times, *peaks, "\n".join(map(str, one.verdicts))])
        columns = ["allocator", "ms", "+-", "x glibc", "peak MiB", "x mimalloc", "aims"]
        print_table(f"{case.name}: {case.title}", columns, cells)


def find_libraries(options: argparse.Namespace, directory: Path) -> dict[str, str]:
    found = {}
    for name in options.allocators:
        if name == "glibc":
            continue
        path = library_path(LIBRARIES[name], directory, options.prefix)
        if path is None:
            print(f"left out: {name}: there is no {LIBRARIES[name]}", file=sys.stderr)
        else:
            found[name] = str(path)
    return found


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ["glibc", *LIBRARIES]
    parser.add_argument("--cases", nargs="+", help="only cases whose names begin so")
    parser.add_argument("--allocators", nargs="+", choices=names, default=names)
    parser.add_argument("--rounds", type=int, default=7, help="repetitions of everything (7)")
    parser.add_argument("--quick", action="store_true", help="1 round of little work")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of tables")
    parser.add_argument("--prefix", type=Path, help="use the libmheap-preload in this directory's lib/")
    options = parser.parse_args()
    if options.quick:
        options.rounds = 1
    return options


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="mheap-bench-") as temporary:
        directory = Path(temporary)
        options.libraries = find_libraries(options, directory)
        options.allocators = [
            name for name in options.allocators if name == "glibc" or name in options.libraries
        ]
        adapter = '-DADAPTER="adapter_malloc.h"'
        program = build(directory, HERE / "alloc" / "main.c", "patterns", adapter)
        measure = build(directory, HERE / "preload" / "measure.c", "measure")
        cases = [*programs(directory, options.quick), *patterns(program, options.quick)]
        cases = [c for c in cases if not options.cases or c.name.startswith(tuple(options.cases))]
        series = measure_all(options, cases, measure)
    rows = [row(one, series) for one in series]
    rounds = "1, quick: figures mean little" if options.quick else f"{options.rounds}, interleaved"
    about = machine() | {"libraries": ", ".join(options.libraries.values()), "rounds": rounds}
    if options.json:
        json.dump({"machine": about, "rows": [asdict(one) for one in rows]}, sys.stdout, indent=1)
        print()
    else:
        print_facts(about)
        print_rows(cases, rows)


if __name__ == "__main__":
    main()
