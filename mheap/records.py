"""Records: objects with typed fields, declared as a class.

    class User(mheap.Record):
        id: int
        name: str
        score: float = 0.0

A record that is made is a plain Python object. Assigned into a heap it is copied there, as a plain list is;
what is read is its twin, of the same class, whose attributes read and write the heap. Values of attributes
and their checking are C (`mheap._core`); here is what happens once a class.
"""

from __future__ import annotations

import builtins
import sys
from _collections_abc import MutableSequence
from _operator import index as _index
from _weakref import ref

from mheap._core import FieldDescriptor, RecordShape, RecordTwin, RowsTwin, _record_list
from mheap.errors import SchemaMismatch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Any, ClassVar, SupportsIndex, TypeAlias, TypeVar

    from typing_extensions import Self, dataclass_transform

    _T = TypeVar("_T")
    _R = TypeVar("_R", bound="Record")
    BigInt: TypeAlias = int
    _Row: TypeAlias = tuple[str, str, int, tuple[type, ...] | None, Any, Any]
else:

    def dataclass_transform(**_: object):
        return lambda cls: cls

    class BigInt(int):
        """An int of any size: what to declare a field as that 64 bits are too few for."""


__all__ = [
    "BigInt",
    "PersistentRecordList",
    "Record",
    "RecordList",
    "UnknownRecord",
    "asdict",
    "field",
    "replace",
]

_WORD, _INT, _FLOAT, _BOOL = range(4)
_RAW = {int: _INT, float: _FLOAT, bool: _BOOL}
_NONE: type = type(None)


class _Field:
    """What field() returns."""

    __slots__ = ("default", "default_factory")

    def __init__(self, default: Any, default_factory: Any) -> None:
        self.default = default
        self.default_factory = default_factory


def field(*, default: Any = ..., default_factory: Any = ...) -> Any:
    """The default of a field of a Record: a value, or what is called for a new one each time."""
    if default is not ... and default_factory is not ...:
        raise TypeError("a field has a default or a default_factory, not both")
    return _Field(default, default_factory)


# ---- types of fields ----


class _Unresolved(Exception):
    """A name in an annotation is not defined yet."""


class _Scope:
    """Where the names in the annotations of a class are looked up."""

    def __init__(self, cls: type, local: Mapping[str, Any]) -> None:
        module = sys.modules.get(cls.__module__)
        self.names = {**(vars(module) if module else {}), **local, cls.__name__: cls}

    def value(self, annotation: Any) -> Any:
        text = getattr(annotation, "__forward_arg__", annotation)
        if not isinstance(text, str):
            return annotation
        try:
            return eval(text, {**vars(builtins), **self.names})
        except NameError as error:
            raise _Unresolved(str(error)) from None


def _special(name: str, annotation: Any) -> bool:
    typing = sys.modules.get("typing")
    return typing is not None and annotation is getattr(typing, name, _Field)


def _classes(annotation: Any, scope: _Scope) -> list[Any] | None:
    """The classes whose instances fit; None: anything does."""
    annotation = scope.value(annotation)
    if annotation is None:
        return [_NONE]
    if annotation is object or _special("Any", annotation):
        return None
    origin = getattr(annotation, "__origin__", None)
    args = getattr(annotation, "__args__", ())
    if _special("Literal", origin):
        return list(dict.fromkeys(map(type, args)))
    if type(annotation).__name__ in ("UnionType", "_UnionGenericAlias", "Union") or _special("Union", origin):
        found: list[Any] = []
        for arg in args:
            some = _classes(arg, scope)
            if some is None:
                return None
            found += some
        return list(dict.fromkeys(found))
    if _special("Final", origin) and args:
        return _classes(args[0], scope)
    for inner in ("__supertype__", "__value__"):
        if hasattr(annotation, inner) and not isinstance(annotation, type):
            return _classes(getattr(annotation, inner), scope)
    if type(annotation).__name__ == "TypeVar":
        bound = annotation.__bound__
        return None if bound is None else _classes(bound, scope)
    if origin is not None:
        return _classes(origin, scope)
    if isinstance(annotation, type):
        return [annotation]
    raise TypeError(f"{annotation!r} is no type of a field")


