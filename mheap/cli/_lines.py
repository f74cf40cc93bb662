"""JSON lines of values of a heap, and back: the tags for what JSON has no word for.

What is written here is read here to equal values of the same types; docs/reference/cli.md has the
table. Containers in containers are written without recursion.
"""

from __future__ import annotations

import base64
import datetime
import decimal
import fractions
import json
import math
import pathlib
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from typing import Any, cast

from mheap._core import RecordTwin, RowsTwin
from mheap.arrays import _fields
from mheap.cli._paths import is_array, items_of, type_name
from mheap.cli._values import Form, Write, int_text, write_value
from mheap.records import Record, RecordList, _of_name
from mheap.sorted import SortedDict


class Refused(ValueError):
    """A value that has no line, or a line that has no value; `tag` is where."""

    def __init__(self, text: str, tag: str | None = None) -> None:
        super().__init__(text)
        self.tag = tag


# ---- writing: scalars ----


def _base64(value: bytes | bytearray) -> str:
    return base64.b64encode(value).decode("ascii")


def _time_fields(tag: str, value: Any) -> dict[str, Any]:
    """A zone that has a name is named; others are their distance from UTC."""
    zone, fields = value.tzinfo, {}
    key = getattr(zone, "key", None)
    if key is not None:
        fields["zone"] = key
    elif zone is not None:
        fields["zone"] = _zone_fields(zone)
    if value.fold:
        fields["fold"] = value.fold
    return {tag: value.replace(tzinfo=None, fold=0).isoformat(), **fields}


def _zone_fields(zone: Any) -> Any:
    """Of a datetime.timezone: seconds and, if it was given one, its name."""
    offset, *name = zone.__getinitargs__()
    return [offset.total_seconds(), *name]


def _decimal_fields(value: Any) -> Any:
    return {"$decimal": str(value)}


_SCALARS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "bytes": lambda value: {"$base64": _base64(value)},
    "bytearray": lambda value: {"$bytearray": _base64(value)},
    "complex": lambda value: {"$complex": [value.real.hex(), value.imag.hex()]},
    "range": lambda value: {"$range": [value.start, value.stop, value.step]},
    "date": lambda value: {"$date": value.isoformat()},
    "time": lambda value: _time_fields("$time", value),
    "datetime": lambda value: _time_fields("$datetime", value),
    "timedelta": lambda value: {"$timedelta": [value.days, value.seconds, value.microseconds]},
    "timezone": lambda value: {"$timezone": _zone_fields(value)},
    "ZoneInfo": lambda value: {"$zoneinfo": value.key},
    "Decimal": _decimal_fields,
    "Fraction": lambda value: {"$fraction": str(value)},
    "UUID": lambda value: {"$uuid": str(value)},
    **{
        f"{pure}{system}Path": lambda value: {"$path": str(value), "of": type(value).__name__}
        for pure in ("", "Pure")
        for system in ("Posix", "Windows")
    },
}


def _number(value: int | float) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": repr(value)}
    text = int_text(value)
    return {"$int": text} if "x" in text else value


def _pieces(items: Iterator[tuple[str, Any]], end: str) -> Iterator[str | tuple[Any]]:
    """Of a container: each item behind the text before it."""
    between = ""
    for before, item in items:
        yield between + before
        yield (item,)
        if end:
            yield end
        between = ", "


def _row_pieces(records: Any) -> Iterator[str | tuple[Any]]:
    between = ""
    for record in records:
        yield f"{between}["
        yield from _pieces((("", item) for item in record._values()), "")
        yield "]"
        between = ", "


