"""``mheap ls FILE [PATH]``: what a container holds."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import click

import mheap
from mheap.cli._heaps import file_argument, heap_option, json_option, limit_option, opened, root_of
from mheap.cli._paths import PATH_HELP, follow, is_container, step_of, type_name
from mheap.cli._values import json_scalar, literal, preview

_HELP = f"""List a container of FILE, a line an entry: its key (as a step of a PATH), its type, and its
value or size. Without PATH: the root, and behind it the named heaps of the file, as the option that shows
each.

{PATH_HELP}

With --json: {{"file", "path", "type", "length", "entries": [{{"key", "step", "type", "length" or
"value"}}]}}. A key or value is written as `mheap get --json` does; long text and bytes have a "preview" in
place of the "value". Without PATH and --heap there are "heaps" too: [{{"name", "length"}}], the length null
where it cannot be read.
"""

_LONG = 1000


def _entries(value: Any) -> Iterator[tuple[Any, Any]]:
    return iter(value.items()) if isinstance(value, Mapping) else enumerate(value)


def _print_lines(value: Any, limit: int | None) -> None:
    for key, item in islice(_entries(value), limit):
        sys.stdout.write(f"{step_of(key, value):<24}  {type_name(item):<5}  {preview(item)}\n")
    hidden = len(value) - limit if limit is not None else 0
    if hidden > 0:
        print(f"mheap: {hidden} more (--limit)", file=sys.stderr)


def _json_entry(value: Any, key: Any, item: Any) -> str:
    step, kind = json.dumps(step_of(key, value)), json.dumps(type_name(item))
    head = f'{{"key": {json_scalar(key)}, "step": {step}, "type": {kind}'
    if is_container(item):
        return f'{head}, "length": {len(item)}}}'
    if isinstance(item, (str, bytes)) and len(item) > _LONG:
        return f'{head}, "length": {len(item)}, "preview": {json.dumps(preview(item))}}}'
    return f'{head}, "value": {json_scalar(item)}}}'


def _named(heap: mheap.Heap) -> Iterator[tuple[str, int | None]]:
    """The named heaps, and how much is in the root of each; None: that is damaged."""
    for name in heap.named:
        try:
            yield name, len(heap.named[name].root)
        except mheap.MheapError:
            yield name, None


def _print_named(heap: mheap.Heap) -> None:
    for name, length in _named(heap):
        plain = name.isprintable() and shlex.quote(name) == name
        option = f"--heap {name if plain else literal(name)}"
        count = "damaged" if length is None else f"{length} item{'' if length == 1 else 's'}"
        sys.stdout.write(f"{option:<24}  heap   {count}\n")


def _print_json(
    file: str, path: str, value: Any, limit: int | None, heaps: list[tuple[str, int | None]] | None
) -> None:
    write = sys.stdout.write
    head = {"file": file, "path": path, "type": type_name(value), "length": len(value)}
    if heaps is not None:
        head["heaps"] = [{"name": name, "length": length} for name, length in heaps]
    write(json.dumps(head)[:-1] + ', "entries": [')
    between = "\n  "
    for key, item in islice(_entries(value), limit):
        write(between + _json_entry(value, key, item))
        between = ",\n  "
    write("]}\n")


@click.command("ls", help=_HELP, short_help="What a container of a heap holds.")
@file_argument
@click.argument("path", default="")
@heap_option
@json_option
@limit_option("List no more than N entries.")
def command(file: str, path: str, name: str | None, as_json: bool, limit: int | None) -> None:
    with opened(file) as heap:
        value = follow(file, root_of(heap, name), path)
        whole = name is None and path == ""
        if not is_container(value):
            raise click.ClickException(
                f"{file}: {path} is a {type_name(value)}; use `mheap get` for its value"
            )
        if as_json:
            _print_json(file, path, value, limit, list(_named(heap)) if whole else None)
            return
        _print_lines(value, limit)
        if whole:
            _print_named(heap)
