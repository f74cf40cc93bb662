"""What a rollback does to what Python holds: twins, iterators, handles of heaps, kinds and arenas."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

import mheap
from mheap import arenas, kinds


@pytest.fixture
def heap(heap_path: Path) -> Iterator[mheap.Heap]:
    """An atomic heap with something committed."""
    with mheap.open(heap_path) as opened:
        opened.root["kept"] = {"list": [1, 2, 3], "text": "a text that is long enough"}
        opened.commit(durable=False)
        yield opened
        assert opened.check()


def is_stale(twin: Any) -> bool:
    with pytest.raises(mheap.StaleObject, match="gone"):
        len(twin)
    return True


def test_a_twin_that_stays_shows_what_was_committed(heap: mheap.Heap) -> None:
    kept = heap.root["kept"]
    inner = kept["list"]
    kept["list"].append(4)
    kept["text"] = "another text that is long"
    heap.rollback()
    assert kept == {"list": [1, 2, 3], "text": "a text that is long enough"}
    assert heap.root["kept"] is kept
    assert heap.root["kept"]["list"] is inner
    inner.append(4)
    assert heap.check()
    assert kept["list"] == [1, 2, 3, 4]


def test_a_twin_of_what_came_since_is_stale(heap: mheap.Heap) -> None:
    heap.root["new"] = {"a": [1]}
    new, inner = heap.root["new"], heap.root["new"]["a"]
    seen = weakref.ref(new)
    heap.rollback()
    assert is_stale(new)
    assert is_stale(inner)
    assert "new" not in heap.root
    assert seen() is new
    del new, inner
    assert seen() is None
    assert heap.check()


def test_what_takes_the_place_of_a_stale_one_is_another(heap: mheap.Heap) -> None:
    """Numbers at birth are rolled back in the file, and not given twice here."""
    for _ in range(3):
        heap.root["new"] = {"of": "before"}
        stale = heap.root["new"]
        heap.rollback()
        heap.root["new"] = {"of": "after"}
        assert is_stale(stale)
        assert heap.root["new"] == {"of": "after"}
        assert heap.root["new"] is not stale
        heap.commit(durable=False)
        assert is_stale(stale)
        del heap.root["new"]
        heap.commit(durable=False)


def test_a_twin_of_what_was_removed_is_back(heap: mheap.Heap) -> None:
    kept = heap.root["kept"]
    del heap.root["kept"]
    heap.root["other"] = {"in its": "place"}
    assert kept["list"] == [1, 2, 3]
    heap.rollback()
    assert heap.root["kept"] is kept
    assert kept["list"] == [1, 2, 3]


def test_a_twin_that_was_stale_is_back_beside_its_place_taker(heap: mheap.Heap) -> None:
    kept = heap.root["kept"]
    inner = kept["list"]
    del kept["list"]  # the twin keeps it
    seen = weakref.ref(inner)
    del inner  # and lets it go
    assert seen() is None
    takers = [heap.root.setdefault(f"taker {i}", [i]) for i in range(100)]
    heap.rollback()
    assert kept["list"] == [1, 2, 3]
    assert all(is_stale(taker) for taker in takers)
    assert heap.root["kept"]["list"] is kept["list"]


def test_what_only_a_handle_kept_is_back_in_its_place(heap: mheap.Heap) -> None:
    popped = heap.root.pop("kept")
    popped["list"].append(4)
    heap.rollback()
    assert popped is heap.root["kept"]
    assert popped["list"] == [1, 2, 3]
    del popped
    gc.collect()
    assert heap.root["kept"]["list"] == [1, 2, 3]
    assert heap.check()


def test_what_only_a_handle_kept_over_a_commit_goes_with_the_handle(heap: mheap.Heap) -> None:
    popped = heap.root.pop("kept")
    heap.commit(durable=False)
    heap.root["x"] = 1
    heap.rollback()
    assert popped["list"] == [1, 2, 3]
    before = heap.stats().chunks_used
    del popped
    assert not heap.dirty
    heap.root["x"] = 1
    heap.commit(durable=False)
    assert heap.stats().chunks_used < before
    assert heap.check()


def kept_by_a_handle_alone(heap: mheap.Heap) -> mheap.PersistentDict:
    popped: mheap.PersistentDict = heap.root.pop("kept")
    heap.commit(durable=False)
    return popped


def test_another_handle_on_it_keeps_it_when_its_place_is_undone(heap: mheap.Heap) -> None:
    heap.root["again"] = kept_by_a_handle_alone(heap)
    another = heap.root["again"]
    heap.rollback()
    heap.commit(durable=False)
    assert another["list"] == [1, 2, 3]
    heap.root["x"] = 1
    heap.commit(durable=False)
    assert another["list"] == [1, 2, 3]
    before = heap.stats().chunks_used
    del another
    assert not heap.dirty
    heap.root["x"] = 2
    heap.commit(durable=False)
    assert heap.stats().chunks_used < before
    assert heap.check()


def test_without_another_handle_it_goes_when_its_place_is_undone(heap: mheap.Heap) -> None:
    before = heap.stats().chunks_used
    heap.root["again"] = kept_by_a_handle_alone(heap)
    heap.rollback()
    assert not heap.dirty
    heap.commit(durable=False)
    assert heap.stats().chunks_used < before
    findings: list[mheap.Finding] = []
    heap.check(findings.append)
    assert findings == []


def test_what_has_a_place_again_stays_when_its_handle_goes(heap: mheap.Heap) -> None:
    heap.root["again"] = kept_by_a_handle_alone(heap)
    for _ in range(2):
        heap.commit(durable=False)
        assert heap.root["again"]["list"] == [1, 2, 3]
    assert heap.check()


@pytest.mark.parametrize("way", ["held", "dropped", "rolled back", "placed", "placed, seen"])
def test_what_only_a_handle_kept_over_a_commit_does_not_stay_in_the_file(heap_path: Path, way: str) -> None:
    with mheap.open(heap_path) as heap:
        heap.root["a"] = {"b": ["a text that is long enough"]}
        heap.commit()
        before = heap.stats().chunks_used
    heap = mheap.open(heap_path)
    popped = heap.root.pop("a")
    heap.root["a"] = {"b": ["a text that is long enough"]}
    heap.commit()
    assert heap.stats().chunks_used > before
    heap.root["x"] = 1
    if way.startswith("placed"):
        heap.root["again"] = popped
    if way != "held":
        del popped
    seen = heap.root["again"] if way == "placed, seen" else None
    if way == "rolled back":
        heap.rollback()
        assert not heap.dirty
    with pytest.warns(mheap.UncommittedChanges) if way != "rolled back" else nullcontext():
        heap.close()
    del seen
    with mheap.open(heap_path) as heap:
        assert heap.root == {"a": {"b": ["a text that is long enough"]}}
        assert heap.stats().chunks_used == before
        assert heap.check()


def test_the_root_that_came_since_is_empty_and_the_same(heap_path: Path) -> None:
    with mheap.open(heap_path) as heap:
        root = heap.root
        for value in (1, 2):
            root["a"] = value
            assert heap.root is root
            heap.rollback()
            assert root == {}
            assert heap.root is root
            assert not heap.dirty
        root["a"] = 3
    with mheap.open(heap_path, mode="readonly") as heap:
        assert heap.root == {"a": 3}


def test_looking_at_a_root_that_is_not_there_changes_nothing(heap_path: Path) -> None:
    with mheap.open(heap_path) as heap:
        root = heap.root
        assert list(root.items()) == []
        assert root.get("a") is None
        assert root.pop("a", 5) == 5
        with pytest.raises(KeyError):
            del root["a"]
        with pytest.raises(KeyError):
            root.popitem()
        root.clear()
        assert not heap.dirty
        root["self"] = root
        assert root["self"] is root is heap.root


def test_a_table_that_another_had_in_between_is_looked_at_anew(heap: mheap.Heap) -> None:
    """What a twin knows of its table is of before the rollback."""
    made = {f"{number}": {str(i): i for i in range(number)} for number in range(1, 12)}
    heap.root.update(made)
    heap.commit(durable=False)
    twins = {key: heap.root[key] for key in made}
    for round in range(12):
        for key, twin in twins.items():
            twin.clear()
            for i in range((int(key) * 7 + round) % 13):
                twin[f"other {i}"] = i
        heap.rollback()
        assert twins == made
        assert heap.check()


def test_an_iterator_ends_with_an_error_at_a_rollback(heap: mheap.Heap) -> None:
    heap.root["numbers"] = dict.fromkeys(map(str, range(10)), 0)
    heap.commit(durable=False)
    numbers = iter(heap.root["numbers"].items())
    next(numbers)
    heap.root["numbers"]["1"] = 5
    heap.rollback()
    with pytest.raises(RuntimeError, match="changed during iteration"):
        next(numbers)
    heap.root["more"] = {"a": 1}
    of_what_goes = iter(heap.root["more"])
    heap.rollback()
    with pytest.raises(mheap.StaleObject):
        next(of_what_goes)


def test_a_lists_iterator_goes_on_in_what_is_there(heap: mheap.Heap) -> None:
    heap.root["kept"]["list"].extend(range(1000))
    items = iter(heap.root["kept"]["list"])
    for _ in range(500):
        next(items)
    heap.rollback()
    assert list(items) == []
    heap.root["new"] = [1, 2]
    items = iter(heap.root["new"])
    heap.rollback()
    with pytest.raises(mheap.StaleObject):
        next(items)


def test_a_rollback_from_within_a_call_is_refused_and_a_commit_is_not(heap: mheap.Heap) -> None:
    heap.root["x"] = 1
    refused: list[str] = []

    def progress(*_: object) -> None:
        try:
            heap.rollback()
        except mheap.HeapBusy as error:
            refused.append(str(error))
        heap.commit(durable=False)

    assert heap.check(progress=progress)
    assert refused
    assert set(refused) == {"cannot roll back: this thread is in the middle of a call on the heap"}
    heap.rollback()
    assert heap.root["x"] == 1


# ---- blocks, names, heaps, arenas, kinds ----


def test_blocks_keys_and_names_come_and_go(heap: mheap.Heap) -> None:
    old = heap.malloc(100)
    heap.roots["old"] = old
    heap.setkey(1, old)
    heap.commit(durable=False)
    heap.free(old)
    del heap.roots["old"]
    new = heap.malloc(1 << 20)
    heap.roots["new"] = new
    heap.setkey(1, new)
    heap.rollback()
    assert dict(heap.roots) == {"old": old}
    assert heap.getkey(1) == old
    with pytest.raises(mheap.InvalidPointer):
        heap.free(new)
    heap.free(old)
    heap.rollback()
    assert heap.usable_size(old) >= 100


def test_memory_under_a_view_changes_back(heap: mheap.Heap) -> None:
    block = heap.calloc(1, 100)
    heap.commit(durable=False)
    with heap.view(block, 100) as view:
        view[:5] = b"hello"
        grown = heap.malloc(8 << 20)
        with heap.view(grown, 8 << 20) as beyond:
            beyond[-1] = 1
            heap.rollback()
            assert len(bytes(beyond)) == 8 << 20
        assert bytes(view) == bytes(100)


def test_a_heap_that_came_since_is_closed(heap: mheap.Heap) -> None:
    made = heap.heap_new_ex(1, True)
    made.malloc(100)
    heap.rollback()
    assert heap.heaps() == (heap,)
    assert made.closed
    assert repr(made).endswith("undone by a rollback>")
    with pytest.raises(mheap.ClosedHeap, match="undone by a rollback"):
        made.malloc(1)
    assert heap.check()


def test_a_heap_that_was_destroyed_is_back_and_not_the_one_in_its_row(heap: mheap.Heap) -> None:
    old = heap.heap_new_ex(1, True)
    block = old.malloc(100)
    heap.commit(durable=False)
    number = old.number
    old.destroy()
    new = heap.heap_new_ex(2, True)
    assert new.number == number
    new.malloc(5000)
    heap.rollback()
    assert old.closed
    assert new.closed
    (_, back) = heap.heaps()
    assert (back.number, back.tag) == (number, 1)
    back.free(block)
    heap.commit(durable=False)
    back.destroy()
    assert heap.check()
    heap.rollback()
    assert [one.tag for one in heap.heaps()] == [0, 1]


def test_a_heap_that_was_committed_stays(heap: mheap.Heap) -> None:
    made = heap.heap_new_ex(1, True)
    heap.commit(durable=False)
    made.malloc(100)
    heap.rollback()
    assert heap.heaps() == (heap, made)
    made.free(made.malloc(100))


def test_an_arena_that_came_since_is_gone(heap: mheap.Heap) -> None:
    kept = arenas.reserve_os_memory(8 << 20, md=heap)
    heap.commit(durable=False)
    made = arenas.reserve_os_memory(8 << 20, exclusive=True, md=heap)
    inside = heap.heap_new_ex(0, True, made)
    inside.malloc(100)
    heap.rollback()
    assert inside.closed
    with pytest.raises(mheap.InvalidArgument, match="there is none of this number"):
        heap.heap_new_ex(0, True, made)
    heap.heap_new_ex(0, True, kept).malloc(100)
    assert heap.check()


def test_a_kind_that_came_since_is_gone_and_one_that_went_is_back(heap: mheap.Heap) -> None:
    old = kinds.Kind("old", "bijective", heap)
    block = old.malloc(100)
    heap.commit(durable=False)
    old.destroy()
    new = kinds.Kind("new", "bijective", heap)
    new.malloc(5000)
    heap.rollback()
    with pytest.raises(mheap.StaleObject):
        new.malloc(1)
    with pytest.raises(mheap.StaleObject):
        old.malloc(1)
    back = kinds.Kind("old", md=heap)
    assert back.usable_size(block) >= 100
    back.free(block)
    assert heap.check()
    heap.rollback()
    assert back.usable_size(block) >= 100
    again = kinds.Kind("new", "bijective", heap)
    again.free(again.malloc(100))
