"""Numbered keys and named roots."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest

import mheap
from mheap import _core


def test_a_key_that_was_never_set_is_none(heap: mheap.Heap) -> None:
    assert [heap.getkey(key) for key in range(_core.KEYS)] == [None] * _core.KEYS


def test_keys_are_there_after_attaching_again(heap: mheap.Heap, heap_path: Path) -> None:
    expected = {}
    for key in (0, 1, 15, 16, 500, _core.KEYS - 1):
        expected[key] = heap.malloc(16)
        heap.setkey(key, expected[key])
    heap.close()
    with mheap.open(heap_path, mode="live") as again:
        assert {key: again.getkey(key) for key in expected} == expected


@pytest.mark.parametrize("null", [None, 0])
def test_a_key_is_cleared_by_null(heap: mheap.Heap, null: int | None) -> None:
    heap.setkey(7, heap.malloc(16))
    heap.setkey(7, null)
    assert heap.getkey(7) is None


def test_functions_and_methods_see_the_same_keys(heap: mheap.Heap) -> None:
    address = heap.malloc(16)
    mheap.setkey(heap, 5, address)
    assert heap.getkey(5) == mheap.getkey(heap, 5) == address


def test_the_default_heap_has_keys() -> None:
    address = mheap.malloc(None, 16)
    mheap.setkey(None, 9, address)
    assert mheap.getkey(None, 9) == address
    mheap.setkey(None, 9, None)
    assert mheap.getkey(None, 9) is None
    mheap.free(None, address)


@pytest.mark.parametrize("key", [-1, _core.KEYS, 2**31, -(2**31), 2**64, -(2**100)])
def test_other_keys_are_refused(heap: mheap.Heap, key: int) -> None:
    with pytest.raises(mheap.InvalidArgument):
        heap.getkey(key)
    with pytest.raises(mheap.InvalidArgument):
        heap.setkey(key, None)


@pytest.mark.parametrize("key", ["1", 1.0, None])
def test_keys_are_ints(heap: mheap.Heap, key: Any) -> None:
    with pytest.raises(TypeError):
        heap.getkey(key)


def test_addresses_outside_the_heap_are_no_roots(heap: mheap.Heap, anonymous: mheap.Heap) -> None:
    stranger = anonymous.malloc(16)
    for address in (stranger, 1, 2**63):
        with pytest.raises(mheap.InvalidPointer):
            heap.setkey(0, address)
        with pytest.raises(mheap.InvalidPointer):
            heap.roots["x"] = address
    assert heap.getkey(0) is None
    assert "x" not in heap.roots


# ---- names ----


def test_roots_are_a_mutable_mapping(heap: mheap.Heap) -> None:
    roots = heap.roots
    assert isinstance(roots, MutableMapping)
    a, b = heap.malloc(16), heap.malloc(16)
    assert dict(roots) == {}
    roots["a"] = a
    roots["b"] = b
    assert roots == {"a": a, "b": b}
    assert list(roots) == ["a", "b"]
    assert list(roots.items()) == [("a", a), ("b", b)]
    assert len(roots) == 2
    assert "a" in roots
    assert repr(roots) == f"Roots({{'a': {a}, 'b': {b}}})"
    assert roots.pop("a") == a
    assert roots.get("a") is None
    roots.update(c=a)
    assert heap.roots == {"b": b, "c": a}
    roots.clear()
    assert len(roots) == 0


def test_names_are_there_after_attaching_again(heap: mheap.Heap, heap_path: Path) -> None:
    names = ["a", "ä", "日本", "with space", "x" * 4095, "\x00nul"]
    expected = {name: heap.malloc(16) for name in names}
    heap.roots.update(expected)
    heap.close()
    with mheap.open(heap_path, mode="readonly") as again:
        assert again.roots == expected
        assert list(again.roots) == names
        with pytest.raises(mheap.ReadOnlyHeap):
            again.roots["new"] = expected["a"]


def test_names_can_be_changed_while_they_are_iterated(heap: mheap.Heap) -> None:
    heap.roots.update({str(i): heap.malloc(16) for i in range(20)})
    for name in heap.roots:
        del heap.roots[name]
    assert len(heap.roots) == 0


def test_a_missing_name_is_a_key_error(heap: mheap.Heap) -> None:
    with pytest.raises(KeyError, match="none") as caught:
        heap.roots["none"]
    assert isinstance(caught.value, mheap.NotFound)
    with pytest.raises(mheap.NotFound, match="none"):
        heap.roots.pop("none")
    with pytest.raises(mheap.NotFound):
        del heap.roots["none"]


@pytest.mark.parametrize("name", ["", "x" * 4096, "é" * 2048])
def test_names_have_1_to_4095_bytes(heap: mheap.Heap, name: str) -> None:
    with pytest.raises(mheap.InvalidArgument):
        heap.roots[name] = heap.malloc(16)


@pytest.mark.parametrize("name", [1, b"a", None])
def test_names_are_str(heap: mheap.Heap, name: Any) -> None:
    with pytest.raises(TypeError, match="name of a root must be a str"):
        heap.roots[name] = heap.malloc(16)


@pytest.mark.parametrize("null", [None, 0])
def test_a_root_cannot_be_null(heap: mheap.Heap, null: Any) -> None:
    with pytest.raises(mheap.InvalidPointer):
        heap.roots["a"] = null


def test_roots_of_a_closed_heap_are_gone(heap: mheap.Heap) -> None:
    roots = heap.roots
    heap.close()
    with pytest.raises(mheap.ClosedHeap):
        list(roots)
    with pytest.raises(mheap.ClosedHeap):
        _ = heap.roots


def test_a_root_may_outlive_its_block(heap: mheap.Heap) -> None:
    """It then leads nowhere, which is no corruption; it can be listed, and removed."""
    block = heap.malloc(5 << 20)
    heap.roots["name"] = block
    heap.setkey(5, block)
    heap.free(block)
    heap.collect(force=True)
    with pytest.raises(mheap.InvalidPointer, match="its block was freed"):
        heap.roots["name"]
    with pytest.raises(mheap.InvalidPointer, match="the block was freed"):
        heap.getkey(5)
    assert list(heap.roots) == ["name"]
    assert heap.check()
    del heap.roots["name"]
    heap.setkey(5, None)
    assert len(heap.roots) == 0
