"""PersistentArray against numpy's own arrays: what it is, views of it, its length, its life; and without
numpy, in a process that cannot import it."""

from __future__ import annotations

import array
import copy
import ctypes
import gc
import pickle
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forks import in_child

import mheap
from mheap._core import _array_new
from mheap.arrays import PersistentArray

DTYPES: list[Any] = [
    *("?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "g", "c8", "c16", "G"),
    *(">i2", ">u4", ">i8", ">f4", ">f8", ">c16", "S5", "U7", ">U3", "V6", "M8[ns]", "m8[us]", ">M8[D]"),
    [("a", "i4"), ("b", "f8", (2, 3))],
    [("a", ">i4"), ("n", [("x", "S3"), ("y", "U2")]), ("t", "M8[s]")],
    np.dtype([("a", "i1"), ("b", "f8")], align=True),
    np.dtype({"names": ["a", "b"], "formats": ["i4", "f8"], "offsets": [4, 16], "itemsize": 32}),
    [("ä:ö", "f4"), ("v", "V3"), ("g", "g")],
]
SHAPES: list[tuple[int, ...]] = [(), (0,), (1,), (7,), (3, 4), (5, 0), (0, 5), (2, 3, 4), (1, 1, 1, 1)]


def some(dtype: Any, shape: tuple[int, ...], seed: int = 1) -> Any:
    """An array of any items; what is between the fields of one is zero."""
    dtype, made = np.dtype(dtype), np.zeros(shape, dtype)
    if dtype.names is not None:
        for i, name in enumerate(dtype.names):
            field = dtype[name]
            made[name] = some(field.base, shape + field.shape, seed + i)
        return made
    numbers = np.random.default_rng(seed).integers(0, 100, shape)
    if dtype.kind == "V":
        return np.ndarray(shape, dtype, np.random.default_rng(seed).bytes(made.nbytes)).copy()
    made[...] = numbers.astype("m8[ns]" if dtype.kind == "m" else dtype)
    return made


def same(plain: Any, stored: PersistentArray) -> bool:
    view: Any = np.asarray(stored)
    is_like = view.dtype == plain.dtype and view.shape == plain.shape
    return bool(is_like and view.tobytes() == plain.tobytes())


def address(view: Any) -> int:
    where: int = view.__array_interface__["data"][0]
    return where


# ---- what it is ----


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_type_and_shape_comes_back_as_it_was(heap: mheap.Heap, dtype: Any) -> None:
    for shape in SHAPES:
        plain = some(dtype, shape)
        stored = heap.put_array(plain)
        heap.root["a"] = plain
        for one in (stored, heap.root["a"]):
            assert type(one) is PersistentArray
            assert same(plain, one)
            assert one.dtype == plain.dtype
            assert (one.shape, one.ndim, one.size) == (plain.shape, plain.ndim, plain.size)
            assert (one.itemsize, one.nbytes) == (plain.itemsize, plain.nbytes)
            assert one.strides == plain.strides or plain.size == 0
            assert repr(one) == repr(plain).replace(", 'aligned': True", "")
            assert np.array_equal(one.to_python(), plain)
        zeros = heap.array(shape, dtype)
        assert same(np.zeros(shape, dtype), zeros)
        assert address(np.asarray(zeros)) % 64 == 0 or zeros.size == 0


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_numpy_has_a_view_of_it_by_each_way(heap: mheap.Heap, dtype: Any) -> None:
    stored = heap.array((4, 2), dtype)
    by_array = stored.__array__()
    for view in (np.asarray(stored), np.array(stored, copy=False), by_array, stored._view()):
        assert address(view) == address(by_array)
        assert view.dtype == np.dtype(dtype)
        assert view.flags.writeable
        assert not view.flags.owndata
    if hasattr(stored, "__array_interface__"):
        interface = stored.__array_interface__
        assert interface["typestr"] == np.dtype(dtype).str
        assert address(np.frombuffer(interface["data"], "u1")) == address(by_array)


def test_a_copy_or_another_type_is_had_as_numpy_gives_them(heap: mheap.Heap) -> None:
    stored = heap.put_array(np.arange(6).reshape(2, 3))
    assert np.array(stored).base is None
    assert not np.shares_memory(np.array(stored), np.asarray(stored))
    assert np.asarray(stored, "f4").tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    with pytest.raises(ValueError, match="no view"):
        stored.__array__("f4", copy=False)
    assert stored.__array__(copy=True).flags.owndata


@pytest.mark.parametrize("dtype", [object, "O", [("a", "O")], [("a", [("b", object)])]], ids=str)
def test_objects_are_refused_with_what_to_do(heap: mheap.Heap, dtype: Any) -> None:
    with pytest.raises(TypeError, match="store a list"):
        heap.array(3, dtype)
    with pytest.raises(TypeError, match="store a list"):
        heap.put_array(np.zeros(3, dtype))
    with pytest.raises(TypeError, match="store a list"):
        heap.root["x"] = [1, np.zeros(3, dtype)]
    assert heap.root == {}


def test_what_no_array_can_be_is_refused(heap: mheap.Heap) -> None:
    with pytest.raises(ValueError, match="no bytes"):
        heap.array(3, [])
    with pytest.raises(ValueError, match="32 dimensions"):
        heap.array((1,) * 33)
    with pytest.raises(mheap.SizeOverflow):
        heap.array((1 << 40, 1 << 40))
    with pytest.raises(mheap.SizeOverflow):
        heap.array(1 << 62, "u1")
    with pytest.raises(mheap.InvalidArgument):
        heap.array(-1)
    with pytest.raises(TypeError):
        heap.array("abc")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"numpy\.asarray"):
        heap.put_array([1, 2])
    with pytest.raises(TypeError, match=r"numpy\.asarray"):
        heap.put_array(5)
    with pytest.raises(TypeError, match="masked"):
        heap.put_array(np.ma.masked_array([1], [True]))
    with pytest.raises(TypeError, match="made by"):
        PersistentArray()
    assert heap.root == {}


