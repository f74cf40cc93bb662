"""``mheap get FILE PATH``: one value."""

from __future__ import annotations

import sys
from typing import Any

import click

from mheap.cli._heaps import file_argument, heap_option, json_option, limit_option, opened, root_of
from mheap.cli._paths import PATH_HELP, follow, is_container
from mheap.cli._values import literal, write_json, write_python

_HELP = f"""Print the value at PATH: a str as it is, containers and everything else as Python literals.
Records, members of Enums, values of registered types and pickles are shown as <module:class…>; nothing
is run for them.

{PATH_HELP}

With --json: null, booleans, numbers, strings, arrays and objects are what one would expect; bytes are
{{"$base64": "…"}}, a float that is not finite {{"$float": "nan"}}, an int of thousands of digits
{{"$int": "0x…"}}, a Decimal {{"$decimal": "1.5"}}, and so are "$fraction", "$complex", "$uuid", "$path",
"$date", "$time", "$datetime" and "$bytearray"; other values {{"$repr": "…"}}. An array of items of one type
is {{"$array": [row, …], "dtype": "<f8", "shape": [3, 2]}}. A tuple is an array, and a
dict whose keys are not all str, or begin with "$", {{"$items": [[key, value], …]}}.
"""


def _plain(value: str) -> str:
    """For a terminal: control characters, which may come from anywhere, are shown, not obeyed."""
    if not sys.stdout.isatty():
        return value
    return "".join(c if c.isprintable() or c in "\n\t" else literal(c)[1:-1] for c in value)


def _write_raw(value: Any) -> None:
    if not isinstance(value, (str, bytes)):
        raise click.UsageError("--raw is for str and bytes")
    sys.stdout.buffer.write(value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass"))


@click.command("get", help=_HELP, short_help="One value of a heap.")
@file_argument
@click.argument("path")
@heap_option
@json_option
@click.option("--raw", is_flag=True, help="Write a str (UTF-8) or bytes as they are, without a line's end.")
@limit_option("Print no more than N items of each container.")
def command(file: str, path: str, name: str | None, as_json: bool, raw: bool, limit: int | None) -> None:
    if raw and as_json:
        raise click.UsageError("--raw and --json exclude each other")
    with opened(file) as heap:
        value = follow(file, root_of(heap, name), path)
        if raw:
            _write_raw(value)
            return
        write = sys.stdout.write
        if as_json:
            write_json(value, write, limit)
        elif isinstance(value, str) and not is_container(value):
            write(_plain(value))
        else:
            write_python(value, write, limit)
        write("\n")
