"""Whatever a word of a stored object says, reading and changing what it belongs to works or raises an
MheapError: no crash, no hang, no other exception, and no change to the file of what only reads.

Each word of every object of a small heap is each tag with each payload that is at a boundary, each head
of a type with such a length, and some numbers. MHEAP_HOSTILE=all tries all of them, not a part.
"""

from __future__ import annotations

import array
import datetime as dt
import os
import random
import re
import struct
import subprocess
import sys
import uuid
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import mheap

FIRST_DATA = 2 << 16  # behind the superblock's slice and the first segment's header
MOST_READ = 300  # objects, of a graph that a word may have made endless
PART = 300  # of all words and values, one in so many is tried
LONG = "a text that is longer than a word"


class Person(mheap.Record):
    id: int
    name: str
    score: float = 0.5
    tags: tuple[str, ...] = ()
    well: bool = True


def person(number: int) -> Person:
    return Person(number, f"a name of some length {number}", tags=(LONG, "b"))


def populate(heap: mheap.Heap) -> None:
    day = dt.datetime(2026, 2, 3, 4, 5, 6, 7, tzinfo=dt.timezone.utc)
    heap.root.update(
        {
            "scalars": [1, 2**70, -(2**200), 0.1, 1j, LONG, "\u20ac" * 9, "\U0001f600" * 3, b"bytes" * 3],
            "many": {f"a key of some length {i}": i for i in range(20)},
            "few": {1: 2, LONG: [LONG], (1, LONG): {}},
            "names": {"created_at": "updated_at", "identifier": ["abcdefgh", {"Zzzzzzzzz"}, ("0123456789",)]},
            "set": {1, LONG, frozenset({2, (3, LONG)})},
            "deque": deque([1, LONG, [LONG]], 9),
            "values": (bytearray(LONG.encode()), range(3, 2**80, 2), Decimal("1.5"), Fraction(1, 3)),
            "times": [day, day.date(), day.time(), dt.timedelta(1, 2, 3), dt.timezone(dt.timedelta(1 / 24))],
            "others": [uuid.UUID(int=5), Path("/a/path"), mheap.Pickled([1, 2])],
        }
    )
    heap.root["counter"] = Counter([LONG, "a", "a", (1, LONG)])
    heap.root["sorted"] = mheap.SortedDict({f"key {i:30}": [i] for i in range(40)})
    heap.root["by_name"] = mheap.SortedDict({f"name_{i:04}": i for i in range(20)})
    heap.root["array"] = array.array("d", [1.5, 2.5])
    heap.root["record"] = [person(1), (person(2),)]
    heap.root["records"] = mheap.RecordList(Person, [person(number) for number in range(3)])
    heap.root["circle"] = [heap.root]


def payloads(size: int, own: int) -> Iterator[int]:
    yield from (0, 16, 48, own & ~15, size - 16, size, (1 << 47) - 16, 1 << 47, (1 << 64) - 16)


def heads() -> Iterator[int]:
    types = [*range(1, 9), 0x10, 0x11, 0x12, *range(0x40, 0x4A), *range(0x80, 0x86)]
    for kind in types:
        for length in (0, 1, 7, 8, 0x7FFFFFF0, 0xFFFFFFFF):
            yield 1 | kind << 24 | length << 32


def words(size: int, own: int) -> list[int]:
    tagged = [payload | tag for tag in range(16) for payload in payloads(size, own)]
    numbers = [1, 2, 3, 255, 0xFFFFFFFF, 1 << 32, 0x7FFFFFFF << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]
    return [*dict.fromkeys([*tagged, *heads(), *numbers])]


def read_all(value: Any, budget: list[int]) -> None:
    """Walks what a heap holds, as far as the budget goes."""
    pending = [value]
    while pending and budget[0] > 0:
        budget[0] -= 1
        value = pending.pop()
        if isinstance(value, Person):
            pending += [getattr(value, name) for name in ("id", "name", "score", "tags", "well")]
        elif isinstance(value, (mheap.PersistentDict, mheap.PersistentSortedDict)):
            for key in list(value)[:50]:
                pending.append(key)
                pending.append(value.get(key))
        elif isinstance(value, Collection) and not isinstance(value, (str, bytes, bytearray, range)):
            len(value)
            pending.extend(item for item, _ in zip(value, range(50), strict=False))


REFUSED = re.compile(
    "has no order with the keys of this sorted dict|is not known here|^Person\\.[a-z]*: expected |"
    "^can only concatenate |^can't concat |^unsupported operand "  # any value may be a count
)