def test_other_orders_and_steps_are_stored_in_c_order(heap: mheap.Heap) -> None:
    plain = np.arange(60).reshape(3, 4, 5)
    wide = np.broadcast_to(plain[0], (2, 4, 5))
    for view in (plain.T, plain[::-1, 1:, ::2], np.asfortranarray(plain), wide):
        assert same(np.ascontiguousarray(view), heap.put_array(view))


def test_buffers_of_others_are_stored(heap: mheap.Heap) -> None:
    for code in "bBhHiIlLqQfd":
        stored = heap.put_array(array.array(code, [1, 2, 3]))
        assert stored.tolist() == [1, 2, 3]
        assert stored.dtype == np.array(array.array(code)).dtype
        heap.root[code] = array.array(code, [4])
        assert heap.root[code].tolist() == [4]
    thirds: Any = np.arange(9)[::3]
    swapped: Any = np.zeros(2, ">f8")
    assert heap.put_array(b"ab").tolist() == [97, 98]
    assert heap.put_array(bytearray(b"")).shape == (0,)
    assert heap.put_array(memoryview(bytes(range(12))).cast("B", (3, 4))).shape == (3, 4)
    assert heap.put_array(memoryview(thirds)).tolist() == [0, 3, 6]
    assert heap.put_array(memoryview(swapped)).dtype == ">f8"
    for dtype in ("c16", "S3", "g", "U2", "?", "S1"):
        odd: Any = np.zeros((2, 2), dtype)
        assert same(odd, heap.put_array(memoryview(odd)))
    for code in ("@d", "c", "b", "?", "@Q"):
        cast: Any = memoryview(bytes(16))
        cast = cast.cast(code)
        assert bytes(heap.put_array(cast)._bytes()) == bytes(16)
    records = np.zeros(3, [("a", "i4")]).view(np.recarray)
    assert heap.put_array(records).dtype == [("a", "i4")]


# ---- items ----


