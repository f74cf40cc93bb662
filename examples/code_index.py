"""Where is this name used? An index of Python sources that lives in a heap file.

    code_index.py build [--heap FILE] [--commit-every N] [DIR]
                                                index every .py file of DIR, the standard library by default
    code_index.py find  [--heap FILE] NAME      attach, from a new process, and answer

The index is plain Python data in ``heap.root``, and stays as it is between runs:

    root["paths"]   list: the number of a file is its place here; None when the file is gone
    root["files"]   dict: path -> {"number": its place, "stamp": its state when indexed, "names": names in it}
    root["names"]   dict: identifier -> dict: number of a file -> list of lines

so ``build`` works on what changed only, and ``find`` reads only what it needs. Each file is indexed in
a transaction of its own: after an interruption at any place the index has the files that were done, and the
next ``build`` goes on. After a power cut it has those up to the last commit that waited for the disk: with
``--commit-every N`` one in N does, without it only the one at the end.
"""

from __future__ import annotations

import argparse
import keyword
import os
import re
import sys
import sysconfig
import time
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import mheap

# Numbers, strings and comments are matched to be passed over. A newline counts lines.
TOKEN = re.compile(
    r"""
      (?P<name> [^\W\d]\w* (?!["'\w]) )
    | (?P<line> \n )
    | \# [^\n]*
    | \d [\w.]*
    | (?P<text> [a-zA-Z]{0,2} (?: \"{3} (?:[^"\\]|\\.|"(?!""))* (?:\"{3}|\Z)
                              | '{3} (?:[^'\\]|\\.|'(?!''))* (?:'{3}|\Z)
                              | " (?:[^"\\\n]|\\.)* "?
                              | ' (?:[^'\\\n]|\\.)* '? ) )
    """,
    re.VERBOSE | re.DOTALL,
)
KEYWORDS = frozenset([*keyword.kwlist, *keyword.softkwlist])


def identifiers(source: str) -> dict[str, list[int]]:
    """The lines on which each identifier stands, keywords, strings and comments left out."""
    found: dict[str, list[int]] = {}
    line = 1
    for token in TOKEN.finditer(source):
        kind = token.lastgroup
        if kind == "name":
            lines = found.setdefault(token[0], [])
            if not lines or lines[-1] != line:
                lines.append(line)
        elif kind == "line":
            line += 1
        elif kind == "text":
            line += token[0].count("\n")
    return {name: lines for name, lines in found.items() if name not in KEYWORDS}


def python_files(directory: Path) -> Iterator[Path]:
    """Every .py file below, in a fixed order; packages installed beside the standard library are not it."""
    for folder, folders, names in os.walk(directory):
        folders[:] = sorted(set(folders) - {"site-packages", "dist-packages", "__pycache__"})
        yield from (Path(folder, name) for name in sorted(names) if name.endswith(".py"))


def stamp_of(path: Path) -> str:
    """Differs when the file was changed; "" when it cannot be looked at."""
    try:
        status = path.stat()
    except OSError:
        return ""
    return f"{status.st_mtime_ns}:{status.st_size}"


def read(path: Path) -> str | None:
    """The text of a source file, in the encoding it declares; None when it has none that works."""
    try:
        with tokenize.open(path) as file:
            return file.read()
    except (OSError, SyntaxError, ValueError):
        return None


def take_out(root: Any, path: str) -> None:
    """Removes all that the index knows of a file's contents."""
    entry, names = root["files"][path], root["names"]
    entry["stamp"] = ""
    number = entry["number"]
    for name in entry["names"].split():
        places = names.get(name)
        if places is not None and number in places:
            del places[number]
            if not len(places):
                del names[name]
    entry["names"] = ""


def forget(root: Any, path: str) -> None:
    """Removes a file that is gone."""
    take_out(root, path)
    root["paths"][root["files"][path]["number"]] = None
    del root["files"][path]


def put_in(root: Any, path: str, stamp: str, found: dict[str, list[int]]) -> None:
    """Adds a file's identifiers; what it had before is out already."""
    files, paths, names = root["files"], root["paths"], root["names"]
    if path not in files:
        paths.append(path)
        files[path] = {"number": len(paths) - 1, "stamp": "", "names": ""}
    entry = files[path]
    number = entry["number"]
    entry["names"] = " ".join(found)
    for name, lines in found.items():
        places = names.get(name)
        if places is None:
            names[name] = {number: lines}
        else:
            places[number] = lines
    entry["stamp"] = stamp


