"""The Python side of the objects in a heap: PersistentDict, List, Set and Deque.

Reading a container from a heap gives its twin: one of these, the same Python object each
time while it lives. The hot half of each class is written in C (`mheap._core`); what is here
works on whole containers, with stacks of its own, so that no depth of nesting is too much.
"""

from __future__ import annotations

# Not from collections.abc, operator and typing, which cost milliseconds: more than attaching
# and reading do.
from _collections_abc import (
    ItemsView,
    KeysView,
    MutableMapping,
    MutableSequence,
    MutableSet,
    Set,
    ValuesView,
)
from _operator import eq, ge, gt, index, is_, le, lt

from mheap._core import ArrayTwin, DequeTwin, DictTwin, ListTwin, RecordTwin, RowsTwin, SetTwin

TYPE_CHECKING = False  # typing's own would be most of what the first heap.root costs
if TYPE_CHECKING:
    from typing import Any, SupportsIndex, TypeAlias
else:
    Any = object

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Any, SupportsIndex, TypeAlias

    _Reduced: TypeAlias = tuple[Any, ...]
else:
    from _collections import deque

__all__ = ["PersistentDeque", "PersistentDict", "PersistentList", "PersistentSet", "to_python"]

_KEYS, _VALUES, _ITEMS = 0, 1, 2
_MappingProxy = type(type.__dict__)  # types.MappingProxyType, without the import


class _Missing:
    """What is not in a dict."""


_MISSING = _Missing()


class DictKeys(KeysView["Any"]):
    """The keys of a PersistentDict, as they are now; a set to look at."""

    __slots__ = ()
    _mapping: PersistentDict

    @property
    def mapping(self) -> Mapping[Any, Any]:
        return _MappingProxy(self._mapping)

    def __iter__(self) -> Iterator[Any]:
        return self._mapping._iterate(_KEYS, False)

    def __reversed__(self) -> Iterator[Any]:
        return self._mapping._iterate(_KEYS, True)

    def __repr__(self) -> str:
        return f"dict_keys({list(self)!r})"


class DictValues(ValuesView["Any"]):
    """The values of a PersistentDict, as they are now."""

    __slots__ = ()
    _mapping: PersistentDict

    @property
    def mapping(self) -> Mapping[Any, Any]:
        return _MappingProxy(self._mapping)

    def __iter__(self) -> Iterator[Any]:
        return self._mapping._iterate(_VALUES, False)

    def __contains__(self, value: object) -> bool:
        return any(item is value or item == value for item in self)

    def __reversed__(self) -> Iterator[Any]:
        return self._mapping._iterate(_VALUES, True)

    def __repr__(self) -> str:
        return f"dict_values({list(self)!r})"


class DictItems(ItemsView["Any", "Any"]):
    """The (key, value) pairs of a PersistentDict, as they are now."""

    __slots__ = ()
    _mapping: PersistentDict

    @property
    def mapping(self) -> Mapping[Any, Any]:
        return _MappingProxy(self._mapping)

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return self._mapping._iterate(_ITEMS, False)

    def __reversed__(self) -> Iterator[tuple[Any, Any]]:
        return self._mapping._iterate(_ITEMS, True)

    def __repr__(self) -> str:
        return f"dict_items({list(self)!r})"