def test_indexing_is_numpys(heap: mheap.Heap) -> None:
    plain = np.arange(24.0).reshape(4, 3, 2)
    stored = heap.put_array(plain)
    for key in (0, -1, (1, 2), (1, 2, 0), slice(1, 3), (slice(None), 1), ..., [0, 2], plain > 5, None):
        assert np.array_equal(stored[key], plain[key])
    assert type(stored[1, 2, 0]) is np.float64
    stored[0] = 7
    stored[1, 2, 1] = -1
    stored[3][0] = [5, 6]
    plain[0], plain[1, 2, 1], plain[3][0] = 7, -1, [5, 6]
    assert same(plain, stored)
    assert [row.tolist() for row in stored] == plain.tolist() == stored.tolist()
    assert 7 in stored
    assert 1000 not in stored
    with pytest.raises(IndexError):
        stored[4]
    with pytest.raises(IndexError):
        stored[4] = 1


def test_a_slice_is_a_view_not_a_copy(heap: mheap.Heap) -> None:
    stored = heap.array(10, "i4")
    part = stored[2:5]
    part[:] = 3
    assert stored.tolist() == [0, 0, 3, 3, 3, 0, 0, 0, 0, 0]


def test_without_dimensions_it_is_one_item(heap: mheap.Heap) -> None:
    stored = heap.array((), "f8")
    stored[...] = 2.5
    assert stored[()] == 2.5
    assert stored.tolist() == 2.5
    for work in (len, iter):
        with pytest.raises(TypeError):
            work(stored)
    changes: list[Any] = [lambda: stored.append(1), lambda: stored.resize(2), lambda: stored.reserve(2)]
    for change in changes:
        with pytest.raises((mheap.InvalidArgument, ValueError, IndexError)):
            change()
    assert stored.shape == ()


# ---- its length ----


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_rows_are_added_and_dropped(heap: mheap.Heap, dtype: Any) -> None:
    stored = heap.array((0, 3), dtype)
    plain = some(dtype, (180, 3))
    for at in range(0, 180, 3):
        stored.extend(plain[at : at + 2])
        stored.append(plain[at + 2])
    assert same(plain, stored)
    stored.resize(50)
    assert same(plain[:50], stored)
    stored.resize(70)
    plain[50:] = np.zeros((), dtype)
    assert same(plain[:70], stored)
    stored.resize(0)
    assert stored.shape == (0, 3)


@pytest.mark.parametrize("dtype", ["f8", "f4", "i8", "i4", "u8", "i2", "i1", "u1", "?", "f2", "u4", ">i4"])
def test_a_number_is_appended_as_numpy_stores_it(heap: mheap.Heap, dtype: str) -> None:
    ints = (0, 1, -1, 100, 255, 256, -129, 70000, 1 << 33, 1 << 63, 1 << 64)
    for value in (*ints, 1.5, -2.5e300, float("inf"), True, np.int8(3), "x", None):
        stored, plain = heap.array(1, dtype), np.zeros(1, dtype)
        try:
            plain[0] = value
        except Exception as error:
            with pytest.raises(type(error)):
                stored.append(value)
            assert len(stored) == 1
        else:
            stored.append(value)
            assert np.asarray(stored)[1:].tobytes() == plain.tobytes()


@pytest.mark.parametrize("dtype", ["f8", "f4", "i8", "i4", "u1", "S3"])
def test_a_row_is_appended_as_numpy_stores_it(heap: mheap.Heap, dtype: str) -> None:
    rows: list[Any] = [[1, 2, 3], (4, 5, 6), [1.5, 2, True], np.array([7, 8, 9]), array.array("h", [1, 2, 3])]
    for row in (*rows, [1, 2, 1 << 70], [1, None, 2], ["a", "b", "c"], range(3)):
        stored, plain = heap.array((1, 3), dtype), np.zeros((1, 3), dtype)
        try:
            plain[0] = row
        except Exception as error:
            with pytest.raises(type(error)):
                stored.append(row)
            assert len(stored) == 1
        else:
            stored.append(row)
            assert np.asarray(stored)[1:].tobytes() == plain.tobytes()


def test_rows_of_another_shape_are_refused(heap: mheap.Heap) -> None:
    stored = heap.array((2, 3))
    for row in ([1, 2], [[1, 2, 3]], 5, [1, 2, 3, 4]):
        with pytest.raises(ValueError, match="shape"):
            stored.append(row)
    for rows in ([1, 2, 3], [[1, 2]], 5, np.zeros((1, 2, 3))):
        with pytest.raises(ValueError, match="shape"):
            stored.extend(rows)
    stored.extend([])
    stored.extend(np.zeros((0, 3)))
    assert stored.shape == (2, 3)
    with pytest.raises(mheap.InvalidArgument):
        stored.resize(-1)
    with pytest.raises(mheap.SizeOverflow):
        stored.resize(1 << 60)


