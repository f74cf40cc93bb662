"""mheap.RecordList: many records in one block."""

from __future__ import annotations

import copy
import gc
import json
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import mheap

_type: Any = type(mheap.Record)


class Item(mheap.Record):
    id: int
    name: str
    price: float = 0.0
    sold: bool = False
    tags: list[str] | None = None


@pytest.fixture(params=["live", "atomic"])
def any_heap(request: pytest.FixtureRequest, heap_path: Path) -> Iterator[mheap.Heap]:
    with mheap.open(heap_path, mode=request.param) as opened:
        yield opened
        assert opened.check()
        if request.param == "atomic":
            opened.commit()


def items(count: int) -> list[Item]:
    return [Item(i, f"the name of item {i}", i / 2, i % 2 == 0, [str(i)]) for i in range(count)]


def stored(heap: mheap.Heap, records: Any) -> Any:
    heap.root["list"] = mheap.RecordList(Item, records)
    return heap.root["list"]


def test_a_plain_one_holds_its_class_alone() -> None:
    of_items: Any = mheap.RecordList[Item]
    plain = of_items([(1, "a"), {"id": 2, "name": "b"}, Item(3, "c")])
    assert plain == [Item(1, "a"), Item(2, "b"), Item(3, "c")]
    assert type(plain) is mheap.RecordList
    assert plain.cls is Item
    plain.append((4, "d"))
    plain[0] = (5, "e")
    assert [item.id for item in plain] == [5, 2, 3, 4]
    for value in (5, "ab", None):
        with pytest.raises(TypeError):
            plain.append(value)
    assert pickle.loads(pickle.dumps(plain)) == plain == copy.copy(plain)
    with pytest.raises(TypeError, match=r"derived from mheap\.Record"):
        mheap.RecordList(int)  # type: ignore[type-var]


def test_what_is_stored_is_read(any_heap: mheap.Heap) -> None:
    rows = stored(any_heap, items(100))
    assert type(rows) is mheap.PersistentRecordList
    assert rows is any_heap.root["list"]
    assert rows.cls is Item
    assert len(rows) == 100
    assert rows == items(100)
    assert list(rows) == items(100)
    assert rows[-1] == rows[99] == items(100)[99]
    assert isinstance(rows[5], Item)
    assert rows[10:20:3] == items(100)[10:20:3]
    assert [row.id for row in reversed(rows)][:3] == [99, 98, 97]
    with pytest.raises(IndexError):
        rows[100]
    assert repr(rows[1]) == "Item(id=1, name='the name of item 1', price=0.5, sold=False, tags=['1'])"
    assert repr(stored(any_heap, [(1, "a")])).startswith("RecordList(Item, [Item(id=1, name='a'")


def test_rows_read_and_write_in_place(any_heap: mheap.Heap) -> None:
    rows = stored(any_heap, items(3))
    row = rows[1]
    row.id = -5
    row.name = "another name, as long as that"
    row.price = 2
    row.sold = True
    row.tags.append("x")
    row.tags = [*row.tags, "y"]
    assert rows[1] == Item(-5, "another name, as long as that", 2.0, True, ["1", "x", "y"])
    assert rows[0] == items(3)[0]
    assert rows[2] == items(3)[2]
    with pytest.raises(TypeError, match=r"Item\.name: expected str"):
        row.name = None
    match row:
        case Item(id=-5, name=name):
            assert name.startswith("another")
        case _:
            pytest.fail("no match")
    assert any_heap.collect().objects == 0


def test_it_changes_as_a_list_does(any_heap: mheap.Heap) -> None:
    plain, rows = items(10), stored(any_heap, items(10))

    def both(change: Any) -> None:
        change(plain, list)
        change(rows, mheap.RecordList)
        assert rows == plain
        assert any_heap.check()

    both(lambda x, _: x.append(Item(100, "h")))
    both(lambda x, _: x.extend(items(20)))
    both(lambda x, _: x.insert(3, Item(101, "h")))
    both(lambda x, _: x.insert(-100, Item(102, "h")))
    both(lambda x, _: x.pop())
    both(lambda x, _: x.pop(4))
    both(lambda x, _: x.__delitem__(0))
    both(lambda x, _: x.__delitem__(slice(2, 5)))
    both(lambda x, _: x.__delitem__(slice(None, None, 3)))
    both(lambda x, _: x.__setitem__(2, Item(103, "h")))
    both(lambda x, _: x.__setitem__(slice(1, 3), items(5)))
    both(lambda x, _: x.__setitem__(slice(0, 6, 2), items(3)))
    both(lambda x, _: x.reverse())
    both(lambda x, _: x.sort(key=lambda item: item.name, reverse=True))
    both(lambda x, _: x.__iadd__(items(2)))
    both(lambda x, _: x.remove(x[3]))
    both(lambda x, _: x.clear())
    both(lambda x, _: x.extend(items(2)))
    with pytest.raises(IndexError):
        rows.pop(7)
    assert any_heap.collect().objects == 0