class _Writer:
    def __init__(self, tags: bool) -> None:
        self.tags = tags

    def needs_tag(self, what: str) -> None:
        if not self.tags:
            raise Refused(f"JSON has no {what}, and --no-tags was given")

    def scalar(self, value: Any) -> str:
        if value is None or isinstance(value, (bool, str)):
            return json.dumps(value)
        if isinstance(value, frozenset):
            self.needs_tag("frozenset")
            return f'{{"$frozenset": [{", ".join(self.members(value))}]}}'
        fields: Any = None
        if isinstance(value, (int, float)):
            fields = _number(value)
        elif type(value).__name__ in _SCALARS:
            fields = _SCALARS[type(value).__name__](value)
        if fields is None:
            raise Refused(f"a value of type {type_name(value)} has no line: {value!r}")
        if isinstance(fields, dict):
            self.needs_tag(type_name(value) if "$float" not in fields else repr(value))
        return json.dumps(fields)

    def form(self, value: Any, limit: int | None) -> tuple[str, Form]:
        if isinstance(value, (RowsTwin, RecordList)):
            return self.form_of_rows(value)
        if isinstance(value, RecordTwin):
            return self.form_of_record(value)
        if is_array(value):
            return self.form_of_array(value)
        if isinstance(value, Mapping):
            return self.form_of_dict(value)
        if isinstance(value, Set):
            self.needs_tag("set")
            return '{"$set": [', Form("]}", iter([", ".join(self.members(value))]))
        items = (("", item) for item in value)
        name = type_name(value)
        if name == "list":
            return "[", Form("]", _pieces(items, ""))
        self.needs_tag(name)
        maxlen = getattr(value, "maxlen", None)
        return f'{{"${name}": [', Form(
            "]}" if maxlen is None else f'], "maxlen": {maxlen}}}', _pieces(items, "")
        )

    def form_of_array(self, value: Any) -> tuple[str, Form]:
        self.needs_tag("array")
        fields = {"$array": _base64(bytes(value._bytes())), "dtype": value._type, "shape": value.shape}
        return json.dumps(fields), Form("", iter(()))

    def form_of_record(self, value: RecordTwin) -> tuple[str, Form]:
        self.needs_tag("record")
        start, fields = self.form_of_dict(dict(items_of(value)))
        fields.end += "}"
        return f'{{"$record": {json.dumps(value._shape().name)}, "fields": {start}', fields

    def form_of_rows(self, value: Any) -> tuple[str, Form]:
        self.needs_tag("list of records")
        shape = value._shape()
        fields = json.dumps([row[0] for row in shape.rows])
        return f'{{"$records": {json.dumps(shape.name)}, "fields": {fields}, "rows": [', Form(
            "]}", _row_pieces(value)
        )

    def form_of_dict(self, value: Mapping[Any, Any]) -> tuple[str, Form]:
        name = type_name(value)
        if name in ("counter", "sorteddict"):
            self.needs_tag(name)
            return f'{{"${name}": [', Form("]}", self.pairs(value))
        if all(isinstance(key, str) and not (self.tags and key.startswith("$")) for key in value):
            return "{", Form(
                "}", _pieces(((f"{json.dumps(key)}: ", item) for key, item in value.items()), "")
            )
        self.needs_tag("dict with keys that are not str")
        return '{"$items": [', Form("]}", self.pairs(value))

    def pairs(self, value: Mapping[Any, Any]) -> Iterator[str | tuple[Any]]:
        return _pieces(((f"[{self.text(key)}, ", item) for key, item in value.items()), "]")

    def members(self, value: Set[Any]) -> list[str]:
        """Of a set, in the order of their texts: the only one that does not come from where they lie."""
        return sorted(map(self.text, value))

    def again(self, value: Any) -> str:
        raise Refused("a container contains itself, for which JSON has no form")

    def write(self, value: Any, write: Write) -> None:
        write_value(value, write, self.form, self.scalar, self.again, None)

    def text(self, value: Any) -> str:
        parts: list[str] = []
        self.write(value, parts.append)
        return "".join(parts)


def lines(value: Any, tags: bool) -> Iterator[str]:
    """The items of a container, a line each."""
    writer = _Writer(tags)
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield f'{{"key": {writer.text(key)}, "value": {writer.text(item)}}}\n'
    else:
        for item in writer.members(value) if isinstance(value, Set) else map(writer.text, value):
            yield f'{{"value": {item}}}\n'


# ---- reading ----


def _zone_of(value: Any) -> datetime.tzinfo | None:
    if value is None:
        return None
    if isinstance(value, str):
        from zoneinfo import ZoneInfo

        return ZoneInfo(value)
    offset, *name = value
    return datetime.timezone(datetime.timedelta(seconds=offset), *name)


def _time_of(cls: Any) -> Callable[..., Any]:
    def make(text: str, zone: Any = None, fold: int = 0) -> Any:
        return cls.fromisoformat(text).replace(tzinfo=_zone_of(zone), fold=fold)

    return make


def _path_of(text: str, of: str) -> Any:
    if of not in ("PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath"):
        raise ValueError(f"no kind of path: {of!r}")
    return getattr(pathlib, of)(text)


def _decimal_of(text: str) -> decimal.Decimal:
    value = decimal.Decimal(text)
    if str(value) != text:
        raise ValueError(f"no Decimal is written {text!r}")
    return value


def _array_of(text: str, dtype: str, shape: list[int]) -> Any:
    try:
        import numpy
    except ImportError:
        raise Refused("arrays are read by numpy, which is not installed", "$array") from None
    try:
        descr: Any = _fields(dtype) if dtype.startswith("[") else dtype
    except SyntaxError:
        raise Refused(f"no dtype is written {dtype!r}", "$array") from None
    items = base64.b64decode(text, validate=True)
    return numpy.frombuffer(items, numpy.lib.format.descr_to_dtype(descr)).reshape(shape)


def _class_of(name: Any) -> type[Record]:
    if not isinstance(name, str):
        raise ValueError(f"a class is known by a str, not {name!r}")
    shape = _of_name(name)
    if shape is None:
        raise LookupError(f"the class {name!r} is not known here: import its module (--import MODULE)")
    return cast("type[Record]", shape.cls)