def test_it_can_be_extended_with_itself(heap: mheap.Heap) -> None:
    stored = heap.put_array(np.arange(5))
    for _ in range(8):
        stored.extend(stored)
    assert stored.tolist() == list(range(5)) * 256


def test_rows_of_no_bytes_are_counted(heap: mheap.Heap) -> None:
    stored = heap.array((2, 0))
    stored.append([])
    stored.extend(np.zeros((3, 0)))
    assert stored.shape == (6, 0)
    stored.resize(1)
    assert stored.shape == (1, 0)


# ---- views ----


def test_a_view_keeps_the_rows_where_they_are(heap: mheap.Heap) -> None:
    stored = heap.put_array(np.arange(4))
    view = np.asarray(stored)
    more = np.arange(stored.capacity)
    changes: list[Any] = [
        lambda: stored.extend(more),
        lambda: stored.resize(3),
        lambda: stored.reserve(10_000),
    ]
    for change in changes:
        with pytest.raises(BufferError, match="views"):
            change()
    while len(stored) < stored.capacity:
        stored.append(7)
    with pytest.raises(BufferError, match="views"):
        stored.append(7)
    assert view.tolist() == [0, 1, 2, 3]
    view[0] = 9
    del view
    stored.append(7)
    assert stored[0] == 9
    stored.resize(1)


VIEWS: dict[str, Callable[[Any], Any]] = {
    "a slice": lambda stored: stored[1:3],
    "an item that is a row": lambda stored: stored[0],
    "an iterator": iter,
    "__array__": lambda stored: stored.__array__(),
    "a field": lambda stored: stored["low"],
}


@pytest.mark.parametrize("kind", VIEWS)
def test_whatever_shows_the_rows_is_a_view(heap_path: Path, kind: str) -> None:
    with mheap.open(heap_path) as heap:
        heap.root["a"] = np.zeros((4, 2), [("low", "i4"), ("high", "i4")])
        heap.commit()
        view = VIEWS[kind](heap.root["a"])
        with pytest.raises(BufferError, match="views"):
            heap.root["a"].resize(1)
        with pytest.raises(BufferError, match="views"):
            heap.close()
        if kind == "a field":
            view[3] = 7
            heap.commit()
            assert heap.root["a"]["low"][3].tolist() == [7, 7]
        del view
    with mheap.open(heap_path) as heap:
        assert heap.root["a"]["low"].sum() == (14 if kind == "a field" else 0)


def test_an_index_cannot_close_the_heap(heap_path: Path) -> None:
    heap = mheap.open(heap_path, mode="live")
    heap.root["a"] = np.arange(10)

    class Index:
        def __index__(self) -> int:
            with pytest.raises(BufferError, match="views"):
                heap.close()
            return 3

    stored = heap.root["a"]
    assert stored[Index()] == 3
    heap.close()


def test_reserved_room_is_filled_under_views(heap: mheap.Heap) -> None:
    stored = heap.array((0, 2))
    stored.reserve(1000)
    assert stored.capacity >= 1000
    view = np.asarray(stored)
    where = address(np.asarray(stored))
    for i in range(1000):
        stored.append([i, i])
    assert address(np.asarray(stored)) == where
    del view
    assert np.asarray(stored).sum() == 999 * 1000


def test_a_view_keeps_the_array_and_the_heap(heap_path: Path) -> None:
    heap = mheap.open(heap_path)
    heap.root["a"] = np.arange(1000)
    heap.commit()
    view = np.asarray(heap.root["a"])
    del heap.root["a"]
    heap.commit()
    heap.collect()
    others = [heap.put_array(np.full(1000, -1)) for _ in range(50)]
    assert view.tolist() == list(range(1000))
    with pytest.raises(BufferError, match="views"):
        heap.close()
    assert view[5] == 5
    del view, others
    heap.commit()
    heap.close()
    with mheap.open(heap_path, mode="live") as again:
        assert again.stats().chunks_used <= 4  # the root alone


