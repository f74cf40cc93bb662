"""``mheap restore SEALED OUT``: a heap made of a sealed file; with --json, of JSON lines."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterator, MutableMapping, Set
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import click

import mheap
from mheap import _core
from mheap.cli._heaps import refuse_existing
from mheap.cli._lines import Refused, read_line
from mheap.cli._paths import NoSuchPath, follow, steps, type_name
from mheap.cli._progress import Advance, progress


@contextmanager
def _input(name: str) -> Iterator[tuple[IO[bytes], int | None]]:
    """Its lines, and how many bytes they are, if that is known; '-' is stdin."""
    if name == "-":
        yield sys.stdin.buffer, None
        return
    with Path(name).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        yield file, size or None


def _fault(source: str, number: int, column: int, text: object) -> click.ClickException:
    name = "stdin" if source == "-" else source
    return click.ClickException(f"{name}: line {number}, column {column}: {text}; nothing was restored")


def _column_of(line: str, tag: str | None) -> int:
    return line.find(tag) + 1 if tag is not None and tag in line else 1


def _read(source: str, number: int, raw: bytes, tags: bool) -> dict[str, Any] | None:
    """What a line holds; None: it is empty."""
    try:
        line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        return read_line(line, tags) if line.strip() else None
    except UnicodeDecodeError as error:
        raise _fault(source, number, error.start + 1, "no UTF-8") from None
    except json.JSONDecodeError as error:
        raise _fault(source, number, error.colno, error.msg) from None
    except Refused as error:
        raise _fault(source, number, _column_of(line, error.tag), error) from None
    except (ValueError, RecursionError) as error:
        raise _fault(source, number, 1, error) from None


# ---- where lines go ----


def _make(parent: Any, step: str, line: dict[str, Any]) -> Any:
    if not isinstance(parent, MutableMapping):
        raise click.ClickException(f"no {step!r}, and none is made in a {type_name(parent)}")
    parent[step] = {} if "key" in line else []
    return parent[step]


def _target(file: str, root: Any, path: str, line: dict[str, Any]) -> Any:
    """The container at the path; its last step is made if only that is missing."""
    try:
        return follow(file, root, path)
    except NoSuchPath:
        *before, last = steps(path)
        above = "/".join(step.replace("\\", "\\\\").replace("/", "\\/") for step in before)
        return _make(follow(file, root, above), last, line)


def _put(target: Any, line: dict[str, Any]) -> None:
    if isinstance(target, MutableMapping):
        if "key" not in line:
            raise Refused('the line of a dict has a "key"')
        target[line["key"]] = line["value"]
    elif "key" in line:
        raise Refused(f'a {type_name(target)} has no keys: a line is {{"value": …}}')
    elif isinstance(target, Set):
        target.add(line["value"])  # type: ignore[attr-defined]
    elif hasattr(target, "append"):
        target.append(line["value"])
    else:
        raise Refused(f"a {type_name(target)} takes no items")


def _put_all(
    source: str, file: str, heap: mheap.Heap, path: str, tags: bool, lines: IO[bytes], done: Advance
) -> int:
    target: Any = None
    count = position = 0
    for number, raw in enumerate(lines, 1):
        line = _read(source, number, raw, tags)
        position += len(raw)
        if line is None:
            continue
        if target is None:
            target = _target(file, heap.root, path, line)
        try:
            _put(target, line)
        except (Refused, TypeError, ValueError) as error:
            raise _fault(source, number, 1, error) from None
        count += 1
        if count % 1000 == 0:
            done(position)
    return count


def _import(modules: tuple[str, ...]) -> None:
    """As `python -m` finds them: first where one is."""
    if modules and "" not in sys.path:
        sys.path.insert(0, "")
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise click.ClickException(f"--import {module}: {error}") from None


def _restore_lines(source: str, file: str, path: str, tags: bool) -> None:
    made = not os.path.lexists(file)
    try:
        with _input(source) as (lines, size), mheap.open(file) as heap:
            with progress(source, size, of_bytes=True) as done:
                count = _put_all(source, file, heap, path, tags, lines, done)
            heap.commit()
            print(f"{file}: {count} items restored, generation {heap.generation}")
    except BaseException:
        if made:
            Path(file).unlink(missing_ok=True)
        raise


def _restore_sealed(source: str, file: str, replace: bool) -> None:
    refuse_existing(file, replace)
    with mheap.open(source, mode="readonly", relocate=True) as heap, heap.snapshot():
        _core._dump(heap, file, replace, True, 2)
    with mheap.open(file, mode="readonly", relocate=True) as made:
        print(f"{file}: {made.size} bytes, uuid {made.uuid}, to be attached in any mode")


@click.command("restore", short_help="A heap made of a sealed file, or of JSON lines.")
@click.argument("source", type=click.Path(allow_dash=True))
@click.argument("file", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="SOURCE is JSON lines; '-': stdin.")
@click.option("--path", default="", help="With --json: into the container there, not into the root.")
@click.option("--no-tags", is_flag=True, help="With --json: objects with keys like $date are dicts.")
@click.option(
    "--import", "modules", multiple=True, metavar="MODULE", help="With --json: has classes of records."
)
@click.option("--replace", is_flag=True, help="Let FILE take the place of a file that is there.")
def command(
    source: str, file: str, as_json: bool, path: str, no_tags: bool, modules: tuple[str, ...], replace: bool
) -> None:
    """Make a heap FILE of the sealed file SOURCE, to be attached in any mode. It has what SOURCE has, at the
    same offsets, and a uuid of its own. FILE appears at once, when all of it is on disk.

    With --json: read JSON lines, as `mheap dump --json` writes them, into the root of FILE, or the container
    at PATH, whose last step is made if it is not there: a dict or, where lines have no "key", a list. FILE is
    made if it is not there. Records take the modules of their classes, which --import names. All lines are
    committed together: one that is malformed, or cannot be stored, is told with its number and column, and
    FILE is as it was.
    """
    if as_json:
        if replace:
            raise click.UsageError("--replace does not go with --json, which adds to what is there")
        _import(modules)
        _restore_lines(source, file, path, not no_tags)
        return
    if path or no_tags or modules:
        raise click.UsageError("--path, --no-tags and --import go with --json")
    _restore_sealed(source, file, replace)
