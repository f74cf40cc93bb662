"""PersistentCounter: the Python side of a collections.Counter in a heap.

A module of its own, imported when the first one is met: the module collections takes longer to
import than a heap to attach.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter
from typing import Any, TypeAlias

from mheap._core import CounterTwin
from mheap.objects import PersistentDict, _equal, _Kind, _new_kind, to_python

__all__ = ["PersistentCounter"]

_Reduced: TypeAlias = tuple[Any, ...]
_plain: Any = Counter  # whose methods take anything that is like one


class PersistentCounter(CounterTwin, PersistentDict):
    """A collections.Counter that lives in a heap.

    It has all methods and operators of Counter; those that make a new one make a plain one. A key
    that is missing is read as 0, without storing it. Everything that PersistentDict promises
    holds here too; what counts, or changes counts in place, is one operation an element.
    """

    __slots__ = ()

    def __missing__(self, key: object) -> int:
        return 0

    def total(self) -> Any:
        return sum(self.values())

    def most_common(self, n: int | None = None) -> list[tuple[Any, Any]]:
        common: list[tuple[Any, Any]] = _plain.most_common(self, n)
        return common

    def elements(self) -> Iterator[Any]:
        elements: Iterator[Any] = _plain.elements(self)
        return elements

    def update(self, iterable: Any = None, /, **kwargs: Any) -> None:
        """Adds the counts of a mapping, or 1 for each element of an iterable."""
        if isinstance(iterable, Mapping):
            if self:
                for element, count in iterable.items():
                    self[element] = count + self.get(element, 0)
            else:
                super().update(iterable)
        elif iterable is not None:
            self._count(iterable)
        if kwargs:
            self.update(kwargs)

    def subtract(self, iterable: Any = None, /, **kwargs: Any) -> None:
        """Subtracts the counts of a mapping, or 1 for each element of an iterable."""
        if isinstance(iterable, Mapping):
            for element, count in iterable.items():
                self[element] = self.get(element, 0) - count
        elif iterable is not None:
            for element in iterable:
                self[element] = self.get(element, 0) - 1
        if kwargs:
            self.subtract(kwargs)

    def copy(self) -> Counter[Any]:
        """A plain Counter of the counts."""
        return Counter(dict(self.items()))

    def to_python(self) -> Counter[Any]:
        """A plain copy of everything in it, at any depth; shared parts and cycles stay such."""
        plain: Counter[Any] = to_python(self)
        return plain

    __copy__ = copy

    def __deepcopy__(self, memo: object) -> Counter[Any]:
        return self.to_python()

    def __reduce__(self) -> _Reduced:
        return Counter, (), None, None, iter(self.items())

    def __pos__(self) -> Counter[Any]:
        return +self.copy()

    def __neg__(self) -> Counter[Any]:
        return -self.copy()

    def __add__(self, other: Any) -> Counter[Any]:
        return self.copy() + _counter(other) if isinstance(other, _COUNTERS) else NotImplemented

    def __sub__(self, other: Any) -> Counter[Any]:
        return self.copy() - _counter(other) if isinstance(other, _COUNTERS) else NotImplemented

    def __or__(self, other: Any) -> Counter[Any]:
        return self.copy() | _counter(other) if isinstance(other, _COUNTERS) else NotImplemented

    def __and__(self, other: Any) -> Counter[Any]:
        return self.copy() & _counter(other) if isinstance(other, _COUNTERS) else NotImplemented

    def __radd__(self, other: Any) -> Any:
        return other + self.copy() if isinstance(other, Counter) else NotImplemented

    def __rsub__(self, other: Any) -> Any:
        return other - self.copy() if isinstance(other, Counter) else NotImplemented

    def __ror__(self, other: Any) -> Any:
        return other | self.copy() if isinstance(other, Counter) else NotImplemented

    def __rand__(self, other: Any) -> Any:
        return other & self.copy() if isinstance(other, Counter) else NotImplemented

    def __iadd__(self, other: Any) -> PersistentCounter:
        for element, count in other.items():
            self[element] += count
        return self._without_the_rest()

    def __isub__(self, other: Any) -> PersistentCounter:
        for element, count in other.items():
            self[element] -= count
        return self._without_the_rest()

    def __ior__(self, other: Any) -> PersistentCounter:  # type: ignore[override]
        for element, count in other.items():
            if count > self[element]:
                self[element] = count
        return self._without_the_rest()

    def __iand__(self, other: Any) -> PersistentCounter:
        for element, count in self.items():
            if other[element] < count:
                self[element] = other[element]
        return self._without_the_rest()

    def _without_the_rest(self) -> PersistentCounter:
        """Keeps the positive counts only."""
        for element in [element for element, count in self.items() if not count > 0]:
            del self[element]
        return self

    def __eq__(self, other: object) -> bool:
        if isinstance(other, _COUNTERS):
            return _equal(self, other)
        return super().__eq__(other)

    def __le__(self, other: Any) -> bool:
        if not isinstance(other, _COUNTERS):
            return NotImplemented
        return all(self[element] <= other[element] for each in (self, other) for element in each)

    def __lt__(self, other: Any) -> bool:
        return self <= other and self != other if isinstance(other, _COUNTERS) else NotImplemented

    def __ge__(self, other: Any) -> bool:
        if not isinstance(other, _COUNTERS):
            return NotImplemented
        return all(self[element] >= other[element] for each in (self, other) for element in each)

    def __gt__(self, other: Any) -> bool:
        return self >= other and self != other if isinstance(other, _COUNTERS) else NotImplemented

    __hash__ = None  # type: ignore[assignment]


_COUNTERS = (Counter, PersistentCounter)


def _counter(other: Any) -> Counter[Any]:
    return other if isinstance(other, Counter) else other.copy()


def _marks(twin: PersistentCounter) -> tuple[str, str]:
    return ("PersistentCounter({", "})") if twin else ("PersistentCounter(", ")")


def _in_order(twin: PersistentCounter) -> Iterable[tuple[Any, Any]]:
    """The most common first, if the counts can be ordered."""
    try:
        return sorted(twin.items(), key=itemgetter(1), reverse=True)
    except TypeError:
        return twin.items()


def _pairs(left: Any, right: Any) -> Iterator[tuple[Any, Any]]:
    """What must be equal: a count that is missing is 0."""
    yield from ((count, right[key]) for key, count in left.items())
    yield from ((left[key], count) for key, count in right.items())


_new_kind(PersistentCounter, Counter, _Kind(_COUNTERS, _marks, _in_order, _pairs))
