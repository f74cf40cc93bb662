"""Values whose stored state contradicts itself: refused by whoever reads them, and found by a check."""

from __future__ import annotations

import datetime as dt
import enum
import pathlib
import struct
import uuid
import zoneinfo
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import mheap
from mheap import _values


@mheap.register_enum
class Color(enum.Enum):
    RED = 1


class Place:
    def __init__(self, x: Any, y: Any) -> None:
        self.x, self.y = x, y


mheap.register(Place, lambda place: (place.x, place.y), lambda state: Place(*state), name="tests:Place")


def word_int(value: int) -> int:
    return (value << 4 | 1) & (1 << 64) - 1


def replaced(path: Path, kind: int, words: list[int | None]) -> None:
    """The words of the only extended value of a kind in a file become others; None: as it is."""
    content = path.read_bytes()
    heads = [
        at
        for at in range(0, len(content) - 15, 16)
        if struct.unpack_from("<Q", content, at)[0] >> 24 & 0xFF == 0x12
        and struct.unpack_from("<Q", content, at)[0] & 0xFFFFFF == 1
        and struct.unpack_from("<Q", content, at + 8)[0] == kind
    ]
    assert len(heads) == 1
    with path.open("r+b") as file:
        for i, word in enumerate(words):
            if word is not None:
                file.seek(heads[0] + 16 + 8 * i)
                file.write(struct.pack("<Q", word))


STR = 2
CORRUPT: list[tuple[Any, int, list[int | None]]] = [
    (range(5), _values.RANGE, [None, None, word_int(0)]),
    (dt.date(2024, 1, 1), _values.DATE, [word_int(0)]),
    (dt.date(2024, 1, 1), _values.DATE, [word_int(3652060)]),
    (dt.time(1), _values.TIME, [word_int(86_400_000_000)]),
    (dt.time(1), _values.TIME, [None, word_int(2)]),
    (dt.time(1), _values.TIME, [None, None, word_int(86_400_000_000)]),
    (dt.time(1), _values.TIME, [None, None, 48]),
    (dt.datetime(2024, 1, 1), _values.DATETIME, [word_int(-1)]),
    (dt.datetime(2024, 1, 1), _values.DATETIME, [word_int(3652059 * 86_400_000_000)]),
    (dt.datetime(2024, 1, 1), _values.DATETIME, [None, None, STR | 1 << 4 | ord("/") << 8]),
    (dt.timedelta(1), _values.TIMEDELTA, [word_int(10**9)]),
    (dt.timedelta(1), _values.TIMEDELTA, [None, word_int(-1)]),
    (Decimal("1.5"), _values.DECIMAL, [STR | 1 << 4 | ord("x") << 8]),
    (Fraction(1, 3), _values.FRACTION, [None, word_int(0)]),
    (Fraction(1, 3), _values.FRACTION, [None, word_int(-3)]),
    (uuid.UUID(int=5), _values.UUID, [word_int(5)]),
    (pathlib.Path("a"), _values.PATH, [word_int(4)]),
    (pathlib.Path("a"), _values.PATH, [word_int(_values._PATHS.index("WindowsPath"))]),
    (Color.RED, _values.ENUM, [word_int(1)]),
    (dt.timezone(dt.timedelta(hours=1), "CET"), _values.TIMEZONE, [word_int(-86_400_000_000)]),
    (zoneinfo.ZoneInfo("Europe/Berlin"), _values.ZONEINFO, [word_int(1)]),
    (Place(1, 2), _values.REGISTERED, [word_int(1)]),
    (mheap.Pickled(1), _values.PICKLED, [word_int(1)]),
]


@pytest.mark.parametrize(("value", "kind", "words"), CORRUPT, ids=lambda value: ascii(value)[:20])
def test_impossible_state_is_corrupt(
    heap: mheap.Heap, heap_path: Path, value: Any, kind: int, words: list[int | None]
) -> None:
    heap.root["x"] = value
    heap.root["tuple"] = (1, 2)
    heap.close()
    replaced(heap_path, kind, [])
    with mheap.open(heap_path, mode="readonly") as again:
        assert again.check()
    replaced(heap_path, kind, words)
    with mheap.open(heap_path, mode="readonly", allow_pickle=True) as again:
        for read in (lambda: again.root["x"], lambda: list(again.root.items()), again.root.to_python):
            with pytest.raises(mheap.CorruptHeap):
                read()
        assert again.root["tuple"] == (1, 2)


