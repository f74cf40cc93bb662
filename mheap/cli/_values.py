"""Values of a heap as text: Python literals and JSON, written piece by piece.

Containers may be larger than memory, nested deeply, and (in a damaged heap) contain
themselves: nothing here recurses, and nothing is collected before it is written.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterator, Set
from itertools import islice
from typing import Any

import click

from mheap._core import RecordTwin
from mheap.cli._paths import is_array, is_container, is_mapping, items_of, rows_of, size_of, type_name

Write = Callable[[str], Any]

PREVIEW = 60
FEW = 8  # items of an array in its preview


class Cycle(click.ClickException):
    """A container that contains itself has no JSON."""


def int_text(value: int) -> str:
    """Decimal, or hexadecimal where decimal would take for ever (and Python refuses)."""
    try:
        return str(value)
    except ValueError:
        return hex(value)


def literal(value: object) -> str:
    """A scalar as a Python literal in printable characters."""
    if type(value) is int:
        return int_text(value)
    try:
        return repr(value)
    except ValueError:  # an int in it is so long that Python refuses
        return f"<{type(value).__name__} of thousands of digits>"


def preview(value: Any) -> str:
    """A few words about a value: scalars as literals, containers as their size."""
    if is_array(value):
        return _array_preview(value)
    if is_container(value):
        count = size_of(value)
        return f"{count} item{'' if count == 1 else 's'}"
    if isinstance(value, (str, bytes)) and len(value) > PREVIEW:
        unit = "characters" if isinstance(value, str) else "bytes"
        return f"{literal(value[:PREVIEW])}… ({len(value)} {unit})"
    text = literal(value)
    return text if len(text) <= PREVIEW else f"{text[:PREVIEW]}… ({len(text)} characters)"


def _array_preview(value: Any) -> str:
    """Its type, its shape, and the first items."""
    head = f"{value._type} {value.shape}"
    try:
        shown = [literal(item) for item in islice(_items(value), FEW)]
    except click.ClickException:  # without numpy, of types that only numpy knows
        return head
    cut = "…" if value.size > FEW else ""
    text = f"{head} {', '.join(shown)}{cut}"
    return text if len(text) <= 2 * PREVIEW else f"{text[: 2 * PREVIEW]}…"


def _items(value: Any) -> Iterator[Any]:
    """One behind the other, without making a list of them all."""
    stack = [rows_of(value)]
    while stack:
        item = next(stack[-1], stack)
        if item is stack:
            stack.pop()
        elif isinstance(item, list):
            stack.append(iter(item))
        else:
            yield item


# ---- JSON of scalars ----

_AS_STR = {
    "Decimal": "decimal",
    "Fraction": "fraction",
    "UUID": "uuid",
    "complex": "complex",
    "date": "date",
    "datetime": "datetime",
    "time": "time",
    **{f"{pure}{system}Path": "path" for pure in ("", "Pure") for system in ("Posix", "Windows")},
}


def json_scalar(value: object) -> str:
    """What JSON has no word for becomes an object with one key."""
    if isinstance(value, bytes):
        return json.dumps({"$base64": base64.b64encode(value).decode("ascii")})
    if isinstance(value, bytearray):
        return json.dumps({"$bytearray": base64.b64encode(value).decode("ascii")})
    if isinstance(value, float) and not math.isfinite(value):
        return json.dumps({"$float": repr(value)})
    if type(value) is int:
        text = int_text(value)
        return json.dumps({"$int": text}) if "x" in text else text
    if value is None or isinstance(value, (bool, float, str)):
        return json.dumps(value)
    name = _AS_STR.get(type(value).__name__)
    return json.dumps({f"${name}": str(value)} if name else {"$repr": literal(value)})


# ---- walking without recursion ----


class Form:
    """How one container is written: the marks around it, and its pieces one after the other.

    A piece is text to write as it is, or a tuple of one value to write in its turn.
    """

    def __init__(self, end: str, pieces: Iterator[str | tuple[Any]]) -> None:
        self.end = end
        self.pieces = pieces


def _limited(value: Any, limit: int | None) -> Iterator[Any]:
    return islice(rows_of(value) if is_array(value) else iter(value), limit)


def _is_cut(value: Any, limit: int | None) -> bool:
    return limit is not None and size_of(value) > limit


def _name_text(value: Any, name: Any) -> str:
    """What stands before the value of a key, or of a field."""
    if isinstance(value, RecordTwin):
        return f"{name if name.isprintable() else literal(name)}="
    return f"{literal(name)}: "


def _python_pieces(value: Any, limit: int | None) -> Iterator[str | tuple[Any]]:
    mapping = is_mapping(value)
    between = ""
    for item in _limited(items_of(value) if mapping else value, limit):
        yield between
        if mapping:
            yield _name_text(value, item[0])
        yield (item[1] if mapping else item,)
        between = ", "
    if _is_cut(value, limit):
        yield between + "..."


def _python_marks(value: Any) -> tuple[str, str]:
    if is_array(value):
        return "array([", f"], shape={value.shape}, dtype={value._type!r})"
    if isinstance(value, RecordTwin):
        return f"<{type_name(value)} ", ">"
    if is_mapping(value):
        return "{", "}"
    if isinstance(value, Set):
        return ("{", "}") if value else ("set(", ")")
    if isinstance(value, tuple):
        return "(", ",)" if len(value) == 1 else ")"
    if type_name(value) != "deque":
        return "[", "]"
    return "deque([", "])" if value.maxlen is None else f"], maxlen={value.maxlen})"


def _python_form(value: Any, limit: int | None) -> tuple[str, Form]:
    start, end = _python_marks(value)
    return start, Form(end, _python_pieces(value, limit))


def _json_list_pieces(items: Iterator[Any]) -> Iterator[str | tuple[Any]]:
    between = ""
    for item in items:
        yield between
        yield (item,)
        between = ", "


def _json_object_pieces(items: Iterator[tuple[str, Any]]) -> Iterator[str | tuple[Any]]:
    between = ""
    for key, item in items:
        yield f"{between}{json.dumps(key)}: "
        yield (item,)
        between = ", "


def _json_pair_pieces(items: Iterator[tuple[Any, Any]]) -> Iterator[str | tuple[Any]]:
    between = ""
    for key, item in items:
        yield f"{between}[{json_scalar(key)}, "
        yield (item,)
        yield "]"
        between = ", "


def _names(value: Any) -> Iterator[Any]:
    return (name for name, _ in items_of(value)) if isinstance(value, RecordTwin) else iter(value)


def _json_form(value: Any, limit: int | None) -> tuple[str, Form]:
    if is_array(value):
        end = f'], "dtype": {json.dumps(value._type)}, "shape": {json.dumps(value.shape)}}}'
        return '{"$array": [', Form(end, _json_list_pieces(_limited(value, limit)))
    if not is_mapping(value):
        return "[", Form("]", _json_list_pieces(_limited(value, limit)))
    if all(isinstance(key, str) and not key.startswith("$") for key in _limited(_names(value), limit)):
        return "{", Form("}", _json_object_pieces(_limited(items_of(value), limit)))
    return '{"$items": [', Form("]}", _json_pair_pieces(_limited(items_of(value), limit)))


def write_value(
    value: Any,
    write: Write,
    form_of: Callable[[Any, int | None], tuple[str, Form]],
    scalar: Callable[[Any], str],
    again: Callable[[Any], str],
    limit: int | None,
) -> None:
    """Writes a value, containers in containers with a stack of our own; `again` is for a cycle."""
    if not is_container(value):
        write(scalar(value))
        return
    start, form = form_of(value, limit)
    write(start)
    stack = [(value, form)]
    inside = {id(value)}
    while stack:
        container, form = stack[-1]
        piece = next(form.pieces, None)
        if piece is None:
            write(form.end)
            inside.discard(id(container))
            stack.pop()
        elif isinstance(piece, str):
            write(piece)
        elif not is_container(piece[0]):
            write(scalar(piece[0]))
        elif id(piece[0]) in inside:
            write(again(piece[0]))
        else:
            start, form = form_of(piece[0], limit)
            write(start)
            stack.append((piece[0], form))
            inside.add(id(piece[0]))


def _python_again(value: Any) -> str:
    if isinstance(value, RecordTwin):
        return f"<{type_name(value)} ...>"
    return "{...}" if is_mapping(value) else "(...)" if isinstance(value, tuple) else "[...]"


def _json_again(value: Any) -> str:
    raise Cycle("a container contains itself, for which JSON has no form")


def write_python(value: Any, write: Write, limit: int | None = None) -> None:
    """A value as a Python literal; containers cut at `limit` items end with ``...``."""
    write_value(value, write, _python_form, literal, _python_again, limit)


def write_json(value: Any, write: Write, limit: int | None = None) -> None:
    write_value(value, write, _json_form, json_scalar, _json_again, limit)