def attempt(use: Callable[[], Any]) -> None:
    """Keys may be lost, and lists empty; values of other types do not go with what is there, or declared."""
    try:
        use()
    except (mheap.MheapError, LookupError):
        pass
    except TypeError as error:
        if REFUSED.search(str(error)) is None:
            raise


def part_by_part(heap: mheap.Heap, use: Callable[[Any], Any]) -> None:
    """Uses each value of the root, also if another is broken."""
    names: list[Any] = []
    attempt(lambda: names.extend(heap.root))
    for name in names:
        attempt(lambda name=name: use(heap.root[name]))  # type: ignore[misc]


def read(heap: mheap.Heap) -> None:
    part_by_part(heap, lambda value: read_all(value, [MOST_READ]))
    part_by_part(heap, lambda value: value == value)
    part_by_part(heap, lambda value: hasattr(type(value), "to_python") and value.to_python())
    attempt(heap.check)


def change(value: Any) -> None:
    if isinstance(value, (mheap.PersistentCounter, mheap.PersistentArray)):
        value.update([LONG, 7]) if isinstance(value, mheap.PersistentCounter) else value.append(3.5)
    elif isinstance(value, Person):
        value.name, value.id, value.tags = LONG, 5, ()
    elif isinstance(value, mheap.PersistentRecordList):
        value.append(person(9))
        value[0].name = LONG
        value.pop()
    elif isinstance(value, (mheap.PersistentDict, mheap.PersistentSortedDict)):
        value[LONG] = [1, LONG]
        value.pop(LONG)
        value.popitem()
    elif isinstance(value, (mheap.PersistentList, mheap.PersistentDeque)):
        value.append([LONG])
        change(value[0])
        value[0] = LONG
        value.pop()
    elif isinstance(value, mheap.PersistentSet):
        value.add((5, LONG))
        value.discard(1)


def write(heap: mheap.Heap) -> None:
    names: list[Any] = []
    part_by_part(heap, change)
    attempt(heap.collect)
    attempt(lambda: names.extend(heap.root))
    for name in names:
        attempt(lambda name=name: heap.root.pop(name))  # type: ignore[misc]
    attempt(lambda: heap.root.clear())


class Sweep:
    """A file, and what came of each word that was put in it."""

    def __init__(self, path: str) -> None:
        self.path, self.found = path, 0
        self.sound = Path(path).read_bytes()
        self.file = os.open(path, os.O_RDWR)

    def places(self) -> list[int]:
        count = (len(self.sound) - FIRST_DATA) // 8
        values = struct.unpack_from(f"<{count}Q", self.sound, FIRST_DATA)
        return [FIRST_DATA + 8 * i for i, value in enumerate(values) if value]

    def use(self, at: int, word: int) -> None:
        changed = self.sound[:at] + struct.pack("<Q", word) + self.sound[at + 8 :]
        os.pwrite(self.file, changed[at : at + 8], at)
        try:
            with mheap.open(self.path, mode="readonly") as heap:
                self.found += not heap.check()
                read(heap)
            with mheap.open(self.path, mode="scratch") as heap:
                write(heap)
            assert os.pread(self.file, len(changed), 0) == changed
        except BaseException as error:
            raise AssertionError(f"offset 0x{at:x}, word 0x{word:x}: {error!r}") from error
        finally:
            os.pwrite(self.file, self.sound[at : at + 8], at)


def main(path: str, seed: int, part: int) -> None:
    sweep, chosen, tried = Sweep(path), random.Random(seed), 0
    for at in sweep.places():
        for word in words(len(sweep.sound), at):
            if chosen.randrange(part) == 0:
                tried += 1
                sweep.use(at, word)
    print(tried, sweep.found)


@pytest.mark.parametrize("seed", range(2))
def test_no_word_of_an_object_does_harm(heap_path: Path, seed: int) -> None:
    with mheap.open(heap_path, mode="live", allow_pickle=True) as heap:
        populate(heap)
    part = 1 if os.environ.get("MHEAP_HOSTILE") == "all" else PART
    done = subprocess.run(
        [sys.executable, __file__, heap_path, str(seed), str(part)],
        capture_output=True,
        text=True,
        timeout=3600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    tried, found = map(int, done.stdout.split())
    assert tried > 1000
    assert found > tried / 2  # most do harm that check finds: the words are those that matter


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