def _check_fields(cls: type[Record], fields: Iterable[str]) -> None:
    known = {row[0] for row in cls.__mheap_shape__.rows}
    for field in fields:
        if field not in known:
            raise ValueError(f"{cls.__name__} has no field {field!r}")


def _new_record(cls: type[Record], fields: dict[str, Any]) -> Record:
    record = cls.__new__(cls)
    record.__setstate__(fields)
    return record


def _record_of(name: Any, fields: Any) -> Record:
    cls = _class_of(name)
    if not isinstance(fields, dict):
        raise ValueError("'fields' are an object")
    _check_fields(cls, fields)
    return _new_record(cls, fields)


def _rows_of(cls: type[Record], fields: list[str], rows: list[list[Any]]) -> Iterator[Record]:
    for number, row in enumerate(rows, 1):
        if len(row) != len(fields):
            raise ValueError(f"row {number} has {len(row)} values for {len(fields)} fields")
        try:
            yield _new_record(cls, dict(zip(fields, row, strict=True)))
        except (ValueError, TypeError) as error:
            raise ValueError(f"row {number}: {error}") from None


def _records_of(name: Any, fields: Any, rows: Any) -> RecordList[Any]:
    cls = _class_of(name)
    if not isinstance(fields, list) or not all(isinstance(field, str) for field in fields):
        raise ValueError("'fields' are a list of names")
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise ValueError("'rows' are a list of lists")
    _check_fields(cls, fields)
    for number, field in enumerate(fields):
        if field in fields[:number]:
            raise ValueError(f"{field!r} is there twice")
    return RecordList(cls, _rows_of(cls, fields, rows))


_TAGS: dict[str, Callable[..., Any]] = {
    "$base64": lambda text: base64.b64decode(text, validate=True),
    "$bytearray": lambda text: bytearray(base64.b64decode(text, validate=True)),
    "$float": float,
    "$int": lambda text: int(text, 16),
    "$complex": lambda parts: complex(*map(float.fromhex, parts)),
    "$range": lambda parts: range(*parts),
    "$date": datetime.date.fromisoformat,
    "$time": _time_of(datetime.time),
    "$datetime": _time_of(datetime.datetime),
    "$timedelta": lambda parts: datetime.timedelta(parts[0], parts[1], parts[2]),
    "$timezone": _zone_of,
    "$zoneinfo": _zone_of,
    "$decimal": _decimal_of,
    "$fraction": fractions.Fraction,
    "$uuid": uuid.UUID,
    "$path": _path_of,
    "$tuple": tuple,
    "$set": set,
    "$frozenset": frozenset,
    "$deque": lambda items, maxlen=None: deque(items, maxlen),
    "$items": dict,
    "$counter": lambda pairs: Counter(dict(pairs)),
    "$sorteddict": SortedDict,
    "$array": _array_of,
    "$record": _record_of,
    "$records": _records_of,
}


# What stands beside a tag: always, and perhaps.
_BESIDE: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "$time": ((), ("zone", "fold")),
    "$datetime": ((), ("zone", "fold")),
    "$path": (("of",), ()),
    "$deque": ((), ("maxlen",)),
    "$array": (("dtype", "shape"), ()),
    "$record": (("fields",), ()),
    "$records": (("fields", "rows"), ()),
}


def _check_beside(tag: str, fields: dict[str, Any]) -> None:
    always, perhaps = _BESIDE.get(tag, ((), ()))
    for name in always:
        if name not in fields:
            raise ValueError(f"it needs {name!r} beside it")
    for name in fields:
        if name not in (*always, *perhaps):
            raise ValueError(f"it takes no {name!r} beside it")


def _untagged(fields: dict[str, Any]) -> Any:
    """Called for each object, those inside first."""
    tag = next((key for key in fields if key.startswith("$")), None)
    if tag is None:
        return fields
    if tag not in _TAGS:
        raise Refused(f"no tag is called {tag!r} (--no-tags takes keys that begin with '$' as they are)", tag)
    value = fields.pop(tag)
    try:
        _check_beside(tag, fields)
        return _TAGS[tag](value, **fields)
    except (ValueError, TypeError, AttributeError, ArithmeticError, LookupError, NameError, OSError) as error:
        raise Refused(f"{tag}: {error}", tag) from None


def _no_constant(text: str) -> Any:
    raise Refused(f'{text} is no JSON; a tag is: {{"$float": "{text.lower()}"}}', text)


def read_line(text: str, tags: bool) -> dict[str, Any]:
    """What a line holds: an object with "value" and, unless it is an item of a list, "key"."""
    hook = _untagged if tags else None
    found = json.loads(text, object_hook=hook, parse_constant=_no_constant)
    if not isinstance(found, dict) or not found.keys() <= {"key", "value"} or "value" not in found:
        raise Refused('a line is {"key": …, "value": …}, or of a list {"value": …}')
    return found
