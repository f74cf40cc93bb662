"""Extended values: types whose state a heap holds, and how to make them of it again.

to_state, to_key and from_state are called by the C half. A kind's number and words are those of
core/objects/layout.h; words are values themselves. Modules of the types are imported when the
first value of one is met.
"""

from __future__ import annotations

import sys

from mheap.errors import CorruptHeap, MheapError, PickleNotAllowed, UnknownType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias, TypeVar

    _T = TypeVar("_T")
    _State: TypeAlias = tuple[int, tuple[Any, ...]]
    _Words: TypeAlias = tuple[Any, ...]

__all__ = ["Pickled", "Unread", "register", "register_enum"]

RANGE, DATE, TIME, DATETIME, TIMEDELTA, DECIMAL, FRACTION, UUID, PATH, ENUM = range(1, 11)
TIMEZONE, ZONEINFO, REGISTERED, PICKLED = range(11, 15)

LOADS_PICKLES, SHOWS_UNKNOWN = 1, 2  # bits of `reads`

_DAY = 86_400_000_000  # microseconds
_PATHS = ("PurePosixPath", "PosixPath", "PureWindowsPath", "WindowsPath")
_MOST_DIGITS = 1000  # of a Decimal that is a key


class Pickled:
    """An object to be stored as a pickle: `heap.root["x"] = mheap.Pickled(obj)`.

    What is read is the object itself, and only from a heap that was opened with
    allow_pickle=True, since a pickle can run any code.
    """

    __slots__ = ("obj",)

    def __init__(self, obj: Any) -> None:
        self.obj = obj

    def __repr__(self) -> str:
        return f"Pickled({self.obj!r})"


class Unread:
    """What stands for a value that is shown, not made: an Enum's member, a registered type's, a pickle."""

    __slots__ = ("kind", "text")

    def __init__(self, kind: str, text: str) -> None:
        self.kind = kind
        self.text = text

    def __repr__(self) -> str:
        return f"<{self.text}>" if self.text.isprintable() else f"<{self.text!r}>"


# ---- registered types ----

_names: dict[type, str] = {}
_types: dict[str, tuple[type, Callable[[Any], Any]]] = {}
_states: dict[type, Callable[[Any], _State]] = {}
_keys: dict[type, Callable[[Any], tuple[int, _Words, Any] | None]] = {}


def _take_name(cls: type, name: str | None, make: Callable[[Any], Any]) -> str:
    name = f"{cls.__module__}:{cls.__qualname__}" if name is None else name
    if not isinstance(name, str) or not name:
        raise TypeError("the name of a registered type is a str")
    known = _types.get(name)
    if known is not None and known[0] is not cls and _full_name(known[0]) != _full_name(cls):
        raise ValueError(f"{name!r} is the name of {known[0]!r} already")
    if cls in _names and _names[cls] != name:
        raise ValueError(f"{cls!r} is registered as {_names[cls]!r} already")
    _names[cls] = name
    _types[name] = (cls, make)
    return name


def _full_name(cls: type) -> tuple[str, str]:
    return cls.__module__, cls.__qualname__


def register(
    cls: type[_T], to_state: Callable[[_T], Any], from_state: Callable[[Any], _T], *, name: str | None = None
) -> type[_T]:
    """Let heaps hold values of exactly this class, from now on in this process.

    to_state    of a value, what a heap can hold, with all that makes it; what changes in the
                value later is not stored
    from_state  makes a value of that; containers in it are then those in the heap
    name        what files have for the class; None: its module and name

    Returns the class. A file with a name that is not registered raises UnknownType when such a
    value is read. Raises TypeError for a type that heaps hold anyway, ValueError if the name,
    or the class, is taken.
    """
    if not isinstance(cls, type):
        raise TypeError(f"a class is needed, not {cls!r}")
    if _is_built_in(cls):
        raise TypeError(f"a heap holds {cls.__name__} anyway")
    for function in (to_state, from_state):
        if not callable(function):
            raise TypeError(f"a function is needed, not {function!r}")
    stored = _take_name(cls, name, from_state)
    _states[cls] = lambda value: (REGISTERED, (stored, to_state(value)))
    return cls


