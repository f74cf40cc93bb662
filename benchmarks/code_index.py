#!/usr/bin/env python3
"""The index of examples/code_index.py in a pickle and in a heap: first answer, memory of four processes.

    python benchmarks/code_index.py             the standard library, ten seconds
    python benchmarks/code_index.py --quick     one package of it
    python benchmarks/code_index.py --markdown  the table of the README

Each process opens the index, answers one question and stays; then the kernel is asked for each
one's proportional share of memory (PSS), of which a bare Python's, measured beside, is a part.
Needs an installed mheap and Linux (/proc).
"""

from __future__ import annotations

import argparse
import json
import pickle
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from report import file_system, machine, print_facts, print_table

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "code_index.py"
PROCESSES = 4
NAME = "namedtuple"

# What each process runs: prints seconds to open, seconds to the answer, and its length; then waits.
WORKERS = {
    "bare Python": "begin = opened = perf_counter(); answer = []",
    "pickle": """
import pickle
begin = perf_counter()
with open(path, "rb") as file:
    root = pickle.load(file)
opened = perf_counter()
answer = [(root["paths"][number], list(lines)) for number, lines in root["names"][name].items()]
""",
    "mheap": """
import mheap
begin = perf_counter()
heap = mheap.open(path, mode="readonly")
opened = perf_counter()
root = heap.root
answer = [(root["paths"][number], list(lines)) for number, lines in root["names"][name].items()]
""",
}
FRAME = """
import sys
from time import perf_counter
path, name = sys.argv[1:]
{work}
end = perf_counter()
print(opened - begin, end - begin, len(answer), flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True)
class Row:
    """One way to keep the index."""

    what: str
    file_bytes: int
    open_ms: float
    answer_ms: float
    answers: int
    pss_mib: float


def plain(value: Any) -> Any:
    """A persistent container as the plain one it equals."""
    if hasattr(value, "items"):
        return {key: plain(item) for key, item in value.items()}
    if hasattr(value, "append"):
        return [plain(item) for item in value]
    return value


def make_heap(path: Path, directory: str) -> float:
    begin = time.perf_counter()
    subprocess.run(
        [sys.executable, str(EXAMPLE), "build", "--heap", str(path), directory],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - begin


def make_pickle(heap_path: Path, path: Path) -> None:
    import mheap

    with mheap.open(heap_path, mode="readonly") as heap, path.open("wb") as file:
        pickle.dump(plain(heap.root), file, pickle.HIGHEST_PROTOCOL)


def pss(pid: int) -> int:
    """A process's proportional share of memory, in bytes."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/{pid}/smaps_rollup has no line Pss")


def start(what: str, path: Path) -> subprocess.Popen[str]:
    code = FRAME.format(work=WORKERS[what])
    return subprocess.Popen(
        [sys.executable, "-c", code, str(path), NAME],
        cwd="/",  # the source tree has a directory named mheap, too
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def one_round(what: str, path: Path) -> tuple[list[tuple[float, float, int]], int]:
    """Four processes, one after the other, all open at the end: their times, and memory in all."""
    workers: list[subprocess.Popen[str]] = []
    times = []
    try:
        for _ in range(PROCESSES):
            workers.append(start(what, path))
            output = workers[-1].stdout
            assert output is not None
            opened, answered, answers = output.readline().split()
            times.append((float(opened), float(answered), int(answers)))
        return times, sum(pss(worker.pid) for worker in workers)
    finally:
        for worker in workers:
            worker.communicate()


def measure(what: str, path: Path, rounds: int) -> Row:
    times: list[tuple[float, float, int]] = []
    memory = []
    for _ in range(rounds):
        new, size = one_round(what, path)
        times += new
        memory.append(size)
    opened, answered, answers = zip(*times, strict=True)
    return Row(
        what,
        path.stat().st_size if path.exists() else 0,
        statistics.median(opened) * 1e3,
        statistics.median(answered) * 1e3,
        answers[0],
        statistics.median(memory) / 2**20,
    )


def cells(row: Row) -> list[str]:
    if row.what == "bare Python":
        return [row.what, "", "", "", f"{row.pss_mib:.0f}"]
    size = f"{row.file_bytes / 2**20:.0f}"
    return [row.what, size, f"{row.open_ms:.2f}", f"{row.answer_ms:.2f}", f"{row.pss_mib:.0f}"]


COLUMNS = [
    "index in",
    "file, MiB",
    "ms to open",
    "ms to the first answer",
    f"MiB (PSS) of {PROCESSES} processes",
]


def print_markdown(rows: list[Row]) -> None:
    print("| " + " | ".join(COLUMNS) + " |")
    print("|---|" + "---:|" * (len(COLUMNS) - 1))
    for row in rows:
        print("| " + " | ".join(cells(row)) + " |")


def run(directory: str, place: str, rounds: int) -> tuple[list[Row], float]:
    """All rows, with the seconds the heap took to build."""
    with tempfile.TemporaryDirectory(dir=place) as folder:
        heap, pickled = Path(folder, "index.heap"), Path(folder, "index.pickle")
        seconds = make_heap(heap, directory)
        make_pickle(heap, pickled)
        paths = {"bare Python": Path(folder, "none"), "pickle": pickled, "mheap": heap}
        rows = [measure(what, path, rounds) for what, path in paths.items()]
    answers = {row.what: row.answers for row in rows}
    if answers["pickle"] != answers["mheap"]:
        raise SystemExit(f"the answers differ: {answers}")
    return rows, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description="The code index in a pickle and in a heap.")
    parser.add_argument("--quick", action="store_true", help="index one package only, one round")
    parser.add_argument("--directory", default=tempfile.gettempdir(), help="where the files go")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--markdown", action="store_true", help="print a Markdown table")
    chosen = parser.parse_args()
    library = Path(sysconfig.get_path("stdlib"))
    sources = library / "collections" if chosen.quick else library
    rows, seconds = run(str(sources), str(Path(chosen.directory).resolve()), 1 if chosen.quick else 5)
    facts = machine() | {"files on": file_system(chosen.directory), "heap built in": f"{seconds:.1f} s"}
    if chosen.json:
        print(json.dumps({"machine": facts, "rows": [asdict(row) for row in rows]}, indent=2))
        return
    print_facts(facts)
    print()
    if chosen.markdown:
        print_markdown(rows)
    else:
        print_table(f"An index of {sources}; the question: {NAME}", COLUMNS, [cells(row) for row in rows])


if __name__ == "__main__":
    main()
