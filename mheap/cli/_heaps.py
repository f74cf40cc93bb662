"""What the subcommands share: attaching a file without disturbing it, arguments, JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

import mheap
from mheap import _core
from mheap._values import SHOWS_UNKNOWN

_F = TypeVar("_F", bound=Callable[..., Any])


def file_argument(function: _F) -> _F:
    return click.argument("file", type=click.Path())(function)


def json_option(function: _F) -> _F:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def limit_option(help: str) -> Callable[[_F], _F]:
    return click.option("--limit", type=click.IntRange(min=0), metavar="N", help=help)


def heap_option(function: _F) -> _F:
    """``--heap NAME``, the parameter ``name``."""
    text = "In the heap of this name, not in the main one."
    return click.option("--heap", "name", metavar="NAME", help=text)(function)


def root_of(heap: mheap.Heap, name: str | None) -> mheap.PersistentDict:
    """The root of the main heap, or of a named one."""
    return heap.root if name is None else heap.named[name].root


_TAKING = 5.0  # seconds; a writer holds readers off for an instant while it gives space back


def _attach(file: str) -> mheap.Heap:
    """Read-only, at any address. What a reader is refused for is said, and looked at all the same."""
    try:
        return _showing_all(mheap.open(file, mode="readonly", relocate=True))
    except mheap.HeapBusy:
        remark = "a writer has it open; what is shown may be changing"
    except mheap.UncleanHeap as error:
        remark = f"not detached in order ({error})"
    heap = mheap.open(file, mode="readonly", relocate=True, unsafe=True, timeout=_TAKING)
    print(f"mheap: {file}: {' '.join(remark.split())}", file=sys.stderr)
    return _showing_all(heap)


def _showing_all(heap: mheap.Heap) -> mheap.Heap:
    """Values of types that are registered elsewhere, and pickles, are shown, and nothing is run for them."""
    _core._reads(heap, SHOWS_UNKNOWN)
    return heap


@contextmanager
def opened(file: str) -> Iterator[mheap.Heap]:
    """The heap of a file, attached without disturbing anybody."""
    heap = _attach(file)
    try:
        with heap.snapshot():  # beside an atomic writer, all that is read is one commit
            yield heap
    finally:
        heap.detach()


def journal_fields(info: mheap.JournalInfo) -> dict[str, Any] | None:
    """A file's journal for JSON; None: it has none."""
    names = ("offset", "size", "used", "records", "pages_generation", "generation")
    return {name: getattr(info, name) for name in names} if info.offset else None


def error_fields(error: Exception) -> dict[str, Any]:
    """An error for JSON: ``name``, ``text``, and ``offset`` where it has a place in the file."""
    fields: dict[str, Any] = {"name": type(error).__name__, "text": " ".join(str(error).split())}
    offset = getattr(error, "offset", None)
    if offset is not None:
        fields["offset"] = offset
    return fields


def print_json(value: object) -> None:
    print(json.dumps(value, indent=2))
