"""Every kind of object within every other, changed at random, beside a plain model of all of it.

Owns: the model (dicts, lists, sets, deques and Counters are themselves in it; Thing, Rows, Sorted and Array
stand for the rest), what is done to each kind, and the comparison, which holds identities too. All of it
follows from a seed.
"""

from __future__ import annotations

import datetime
import decimal
import fractions
import random
import uuid
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import mheap

MOST = 60  # items of a container, above which it shrinks
DEEPEST = 3
DTYPES: list[tuple[Any, tuple[int, ...]]] = [
    ("f8", ()),
    ("i4", (3,)),
    ("u1", (2, 2)),
    ([("a", "f4"), ("b", "i2")], ()),
]
FIELDS = ["id", "text", "number", "on", "any", "more"]


class Record(mheap.Record, name="Mixture"):
    id: int
    text: str | None = None
    number: float = 0.0
    on: bool = False
    any: object = None
    more: list[Any] = mheap.field(default_factory=list)


class Thing:
    """A record, or a row of a record list, which is a place in that."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.__dict__.update(values)
        self.is_row = False


class Rows(list[Thing]):
    """A record list."""


class Sorted(dict[Any, Any]):
    """A sorted dict, in no order."""


class Array:
    """A numpy array."""

    def __init__(self, values: Any) -> None:
        self.values = values


CONTAINERS = (dict, list, set, deque, Thing, Array)


class Pair(NamedTuple):
    """The same thing twice; before it is stored, `stored` is what will be."""

    stored: Any
    plain: Any


# ---- new values ----


class Maker:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.scalars: list[Callable[[], Any]] = [
            lambda: self.random.randrange(-5, 1000),
            self.text,
            self.text,
            self.random.random,
            lambda: self.random.getrandbits(self.random.choice((60, 70, 200))) * self.random.choice((1, -1)),
            lambda: self.random.choice((None, True, False)),
            lambda: self.random.randbytes(self.random.randrange(50)),
            lambda: tuple(self.scalar() for _ in range(self.random.randrange(4))),
            lambda: complex(self.random.randrange(9), self.random.randrange(9)),
            lambda: datetime.date(2000 + self.random.randrange(30), 1, self.random.randrange(1, 28)),
            lambda: datetime.datetime(2020, 1, self.random.randrange(1, 28), tzinfo=datetime.timezone.utc),
            lambda: decimal.Decimal(self.random.randrange(10 ** self.random.randrange(1, 40))) / 1000,
            lambda: fractions.Fraction(self.random.randrange(100), self.random.randrange(1, 99)),
            lambda: uuid.UUID(int=self.random.getrandbits(128)),
            lambda: frozenset(self.random.randrange(50) for _ in range(self.random.randrange(4))),
            lambda: range(self.random.randrange(10), self.random.randrange(100), self.random.randrange(1, 4)),
        ]
        self.containers: list[Callable[[int], Pair]] = [
            self.new_dict,
            self.new_list,
            self.new_set,
            self.new_deque,
            self.new_counter,
            self.new_sorted,
            self.new_record,
            self.new_record,
            self.new_rows,
            self.new_array,
        ]

    def some(self, most: int) -> range:
        return range(self.random.randrange(most))

    def text(self) -> str:
        return self.random.choice(
            (
                f"k{self.random.randrange(1000)}",
                f"name_{self.random.randrange(99999):05}",
                "é" * self.random.randrange(30),
                "x" * self.random.randrange(300),
                "\U0001f600\ud800"[self.random.randrange(2) :] * self.random.randrange(4),
            )
        )

    def scalar(self) -> Any:
        return self.random.choice(self.scalars)()

    def fresh(self, depth: int = 0) -> Pair:
        if depth >= DEEPEST or self.random.random() < 0.45:
            value = self.scalar()
            return Pair(value, value)
        return self.random.choice(self.containers)(depth + 1)

    def items(self, depth: int, most: int = 6) -> Pair:
        """Two lists."""
        pairs = [self.fresh(depth) for _ in self.some(most)]
        return Pair([pair.stored for pair in pairs], [pair.plain for pair in pairs])

    def entries(self, key: Callable[[], Any], to: Pair, depth: int) -> Pair:
        for _ in self.some(8):
            own, (stored, plain) = key(), self.fresh(depth)
            to.stored[own], to.plain[own] = stored, plain
        return to

    def new_dict(self, depth: int) -> Pair:
        return self.entries(self.scalar, Pair({}, {}), depth)

    def new_list(self, depth: int) -> Pair:
        return self.items(depth)

    def new_set(self, depth: int) -> Pair:
        values = {self.scalar() for _ in self.some(8)}
        return Pair(values, set(values))

    def new_deque(self, depth: int) -> Pair:
        length = self.random.choice((None, None, 6))
        stored, plain = self.items(depth)
        return Pair(deque(stored, length), deque(plain, length))

    def new_counter(self, depth: int) -> Pair:
        counts = {self.scalar(): self.random.randrange(-3, 99) for _ in self.some(8)}
        return Pair(Counter(counts), Counter(counts))

    def new_sorted(self, depth: int) -> Pair:
        key = self.random.choice(
            (lambda: self.random.randrange(500), lambda: f"s{self.random.randrange(500)}")
        )
        return self.entries(key, Pair(mheap.SortedDict(), Sorted()), depth)

    def new_record(self, depth: int) -> Pair:
        values: dict[str, Any] = {
            "id": self.random.randrange(10**6),
            "text": self.random.choice((None, self.text())),
            "number": self.random.random(),
            "on": self.random.random() < 0.5,
        }
        within, more = self.fresh(depth), self.items(depth, 3)
        stored = Record(**values, any=within.stored, more=more.stored)
        return Pair(stored, Thing({**values, "any": within.plain, "more": more.plain}))

    def new_row(self, depth: int) -> Pair:
        made = self.new_record(depth)
        made.plain.is_row = True
        return made

    def new_rows(self, depth: int) -> Pair:
        records = [self.new_row(depth) for _ in self.some(4)]
        stored = mheap.RecordList(Record, [pair.stored for pair in records])
        return Pair(stored, Rows(pair.plain for pair in records))

    def new_array(self, depth: int) -> Pair:
        dtype, shape = self.random.choice(DTYPES)
        values = np.zeros((self.random.randrange(6), *shape), dtype)
        if values.dtype.names is None:
            values[...] = np.arange(values.size).reshape(values.shape) % 7
        return Pair(values, Array(values.copy()))


# ---- the comparison ----


class Comparison:
    """Of all that the root of one heap leads to: values, orders, and what is the same object where."""

    def __init__(self, root: Pair) -> None:
        self.by_plain: dict[int, Any] = {}
        self.by_stored: dict[int, Any] = {}  # kept alive: twins are, where nothing else refers to them
        self.left = [("root", root, False)]
        while self.left:
            self.compare(*self.left.pop())

    def compare(self, where: str, pair: Pair, row: bool) -> None:
        stored, plain = pair
        if not isinstance(plain, CONTAINERS):
            assert type(stored) is type(plain), f"{where}: {stored!r:.300} is not {plain!r:.300}"
            assert stored == plain, f"{where}: {stored!r:.300} is not {plain!r:.300}"
        elif id(plain) in self.by_plain:
            assert stored is self.by_plain[id(plain)], f"{where}: another object than elsewhere"
        else:
            if not row:
                assert id(stored) not in self.by_stored, f"{where}: the same object as elsewhere"
                self.by_plain[id(plain)] = self.by_stored[id(stored)] = stored
            self.within(where, stored, plain)

    def within(self, where: str, stored: Any, plain: Any) -> None:
        if isinstance(plain, Thing):
            assert isinstance(stored, Record), f"{where}: {stored!r:.300}"
            self.go_on(where, FIELDS, [getattr(stored, name) for name in FIELDS], vars(plain))
        elif isinstance(plain, Array):
            assert np.array_equal(np.asarray(stored), plain.values), where
            assert np.asarray(stored).dtype == plain.values.dtype, where
        elif isinstance(plain, set):
            assert len(stored) == len(plain), f"{where}: {stored!r:.300} is not {plain!r:.300}"
            assert set(stored) == plain, f"{where}: {stored!r:.300} is not {plain!r:.300}"
        elif isinstance(plain, dict):
            keys = sorted(plain) if isinstance(plain, Sorted) else list(plain)
            assert list(stored) == keys, f"{where}: {list(stored)!r:.300} is not {keys!r:.300}"
            self.go_on(where, keys, stored.values(), plain)
        else:
            assert len(stored) == len(plain), f"{where}: {stored!r:.300} is not {plain!r:.300}"
            rows = isinstance(plain, Rows)
            self.go_on(where, range(len(plain)), stored, plain, rows)

    def go_on(self, where: str, keys: Any, values: Any, plain: Any, rows: bool = False) -> None:
        for key, value in zip(keys, values, strict=True):
            self.left.append((f"{where}[{key!r:.30}]", Pair(value, plain[key]), rows))