def test_the_memory_of_what_went_is_had_again(heap: mheap.Heap) -> None:
    heap.root["x"] = 1
    before = heap.stats().chunks_used
    for _ in range(10):
        stored = heap.array(100_000)
        heap.root["a"] = stored
        stored.resize(200_000)
        del heap.root["a"], stored
    assert heap.stats().chunks_used == before


def test_it_is_the_same_object_each_time_and_has_weak_references(heap: mheap.Heap) -> None:
    stored = heap.array(3)
    heap.root["a"] = stored
    heap.root["b"] = [stored]
    assert heap.root["a"] is stored
    assert heap.root["b"][0] is stored
    gone: list[Any] = []
    reference = weakref.ref(stored, gone.append)
    assert reference() is stored
    del stored
    gc.collect()
    assert gone == [reference]
    assert heap.root["a"] is heap.root["b"][0]


def test_a_stale_one_says_so(heap: mheap.Heap) -> None:
    heap.root["d"] = {"a": np.arange(3)}
    with mheap.attach(-1) as memory:
        memory.root["a"] = [np.arange(3)]
        stored = memory.root["a"][0]
    for work in (len, repr, list, np.asarray, memoryview, lambda a: a.shape, lambda a: a.append(1)):
        with pytest.raises(mheap.ClosedHeap):
            work(stored)


def test_it_is_no_key(heap: mheap.Heap) -> None:
    stored = heap.array(3)
    with pytest.raises(TypeError, match="unhashable"):
        hash(stored)
    with pytest.raises(TypeError, match="unhashable"):
        heap.root[stored] = 1


def test_one_that_a_rollback_took_away_is_stale_though_its_place_was_taken(tmp_path: Path) -> None:
    with mheap.open(tmp_path / "h") as heap:
        heap.root["x"] = 1
        heap.commit()
        heap.root["x"] = np.arange(3)
        stored = heap.root["x"]
        heap.rollback()
        heap.root["y"] = np.arange(3)
        works: list[Any] = [len, repr, iter, copy.copy, pickle.dumps, np.asarray, np.sum, list, memoryview]
        works += [lambda a: a[0], lambda a: a.append(1), lambda a: a.extend([1]), lambda a: a.resize(9)]
        works += [lambda a: a == a, lambda a: a.shape, lambda a: a.dtype, lambda a: heap.root.update(z=a)]
        for work in works:
            with pytest.raises(mheap.StaleObject, match="gone"):
                work(stored)
        assert heap.root["y"].tolist() == [0, 1, 2]
        heap.rollback()