def register_enum(cls: type[_T], *, name: str | None = None) -> type[_T]:
    """Let heaps hold the members of an Enum; good as a decorator. They are stored by their names,
    those that a Flag is made of by value. As for register()."""
    import enum

    if not isinstance(cls, enum.EnumMeta):
        raise TypeError(f"an Enum is needed, not {cls!r}")
    stored = _take_name(cls, name, cls)

    def state(member: Any) -> _State:
        found = cls.__members__.get(member.name) is member
        return ENUM, (stored, member.name if found else member.value)

    _states[cls] = state
    if cls.__eq__ is object.__eq__ and cls.__hash__ is enum.Enum.__hash__:
        _keys[cls] = _by_words(state)
    return cls


_PLAIN = (type(None), bool, int, float, complex, str, bytes, bytearray, tuple, frozenset, dict, list, set)


def _is_built_in(cls: type) -> bool:
    if cls in _PLAIN or cls is Pickled or (cls in _states and cls not in _names):
        return True
    _load(cls)
    return cls in _states and cls not in _names


# ---- the types of the standard library ----


def _range_state(value: range) -> _State:
    return RANGE, (value.start, value.stop, value.step)


def _range_key(value: range) -> tuple[int, _Words, _Words]:
    length = max(0, (value.stop - value.start + value.step - (1 if value.step > 0 else -1)) // value.step)
    words = (value.start, value.stop, value.step, length)
    return RANGE, words, (length, value.start, value.step)[: min(length, 2) + 1]


def _load_datetime() -> None:
    import datetime as dt

    second = dt.timedelta(microseconds=1)

    def offset_of(delta: dt.timedelta) -> int:
        return delta // second

    def zone_of(zone: Any) -> Any:
        if type(zone) is dt.timezone:
            args = zone.__getinitargs__()  # type: ignore[attr-defined]
            return offset_of(args[0]) if len(args) == 1 else zone
        if zone is None:
            return None
        zoneinfo = sys.modules.get("zoneinfo")
        if zoneinfo is not None and type(zone) is zoneinfo.ZoneInfo and zone.key is not None:
            return zone.key
        raise TypeError(f"a heap holds times of a timezone or a ZoneInfo with a key, not of {zone!r}")

    def instant(local: int, value: dt.datetime | dt.time) -> int | None:
        offset = value.replace(fold=0).utcoffset()
        return None if offset is None else local - offset_of(offset)

    def date_state(value: dt.date) -> _State:
        return DATE, (value.toordinal(),)

    def of_day(value: dt.datetime | dt.time) -> int:
        return ((value.hour * 60 + value.minute) * 60 + value.second) * 1_000_000 + value.microsecond

    def time_state(value: dt.time) -> _State:
        return TIME, (of_day(value), value.fold, zone_of(value.tzinfo))

    def datetime_state(value: dt.datetime) -> _State:
        local = (value.toordinal() - 1) * _DAY + of_day(value)
        return DATETIME, (local, value.fold, zone_of(value.tzinfo))

    def timedelta_state(value: dt.timedelta) -> _State:
        return TIMEDELTA, (value.days, value.seconds, value.microseconds)

    def timezone_state(value: dt.timezone) -> _State:
        args = value.__getinitargs__()  # type: ignore[attr-defined]
        return TIMEZONE, (offset_of(args[0]), args[1] if len(args) > 1 else None)

    def key_of_time(state: Callable[[Any], _State]) -> Callable[[Any], tuple[int, _Words, _Words]]:
        def key(value: Any) -> tuple[int, _Words, _Words]:
            kind, words = state(value)
            when = instant(words[0], value)
            return kind, (*words, when), (None, words[0]) if when is None else (when,)

        return key

    _states.update({dt.date: date_state, dt.time: time_state, dt.datetime: datetime_state})
    _states.update({dt.timedelta: timedelta_state, dt.timezone: timezone_state})
    _keys.update({dt.date: _by_words(date_state), dt.timedelta: _by_words(timedelta_state)})
    _keys.update({dt.time: key_of_time(time_state), dt.datetime: key_of_time(datetime_state)})


def _by_words(state: Callable[[Any], _State]) -> Callable[[Any], tuple[int, _Words, _Words]]:
    """For keys that are equal when their words are."""

    def key(value: Any) -> tuple[int, _Words, _Words]:
        kind, words = state(value)
        return kind, words, words

    return key


def _load_zoneinfo() -> None:
    from zoneinfo import ZoneInfo

    def state(value: Any) -> _State:
        if value.key is None:
            raise TypeError(f"a heap holds a ZoneInfo by its key, and this one has none: {value!r}")
        return ZONEINFO, (value.key,)

    _states[ZoneInfo] = state


def _equal_number(numerator: int, denominator: int) -> Any:
    """The int or float that is equal to a fraction in lowest terms; else its two numbers."""
    if denominator == 1:
        return numerator
    is_binary = denominator & (denominator - 1) == 0 and denominator.bit_length() <= 1075
    if is_binary and abs(numerator) < 1 << 53:
        return numerator / denominator
    return numerator, denominator


def _load_fractions() -> None:
    from fractions import Fraction

    def state(value: Fraction) -> _State:
        return FRACTION, (value.numerator, value.denominator)

    def key(value: Fraction) -> tuple[int, _Words, Any]:
        words = value.numerator, value.denominator
        return FRACTION, words, _equal_number(*words)

    _states[Fraction] = state
    _keys[Fraction] = key


def _load_decimal() -> None:
    from decimal import Decimal

    def state(value: Decimal) -> _State:
        return DECIMAL, (str(value),)

    def key(value: Decimal) -> tuple[int, _Words, Any] | None:
        if value.is_infinite():
            equal: Any = float(value)
        elif (
            value.is_nan()
            or abs(value.adjusted()) > _MOST_DIGITS
            or len(value.as_tuple().digits) > _MOST_DIGITS
        ):
            return None
        else:
            equal = _equal_number(*value.as_integer_ratio())
        if not isinstance(equal, tuple):
            return DECIMAL, (str(value), equal), equal
        from fractions import Fraction

        return DECIMAL, (str(value), Fraction(*equal)), equal

    _states[Decimal] = state
    _keys[Decimal] = key


def _load_uuid() -> None:
    import uuid

    def state(value: uuid.UUID) -> _State:
        return UUID, (value.bytes,)

    _states[uuid.UUID] = state
    _keys[uuid.UUID] = _by_words(state)


def _load_pathlib() -> None:
    import pathlib

    for number, name in enumerate(_PATHS):

        def state(value: Any, number: int = number) -> _State:
            return PATH, (number, str(value))

        def key(value: Any, number: int = number) -> tuple[int, _Words, _Words]:
            return PATH, (number, str(value)), (str(value),)

        cls: type = getattr(pathlib, name)
        _states[cls] = state
        if number < 2:
            _keys[cls] = key


_states[range] = _range_state
_keys[range] = _range_key
_LOADERS = {
    "datetime": _load_datetime,
    "zoneinfo": _load_zoneinfo,
    "fractions": _load_fractions,
    "decimal": _load_decimal,
    "uuid": _load_uuid,
    "pathlib": _load_pathlib,
    "pathlib._local": _load_pathlib,
}


def _load(cls: type) -> None:
    """What is known of the module of a type becomes known of the type, the first time."""
    load = _LOADERS.get(cls.__module__)
    if load is not None:
        load()
        _LOADERS.pop(cls.__module__, None)


def _pickle_state(value: Pickled) -> _State:
    import pickle

    return PICKLED, (pickle.dumps(value.obj, 5),)


_states[Pickled] = _pickle_state


# ---- for the C half ----


def to_state(value: Any) -> _State | None:
    """The kind and words of a value; None: it is of no type that is known."""
    cls = type(value)
    if cls not in _states:
        _load(cls)
    state = _states.get(cls)
    return None if state is None else state(value)


def to_key(value: Any) -> tuple[int, _Words, Any] | None:
    """The kind and words of a value as a key, and what its code is of: words, or a number that is
    equal to it; None: it is no key."""
    cls = type(value)
    if cls not in _keys:
        _load(cls)
    key = _keys.get(cls)
    return None if key is None else key(value)


def from_state(kind: int, words: _Words, reads: int, path: str | None, offset: int) -> Any:
    """The value of a kind and words. `path`, `offset`: where they are, for errors."""
    try:
        make = _MAKERS[kind]
        return make(words, reads)
    except MheapError as error:
        if isinstance(error, UnknownType) and reads & SHOWS_UNKNOWN:
            return Unread("zone", str(error))
        raise
    except Exception as error:
        if kind in (ENUM, REGISTERED, PICKLED):
            raise
        text = f"{path or 'the heap'}: offset 0x{offset:x}: a value of kind {kind} cannot be made: {error!r}"
        raise CorruptHeap(text, filename=path, offset=offset) from error


def _make_zone(zone: Any) -> Any:
    if isinstance(zone, int):
        import datetime

        return datetime.timezone(datetime.timedelta(microseconds=zone))
    return _make_zoneinfo((zone,), 0) if isinstance(zone, str) else zone


def _make_zoneinfo(words: _Words, reads: int) -> Any:
    import zoneinfo

    try:
        return zoneinfo.ZoneInfo(words[0])
    except zoneinfo.ZoneInfoNotFoundError:
        raise UnknownType(
            f"the heap has a time of the zone {words[0]!r}, which this system does not know"
        ) from None


def _make_date(words: _Words, reads: int) -> Any:
    import datetime

    return datetime.date.fromordinal(words[0])


def _make_time(words: _Words, reads: int) -> Any:
    import datetime

    seconds, micros = divmod(words[0], 1_000_000)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    return datetime.time(hour, minute, second, micros, _make_zone(words[2]), fold=words[1])


def _make_datetime(words: _Words, reads: int) -> Any:
    import datetime

    days, rest = divmod(words[0], _DAY)
    day = datetime.date.fromordinal(days + 1)
    return datetime.datetime.combine(day, _make_time((rest, *words[1:]), reads))


def _make_timedelta(words: _Words, reads: int) -> Any:
    import datetime

    return datetime.timedelta(*words)


def _make_timezone(words: _Words, reads: int) -> Any:
    import datetime

    offset = datetime.timedelta(microseconds=words[0])
    return datetime.timezone(offset) if words[1] is None else datetime.timezone(offset, words[1])


def _make_decimal(words: _Words, reads: int) -> Any:
    from decimal import Decimal

    def make(words: _Words, reads: int) -> Decimal:
        value = Decimal(words[0])
        if value.is_nan() and "nan" not in words[0].lower():  # the context lets it pass
            raise ValueError("no decimal number")
        return value

    _MAKERS[DECIMAL] = make
    return make(words, reads)


def _make_fraction(words: _Words, reads: int) -> Any:
    from fractions import Fraction

    return Fraction(*words)


def _make_uuid(words: _Words, reads: int) -> Any:
    import uuid

    _MAKERS[UUID] = lambda words, reads: uuid.UUID(bytes=words[0])
    return uuid.UUID(bytes=words[0])


def _make_path(words: _Words, reads: int) -> Any:
    import pathlib

    types = [getattr(pathlib, name) for name in _PATHS]
    _MAKERS[PATH] = lambda words, reads: types[words[0]](words[1])
    return types[words[0]](words[1])


def _known(name: str, reads: int) -> tuple[type, Callable[[Any], Any]] | None:
    known = _types.get(name)
    if known is None and not reads & SHOWS_UNKNOWN:
        raise UnknownType(
            f"the heap has a value of {name!r}, which is not registered in this process: import what calls "
            "mheap.register or mheap.register_enum for it"
        )
    return None if reads & SHOWS_UNKNOWN else known


def _make_enum(words: _Words, reads: int) -> Any:
    name, member = words
    known = _known(name, reads)
    if known is None:
        return Unread("Enum", f"{name}.{member}" if isinstance(member, str) else f"{name}: {member!r}")
    cls: Any = known[0]
    if not isinstance(member, str):
        return cls(member)
    try:
        return cls[member]
    except KeyError:
        raise UnknownType(f"the heap has {member!r} of {name!r}, which {cls!r} has not") from None


def _shown(state: Any) -> str:
    """A state in a few words: nothing that may be deep, or large."""
    flat = state if type(state) is tuple else (state,)
    plain = all(type(item) in (type(None), bool, int, float, str) for item in flat[:16])
    return repr(state) if plain and len(flat) <= 16 else "…"


def _make_registered(words: _Words, reads: int) -> Any:
    name, state = words
    known = _known(name, reads)
    return Unread("registered", f"{name}: {_shown(state)}") if known is None else known[1](state)


def _make_pickled(words: _Words, reads: int) -> Any:
    if reads & SHOWS_UNKNOWN:
        return Unread("pickle", f"pickle of {len(words[0])} bytes")
    if not reads & LOADS_PICKLES:
        raise PickleNotAllowed(
            "this value is a pickle, which can run any code: open the heap with allow_pickle=True to load it"
        )
    import pickle

    return pickle.loads(words[0])


_MAKERS: dict[int, Callable[[_Words, int], Any]] = {
    RANGE: lambda words, reads: range(*words[:3]),
    DATE: _make_date,
    TIME: _make_time,
    DATETIME: _make_datetime,
    TIMEDELTA: _make_timedelta,
    DECIMAL: _make_decimal,
    FRACTION: _make_fraction,
    UUID: _make_uuid,
    PATH: _make_path,
    ENUM: _make_enum,
    TIMEZONE: _make_timezone,
    ZONEINFO: _make_zoneinfo,
    REGISTERED: _make_registered,
    PICKLED: _make_pickled,
}