def test_a_failed_change_changes_nothing(any_heap: mheap.Heap) -> None:
    rows = stored(any_heap, items(3))
    blocks = any_heap.stats().chunks_used
    for bad in ([(1, 2)], [(1, "a"), 5], [Item(1, "a", tags=[object()])]):  # type: ignore[list-item]
        with pytest.raises(TypeError):
            rows.extend(bad)
    assert rows == items(3)
    assert any_heap.stats().chunks_used == blocks


def test_a_row_that_moved_says_so(any_heap: mheap.Heap) -> None:
    rows = stored(any_heap, items(5))
    row = rows[3]
    rows.extend(items(50))
    assert row.id == 3
    row.id = 30
    assert rows[3].id == 30
    del rows[0]
    with pytest.raises(mheap.StaleObject):
        _ = row.id
    with pytest.raises(mheap.StaleObject):
        row.name = "x"
    assert rows[2].id == 30


def test_a_row_is_stored_as_a_record(any_heap: mheap.Heap) -> None:
    rows = stored(any_heap, items(3))
    any_heap.root["one"] = rows[1]
    rows[1].id = 77
    assert any_heap.root["one"] == items(3)[1]
    rows.append(any_heap.root["one"])
    rows.append(rows[0])
    assert [row.id for row in rows] == [0, 77, 2, 1, 0]


def test_rows_hold_cycles(any_heap: mheap.Heap) -> None:
    rows = stored(any_heap, items(1))
    rows[0].tags.append(rows)
    assert rows[0].tags[1] is rows
    del any_heap.root["list"]
    assert rows[0].id == 0
    del rows
    gc.collect()
    assert any_heap.collect().objects > 0


def test_copies_are_plain(any_heap: mheap.Heap) -> None:
    rows = stored(any_heap, items(3))
    for plain in (rows.to_python(), copy.deepcopy(rows), pickle.loads(pickle.dumps(rows))):
        assert type(plain) is mheap.RecordList
        assert plain == items(3)
        assert plain[0]._is_plain()
    assert json.loads(json.dumps(rows, default=mheap.to_python))[1]["name"] == "the name of item 1"
    with mheap.attach(-1) as other:
        assert stored(other, rows.to_python()) == rows
        other.root["twin"] = rows
        assert other.root["twin"] == items(3)


def test_a_rollback_takes_rows_back(heap_path: Path) -> None:
    with mheap.open(heap_path) as heap:
        rows = stored(heap, items(3))
        heap.commit()
        row = rows[0]
        row.name = "something else that is long"
        rows.extend(items(500))
        del rows[1]
        heap.rollback()
        assert rows == items(3)
        with pytest.raises(mheap.StaleObject):
            _ = row.name
        assert heap.check()


def test_a_reader_sees_what_is_committed(heap_path: Path) -> None:
    with mheap.open(heap_path) as heap:
        rows = stored(heap, items(3))
        heap.commit()
        with mheap.open(heap_path, mode="readonly") as reader:
            seen = reader.root["list"]
            rows.extend(items(100))
            rows[0].id = 9
            assert len(seen) == 3
            row = seen[0]
            at_work = iter(seen)
            heap.commit()
            assert len(list(at_work)) == 3  # an iterator keeps what it began with
            assert len(seen) == 103
            assert seen[0].id == row.id == 9
            assert memoryview(seen.column("id")).readonly
            with pytest.raises(mheap.ReadOnlyHeap):
                seen[0].id = 5
            with pytest.raises(mheap.ReadOnlyHeap):
                seen.append((1, "a"))


# ---- columns ----


@pytest.fixture(params=[True, False], ids=["numpy", "no numpy"])
def numpy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if not request.param:
        monkeypatch.setitem(sys.modules, "numpy", None)
    return bool(request.param)


def test_a_column_is_the_heaps_own_memory(any_heap: mheap.Heap, numpy: bool) -> None:
    rows = stored(any_heap, items(10))
    ids, prices, sold = rows.column("id"), rows.column("price"), rows.column("sold")
    assert isinstance(ids, memoryview) is not numpy
    assert (list(ids), list(prices), list(sold)) == (
        list(range(10)),
        [i / 2 for i in range(10)],
        [i % 2 == 0 for i in range(10)],
    )
    ids[3] = 33
    prices[4] = 44.5
    sold[1] = True
    assert (rows[3].id, rows[4].price, rows[1].sold) == (33, 44.5, True)
    rows[5].id = 55
    assert ids[5] == 55