@pytest.mark.parametrize("shape", [(2,), (2, 3), (0,), (2, 0), (0, 3)])
def test_rows_that_come_while_it_is_looked_at(
    heap: mheap.Heap, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = heap.array(shape)
    stored.reserve(100)
    out = PersistentArray._bytes

    def out_and_appended(array: PersistentArray) -> memoryview:
        data = out(array)
        array.append(np.ones(shape[1:]))
        return data

    monkeypatch.setattr(PersistentArray, "_bytes", out_and_appended)
    looks: list[Callable[[Any], Any]] = [lambda a: a[:], lambda a: a.__array__(), copy.copy, heap.put_array]
    for look in looks:
        length = len(stored)
        seen = look(stored)
        assert seen.shape in ((length, *shape[1:]), (length + 1, *shape[1:]))
        assert seen.size <= stored.size
    assert len(stored) > shape[0]


def test_threads_share_one(heap: mheap.Heap) -> None:
    heap.root["a"] = shared = heap.array(0, "i8")
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for i in range(300):
                try:
                    shared.append(number * 1000 + i)
                except BufferError:  # another has a view
                    with shared_lock:
                        shared.append(number * 1000 + i)
                with shared_lock:
                    assert shared[-1] >= 0
                    assert len(shared.tolist()) > 0
        except BaseException as error:
            errors.append(error)

    shared_lock = threading.Lock()
    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sorted(shared.tolist()) == [number * 1000 + i for number in range(4) for i in range(300)]


# ---- hostile files ----

HOSTILE = [
    ("|O", 8),
    ("O", 8),
    ("object", 8),
    ("<O8", 8),
    ("[('a', '|O')]", 8),
    ("[('a', [('b', 'O')])]", 8),
    ("<f8", 4),
    ("<f8", 16),
    ("[('a', '<f8')]", 4),
    ("[('a', '<f8', (1 << 40,))]", 8),
    ("[('a', '<f8', (-3,))]", 8),
    ("[('a', '<f8', 'x')]", 8),
    ("[('a', '<f8'), ('a', '<i4')]", 12),
    ("[" * 300 + "]" * 300, 8),
    ("[('a', " * 30 + "'<f8'" + ")]" * 30, 8),
    ("__import__('os').abort()", 8),
    ("[(1, '<f8')]", 8),
    ("[('a',)]", 8),
    ("[]", 8),
    ("", 1),
    ("<M8[xyz]", 8),
    ("<U99999999999999999999", 8),
    ("[('a', '<f8')]" + " " * 70_000, 8),
    ("\ud800", 8),
]


@pytest.mark.parametrize(("kind", "itemsize"), HOSTILE)
def test_a_type_that_no_array_has_is_no_danger(heap: mheap.Heap, kind: str, itemsize: int) -> None:
    stored = _array_new(heap, kind, itemsize, (3,), None)
    heap.root["a"] = stored
    works: list[Any] = [repr, list, np.asarray, lambda a: a.dtype, lambda a: a[0], lambda a: a.tolist()]
    works += [copy.copy, pickle.dumps, lambda a: a.__array_interface__, lambda a: a.append(1), np.sum]
    for work in works:
        with pytest.raises((mheap.CorruptHeap, AttributeError, BufferError)):
            work(stored)
    with pytest.raises(BufferError):
        memoryview(stored)
    assert bytes(stored._bytes()) == bytes(3 * itemsize)


# ---- copies ----


def test_copies_are_plain_arrays(heap: mheap.Heap) -> None:
    plain = np.arange(6.0).reshape(2, 3)
    stored = heap.put_array(plain)
    for made in (
        stored.copy(),
        copy.copy(stored),
        copy.deepcopy(stored),
        stored.to_python(),
        mheap.to_python(stored),
        *(pickle.loads(pickle.dumps(stored, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)),
    ):
        assert type(made) is np.ndarray
        assert np.array_equal(made, plain)
        assert not np.shares_memory(made, np.asarray(stored))


def test_plain_copies_of_containers_have_plain_arrays(heap: mheap.Heap) -> None:
    one = np.arange(3)
    heap.root["c"] = [one, {"x": one}, (one, 1)]
    plain = heap.root["c"].to_python()
    assert type(plain[0]) is np.ndarray
    assert plain[0] is plain[1]["x"] is plain[2][0]
    assert repr(heap.root["c"]) == "[array([0, 1, 2]), {'x': array([0, 1, 2])}, (array([0, 1, 2]), 1)]"


def test_what_is_assigned_twice_is_shared_and_in_another_heap_copied(
    heap: mheap.Heap, tmp_path: Path
) -> None:
    stored = heap.put_array(np.arange(5))
    heap.root["a"] = heap.root["b"] = stored
    heap.root["a"][0] = 9
    assert heap.root["b"][0] == 9
    with mheap.open(tmp_path / "other", mode="live") as other:
        other.root["a"] = stored
        other.root["l"] = [stored, stored]
        assert same(np.asarray(stored), other.root["a"])
        assert other.root["l"][0] is other.root["l"][1]
        assert other.root["l"][0] is not other.root["a"]
        other.root["a"][0] = 1
    assert stored[0] == 9


def test_equal_is_what_has_the_same_shape_and_items(heap: mheap.Heap) -> None:
    plain = np.arange(4)
    stored = heap.put_array(plain)
    assert stored == plain
    assert stored == heap.put_array(plain)
    assert stored == heap.put_array(plain.astype("f8"))
    assert stored != plain.reshape(2, 2)
    assert stored != heap.put_array(plain + 1)
    assert stored != [0, 1, 2, 3]
    heap.root["x"], heap.root["y"] = [plain], [plain]
    assert heap.root["x"] == heap.root["y"]


# ---- pandas and pyarrow ----


def test_pandas_reads_it_in_place(heap: mheap.Heap) -> None:
    import pandas

    stored = heap.put_array(np.arange(12.0).reshape(4, 3))
    frame = pandas.DataFrame(np.asarray(stored), copy=False, columns=["a", "b", "c"])
    assert np.shares_memory(frame.to_numpy(), np.asarray(stored))
    stored[0, 1] = 99
    assert frame["b"][0] == 99
    series = pandas.Series(np.asarray(heap.put_array(np.arange(5))), copy=False)
    assert series.sum() == 10


def test_pyarrow_reads_it_in_place(heap: mheap.Heap) -> None:
    import pyarrow

    stored = heap.put_array(np.arange(1000))
    view = np.asarray(stored)
    assert pyarrow.py_buffer(stored).address == address(view)
    made = pyarrow.array(view)
    assert made.buffers()[1].address == address(view)
    assert made.to_pylist() == list(range(1000))


# ---- commits, rollbacks, readers ----


@pytest.fixture
def atomic(tmp_path: Path) -> Iterator[mheap.Heap]:
    with mheap.open(tmp_path / "atomic.heap") as opened:
        yield opened


def test_stores_through_a_view_are_committed_and_rolled_back(atomic: mheap.Heap) -> None:
    atomic.root["a"] = np.zeros(100_000)
    atomic.commit()
    view = np.asarray(atomic.root["a"])
    for i in range(5):
        view[i * 10_000] = i + 1
        assert atomic.dirty.bytes > 0
        atomic.commit()
        view[i * 10_000 + 1] = 100
        assert atomic.dirty.bytes > 0
        atomic.rollback()
        assert view[i * 10_000 + 1] == 0
    assert view.sum() == 15
    del view
    assert not atomic.dirty
    with mheap.open(str(atomic.path), mode="readonly") as reader:
        assert np.asarray(reader.root["a"]).sum() == 15
        gc.collect()


def test_a_store_before_a_view_ends_is_in_the_commit_after(atomic: mheap.Heap) -> None:
    atomic.root["a"] = np.zeros(100_000)
    atomic.commit()
    view = np.asarray(atomic.root["a"])
    atomic.commit()
    view[50_000] = 7
    del view
    atomic.commit()
    atomic.root["a"][:] = 1
    atomic.rollback()
    assert atomic.root["a"][50_000] == 7


def test_views_do_not_fix_the_address_of_the_heap(atomic: mheap.Heap) -> None:
    atomic.root["a"] = np.zeros(1000)
    view = np.asarray(atomic.root["a"])
    view[:] = 1
    atomic.commit()
    view[:] = 2
    atomic.rollback()
    del view
    assert atomic.info().stored_base == 0
    atomic.view(atomic.malloc(10), 10).release()
    assert atomic.info().stored_base != 0


def test_what_a_rollback_takes_away_must_not_have_views(atomic: mheap.Heap) -> None:
    atomic.root["a"] = np.arange(10)
    atomic.commit()
    kept = np.asarray(atomic.root["a"])
    made = atomic.put_array(np.arange(5))
    view = np.asarray(made)
    with pytest.raises(BufferError, match="roll back"):
        atomic.rollback()
    del view
    atomic.rollback()
    with pytest.raises(mheap.StaleObject):
        len(made)
    del kept
    atomic.root["a"].resize(100_000)  # moves
    moved = np.asarray(atomic.root["a"])
    with pytest.raises(BufferError, match="roll back"):
        atomic.rollback()
    del moved
    atomic.rollback()
    assert atomic.root["a"].tolist() == list(range(10))


def test_views_of_a_named_heap_are_seen_by_a_rollback(atomic: mheap.Heap) -> None:
    other = atomic.new("other")
    other.root["a"] = np.arange(10)
    atomic.commit()
    other.root["a"].resize(100_000)  # moves
    view = np.asarray(other.root["a"])
    with pytest.raises(BufferError, match="roll back"):
        atomic.rollback()
    del view
    atomic.rollback()
    assert other.root["a"].tolist() == list(range(10))


def test_length_is_rolled_back(atomic: mheap.Heap) -> None:
    atomic.root["a"] = a = atomic.array((0, 2), "i4")
    atomic.commit()
    for n in range(1, 200):
        a.extend([[n, n]] * n)
        if n % 3:
            atomic.rollback()
            assert len(a) == sum(range(0, n, 3))
        else:
            atomic.commit()
    assert a is atomic.root["a"]


def test_a_reader_has_views_of_the_commit_it_sees(atomic: mheap.Heap) -> None:
    atomic.root["a"] = np.zeros(50_000)
    atomic.commit()
    with mheap.open(str(atomic.path), mode="readonly") as reader:
        a = reader.root["a"]
        view = np.asarray(a)
        assert not view.flags.writeable
        for i in range(1, 20):
            atomic.root["a"][:] = i
            if i % 5 == 0:
                atomic.root["a"].extend(np.full(10_000, i))
            atomic.commit()
            assert view.sum() == 0
            assert len(a) == 50_000
            with pytest.raises(BufferError):
                reader.refresh()
        del view
        assert len(a) == 80_000
        assert np.asarray(a)[0] == 19
        for change in (lambda: a.append(1), lambda: a.resize(1), lambda: reader.array(3)):
            with pytest.raises(mheap.ReadOnlyHeap):
                change()
        with pytest.raises(ValueError, match="read-only"):
            a[0] = 1
        with pytest.raises(TypeError, match="not writable"):
            (ctypes.c_char * 8).from_buffer(a)


def test_reads_beside_a_writer_are_of_one_commit(atomic: mheap.Heap) -> None:
    code = """
import sys
import mheap
import numpy as np
with mheap.open(sys.argv[1], mode="readonly") as reader:
    a = reader.root["a"]
    seen = set()
    print("ready", flush=True)
    while len(seen) < 20:
        view = np.asarray(a)
        assert len(set(view.tolist())) == 1 and len(view) == 1000 + view[0], (len(view), view[:3])
        seen.add(int(view[0]))
        del view  # or it keeps the commit
"""
    atomic.root["a"] = a = atomic.put_array(np.zeros(1000, "i8"))
    atomic.commit()
    process = subprocess.Popen([sys.executable, "-c", code, str(atomic.path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    i = 0
    while process.poll() is None:
        i += 1
        a.append(0)
        a[:] = i
        atomic.commit(durable=False)
    assert process.returncode == 0
    process.stdout.close()


def test_threads_store_through_views_while_others_commit(atomic: mheap.Heap) -> None:
    threads = 4
    atomic.root["a"] = np.zeros((threads, 4096), "i8")
    view = np.asarray(atomic.root["a"])
    stores = [0] * threads
    enough = threading.Event()

    def store(number: int, row: Any) -> None:
        while not enough.is_set():
            row[stores[number] % 4096] += 1
            stores[number] += 1

    workers = [threading.Thread(target=store, args=(i, view[i])) for i in range(threads)]
    for worker in workers:
        worker.start()
    for commit in range(50):
        atomic.commit(durable=False)
        if commit % 10 == 0:
            atomic.checkpoint()
    enough.set()
    for worker in workers:
        worker.join()
    del view, workers, worker
    atomic.commit()
    with mheap.open(str(atomic.path), mode="readonly") as reader:
        assert reader.root["a"]._view().sum(axis=1).tolist() == stores
    assert min(stores) > 100


# ---- forks ----


def test_a_child_reads_it_as_a_reader(heap_path: Path) -> None:
    with mheap.open(heap_path) as heap:
        heap.root["a"] = np.arange(1000)
        heap.commit()
        a = heap.root["a"]

        def child() -> None:
            assert np.asarray(a).sum() == 499_500
            assert not np.asarray(a).flags.writeable

        in_child(child)
        view = np.asarray(a)

        def with_a_view() -> None:
            nonlocal view
            assert view.sum() == 499_500
            with pytest.raises(mheap.ForkedHandle):
                len(a)
            del view
            assert len(a) == 1000

        in_child(with_a_view)
        del view
