"""Paths to a value in a heap: ``users/ada/3``; see PATH_HELP."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from itertools import islice
from typing import Any

import click

from mheap._core import ArrayTwin, RecordTwin

PATH_HELP = r"""PATH leads from the root to a value: keys and positions with "/" between them, as in
users/ada/3. A "/" inside a key is written \/ and a backslash \\. A step matches the str key that is
written the same, else the key it is a Python literal of: 1 matches the str "1" first, then the int 1;
'1' is the str in any case, (1) the int; b'x', 2.5, None, (1, 'a') work too, and keys of other types as
`mheap ls` writes them. Empty steps are left out; '' is the empty str. Quote PATH for your shell."""

_STEPS = re.compile(r"(?:\\[\\/]|[^/])+")
_ESCAPED = re.compile(r"\\([\\/])")
_CALL = re.compile(r"<.*>|[\w.]+\(.*\)", re.DOTALL)
_INTEGER = re.compile(r"[+-]?[0-9]+")


class NoSuchPath(click.ClickException):
    """A step of the path leads nowhere."""


def is_container(value: object) -> bool:
    values = (str, bytes, bytearray, range, frozenset)
    if isinstance(value, RecordTwin):
        return True
    return is_array(value) or (isinstance(value, (Mapping, Sequence, Set)) and not isinstance(value, values))


def is_array(value: object) -> bool:
    """One that has rows."""
    return isinstance(value, ArrayTwin) and value.shape != ()


def row_of(array: Any, at: int) -> Any:
    """A row of an array, or an item, copied: a list of lists, or a Python scalar."""
    try:
        row = array[at]
        return row.tolist() if hasattr(row, "tolist") else row
    except (NotImplementedError, BufferError):
        raise click.ClickException(f"numpy is needed to show items of type {array._type}") from None


def rows_of(array: Any) -> Iterator[Any]:
    return (row_of(array, at) for at in range(len(array)))


def is_mapping(value: object) -> bool:
    """Has it names: a mapping or a record?"""
    return isinstance(value, (Mapping, RecordTwin))


def items_of(value: Any) -> Iterable[tuple[Any, Any]]:
    """Keys or names, and their values."""
    if not isinstance(value, RecordTwin):
        return value.items()  # type: ignore[no-any-return]
    return zip((row[0] for row in value._shape().rows), value._values(), strict=True)


def size_of(value: Any) -> int:
    return len(value._shape().rows) if isinstance(value, RecordTwin) else len(value)


def steps(path: str) -> list[str]:
    """The steps of a path, without escapes."""
    return [_ESCAPED.sub(r"\1", step) for step in _STEPS.findall(path)]


def _literal(step: str) -> tuple[Any, ...]:
    """The value a step is a literal of, as a tuple of one, or empty."""
    try:
        value = ast.literal_eval(step)
        hash(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return ()
    return (value,)


def _candidates(step: str) -> Iterator[Any]:
    yield step
    yield from _literal(step)


def _child_by_text(value: Mapping[Any, Any], step: str) -> tuple[Any, ...]:
    """The value of a key that is no literal, by how it is written."""
    from mheap.cli._values import literal

    for key, item in value.items():
        if not isinstance(key, str) and literal(key) == step:
            return (item,)
    return ()


def _child(value: Any, step: str) -> tuple[Any, ...]:
    """What a step leads to, as a tuple of one, or empty."""
    if isinstance(value, RecordTwin):
        return tuple(item for name, item in items_of(value) if name == step)
    if isinstance(value, Mapping):
        for key in _candidates(step):
            try:
                if key in value:  # a counter has a 0 for any other
                    return (value[key],)
            except (KeyError, TypeError, RecursionError):
                continue
        return _child_by_text(value, step) if _CALL.fullmatch(step) else ()
    if is_container(value) and _INTEGER.fullmatch(step):
        try:
            if isinstance(value, Set):
                return tuple(islice(value, int(step), int(step) + 1))
            return (row_of(value, int(step)) if is_array(value) else value[int(step)],)
        except (IndexError, ValueError, OverflowError):
            return ()
    return ()


def follow(file: str, root: Any, path: str) -> Any:
    """The value that a path leads to."""
    value, walked = root, ""
    for step in steps(path):
        found = _child(value, step)
        if not found:
            at = f"in {walked}" if walked else "in the root"
            raise NoSuchPath(f"{file}: no {step!r} {at}, which is a {type_name(value)}")
        value, walked = found[0], f"{walked}/{step}" if walked else step
    return value


def type_name(value: object) -> str:
    """What a value is called: the persistent dict is a ``dict``, and so on."""
    if value is None:
        return "None"
    if isinstance(value, RecordTwin):
        stored = value._shape().name
        return stored if stored.isprintable() else ascii(stored)
    name: str = getattr(value, "kind", type(value).__name__)
    return name.removeprefix("Persistent").lower() if name.startswith("Persistent") else name


def step_of(key: object, container: Any) -> str:
    """A key as a step that leads to it from its container; printable, whatever the key is."""
    from mheap.cli._values import literal

    plain = isinstance(key, str) and key.isprintable() and key.strip() == key != "" and not _literal(key)
    text = str(key) if plain else literal(key)
    if not isinstance(key, str) and isinstance(container, Mapping) and text in container:
        text = f"({text})"  # a str key is written like that, and comes first
    return text.replace("\\", "\\\\").replace("/", "\\/")