def test_a_column_that_is_out_keeps_the_rows_in_their_place(any_heap: mheap.Heap) -> None:
    rows = stored(any_heap, items(3))
    ids = rows.column("id")
    with pytest.raises(BufferError, match="a column of them is out"):
        rows.extend(items(1000))
    with pytest.raises(BufferError, match="a column of them is out"):
        rows.insert(0, (1, "a"))
    with pytest.raises(BufferError, match="a column of them is out"):
        rows.sort(key=lambda row: row.id)
    with pytest.raises(BufferError, match="a column of them is out"):
        del rows[0]
    rows[0].name = "fields can be assigned"
    rows.pop()
    rows.append((7, "in the room that is left"))
    assert list(ids) == [0, 1, 7]
    with pytest.raises((BufferError, mheap.HeapBusy)):
        any_heap.close()
    del any_heap.root["list"]
    del rows
    gc.collect()
    assert list(ids) == [0, 1, 7]
    del ids


def test_what_is_stored_to_a_column_is_committed(heap_path: Path) -> None:
    with mheap.open(heap_path) as heap:
        rows = stored(heap, items(1000))
        heap.commit()
        prices = rows.column("price")
        for i in range(1000):
            prices[i] = i * 10.0
        heap.commit()
        del prices
    with mheap.open(heap_path, mode="readonly") as heap:
        assert [row.price for row in heap.root["list"]] == [i * 10.0 for i in range(1000)]


def test_what_a_rollback_takes_away_must_not_have_columns(heap_path: Path) -> None:
    with mheap.open(heap_path) as heap:
        for of in (heap, heap.new("other")):
            heap.commit()
            rows = stored(of, items(10))
            prices = rows.column("price")
            with pytest.raises(BufferError, match="roll back"):
                heap.rollback()  # the list was made since the commit
            heap.commit()
            prices[3] = 77.0
            heap.rollback()  # it stays where it is
            assert prices[3] == rows[3].price == 1.5
            del prices
            rows.extend(items(1000))  # moves
            prices = rows.column("price")
            with pytest.raises(BufferError, match="roll back"):
                heap.rollback()
            del prices
            heap.rollback()
            assert len(rows) == 10
            assert heap.check()


def test_columns_do_not_fix_the_address_of_the_heap(heap_path: Path) -> None:
    with mheap.open(heap_path) as heap:
        rows = stored(heap, items(10))
        prices = rows.column("price")
        prices[9] = 5.0
        heap.commit()
        prices[9] = 6.0
        assert heap.dirty.bytes > 0
        del prices
        heap.commit()
        heap.rollback()
        assert rows[9].price == 6.0
        assert heap.info().stored_base == 0


def test_columns_that_are_none(any_heap: mheap.Heap) -> None:
    rows = stored(any_heap, items(1))
    with pytest.raises(TypeError, match="the column name is of str: only int, float and bool"):
        rows.column("name")
    with pytest.raises(AttributeError, match="no field 'nose'"):
        rows.column("nose")


# ---- migration ----


def class_of(annotations: dict[str, Any], **defaults: Any) -> Any:
    namespace = {"__annotations__": annotations, "__module__": __name__, **defaults}
    return _type("Shape", (mheap.Record,), namespace, name="Shape")


def test_a_list_is_brought_up_to_date_when_it_is_written_to(any_heap: mheap.Heap) -> None:
    old = class_of({"a": int, "b": str, "c": list, "d": bool})
    any_heap.root["r"] = mheap.RecordList(old, [(i, f"a long name {i}", [i], i == 1) for i in range(5)])
    new = class_of(
        {"d": bool, "b": str, "a": "float | None", "n": int, "f": list},
        n=2**62,
        f=mheap.field(default_factory=lambda: ["new"]),
    )
    gc.collect()
    rows = any_heap.root["r"]
    row = rows[1]
    assert type(row) is new
    assert (row.d, row.b, row.a, row.n, row.f) == (True, "a long name 1", 1, 2**62, ["new"])
    row.n = 5
    assert (row.d, row.b, row.a, row.n, row.f) == (True, "a long name 1", 1, 5, ["new"])
    assert (rows[2].n, rows[2].f) == (2**62, ["new"])
    assert rows[2].f is not rows[3].f
    rows.append(new(True, "x", None, 3, []))
    assert list(rows.column("n")) == [2**62, 5, 2**62, 2**62, 2**62, 3]
    assert any_heap.check()
    assert any_heap.collect().objects == 0
    class_of({"b": int})
    del rows, row
    with pytest.raises(mheap.SchemaMismatch, match=r"Shape\.b is declared as int"):
        _ = any_heap.root["r"][0]