class _Mapping(MutableMapping["Any", "Any"]):
    """What a dict and a sorted dict have alike."""

    __slots__ = ()
    _update_from: Callable[[dict[Any, Any]], None]

    def update(self, other: Any = (), /, **kwargs: Any) -> None:
        """Stores the items of a mapping, or (key, value) pairs; then those given by name."""
        if type(other) is dict:
            self._update_from(other)
        elif type(other) is PersistentDict:
            for key, value in other.items():
                self[key] = value
        elif hasattr(other, "keys"):
            for key in other.keys():  # noqa: SIM118 (what dict.update asks for)
                self[key] = other[key]
        else:
            for key, value in other:
                self[key] = value
        self._update_from(kwargs)

    def copy(self) -> dict[Any, Any]:
        """A plain dict of the items; containers among the values are still those in the heap."""
        return dict(self.items())

    def to_python(self) -> dict[Any, Any]:
        """A plain copy of everything in it, at any depth; shared parts and cycles stay such."""
        plain: dict[Any, Any] = to_python(self)
        return plain

    __copy__ = copy

    def __deepcopy__(self, memo: object) -> dict[Any, Any]:
        return self.to_python()

    def __reduce__(self) -> _Reduced:
        return dict, (), None, None, iter(self.items())

    def __reduce_ex__(self, protocol: SupportsIndex) -> _Reduced:
        return self.__reduce__()

    def __or__(self, other: Mapping[Any, Any]) -> dict[Any, Any]:
        if not isinstance(other, _DICTS):
            return NotImplemented
        plain = self.copy()
        plain.update(other)
        return plain

    def __ror__(self, other: Mapping[Any, Any]) -> dict[Any, Any]:
        if not isinstance(other, dict):
            return NotImplemented
        plain = dict(other)
        plain.update(self)
        return plain

    def __ior__(self, other: Any) -> Any:  # type: ignore[misc]
        self.update(other)
        return self

    def __eq__(self, other: object) -> bool:
        return _equal(self, other) if isinstance(other, _DICTS) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return _repr(self)


class PersistentDict(DictTwin, _Mapping):
    """A dict that lives in a heap.

    Insertion-ordered; keys are hashable values (docs/reference/api.md says which) and are equal as
    in Python (1 == 1.0 == True == Decimal(1)), except that a NaN is equal to a NaN of the same
    bits. A plain dict or list that is assigned is copied into the heap, with all that it contains;
    containers are read as their twins, other values as plain ones. Every single operation is complete or has
    not happened, even if the process is killed in its middle; update() is one operation an
    item. Raises StaleObject if the dict is gone from the heap, ClosedHeap after a detach.
    """

    __slots__ = ()

    def keys(self) -> KeysView[Any]:
        return DictKeys(self)

    def values(self) -> ValuesView[Any]:
        return DictValues(self)

    def items(self) -> ItemsView[Any, Any]:
        return DictItems(self)


class _Items(MutableSequence["Any"]):
    """What a list and a deque have alike."""

    __slots__ = ()
    _permute: Callable[[list[int]], None]

    def count(self, value: Any, /) -> int:
        return sum(item is value or item == value for item in self)

    def reverse(self) -> None:
        self._permute(list(range(len(self) - 1, -1, -1)))

    def __reduce_ex__(self, protocol: SupportsIndex) -> _Reduced:
        return self.__reduce__()  # type: ignore[return-value]

    def __lt__(self, other: Any) -> bool:
        return _ordered(self, other, lt)

    def __le__(self, other: Any) -> bool:
        return _ordered(self, other, le)

    def __gt__(self, other: Any) -> bool:
        return _ordered(self, other, gt)

    def __ge__(self, other: Any) -> bool:
        return _ordered(self, other, ge)

    def __repr__(self) -> str:
        return _repr(self)