def _class_text(cls: type) -> str:
    shape = cls.__dict__.get("__mheap_shape__")
    if shape is not None:
        return str(shape.name)
    if cls is _NONE:
        return "None"
    if cls is BigInt:
        return "BigInt"
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def _accepted(classes: list[type]) -> tuple[type, ...]:
    """With the twins of containers, and what Python takes for a number."""
    from mheap import objects

    twins: dict[type, type] = {dict: objects.PersistentDict, list: objects.PersistentList}
    twins.update({set: objects.PersistentSet, objects._DEQUES[0]: objects.PersistentDeque})
    twins[RecordList] = PersistentRecordList
    found: list[type] = []
    for cls in classes:
        found.append(int if cls is BigInt else cls)
        if cls in twins:
            found.append(twins[cls])
        if cls is float:
            found.append(int)
    return tuple(found)


def _typed(annotation: Any, scope: _Scope) -> tuple[str, int, tuple[type, ...] | None]:
    classes = _classes(annotation, scope)
    if classes is None:
        return "Any", _WORD, None
    if len(classes) == 1 and classes[0] in _RAW:
        return classes[0].__name__, _RAW[classes[0]], None
    ordered = [cls for cls in classes if cls is not _NONE] + [cls for cls in classes if cls is _NONE]
    return " | ".join(map(_class_text, ordered)), _WORD, _accepted(classes)