def test_a_list_of_a_class_that_is_not_known(any_heap: mheap.Heap) -> None:
    namespace = {"__annotations__": {"a": int, "b": str}, "__module__": __name__}
    cls: Any = _type("Gone", (mheap.Record,), namespace, name="shop:Gone")
    any_heap.root["r"] = mheap.RecordList(cls, [(1, "x"), (2, "y")])
    del cls
    gc.collect()
    rows = any_heap.root["r"]
    assert rows.cls is mheap.UnknownRecord
    assert [(row.a, row.b) for row in rows] == [(1, "x"), (2, "y")]
    assert list(rows.column("a")) == [1, 2]
    plain = [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    assert copy.copy(rows) == copy.deepcopy(rows) == rows.to_python() == plain
    assert pickle.loads(pickle.dumps(rows)) == plain
    with pytest.raises(TypeError, match="not known here"):
        rows.append((3, "z"))


class Pair(mheap.Record):
    other: Any
    number: int
    weight: float
    on: bool


class Loose(mheap.Record):
    other: Any
    number: Any
    weight: Any
    on: Any


class Meddler:
    """Stored by a function that makes a record anew, which fails and leaves it without values."""

    record: Any = None


def meddle(meddler: Meddler) -> tuple[int]:
    with pytest.raises(TypeError, match="has no value"):
        meddler.record.__init__()
    return (1,)


mheap.register(Meddler, meddle, lambda number: Meddler())


def empty_list(heap: mheap.Heap) -> Any:
    heap.root["list"] = mheap.RecordList(Pair)
    return heap.root["list"]


@pytest.mark.parametrize("kind", ["a record", "a record list", "a list of records"])
@pytest.mark.parametrize("field", ["number", "weight", "on"])
def test_values_that_are_not_of_their_fields_types(any_heap: mheap.Heap, kind: str, field: str) -> None:
    loose: Any = Loose(None, **{"number": 1, "weight": 1.5, "on": True} | {field: object()})
    loose.__class__ = Pair  # which takes the checks of its fields away
    list_ = empty_list(any_heap)
    store: dict[str, Callable[[], None]] = {
        "a record": lambda: any_heap.root.update(it=loose),
        "a record list": lambda: list_.append(loose),
        "a list of records": lambda: any_heap.root.update(it=[loose]),
    }
    with pytest.raises(TypeError, match="another type than its field"):
        store[kind]()
    assert len(list_) == 0
    assert "it" not in any_heap.root
    any_heap.collect()


def test_a_record_that_is_made_anew_while_it_is_stored(any_heap: mheap.Heap) -> None:
    list_ = empty_list(any_heap)
    for before in ([], [Pair(None, 1, 1.0, True)]):
        meddler = Meddler()
        meddler.record = Pair(meddler, 2, 2.0, False)
        with pytest.raises(TypeError, match="is gone"):
            list_.extend([*before, meddler.record])
        assert len(list_) == 0


class Node(mheap.Record):
    inner: Any = None


def test_one_in_itself_prints_as_the_plain_one(any_heap: mheap.Heap) -> None:
    inner: list[Any] = []
    plain = mheap.RecordList(Node, [Node(inner)])
    inner.append(plain)
    any_heap.root["it"] = plain
    list_ = any_heap.root["it"]
    assert repr(list_) == repr(plain) == "RecordList(Node, [Node(inner=[RecordList(Node, [...])])])"
    assert repr(list_[0]) == "Node(inner=[RecordList(Node, [Node(inner=[...])])])"
    any_heap.root["other"] = mheap.RecordList(Node, [Node([plain])])
    assert list_ == any_heap.root["other"]
    assert list_[0].inner == [any_heap.root["other"]]
    assert any_heap.root["other"] != [Node(inner=[5])]
    any_heap.root.clear()


def test_many_within_each_other(any_heap: mheap.Heap) -> None:
    for name in ("a", "b", "c"):
        plain = mheap.RecordList(Node, [Node(name == "c")])
        for _ in range(20_000):
            plain = mheap.RecordList(Node, [Node(plain)])
        any_heap.root[name] = plain
        del plain
    a, b, c = (any_heap.root[name] for name in "abc")
    assert a == b
    assert a != c
    assert (
        repr(a)
        == "RecordList(Node, [Node(inner=" * 20_000 + "RecordList(Node, [Node(inner=False)])" + ")])" * 20_000
    )