class PersistentList(ListTwin, _Items):
    """A list that lives in a heap.

    It has all methods and operators of list. Appending, and removing at either end, take
    constant time; other insertions and removals copy the list's references. Everything that
    PersistentDict promises holds here too; a slice that is assigned is one operation.
    """

    __slots__ = ()

    def index(self, value: Any, start: int = 0, stop: int | None = None, /) -> int:
        length = len(self)
        first, last, _ = slice(start, stop).indices(length)
        for i in range(first, last):
            item = self[i]
            if item is value or item == value:
                return i
        raise ValueError(f"{value!r} is not in list")

    def remove(self, value: Any, /) -> None:
        for i, item in enumerate(self):
            if item is value or item == value:
                del self[i]
                return
        raise ValueError("list.remove(x): x not in list")

    def sort(self, *, key: Callable[[Any], Any] | None = None, reverse: bool = False) -> None:
        """Sorts in place, stably: in one operation, which leaves the items where they are."""
        keys = list(self) if key is None else [key(item) for item in self]
        self._permute(sorted(range(len(keys)), key=keys.__getitem__, reverse=reverse))

    def copy(self) -> list[Any]:
        """A plain list of the items; containers among them are still those in the heap."""
        return self[:]

    def to_python(self) -> list[Any]:
        """A plain copy of everything in it, at any depth; shared parts and cycles stay such."""
        plain: list[Any] = to_python(self)
        return plain

    __copy__ = copy

    def __deepcopy__(self, memo: object) -> list[Any]:
        return self.to_python()

    def __reduce__(self) -> _Reduced:
        return list, (), None, iter(self)

    def _assign_stepped(self, place: slice, values: Iterable[Any] | None) -> None:
        """self[place] = values, or del self[place], for a step other than 1."""
        plain = self[:]
        if values is None:
            del plain[place]
        else:
            plain[place] = list(values)
        self[:] = plain

    def __add__(self, other: Iterable[Any]) -> list[Any]:
        return self[:] + list(other) if isinstance(other, (list, PersistentList)) else NotImplemented

    def __radd__(self, other: list[Any]) -> list[Any]:
        return other + self[:] if isinstance(other, list) else NotImplemented

    def __iadd__(self, other: Iterable[Any]) -> PersistentList:
        self.extend(other)
        return self

    def __mul__(self, times: SupportsIndex) -> list[Any]:
        return self[:] * times

    __rmul__ = __mul__

    def __imul__(self, times: SupportsIndex) -> PersistentList:
        count = index(times)
        if count <= 0:
            self.clear()
        else:
            self.extend(self[:] * (count - 1))
        return self

    def __eq__(self, other: object) -> bool:
        return _equal(self, other) if isinstance(other, (list, PersistentList)) else NotImplemented

    __hash__ = None  # type: ignore[assignment]


class PersistentSet(SetTwin, MutableSet["Any"]):
    """A set that lives in a heap.

    It has all methods and operators of set; those that make a new set make a plain one. Members
    are what keys of a PersistentDict can be, and are iterated in the order in which they came.
    Everything that PersistentDict promises holds here too; what changes a set by the members of
    others is one operation a member. pop() takes the last.
    """

    __slots__ = ()
    _from_iterable = set

    def union(self, *others: Iterable[Any]) -> set[Any]:
        return set(self).union(*others)

    def intersection(self, *others: Iterable[Any]) -> set[Any]:
        return set(self).intersection(*others)

    def difference(self, *others: Iterable[Any]) -> set[Any]:
        return set(self).difference(*others)

    def symmetric_difference(self, other: Iterable[Any], /) -> set[Any]:
        return set(self).symmetric_difference(other)

    def intersection_update(self, *others: Iterable[Any]) -> None:
        kept = self.intersection(*others)
        for member in list(self):
            if member not in kept:
                self.discard(member)

    def difference_update(self, *others: Iterable[Any]) -> None:
        for other in others:
            if other is self:
                self.clear()
            else:
                for member in other:
                    self.discard(member)

    def symmetric_difference_update(self, other: Iterable[Any], /) -> None:
        for member in dict.fromkeys(other):
            if member in self:
                self.discard(member)
            else:
                self.add(member)

    def isdisjoint(self, other: Iterable[Any], /) -> bool:
        if isinstance(other, Set) and len(other) > len(self):
            return not any(member in other for member in self)
        return not any(member in self for member in other)

    def issubset(self, other: Iterable[Any], /) -> bool:
        return self <= (other if isinstance(other, Set) else set(other))

    def issuperset(self, other: Iterable[Any], /) -> bool:
        return all(member in self for member in other)

    def copy(self) -> set[Any]:
        """A plain set of the members."""
        return set(self)

    to_python = __copy__ = copy

    def __deepcopy__(self, memo: object) -> set[Any]:
        return set(self)

    def __reduce__(self) -> _Reduced:
        return set, (list(self),)

    def __reduce_ex__(self, protocol: SupportsIndex) -> _Reduced:
        return self.__reduce__()

    def __or__(self, other: Any) -> set[Any]:
        return self.union(other) if isinstance(other, Set) else NotImplemented

    def __and__(self, other: Any) -> set[Any]:
        return self.intersection(other) if isinstance(other, Set) else NotImplemented

    def __sub__(self, other: Any) -> set[Any]:
        return self.difference(other) if isinstance(other, Set) else NotImplemented

    def __xor__(self, other: Any) -> set[Any]:
        return self.symmetric_difference(other) if isinstance(other, Set) else NotImplemented

    # What another set makes of this one is of its own type.

    def __ror__(self, other: Any) -> Any:
        return _plain_set(other).union(self) if isinstance(other, Set) else NotImplemented

    def __rand__(self, other: Any) -> Any:
        return _plain_set(other).intersection(self) if isinstance(other, Set) else NotImplemented

    def __rsub__(self, other: Any) -> Any:
        return _plain_set(other).difference(self) if isinstance(other, Set) else NotImplemented

    def __rxor__(self, other: Any) -> Any:
        return _plain_set(other).symmetric_difference(self) if isinstance(other, Set) else NotImplemented

    def __ior__(self, other: Any) -> PersistentSet:
        return self._in_place(self.update, other)

    def __iand__(self, other: Any) -> PersistentSet:
        return self._in_place(self.intersection_update, other)

    def __isub__(self, other: Any) -> PersistentSet:
        return self._in_place(self.difference_update, other)

    def __ixor__(self, other: Any) -> PersistentSet:
        return self._in_place(self.symmetric_difference_update, other)

    def _in_place(self, work: Callable[[Any], None], other: Any) -> PersistentSet:
        if not isinstance(other, Set):
            return NotImplemented  # type: ignore[no-any-return]
        work(other)
        return self

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Set):
            return NotImplemented
        return len(self) == len(other) and self.issuperset(other)

    def __le__(self, other: Any) -> bool:
        if not isinstance(other, Set):
            return NotImplemented
        return len(self) <= len(other) and all(member in other for member in self)

    def __lt__(self, other: Any) -> bool:
        return len(self) < len(other) and self <= other if isinstance(other, Set) else NotImplemented

    def __ge__(self, other: Any) -> bool:
        if not isinstance(other, Set):
            return NotImplemented
        return len(self) >= len(other) and self.issuperset(other)

    def __gt__(self, other: Any) -> bool:
        return len(self) > len(other) and self >= other if isinstance(other, Set) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return _repr(self)