def test_a_zone_that_is_not_known_here(heap: mheap.Heap, heap_path: Path) -> None:
    heap.root["x"] = dt.datetime(2024, 1, 1, tzinfo=zoneinfo.ZoneInfo("UTC"))
    heap.close()
    replaced(heap_path, _values.DATETIME, [None, None, STR | 2 << 4 | int.from_bytes(b"XX", "little") << 8])
    with mheap.open(heap_path, mode="readonly") as again:
        assert again.check()
        with pytest.raises(mheap.UnknownType, match="the zone 'XX'"):
            again.root["x"]


def tuples_in(path: Path) -> list[int]:
    content = path.read_bytes()
    heads = struct.iter_unpack("<Q", content)
    return [
        8 * i
        for i, (head,) in enumerate(heads)
        if i % 2 == 0 and head >> 24 & 0xFF == 0x10 and head & 0xFFFFFF == 1
    ]


def test_a_tuple_in_itself_is_corrupt(heap: mheap.Heap, heap_path: Path) -> None:
    heap.root["x"] = ("a", "b", 77)
    heap.root["fine"] = 1
    heap.close()
    (at,) = tuples_in(heap_path)
    with heap_path.open("r+b") as file:
        file.seek(at + 16)
        file.write(struct.pack("<Q", at | 11))
    with mheap.open(heap_path, mode="live") as again:
        with pytest.raises(mheap.CorruptHeap, match="inside itself"):
            again.root["x"]
        assert again.root["fine"] == 1
        del again.root["x"]
        with pytest.raises(KeyError):
            again.root["x"]


class Knot:
    """Of a registered type, and may be part of itself."""

    def __init__(self, tied: Any = None) -> None:
        self.tied = tied


mheap.register(Knot, lambda knot: (knot.tied,), lambda state: Knot(*state), name="tests:Knot")


def test_a_value_that_is_part_of_itself_is_refused(heap: mheap.Heap) -> None:
    own, one, other, within = Knot(), Knot(), Knot(), Knot()
    own.tied = own
    one.tied, other.tied = other, one
    within.tied = ("a", within, 10**30)
    heap.root["before"] = 1
    blocks = heap.stats().chunks_used
    for knot in (own, one, within, [one, other], {"x": (1, within)}, Knot(one), (within.tied, [own])):
        with pytest.raises(ValueError, match="part of itself"):
            heap.root["x"] = knot
    assert "x" not in heap.root
    assert heap.check()
    assert heap.stats().chunks_used == blocks


def test_a_value_met_twice_or_behind_a_container_is_stored(heap: mheap.Heap) -> None:
    knot = Knot(("a", 10**30))
    heap.root["twice"] = [(knot, knot), knot, Knot((knot, knot.tied)), knot.tied]
    assert heap.root["twice"][2].tied[0].tied == ("a", 10**30)
    knot.tied = [knot]
    heap.root["cycle"] = knot
    assert type(heap.root["cycle"].tied[0]) is Knot
    inner = Knot()
    for _ in range(50_000):
        inner = Knot((inner, inner))
    heap.root["deep"] = inner
    assert heap.check()
    while inner.tied is not None:  # which the interpreter would not free at once
        inner = inner.tied[0]


def test_a_set_of_what_has_no_hash_is_corrupt(heap: mheap.Heap, heap_path: Path) -> None:
    heap.root["list"] = [(123456, [1])]
    heap.root["set"] = frozenset({777})
    heap.close()
    (at,) = tuples_in(heap_path)
    content = bytearray(heap_path.read_bytes())
    place = content.index(struct.pack("<Q", word_int(777)))
    assert content.count(struct.pack("<Q", word_int(777))) == 1
    content[place : place + 8] = struct.pack("<Q", at | 11)
    heap_path.write_bytes(content)
    with mheap.open(heap_path, mode="readonly") as again:
        assert again.root["list"] == [(123456, [1])]
        with pytest.raises(mheap.CorruptHeap, match="no hash"):
            again.root["set"]