def progress(paths: list[Path]) -> Iterable[Path]:
    """The paths, one after the other, while the user sees how far it is."""
    if sys.stdout.isatty():
        from rich.progress import track

        yield from track(paths, description="indexing")
        return
    for done, path in enumerate(paths, 1):
        yield path
        if done % 100 == 0 or done == len(paths):
            print(f"indexed {done} of {len(paths)} files", flush=True)


def update(heap: mheap.Heap, directory: Path, every: int) -> tuple[int, int, int]:
    """Brings the index up to date: how many files were read, how many are gone, how many were unreadable.

    Each file is a commit; one in `every` waits for the disk (0: none does).
    """
    root = heap.root
    for name, empty in (("paths", []), ("files", {}), ("names", {})):
        if name not in root:
            root[name] = empty
    files = root["files"]
    there = {str(path): path for path in python_files(directory)}
    gone = [path for path in files if path not in there]
    with heap.transaction(durable=False):
        for path in gone:
            forget(root, path)
    stamps = {path: stamp_of(path) for path in there.values()}
    changed = [path for path, stamp in stamps.items() if not is_indexed(files, path, stamp)]
    unreadable = 0
    for done, path in enumerate(progress(changed), 1):
        source = read(path)
        unreadable += source is None
        with heap.transaction(durable=every > 0 and done % every == 0):
            if str(path) in files:
                take_out(root, str(path))
            put_in(root, str(path), stamps[path], identifiers(source or ""))
    return len(changed), len(gone), unreadable


def is_indexed(files: Any, path: Path, stamp: str) -> bool:
    entry = files.get(str(path))
    return entry is not None and stamp != "" and entry["stamp"] == stamp


def build(heap_path: str, directory: Path, every: int) -> int:
    begin = time.perf_counter()
    with mheap.open(heap_path) as heap:  # the end of which makes durable what is not yet
        try:
            read_now, gone, unreadable = update(heap, directory, every)
        except KeyboardInterrupt:
            print(
                f"interrupted; {heap_path} holds what was done so far: build again to go on", file=sys.stderr
            )
            return 130
        print(
            f"{read_now} files read ({unreadable} of them unreadable), {gone} gone: "
            f"{len(heap.root['names'])} names of {len(heap.root['files'])} files in {heap_path}, "
            f"{time.perf_counter() - begin:.1f} s"
        )
    return 0


def places_of(root: Any, name: str) -> list[tuple[str, list[int]]]:
    """The files that use a name, and on which lines."""
    places = root["names"].get(name)
    if places is None:
        return []
    paths = root["paths"]
    return [(paths[number], list(lines)) for number, lines in places.items()]


def find(heap_path: str, name: str, limit: int) -> int:
    if not Path(heap_path).exists():
        print(f"{heap_path}: there is no index yet: make one with `build`", file=sys.stderr)
        return 1
    begin = time.perf_counter()
    heap = mheap.open(heap_path, mode="readonly")
    attached = time.perf_counter()
    found = places_of(heap.root, name) if "names" in heap.root else []
    answered = time.perf_counter()
    heap.detach()
    places = [f"{path}:{line}" for path, lines in sorted(found) for line in lines]
    for place in places[: limit or None]:
        print(place)
    if limit and len(places) > limit:
        print(f"… and {len(places) - limit} more (--limit 0 shows all)")
    print(
        f"{name}: {len(places)} lines in {len(found)} files; "
        f"attached in {(attached - begin) * 1e3:.2f} ms, answered in {(answered - attached) * 1e3:.2f} ms"
    )
    return 0 if places else 1


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="An index of the names in Python sources, in a heap file.")
    commands = parser.add_subparsers(dest="command", required=True)
    builder = commands.add_parser("build", help="index a directory; again: only what changed")
    builder.add_argument("directory", nargs="?", metavar="DIR", default=sysconfig.get_path("stdlib"))
    builder.add_argument(
        "--commit-every",
        type=int,
        default=0,
        metavar="N",
        help="have N files safe from a power cut at a time (default: all, at the end)",
    )
    finder = commands.add_parser("find", help="print where a name is used")
    finder.add_argument("name", metavar="NAME")
    finder.add_argument(
        "--limit", type=int, default=20, metavar="N", help="lines to print; 0: all (default: 20)"
    )
    for command in (builder, finder):
        command.add_argument("--heap", default="code_index.heap", metavar="FILE", help="default: %(default)s")
    return parser.parse_args()


def main() -> int:
    chosen = arguments()
    try:
        if chosen.command == "find":
            return find(chosen.heap, chosen.name, chosen.limit)
        directory = Path(chosen.directory).resolve()
        if not directory.is_dir():
            print(f"{directory}: not a directory", file=sys.stderr)
            return 2
        return build(chosen.heap, directory, chosen.commit_every)
    except mheap.MheapError as error:
        print(f"code_index: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