def _plain_set(value: Any) -> set[Any] | frozenset[Any]:
    return value if isinstance(value, (set, frozenset)) else set(value)


class PersistentDeque(DequeTwin, _Items):
    """A collections.deque that lives in a heap.

    It has all methods and operators of deque; those that make a new one make a plain one.
    Appending and popping take constant time at both ends, and rotating the time of the items
    that are moved; maxlen is that of the deque that was stored. Everything that PersistentDict
    promises holds here too; extend and extendleft are one operation.
    """

    __slots__ = ()

    def index(self, value: Any, start: int = 0, stop: int | None = None, /) -> int:
        first, last, _ = slice(start, stop).indices(len(self))
        for i, item in enumerate(self):
            if first <= i < last and (item is value or item == value):
                return i
        raise ValueError(f"{value!r} is not in deque")

    def remove(self, value: Any, /) -> None:
        items = iter(self)
        for i, item in enumerate(items):
            if item is value or item == value:
                next(items, None)  # raises if comparing has changed the deque
                del self[i]
                return
        raise ValueError("deque.remove(x): x not in deque")

    def copy(self) -> deque[Any]:
        """A plain deque of the items; containers among them are still those in the heap."""
        return deque(self, self.maxlen)

    def to_python(self) -> deque[Any]:
        """A plain copy of everything in it, at any depth; shared parts and cycles stay such."""
        plain: deque[Any] = to_python(self)
        return plain

    __copy__ = copy

    def __deepcopy__(self, memo: object) -> deque[Any]:
        return self.to_python()

    def __reduce__(self) -> _Reduced:
        return deque, ((), self.maxlen), None, iter(self)

    def __add__(self, other: Any) -> deque[Any]:
        if not isinstance(other, _DEQUES):
            return NotImplemented
        plain = self.copy()
        plain.extend(other)
        return plain

    def __radd__(self, other: deque[Any]) -> deque[Any]:
        if not isinstance(other, deque):
            return NotImplemented
        plain = other.copy()
        plain.extend(self)
        return plain

    def __iadd__(self, other: Iterable[Any]) -> PersistentDeque:  # type: ignore[misc]
        self.extend(other)
        return self

    def __mul__(self, times: SupportsIndex) -> deque[Any]:
        return self.copy() * index(times)

    __rmul__ = __mul__

    def __imul__(self, times: SupportsIndex) -> PersistentDeque:
        count = index(times)
        if count <= 0:
            self.clear()
        elif count > 1 and self:
            once = list(self)
            if self.maxlen is not None:
                count = min(count, self.maxlen // len(once) + 2)  # what is before is pushed out
            self.extend(once * (count - 1))
        return self

    def __eq__(self, other: object) -> bool:
        return _equal(self, other) if isinstance(other, _DEQUES) else NotImplemented

    __hash__ = None  # type: ignore[assignment]


_DICTS: tuple[type[Any], ...] = (dict, PersistentDict)
_LISTS = (list, PersistentList)
_DEQUES = (deque, PersistentDeque)
_PLAIN: dict[type, Callable[[], Any]] = {PersistentDict: dict, PersistentList: list, PersistentSet: set}
_TWINS: set[type] = {PersistentDict, PersistentList, PersistentSet, PersistentDeque}


class _Kind:
    """What is to be known of twins that have a module of their own, beyond their methods."""

    def __init__(
        self,
        types: tuple[type, ...],  # that are of this kind
        marks: Callable[[Any], tuple[str, str]],  # what the text begins and ends with
        written: Callable[[Any], Iterable[Any]],  # what is in between
        pairs: Callable[[Any, Any], Iterable[tuple[Any, Any]]] | None,  # as _children; None: as of dicts
    ) -> None:
        self.types, self.marks, self.written, self.pairs = types, marks, written, pairs


_kinds: dict[type, _Kind] = {}


def _new_kind(twin: type, plain: type, kind: _Kind) -> None:
    _TWINS.add(twin)
    _PLAIN[twin] = plain
    for each in kind.types:
        _kinds[each] = kind
    if plain is dict:
        global _DICTS
        _DICTS += (twin,)


def _is_known(record: Any) -> bool:
    """Is it of a class of its own, not of UnknownRecord?"""
    if isinstance(record, RowsTwin):
        from mheap.records import UnknownRecord

        return record._shape().cls is not UnknownRecord
    return type(record).__mheap_shape__.cls is type(record)


def _is_twin(value: Any) -> bool:
    if isinstance(value, RecordTwin):
        return not value._is_plain()
    return type(value) in _TWINS or isinstance(value, RowsTwin)


def _for_json(value: Any) -> Any:
    if isinstance(value, RecordTwin):
        return dict(_fields(value))
    if type(value) in (set, deque):
        return list(value)
    return value.tolist() if type(value).__name__ in ("ndarray", "array") else value


def _fields(record: RecordTwin) -> Iterator[tuple[str, Any]]:
    return zip((row[0] for row in record._shape().rows), record._values(), strict=True)


def _empty(twin: Any) -> Any:
    """A plain container of the twin's kind; for a record of a class that is not known, a dict."""
    if isinstance(twin, RecordTwin):
        return twin.__class__.__new__(twin.__class__) if _is_known(twin) else {}
    if isinstance(twin, RowsTwin):
        from mheap.records import RecordList

        return RecordList(twin._shape().cls) if _is_known(twin) else []
    return deque((), twin.maxlen) if type(twin) is PersistentDeque else _PLAIN[type(twin)]()


def to_python(value: Any) -> Any:
    """The plain copy of a persistent container or record, or of a tuple with such in it; anything else
    as it is. A record whose class is not known here becomes a dict.

    Good as `json.dumps(..., default=mheap.to_python)`, for which a plain set, deque or array, that json
    asks for when it meets one in such a copy, is made a list, and a plain record a dict. Of a value that
    JSON has no word for and that stays as it is, a date for instance, json says "Circular reference
    detected": convert those in a function of your own, that calls this one for all others.
    """
    is_array = isinstance(value, ArrayTwin)
    if is_array:
        return value.to_python()
    if type(value) is not tuple and not _is_twin(value):
        return _for_json(value)
    made: dict[int, tuple[Any, Any]] = {}
    pending: list[tuple[Any, Any]] = []
    kept = _iter(value)  # beside a writer, all of it is of one commit while there is an iterator

    def container(item: Any) -> Any:
        is_array = isinstance(item, ArrayTwin)
        if not is_array and not _is_twin(item):
            return item
        known = made.get(id(item))
        if known is None and is_array:
            known = made[id(item)] = (item, item.to_python())
        elif known is None:
            known = made[id(item)] = (item, _empty(item))
            pending.append(known)
        return known[1]

    def convert(item: Any) -> Any:
        return _plain_tuple(item, container) if type(item) is tuple else container(item)

    plain = convert(value)
    while pending:
        twin, copy = pending.pop()
        if isinstance(copy, dict):
            for key, item in _fields(twin) if isinstance(twin, RecordTwin) else twin.items():
                copy[key] = convert(item)
        elif type(copy) is set:
            copy.update(twin)
        elif isinstance(copy, RecordTwin):
            copy._fill(tuple(map(convert, twin._values())))
        else:
            copy.extend([convert(item) for item in twin])
    del kept
    return plain


def _plain_tuple(top: tuple[Any, ...], convert: Callable[[Any], Any]) -> tuple[Any, ...]:
    """A tuple whose items, at any depth of tuples, are converted; the same one if none changes."""
    done: dict[int, tuple[Any, ...]] = {}
    stack = [top]
    while stack:
        item = stack[-1]
        waiting = [x for x in item if type(x) is tuple and id(x) not in done]
        if waiting:
            stack.extend(waiting)
            continue
        stack.pop()
        plain = tuple(done[id(x)] if type(x) is tuple else convert(x) for x in item)
        done[id(item)] = item if all(map(is_, plain, item)) else plain
    return done[id(top)]


def _children(left: Any, right: Any) -> Iterable[tuple[Any, Any]] | None:
    """Pairs that must be equal for two containers of one kind to be; None: they are not."""
    kind = _kinds.get(type(left))
    if kind is not None and kind.pairs is not None and isinstance(right, kind.types):
        return kind.pairs(left, right)
    if isinstance(left, RecordTwin):
        return zip(left._values(), right._values(), strict=True)
    if len(left) != len(right):
        return None
    if not isinstance(left, _DICTS):
        return zip(left, right, strict=False)
    return ((value, right.get(key, _MISSING)) for key, value in left.items())


def _are_alike(left: RecordTwin, right: Any) -> bool:
    """Records of one class that says nothing itself of when they are equal."""
    from mheap.records import Record

    return type(left) is type(right) and getattr(type(left), "__eq__", None) is Record.__eq__


def _iter(value: Any) -> Iterator[Any]:
    return iter(() if isinstance(value, RecordTwin) else value)


def _same_kind(left: Any, right: Any) -> bool:
    if isinstance(left, RecordTwin):
        return _are_alike(left, right)
    if isinstance(left, RowsTwin) or isinstance(right, RowsTwin):
        return isinstance(left, (list, RowsTwin)) and isinstance(right, (list, RowsTwin))
    kinds = (_DICTS, _LISTS, _DEQUES, (tuple,))
    return any(isinstance(left, kind) and isinstance(right, kind) for kind in kinds)


def _equal(left: Any, right: Any) -> bool:
    """Containers, or tuples, of one kind; a pair that is being compared already counts as equal."""
    pending = [(left, right)]
    met = {(id(left), id(right)): (left, right)}
    kept = _iter(left), _iter(right)  # see to_python
    while pending:
        children = _children(*pending.pop())
        if children is None:
            return False
        for pair in children:
            a, b = pair
            if a is b:
                continue
            if not _same_kind(a, b):
                if not eq(a, b):
                    return False
            elif (id(a), id(b)) not in met:
                met[id(a), id(b)] = pair
                pending.append(pair)
    del kept
    return True


def _are_sequences(left: Any, right: Any) -> bool:
    return not isinstance(left, (*_DICTS, RowsTwin)) and _same_kind(left, right)


def _ordered(left: Any, right: Any, compare: Callable[[Any, Any], Any]) -> bool:
    """Two lists, or two deques, by their first items that differ, at any depth, as list does."""
    if not _are_sequences(left, right):
        return NotImplemented  # type: ignore[no-any-return]
    met = {(id(left), id(right)): (left, right)}
    stack = [(left, right, zip(left, right, strict=False))]
    x: Any
    y: Any
    while stack:
        a, b, pairs = stack[-1]
        x, y = next(pairs, (_MISSING, _MISSING))
        if x is _MISSING:
            if len(a) != len(b):
                return bool(compare(len(a), len(b)))
            stack.pop()
        elif _are_sequences(x, y):
            if x is not y and (id(x), id(y)) not in met:
                met[id(x), id(y)] = (x, y)
                stack.append((x, y, zip(x, y, strict=False)))
        elif not (x is y or x == y):
            return bool(compare(x, y))
    return bool(compare(0, 0))


def _marks(twin: Any) -> tuple[str, str]:
    """What the text of a container begins and ends with."""
    if type(twin) in _kinds:
        return _kinds[type(twin)].marks(twin)
    if type(twin) is PersistentDict:
        return "{", "}"
    if type(twin) is PersistentList:
        return "[", "]"
    if type(twin) is tuple:
        return "(", ")"
    if isinstance(twin, RecordTwin):
        if _is_known(twin):
            return f"{type(twin).__qualname__}(", ")"
        name = twin._shape().name  # a file's
        return f"<{name if name.isprintable() else ascii(name)} ", ">"
    if isinstance(twin, RowsTwin):
        name = twin._shape().name.rpartition(":")[2]
        return f"RecordList({name if name.isprintable() else ascii(name)}, [", "])"
    if type(twin) is PersistentSet:
        return ("{", "}") if twin else ("set(", ")")
    return "deque([", "])" if twin.maxlen is None else f"], maxlen={twin.maxlen})"


def _written(twin: Any) -> Iterable[Any]:
    if isinstance(twin, RecordTwin):
        return _fields(twin)
    if type(twin) in _kinds:
        return _kinds[type(twin)].written(twin)
    return twin.items() if type(twin) is PersistentDict else twin


def _prints_alike(value: Any) -> bool:
    if not isinstance(value, RecordTwin):
        return False
    from mheap.records import Record, UnknownRecord

    return getattr(type(value), "__repr__", None) in (Record.__repr__, UnknownRecord.__repr__)


def _repr(value: Any) -> str:
    from mheap.errors import PickleNotAllowed, UnknownType

    try:
        return _text(value)
    except (PickleNotAllowed, UnknownType) as error:  # printing is for whoever wants to know what is there
        return f"<{type(value).__qualname__}, of which not all can be read: {error}>"


def _text(value: Any) -> str:
    """As of the plain container. What a file refers to again and again is written out until
    the text is far longer than the whole heap can hold without that; then as "..."."""
    most, length = value._most_text(), 0
    out: list[str] = []
    stack: list[tuple[Any, Iterator[Any], str, str]] = []
    active: set[int] = set()

    def enter(twin: Any) -> None:
        opening, closing = _marks(twin)
        if id(twin) in active or length > most:
            short = "(...)" if type(twin) is tuple else "{...}" if "}" in closing else "[...]"
            out.append(f"{opening}...{closing}" if isinstance(twin, (RecordTwin, RowsTwin)) else short)
            return
        active.add(id(twin))
        out.append(opening)
        stack.append((twin, iter(_written(twin)), opening, closing))

    def write(item: Any) -> int:
        if type(item) in _TWINS or type(item) is tuple or isinstance(item, RowsTwin) or _prints_alike(item):
            enter(item)
            return 2
        out.append(repr(item))
        return len(out[-1])

    enter(value)
    while stack:
        twin, items, opening, closing = stack[-1]
        item: Any = next(items, _MISSING)
        if item is _MISSING:
            stack.pop()
            active.discard(id(twin))
            out.append(",)" if type(twin) is tuple and len(twin) == 1 else closing)
            continue
        if out[-1] != opening:
            out.append(", ")
        if isinstance(twin, (*_DICTS, RecordTwin)):
            key, item = item
            out.append(f"{key}=" if isinstance(twin, RecordTwin) else f"{key!r}: ")
            length += len(out[-1])
        length += 2 + write(item)
    return "".join(out)
