"""PersistentSortedDict: a dict in a heap whose keys are in order. Imported when the first one is met."""

from __future__ import annotations

from _collections_abc import ItemsView, KeysView, Sequence, ValuesView

from mheap._core import SortedTwin
from mheap.objects import _ITEMS, _KEYS, _VALUES, _Kind, _Mapping, _new_kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, SupportsIndex, TypeAlias

    _Reduced: TypeAlias = tuple[Any, ...]
else:
    Any = object

__all__ = ["PersistentSortedDict", "SortedDict"]


class SortedDict(dict[Any, Any]):
    """A dict that is stored as a PersistentSortedDict: `heap.root["x"] = mheap.SortedDict(pairs)`.

    It is nothing else than a dict itself: it becomes sorted in the heap.
    """


class _Sorted(Sequence[Any]):
    """What the views have beyond those of a dict: positions."""

    __slots__ = ()
    _mapping: PersistentSortedDict
    _kind: int

    def __len__(self) -> int:
        return len(self._mapping)

    def __iter__(self) -> Iterator[Any]:
        return self._mapping._iterate(self._kind, False)

    def __reversed__(self) -> Iterator[Any]:
        return self._mapping._iterate(self._kind, True)

    def __getitem__(self, index: Any) -> Any:
        """An item by its position, or a list of those of a slice."""
        if not isinstance(index, slice):
            return self._mapping._at(index, self._kind)
        kept = iter(self)  # see to_python
        start, stop, step = index.indices(len(self))
        if step < 0:
            start, stop = stop + 1, start + 1
        part = list(self._mapping._iterate(self._kind, step < 0, start, max(start, stop)))[:: abs(step)]
        del kept
        return part

    def _place(self, value: Any) -> int | None:
        """The position of what is equal to the value."""
        for i, item in enumerate(self):
            if item is value or item == value:
                return i
        return None

    def index(self, value: Any, start: int = 0, stop: int | None = None) -> int:
        place = self._place(value)
        first, last, _ = slice(start, stop).indices(len(self))
        if place is None or not first <= place < last:
            raise ValueError(f"{value!r} is not in list")
        return place

    def count(self, value: Any) -> int:
        return sum(item is value or item == value for item in self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self)!r})"


class SortedKeys(_Sorted, KeysView[Any]):
    """The keys of a PersistentSortedDict, as they are now: a set to look at, and a sequence."""

    __slots__ = ()
    _kind = _KEYS

    def __contains__(self, key: object) -> bool:
        return key in self._mapping

    def _place(self, value: Any) -> int | None:
        return self._mapping.bisect_left(value) if value in self._mapping else None

    def count(self, value: Any) -> int:
        return int(value in self._mapping)

    def bisect_left(self, key: Any) -> int:
        return self._mapping.bisect_left(key)

    def bisect_right(self, key: Any) -> int:
        return self._mapping.bisect_right(key)

    bisect = bisect_right


class SortedValues(_Sorted, ValuesView[Any]):
    """The values of a PersistentSortedDict, in the order of their keys, as they are now."""

    __slots__ = ()
    _kind = _VALUES

    def __contains__(self, value: object) -> bool:
        return self._place(value) is not None


class SortedItems(_Sorted, ItemsView[Any, Any]):
    """The (key, value) pairs of a PersistentSortedDict, in the order of the keys, as they are now."""

    __slots__ = ()
    _kind = _ITEMS

    def __contains__(self, item: object) -> bool:
        return self._place(item) is not None

    def _place(self, value: Any) -> int | None:
        if type(value) is not tuple or len(value) != 2 or value[0] not in self._mapping:
            return None
        there = self._mapping[value[0]]
        is_it = there is value[1] or there == value[1]
        return self._mapping.bisect_left(value[0]) if is_it else None

    def count(self, value: Any) -> int:
        return int(self._place(value) is not None)


_EVERYTHING = (True, True)


class PersistentSortedDict(SortedTwin, _Mapping):
    """A dict that lives in a heap, with its keys in order.

    Keys are numbers, or str, bytes, dates, times, timedeltas, UUIDs, or tuples of such: what Python can
    compare with the keys that are there, in Python's order. Another raises TypeError, as does a NaN.
    It has the methods and operators of dict, and those of sortedcontainers.SortedDict; all but
    iterating take the time that a path through a tree does, positions included. What makes a new
    dict makes a plain one, in the order of the keys. Everything that PersistentDict promises
    holds here too.
    """

    __slots__ = ()

    def keys(self) -> SortedKeys:
        return SortedKeys(self)

    def values(self) -> SortedValues:
        return SortedValues(self)

    def items(self) -> SortedItems:
        return SortedItems(self)

    def index(self, key: Any, start: int = 0, stop: int | None = None) -> int:
        """The position of a key."""
        return self.keys().index(key, start, stop)

    def peekitem(self, index: SupportsIndex = -1) -> tuple[Any, Any]:
        """The (key, value) pair at a position."""
        pair: tuple[Any, Any] = self._at(index, _ITEMS)
        return pair

    def popitem(self, index: SupportsIndex = -1) -> tuple[Any, Any]:
        """Removes and returns the (key, value) pair at a position."""
        if not self:
            raise KeyError("popitem(): dictionary is empty")
        return self._pop_at(index)

    def irange(
        self,
        minimum: Any = None,
        maximum: Any = None,
        inclusive: tuple[bool, bool] = _EVERYTHING,
        reverse: bool = False,
    ) -> Iterator[Any]:
        """The keys from a minimum to a maximum; None: from the first, to the last."""
        kept = iter(self)  # see to_python
        start, stop = 0, len(self)
        if minimum is not None:
            start = self.bisect_left(minimum) if inclusive[0] else self.bisect_right(minimum)
        if maximum is not None:
            stop = self.bisect_right(maximum) if inclusive[1] else self.bisect_left(maximum)
        found = self._iterate(_KEYS, bool(reverse), start, max(start, stop))
        del kept
        return found

    def islice(
        self, start: int | None = None, stop: int | None = None, reverse: bool = False
    ) -> Iterator[Any]:
        """The keys from one position to another."""
        kept = iter(self)  # see to_python
        first, last, _ = slice(start, stop).indices(len(self))
        found = self._iterate(_KEYS, bool(reverse), first, max(first, last))
        del kept
        return found


def _marks(twin: PersistentSortedDict) -> tuple[str, str]:
    return "PersistentSortedDict({", "})"


def _written(twin: PersistentSortedDict) -> Iterable[tuple[Any, Any]]:
    return twin.items()


_new_kind(PersistentSortedDict, dict, _Kind((PersistentSortedDict,), _marks, _written, None))
