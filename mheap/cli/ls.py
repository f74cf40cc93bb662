"""``mheap ls FILE [PATH]``: what a container holds."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import islice
from typing import Any

import click

from mheap.cli._heaps import file_argument, json_option, limit_option, opened
from mheap.cli._paths import (
    PATH_HELP,
    follow,
    is_container,
    is_mapping,
    items_of,
    size_of,
    step_of,
    type_name,
)
from mheap.cli._values import json_scalar, preview

_HELP = f"""List a container of FILE, a line an entry: its key (as a step of a PATH), its type, and its
value or size. Without PATH: the root.

{PATH_HELP}

With --json: {{"file", "path", "type", "length", "entries": [{{"key", "step", "type", "length" or
"value"}}]}}. A key or value is written as `mheap get --json` does; long text and bytes have a "preview" in
place of the "value".
"""

_LONG = 1000


def _entries(value: Any) -> Iterator[tuple[Any, Any]]:
    return iter(items_of(value)) if is_mapping(value) else enumerate(value)


def _print_lines(value: Any, limit: int | None) -> None:
    for key, item in islice(_entries(value), limit):
        sys.stdout.write(f"{step_of(key, value):<24}  {type_name(item):<5}  {preview(item)}\n")
    hidden = size_of(value) - limit if limit is not None else 0
    if hidden > 0:
        print(f"mheap: {hidden} more (--limit)", file=sys.stderr)


def _json_entry(value: Any, key: Any, item: Any) -> str:
    step, kind = json.dumps(step_of(key, value)), json.dumps(type_name(item))
    head = f'{{"key": {json_scalar(key)}, "step": {step}, "type": {kind}'
    if is_container(item):
        return f'{head}, "length": {size_of(item)}}}'
    if isinstance(item, (str, bytes)) and len(item) > _LONG:
        return f'{head}, "length": {len(item)}, "preview": {json.dumps(preview(item))}}}'
    return f'{head}, "value": {json_scalar(item)}}}'


def _print_json(file: str, path: str, value: Any, limit: int | None) -> None:
    write = sys.stdout.write
    head = {"file": file, "path": path, "type": type_name(value), "length": size_of(value)}
    write(json.dumps(head)[:-1] + ', "entries": [')
    between = "\n  "
    for key, item in islice(_entries(value), limit):
        write(between + _json_entry(value, key, item))
        between = ",\n  "
    write("]}\n")


@click.command("ls", help=_HELP, short_help="What a container of a heap holds.")
@file_argument
@click.argument("path", default="")
@json_option
@limit_option("List no more than N entries.")
def command(file: str, path: str, as_json: bool, limit: int | None) -> None:
    with opened(file) as heap:
        value = follow(file, heap.root, path)
        if not is_container(value):
            raise click.ClickException(
                f"{file}: {path} is a {type_name(value)}; use `mheap get` for its value"
            )
        if as_json:
            _print_json(file, path, value, limit)
        else:
            _print_lines(value, limit)