def _is_class_var(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return annotation.replace("typing.", "").lstrip().startswith("ClassVar")
    return _special("ClassVar", annotation) or _special("ClassVar", getattr(annotation, "__origin__", None))


# ---- classes ----

_known: dict[str, ref[type]] = {}  # classes by the names that heaps have for them; the last of a name


def _annotations(namespace: dict[str, Any]) -> dict[str, Any]:
    found = namespace.get("__annotations__")
    if found is None and sys.version_info >= (3, 14):
        import annotationlib

        make = annotationlib.get_annotate_from_class_namespace(namespace)
        if make is not None:
            found = annotationlib.call_annotate_function(make, annotationlib.Format.FORWARDREF)
    return dict(found or {})


def _default_of(name: str, value: Any) -> tuple[Any, Any]:
    """(default, default_factory); ...: none."""
    if not isinstance(value, _Field):
        if not hasattr(value, "default_factory"):
            if type(value) in (list, dict, set, bytearray):
                text = f"the default of {name} is a {type(value).__name__}, which all records would share"
                raise ValueError(f"{text}: use mheap.field(default_factory={type(value).__name__})")
            return value, ...
        missing = sys.modules["dataclasses"].MISSING if "dataclasses" in sys.modules else ...
        default, factory = value.default, value.default_factory
        return (... if default is missing else default), (... if factory is missing else factory)
    return value.default, value.default_factory


def _row(name: str, annotation: Any, default: tuple[Any, Any], scope: _Scope) -> tuple[_Row, bool]:
    try:
        type_text, kind, accepts = _typed(annotation, scope)
        return (name, type_text, kind, accepts, *default), True
    except _Unresolved:
        return (name, "?", _WORD, None, *default), False


def _check_names(cls_name: str, names: list[str]) -> None:
    for name in names:
        if name.startswith("__"):
            raise TypeError(f"{cls_name}.{name}: the name of a field does not begin with two underscores")
        if hasattr(Record, name) and name in dir(RecordTwin):
            raise TypeError(f"{cls_name}.{name}: records have a method of that name")


def _check_order(cls_name: str, rows: list[_Row]) -> None:
    optional = None
    for row in rows:
        if row[4] is not ... or row[5] is not ...:
            optional = row[0]
        elif optional is not None:
            raise TypeError(
                f"{cls_name}: the field {row[0]} has no default, but follows {optional}, which has"
            )


@dataclass_transform(field_specifiers=(field,))
class RecordType(type):
    """The type of classes of records: makes their attributes."""

    __mheap_shape__: RecordShape

    def __new__(
        mcls,
        cls_name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        *,
        frozen: bool | None = None,
        kw_only: bool | None = None,
        name: str | None = None,
    ) -> RecordType:
        if not bases or RecordTwin in bases:
            return super().__new__(mcls, cls_name, bases, {"__slots__": (), **namespace})
        if namespace.get("__slots__"):
            raise TypeError(f"{cls_name}: a Record has its fields, and no other __slots__")
        parents = [
            base.__mheap_shape__ for base in bases if isinstance(base, RecordType) and base is not Record
        ]
        rows: dict[str, _Row] = {}
        for parent in reversed(parents):
            rows.update({row[0]: row for row in parent.rows})
        inherited = set(rows)
        is_frozen = any(parent.frozen for parent in parents) if frozen is None else frozen
        if any(parent.frozen != is_frozen for parent in parents):
            raise TypeError(
                f"{cls_name}: a frozen Record is derived from frozen ones alone, and no others are"
            )
        own = {key: value for key, value in _annotations(namespace).items() if not _is_class_var(value)}
        _check_names(cls_name, list(own))
        defaults = {key: _default_of(key, namespace.pop(key, ...)) for key in own}
        if is_frozen and "__hash__" not in namespace and "__eq__" not in namespace:
            namespace["__hash__"] = _hash
        namespace["__slots__"] = tuple(key for key in own if key not in inherited)
        cls = super().__new__(mcls, cls_name, bases, namespace)
        scope = _Scope(cls, sys._getframe(1).f_locals)
        done = True
        for key, annotation in own.items():
            rows[key], known = _row(key, annotation, defaults[key], scope)
            done = done and known
        keywords = bool(kw_only) if kw_only is not None else False
        if not keywords:
            _check_order(cls_name, list(rows.values()))
        if not done:
            type.__setattr__(cls, "__mheap_pending__", (own, scope))
        stored_name = f"{cls.__module__}:{cls.__qualname__}" if name is None else name
        _install(cls, stored_name, rows, inherited, not done, is_frozen, keywords)
        return cls

    def __init__(cls, *args: Any, **kwargs: Any) -> None:
        pass


def _install(
    cls: RecordType,
    name: str,
    rows: dict[str, _Row],
    inherited: set[str],
    unfinished: bool,
    frozen: bool,
    kw_only: bool,
) -> None:
    slots = {}
    for base in reversed(cls.__mro__):
        slots.update(base.__dict__.get("__mheap_slots__", {}))
    slots.update({key: cls.__dict__[key] for key in rows if key not in inherited})
    members = tuple((*row, slots[key]) for key, row in rows.items())
    shape = RecordShape(cls, name, members, unfinished, frozen, kw_only, hasattr(cls, "__post_init__"))
    type.__setattr__(cls, "__mheap_slots__", slots)
    type.__setattr__(cls, "__mheap_shape__", shape)
    for index, key in enumerate(rows):
        type.__setattr__(cls, key, FieldDescriptor(shape, index))
    if "__match_args__" not in cls.__dict__:
        type.__setattr__(cls, "__match_args__", () if kw_only else tuple(rows))
    _known[name] = ref(cls)


def _finished(cls: type, row: _Row) -> _Row:
    for base in cls.__mro__:
        own, scope = base.__dict__.get("__mheap_pending__", ({}, None))
        if row[0] not in own:
            continue
        module = sys.modules.get(base.__module__)
        scope.names.update(vars(module) if module else {})
        try:
            return (row[0], *_typed(own[row[0]], scope), *row[4:])
        except _Unresolved as error:
            raise NameError(f"the type of the field {base.__name__}.{row[0]}: {error}") from None
    raise TypeError(f"the field {cls.__name__}.{row[0]} has no type")


def _finish(cls: type) -> None:
    """Called by the C half: the types that were not known when the class was made."""
    shape: RecordShape = cls.__dict__["__mheap_shape__"]
    rows = (_finished(cls, row) if row[1] == "?" else row for row in shape.rows)
    shape._set(tuple((*row, None) for row in rows), False)


# ---- records ----


def _hash(self: Record) -> int:
    return hash(self._values())


class _Signature:
    """What inspect.signature() says of a class."""

    def __get__(self, record: object, cls: RecordType) -> Any:
        from inspect import Parameter, Signature

        kind = (
            Parameter.POSITIONAL_OR_KEYWORD if getattr(cls, "__match_args__", ()) else Parameter.KEYWORD_ONLY
        )
        parameters = []
        for name, text, _, _, value, factory in cls.__mheap_shape__.rows:
            made = getattr(factory, "__name__", "factory") + "()"
            default = value if value is not ... else Parameter.empty if factory is ... else _Shown(made)
            parameters.append(Parameter(name, kind, default=default, annotation=_Shown(text)))
        return Signature(parameters)


class _Shown(str):
    """Text that repr() writes as it is."""

    __slots__ = ()
    __repr__ = str.__str__


class Record(RecordTwin, metaclass=RecordType):
    """The base of classes whose instances have typed fields, and can be stored in a heap.

    Fields are the annotations of the class, as of a dataclass: int is one of 64 bits, BigInt one of any
    size; float, bool; any class whose values a heap holds, other records, unions, Any; the outer class of
    a generic one is checked. Keywords of the class: frozen=True (fields cannot be assigned, and records
    have a hash), kw_only=True, name="..." (what heaps have for the class instead of its module and name).

    A record that is made belongs to no heap. One that is read is the same object each time, and its
    attributes are those in the heap. copy.copy, copy.deepcopy and pickle make plain ones of both. Raises
    TypeError and OverflowError for values that do not fit, StaleObject, ClosedHeap as a PersistentDict.
    """

    __slots__ = ()
    __match_args__: ClassVar[tuple[str, ...]] = ()
    __signature__: ClassVar[Any] = _Signature()

    def to_python(self) -> Self:
        """A plain record, with plain copies of everything in it."""
        from mheap.objects import to_python

        plain: Self = to_python(self) if not self._is_plain() else self.__deepcopy__({})
        return plain

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        from mheap.objects import _equal

        return self is other or _equal(self, other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        from mheap.objects import _repr

        return _repr(self)

    def __copy__(self) -> Self:
        return _plain(type(self), self._values())

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        if not self._is_plain():
            return self.to_python()
        import copy

        cls = type(self)
        plain = memo[id(self)] = cls.__new__(cls)
        plain._fill(tuple(copy.deepcopy(value, memo) for value in self._values()))
        return plain

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return _new, (type(self),), dict(_items(self))

    def __setstate__(self, state: dict[str, Any]) -> None:
        shape = type(self).__mheap_shape__
        values = []
        for row in shape.rows:
            if row[0] in state:
                values.append(state[row[0]])
            elif row[5] is not ...:
                values.append(row[5]())
            elif row[4] is not ...:
                values.append(row[4])
            else:
                raise TypeError(f"{type(self).__name__}.{row[0]} is missing, and has no default")
        self._fill(tuple(values))

    def __replace__(self, /, **changes: Any) -> Self:
        return replace(self, **changes)


type.__setattr__(Record, "__mheap_shape__", RecordShape(Record, "", (), False, False, False, False))


def _new(cls: type[_R]) -> _R:
    return cls.__new__(cls)


def _plain(cls: type[_R], values: tuple[Any, ...]) -> _R:
    record = cls.__new__(cls)
    record._fill(values)
    return record


def _items(record: RecordTwin) -> Iterator[tuple[str, Any]]:
    return zip((row[0] for row in record._shape().rows), record._values(), strict=True)


class UnknownRecord(RecordTwin):
    """A record in a heap whose class this process does not have. Its fields are read as attributes; copies of
    it are dicts of them."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        for key, value in _items(self):
            if key == name:
                return value
        raise AttributeError(f"the {self._shape().name} in the heap has no field {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"the class {self._shape().name} is not known here: its records are only read")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *(key for key, _ in _items(self))]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, UnknownRecord):
            return NotImplemented
        from mheap.objects import _equal

        return self is other or (self._shape().name == other._shape().name and _equal(self, other))

    __hash__ = None  # type: ignore[assignment]

    def to_python(self) -> dict[str, Any]:
        """A dict of the fields, with plain copies of everything in them; so are copies and pickles."""
        from mheap.objects import to_python

        plain: dict[str, Any] = to_python(self)
        return plain

    def __copy__(self) -> dict[str, Any]:
        return dict(_items(self))

    def __deepcopy__(self, memo: object) -> dict[str, Any]:
        return self.to_python()

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return dict, (self.to_python(),)

    def __repr__(self) -> str:
        from mheap.objects import _repr

        return _repr(self)


type.__setattr__(UnknownRecord, "__mheap_shape__", Record.__mheap_shape__)


def asdict(record: RecordTwin) -> dict[str, Any]:
    """The fields of a record as a dict; so are records in them, at any depth, and containers are plain."""
    if not isinstance(record, RecordTwin):
        raise TypeError(f"a Record is needed, not {type(record).__name__}")
    from mheap.objects import to_python

    return {key: _as_dicts(to_python(value)) for key, value in _items(record)}


def _as_dicts(value: Any) -> Any:
    if isinstance(value, RecordTwin):
        return asdict(value)
    if type(value) is dict:
        return {key: _as_dicts(item) for key, item in value.items()}
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(map(_as_dicts, value))
    return value


def replace(record: _R, /, **changes: Any) -> _R:
    """A plain record like this one but for the fields given."""
    if not isinstance(record, Record):
        raise TypeError(f"a Record is needed, not {type(record).__name__}")
    return type(record)(**{**dict(_items(record)), **changes})


# ---- record lists ----


def _record_of(cls: Any, value: Any) -> Any:
    """A plain record of the class, of a record of it, a mapping or the values in order."""
    if type(value) is cls:
        return value if value._is_plain() else value.__copy__()
    if isinstance(value, RecordTwin):
        raise TypeError(f"a list of {cls.__name__} does not hold a {type(value).__name__}")
    if isinstance(value, (tuple, list)):
        return cls(*value)
    if hasattr(value, "keys"):
        return cls(**{key: value[key] for key in value.keys()})  # noqa: SIM118 (any mapping)
    raise TypeError(
        f"a list of {cls.__name__} holds records, tuples and mappings, not {type(value).__name__}"
    )


class RecordList(list["_R"]):
    """A list of records of one class, to be stored in a heap as rows of one block.

    RecordList(User, records); each is a User, a tuple of its values, or a mapping. This one is
    plain; what is read from a heap is a PersistentRecordList. RecordList[User](records) is the same.
    """

    __slots__ = ("cls",)
    cls: type[_R]

    def __class_getitem__(cls, of: Any) -> Any:
        return _Alias(of) if isinstance(of, RecordType) else cls  # type: ignore[arg-type]

    def __init__(self, cls: type[_R], records: Iterable[Any] = (), /) -> None:
        if not isinstance(cls, RecordType) or cls is Record:
            raise TypeError(f"a class derived from mheap.Record is needed, not {cls!r}")
        if not cls.__mheap_shape__.rows:
            raise TypeError(f"{cls.__name__} has no fields, so there are no rows of it")
        self.cls = cls
        super().__init__(_record_of(cls, record) for record in records)

    def _shape(self) -> RecordShape:
        return self.cls.__mheap_shape__

    def append(self, record: Any, /) -> None:
        super().append(_record_of(self.cls, record))

    def extend(self, records: Iterable[Any], /) -> None:
        super().extend([_record_of(self.cls, record) for record in records])

    def insert(self, place: SupportsIndex, record: Any, /) -> None:
        super().insert(place, _record_of(self.cls, record))

    def __iadd__(self, records: Iterable[Any]) -> Self:  # type: ignore[override, misc]
        self.extend(records)
        return self

    def __setitem__(self, place: Any, value: Any) -> None:
        if isinstance(place, slice):
            super().__setitem__(place, [_record_of(self.cls, record) for record in value])
        else:
            super().__setitem__(place, _record_of(self.cls, value))

    def __copy__(self) -> RecordList[_R]:
        return RecordList(self.cls, self)

    copy = __copy__

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return RecordList, (self.cls,), None, iter(self)

    def __repr__(self) -> str:
        return f"RecordList({self.cls.__qualname__}, {super().__repr__()})"


class _Alias:
    """RecordList[User]: makes lists of that, and is RecordList to annotations."""

    __origin__ = RecordList

    def __init__(self, of: type[Record]) -> None:
        self.__args__ = (of,)

    def __call__(self, records: Iterable[Any] = (), /) -> RecordList[Any]:
        return RecordList(self.__args__[0], records)

    def __repr__(self) -> str:
        return f"mheap.RecordList[{self.__args__[0].__qualname__}]"


class PersistentRecordList(RowsTwin, MutableSequence["Any"]):
    """A list of records of one class that lies in a heap as rows of one block.

    It has the methods of list. An item is a row: a record of the class that stands for a place in the list;
    its attributes are those in the heap. Removing or inserting before the end, and sorting, copy the rows,
    and rows that were read before raise StaleObject then. column() gives the values of a field
    without copying.
    """

    __slots__ = ()

    @property
    def cls(self) -> type:
        """The class of the records."""
        return self._shape().cls

    def column(self, name: str) -> Any:
        """The values of a field of all records, where they are in the heap: a numpy array, or without numpy
        a memoryview; of int, float or bool. Nothing is copied, so what is stored to it is in the heap.

        Records that are appended later are not in it. While one is out, what would move the rows raises
        BufferError, and the heap cannot be closed. Read-only in a heap that is only read."""
        names = [row[0] for row in self._shape().rows]
        if name not in names:
            raise AttributeError(f"{self._shape().name} has no field {name!r}")
        column = memoryview(self._column(names.index(name)))
        try:
            import numpy
        except ImportError:
            return column
        return numpy.asarray(column)

    def _plain(self, records: Iterable[Any]) -> list[Any]:
        cls: Any = self.cls
        if not isinstance(cls, RecordType):
            raise TypeError(f"the class {self._shape().name} is not known here: its records are only read")
        return [_record_of(cls, record) for record in records]

    def append(self, record: Any, /) -> None:
        self._splice(len(self), 0, self._plain((record,)))

    def extend(self, records: Iterable[Any], /) -> None:
        plain = self._plain(records)
        self._splice(len(self), 0, plain)

    def insert(self, place: SupportsIndex, record: Any, /) -> None:
        first, _, _ = slice(place, None).indices(len(self))
        self._splice(first, 0, self._plain((record,)))

    def pop(self, place: SupportsIndex = -1, /) -> Any:
        if not len(self):
            raise IndexError("pop from empty list")
        number = _place(self, place)
        record = copy_of(self[number])
        self._splice(number, 1, [])
        return record

    def clear(self) -> None:
        self._splice(0, len(self), [])

    def __setitem__(self, place: Any, value: Any) -> None:
        if not isinstance(place, slice):
            self._splice(_place(self, place), 1, self._plain((value,)))
            return
        first, last, step = place.indices(len(self))
        plain = self._plain(value)
        if step == 1:
            self._splice(first, max(0, last - first), plain)
            return
        numbers = range(first, last, step)
        if len(numbers) != len(plain):
            raise ValueError(f"{len(plain)} records for a slice of {len(numbers)}")
        for number, record in zip(numbers, plain, strict=True):
            self._splice(number, 1, [record])

    def __delitem__(self, place: Any) -> None:
        if not isinstance(place, slice):
            self._splice(_place(self, place), 1, [])
            return
        first, last, step = place.indices(len(self))
        if step == 1:
            self._splice(first, max(0, last - first), [])
            return
        gone = set(range(first, last, step))
        plain = [copy_of(record) for number, record in enumerate(self) if number not in gone]
        self._splice(0, len(self), plain)

    def __iadd__(self, records: Iterable[Any]) -> PersistentRecordList:
        self.extend(records)
        return self

    def reverse(self) -> None:
        self._permute(list(range(len(self) - 1, -1, -1)))

    def sort(self, *, key: Callable[[Any], Any], reverse: bool = False) -> None:
        """Sorts in place, stably, by a key of each record: in one operation."""
        keys = [key(record) for record in self]
        self._permute(sorted(range(len(keys)), key=keys.__getitem__, reverse=reverse))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (list, PersistentRecordList)):
            return NotImplemented
        from mheap.objects import _equal

        return self is other or _equal(self, other)

    __hash__ = None  # type: ignore[assignment]

    def to_python(self) -> Any:
        """A plain RecordList, with plain copies of everything in it."""
        from mheap.objects import to_python

        return to_python(self)

    def __copy__(self) -> list[Any]:
        return [copy_of(record) for record in self]

    copy = __copy__

    def __deepcopy__(self, memo: object) -> Any:
        return self.to_python()

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        if self.cls is UnknownRecord:
            return list, (self.to_python(),)
        return RecordList, (self.cls,), None, iter(self.__copy__())

    def __repr__(self) -> str:
        from mheap.objects import _repr

        return _repr(self)


def copy_of(record: Any) -> Any:
    """A plain record with the values of a row."""
    return record.__copy__()


def _place(records: PersistentRecordList, place: SupportsIndex) -> int:
    number = _index(place)
    length = len(records)
    if not -length <= number < length:
        raise IndexError("record list index out of range")
    return number + length if number < 0 else number


_record_list(RecordList)


# ---- for the C half ----


def _fits(stored: str, wanted: str) -> bool:
    """Do values of a field of one type fit a field of the other?"""
    if wanted in (stored, "Any"):
        return True
    if stored == "Any":
        return False
    allowed = set(wanted.split(" | "))
    if "float" in allowed or "BigInt" in allowed:
        allowed.add("int")
    return allowed.issuperset(stored.split(" | "))


def _source(names: dict[str, int], types: tuple[str, ...], row: _Row, shape: RecordShape, where: str) -> int:
    name, wanted = row[0], row[1]
    number = names.get(name, -1)
    if number < 0 and row[4] is ... and row[5] is ...:
        text = f"has no field {name}, and the class no default for it"
        raise SchemaMismatch(f"{where}: a record of {shape.name} {text}")
    if number >= 0 and not _fits(types[number], wanted):
        text = f"the field {shape.name}.{name} is declared as {wanted}, but the record has {types[number]}"
        raise SchemaMismatch(f"{where}: {text}: declare what both fit, or rename the field")
    return number


def _unknown(words: tuple[str, ...]) -> RecordShape:
    rows = tuple(
        (name, text, {"int": _INT, "float": _FLOAT, "bool": _BOOL}.get(text, _WORD), None, ..., ..., None)
        for name, text in zip(words[1::2], words[2::2], strict=True)
    )
    return RecordShape(UnknownRecord, words[0], rows, False, True, True, False)


def _of_name(name: str) -> RecordShape | None:
    known = _known.get(name, _nothing)()
    return None if known is None else known.__mheap_shape__  # type: ignore[attr-defined]


def _nothing() -> None:
    return None


def _plan(
    words: tuple[str, ...], shape: RecordShape | None, path: str | None
) -> tuple[RecordShape, tuple[int, ...]]:
    """How a class reads what a schema stores: (shape, numbers of the stored fields; -1: the default).

    Without a shape, that of the class of the schema's name; if there is none, of UnknownRecord.
    """
    found = _of_name(words[0]) if shape is None else shape
    if found is None:
        return _unknown(words), tuple(range(len(words) // 2))
    if found.unfinished:
        _finish(found.cls)
    names = {name: number for number, name in reversed(list(enumerate(words[1::2])))}
    where = path or "the heap"
    return found, tuple(_source(names, words[2::2], row, found, where) for row in found.rows)
