"""Which word comes next? A model of words that takes seconds to make, and no time to restore.

    word_model.py make [--files N] [DIR]     count the words of the .py files of DIR, the standard library
                                             by default; dump the model to model.heap and model.pickle
    word_model.py compare [--workers N]      four processes restore it, and ask; four others unpickle it
    word_model.py ask WORD [WORD]            the words that follow most often

The model is plain Python data, written once and read by many:

    "words"    dict: word -> how often it stands there
    "next"     dict: word -> list of (how often, the word that follows), most often first
    "after"    dict: (word, word) -> the word that follows these two most often

``mheap.dump`` writes it to a sealed file. Each worker calls ``mheap.restore``, which attaches that file:
nothing is read but what is asked for, and what all of them read is in memory once.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import pickle
import re
import statistics
import sysconfig
import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import mheap

WORD = re.compile(r"[A-Za-z][a-z]+")
HEAP, PICKLE = "model.heap", "model.pickle"
MOST = 10  # words that follow another, that are kept


def texts(directory: Path, most: int) -> Iterator[str]:
    """Of the .py files below, in a fixed order."""
    found = sorted(path for path in directory.rglob("*.py") if "site-packages" not in path.parts)
    for path in found[:most]:
        yield path.read_text(encoding="utf-8", errors="replace")


def model_of(directory: Path, most: int) -> dict[str, Any]:
    words: Counter[str] = Counter()
    pairs: Counter[tuple[str, str]] = Counter()
    triples: Counter[tuple[str, str, str]] = Counter()
    for text in texts(directory, most):
        found = WORD.findall(text.lower())
        words.update(found)
        pairs.update(pairwise(found))
        triples.update(zip(found, found[1:], found[2:], strict=False))
    following: dict[str, list[tuple[int, str]]] = {}
    for (first, second), count in sorted(pairs.items(), key=lambda item: (-item[1], item[0])):
        if len(following.setdefault(first, [])) < MOST:
            following[first].append((count, second))
    after: dict[tuple[str, str], str] = {}
    for (first, second, third), _ in sorted(triples.items(), key=lambda item: (-item[1], item[0])):
        after.setdefault((first, second), third)
    return {"words": dict(sorted(words.items())), "next": following, "after": after}


def answer(model: Any, *words: str) -> list[str]:
    """What follows one word, or two."""
    if len(words) > 1:
        third = model["after"].get(words)
        return [third] if third is not None else answer(model, words[-1])
    return [word for _, word in model["next"].get(words[0], [])]


# ---- making it ----


def make(arguments: argparse.Namespace) -> None:
    start = time.perf_counter()
    model = model_of(arguments.directory, arguments.files)
    counted = time.perf_counter()
    mheap.dump(model, HEAP)
    dumped = time.perf_counter()
    with open(PICKLE, "wb") as file:
        pickle.dump(model, file, pickle.HIGHEST_PROTOCOL)
        file.flush()
        os.fsync(file.fileno())
    pickled = time.perf_counter()
    print(f"{len(model['words'])} words, {len(model['after'])} pairs, counted in {counted - start:.1f} s")
    print(f"dumped in {dumped - counted:.2f} s, {Path(HEAP).stat().st_size / 2**20:.1f} MiB")
    print(f"pickled in {pickled - dumped:.2f} s, {Path(PICKLE).stat().st_size / 2**20:.1f} MiB")


# ---- four workers ----


def memory() -> float:
    """MiB of this process, what it shares counted as its part of it."""
    text = Path("/proc/self/smaps_rollup").read_text()
    found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    assert found
    return int(found[1]) / 1024


def restored() -> Any:
    return mheap.restore(HEAP).root  # which keeps the heap attached


def unpickled() -> Any:
    with open(PICKLE, "rb") as file:
        return pickle.load(file)


class Row(NamedTuple):
    """Of one worker: seconds, seconds, MiB, and what it was told."""

    loaded: float
    answered: float
    memory: float
    said: tuple[str, ...]


def work(how: str, meet: Any, results: Any) -> None:
    """Begins when all are there; is measured when all have asked; ends when all were measured."""
    load = {"restore": restored, "unpickle": unpickled, "nothing": dict}[how]
    meet.wait()
    start = time.perf_counter()
    model = load()
    loaded = time.perf_counter()
    said = answer(model, "return", "self") if how != "nothing" else []
    asked = time.perf_counter()
    if how != "nothing":
        for word in list(model["words"])[:: max(1, len(model["words"]) // 1000)]:
            answer(model, word)
    meet.wait()
    results.put(Row(loaded - start, asked - start, memory(), tuple(said)))
    meet.wait()


def run(how: str, workers: int) -> list[Row]:
    context = multiprocessing.get_context("fork")
    meet, results = context.Barrier(workers), context.Queue()
    processes = [context.Process(target=work, args=(how, meet, results)) for _ in range(workers)]
    for process in processes:
        process.start()
    found = [results.get() for _ in processes]
    for process in processes:
        process.join()
    return found


def compare(arguments: argparse.Namespace) -> None:
    unpickled()  # so that the files are in memory, and what is imported for it, is
    with mheap.restore(HEAP) as heap:
        assert len(heap.root) == 3
    said: set[tuple[str, ...]] = set()
    print(f"{'':10}{'ms to load':>12}{'ms to answer':>14}{f'MiB of {arguments.workers} processes':>22}")
    for how in ("nothing", "unpickle", "restore"):
        found = run(how, arguments.workers)
        loaded = 1000 * statistics.median(row.loaded for row in found)
        answered = 1000 * statistics.median(row.answered for row in found)
        print(f"{how:10}{loaded:12.3f}{answered:14.3f}{sum(row.memory for row in found):22.1f}")
        said |= {row.said for row in found if how != "nothing"}
    assert len(said) == 1, "all of them answer alike"
    print("after 'return self' comes:", *said.pop())


def ask(arguments: argparse.Namespace) -> None:
    with mheap.restore(HEAP) as heap:
        print(*answer(heap.root, *arguments.words))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    making = commands.add_parser("make")
    making.add_argument("--files", type=int, default=400)
    making.add_argument("directory", nargs="?", type=Path, default=Path(sysconfig.get_path("stdlib")))
    making.set_defaults(run=make)
    comparing = commands.add_parser("compare")
    comparing.add_argument("--workers", type=int, default=4)
    comparing.set_defaults(run=compare)
    asking = commands.add_parser("ask")
    asking.add_argument("words", nargs="+", metavar="WORD")
    asking.set_defaults(run=ask)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
