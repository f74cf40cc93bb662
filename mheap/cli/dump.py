"""``mheap dump FILE OUT``: a whole heap as a sealed file; with --json, its objects as lines."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import click

import mheap
from mheap._core import RecordTwin
from mheap.cli._heaps import opened, refuse_existing
from mheap.cli._lines import Refused, lines
from mheap.cli._paths import PATH_HELP, follow, is_container, step_of, type_name
from mheap.cli._progress import progress

_HELP = f"""Write the heap in FILE, all of it, to OUT: a sealed file, compact and complete, which is never
written again and attaches like any other heap with mode readonly or scratch (mheap.restore). OUT appears at
once when all of it is on disk. `mheap restore` makes a heap of it that can be written.

With --json: the items of the root, or of the container at PATH, as JSON lines, to OUT or, without one, to
stdout: {{"key": …, "value": …}} for each item of a dict, {{"value": …}} of a list, set or deque. What JSON
has no word for has a tag, such as {{"$date": "2026-01-31"}} or {{"$tuple": [1, 2]}}, and is read by
`mheap restore --json` as it was.

{PATH_HELP}
"""


@contextmanager
def _output(out: str, replace: bool) -> Iterator[IO[str]]:
    """A file that is there as a whole or not at all; '-' is stdout."""
    if out == "-":
        yield sys.stdout
        sys.stdout.flush()
        return
    path, part = Path(out), Path(f"{out}.part")
    refuse_existing(out, replace)
    try:
        with part.open("w", encoding="ascii") as file:
            yield file
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _write_lines(file: str, path: str, out: str, replace: bool, tags: bool) -> None:
    with opened(file) as heap:
        value: Any = follow(file, heap.root, path)
        if not is_container(value) or isinstance(value, RecordTwin):
            raise click.ClickException(f"{file}: {path} is a {type_name(value)}, which has no items")
        number = 0
        with _output(out, replace) as output, progress(file, len(value)) as done:
            try:
                for number, line in enumerate(lines(value, tags), 1):
                    output.write(line)
                    if number % 1000 == 0:
                        done(number)
            except Refused as error:
                raise click.ClickException(f"{file}: {_place(value, path, number)}: {error}") from None


def _place(value: Any, path: str, number: int) -> str:
    from collections.abc import Mapping, Set
    from itertools import islice

    step = str(number)
    if isinstance(value, Mapping):
        step = step_of(next(islice(value, number, None)), value)
    elif isinstance(value, Set):
        return f"a member of {path}"
    return f"{path}/{step}" if path else step


def _write_sealed(file: str, out: str, replace: bool) -> None:
    refuse_existing(out, replace)
    with mheap.open(file, mode="readonly", relocate=True) as heap, heap.snapshot():
        heap.dump(out, replace=replace)
    with mheap.open(out, mode="readonly", relocate=True) as dump:
        print(f"{out}: sealed, {dump.size} bytes, uuid {dump.uuid}, generation {dump.generation}")


@click.command("dump", help=_HELP, short_help="A heap as a sealed file, or as JSON lines.")
@click.argument("file", type=click.Path())
@click.argument("out", type=click.Path(), required=False)
@click.option("--json", "as_json", is_flag=True, help="JSON lines.")
@click.option("--path", default="", help="With --json: of the container there, not of the root.")
@click.option("--no-tags", is_flag=True, help="With --json: refuse what JSON has no word for.")
@click.option("--replace", is_flag=True, help="Let OUT take the place of a file that is there.")
def command(file: str, out: str | None, as_json: bool, path: str, no_tags: bool, replace: bool) -> None:
    if as_json:
        _write_lines(file, path, "-" if out is None else out, replace, not no_tags)
        return
    if path or no_tags:
        raise click.UsageError("--path and --no-tags go with --json")
    if out is None:
        raise click.UsageError("Missing argument 'OUT'.")
    _write_sealed(file, out, replace)
