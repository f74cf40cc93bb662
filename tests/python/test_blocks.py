"""malloc and its kin: as methods, as functions with md first, on the default heap."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from typing import Any

import pytest

import mheap

GREATEST = 2**64 - 1


@pytest.fixture(params=["method", "function", "default"])
def call(request: pytest.FixtureRequest, heap: mheap.Heap) -> Callable[..., Any]:
    """Calls an operation by its name, in one of the three ways there are."""

    def method(name: str, *args: Any) -> Any:
        return getattr(heap, name)(*args)

    def function(name: str, *args: Any) -> Any:
        return getattr(mheap, name)(heap, *args)

    def default(name: str, *args: Any) -> Any:
        return getattr(mheap, name)(None, *args)

    return {"method": method, "function": function, "default": default}[request.param]


def test_malloc_gives_an_aligned_address_of_usable_bytes(call: Callable[..., Any]) -> None:
    for size in (1, 15, 16, 17, 100, 1024, 65536, 65537, 5 << 20):
        address = call("malloc", size)
        assert isinstance(address, int)
        assert address % 16 == 0
        assert call("usable_size", address) >= size
        assert call("usable_size", address) == mheap.good_size(size)
        call("free", address)


def test_malloc_of_nothing_gives_a_block_of_its_own(call: Callable[..., Any]) -> None:
    first, second = call("malloc", 0), call("malloc", 0)
    assert first != second
    assert call("usable_size", first) == 16
    call("free", first)
    call("free", second)


def test_calloc_gives_zeros_where_other_bytes_were(call: Callable[..., Any]) -> None:
    used = call("malloc", 96)
    call("view", used, 96)[:] = b"x" * 96
    call("free", used)
    blocks = [call("calloc", 12, 8) for _ in range(3)]
    for block in blocks:
        assert bytes(call("view", block, 96)) == bytes(96)
        call("free", block)


def test_calloc_refuses_a_product_that_overflows(call: Callable[..., Any]) -> None:
    with pytest.raises(mheap.SizeOverflow):
        call("calloc", 2**33, 2**33)


def test_realloc_keeps_what_both_sizes_share(call: Callable[..., Any]) -> None:
    address = call("malloc", 64)
    call("view", address, 64)[:] = bytes(range(64))
    for size in (1000, 100_000, 6 << 20, 200, 64):
        address = call("realloc", address, size)
        assert bytes(call("view", address, 64)) == bytes(range(64))
    call("free", address)


@pytest.mark.parametrize("null", [None, 0])
def test_realloc_of_null_is_malloc(call: Callable[..., Any], null: int | None) -> None:
    address = call("realloc", null, 40)
    assert call("usable_size", address) >= 40
    call("free", address)


def test_failed_realloc_keeps_the_old_block(call: Callable[..., Any]) -> None:
    address = call("malloc", 32)
    call("view", address, 32)[:] = b"k" * 32
    with pytest.raises(mheap.SizeOverflow):
        call("realloc", address, GREATEST)
    assert bytes(call("view", address, 32)) == b"k" * 32
    call("free", address)


@pytest.mark.parametrize("power", [0, 3, 4, 5, 12, 16, 20, 22, 24])
def test_memalign_honours_any_power_of_two(call: Callable[..., Any], power: int) -> None:
    address = call("memalign", 1 << power, 100)
    assert address % (1 << power) == 0
    call("free", address)


@pytest.mark.parametrize("alignment", [0, 3, 24, 1000])
def test_memalign_refuses_other_alignments(call: Callable[..., Any], alignment: int) -> None:
    with pytest.raises(mheap.InvalidArgument):
        call("memalign", alignment, 100)


def test_valloc_starts_at_a_page(call: Callable[..., Any]) -> None:
    address = call("valloc", 10)
    assert address % mmap.PAGESIZE == 0
    call("free", address)


@pytest.mark.parametrize("null", [None, 0])
def test_null_is_freed_and_measured_without_complaint(call: Callable[..., Any], null: int | None) -> None:
    assert call("free", null) is None
    assert call("usable_size", null) == 0


def test_freed_space_is_used_again(call: Callable[..., Any]) -> None:
    before = call("mmstats").bytes_total
    for _ in range(1000):
        call("free", call("malloc", 60_000))
    assert call("mmstats").bytes_total <= before + (1 << 20)


# ---- misuse ----


def test_double_free_is_reported_and_not_obeyed(call: Callable[..., Any]) -> None:
    address, other = call("malloc", 48), call("malloc", 48)
    used = call("mmstats").chunks_used
    call("free", address)
    with pytest.raises(mheap.DoubleFree):
        call("free", address)
    with pytest.raises(mheap.DoubleFree):
        call("realloc", address, 10)
    assert call("mmstats").chunks_used == used - 1
    call("free", other)


@pytest.mark.parametrize("wild", [1, 16, 4096, 12345678, 2**46, 2**47, 2**63, GREATEST])
@pytest.mark.parametrize("operation", [("free",), ("realloc", 10), ("usable_size",)])
def test_wild_pointers_are_refused(call: Callable[..., Any], wild: int, operation: tuple[Any, ...]) -> None:
    name, *rest = operation
    with pytest.raises(mheap.InvalidPointer):
        call(name, wild, *rest)


def test_pointers_into_a_block_are_refused(call: Callable[..., Any]) -> None:
    address = call("malloc", 100)
    for inside in (1, 8, 16, 99):
        with pytest.raises(mheap.InvalidPointer):
            call("free", address + inside)
    call("free", address)


def test_pointers_into_the_heaps_own_structures_are_refused(heap: mheap.Heap) -> None:
    for offset in range(0, heap.size, 4096):
        with pytest.raises(mheap.InvalidPointer):
            heap.free(heap.base + offset)


def test_pointers_of_another_heap_are_refused(heap: mheap.Heap, anonymous: mheap.Heap) -> None:
    here, there = heap.malloc(10), anonymous.malloc(10)
    for owner, stranger in ((heap, there), (anonymous, here)):
        with pytest.raises(mheap.InvalidPointer):
            owner.free(stranger)
        with pytest.raises(mheap.InvalidPointer):
            owner.realloc(stranger, 100)
        with pytest.raises(mheap.InvalidPointer):
            owner.usable_size(stranger)
    heap.free(here)
    anonymous.free(there)


def test_negative_and_huge_numbers_are_refused(call: Callable[..., Any]) -> None:
    for bad in (-1, -(2**63), -(2**200)):
        with pytest.raises(mheap.InvalidArgument):
            call("malloc", bad)
        with pytest.raises(mheap.InvalidArgument):
            call("calloc", 1, bad)
        with pytest.raises(mheap.InvalidPointer):
            call("free", bad)
    for bad in (2**48, 2**63, GREATEST, 2**64, 2**200):
        with pytest.raises(mheap.SizeOverflow):
            call("malloc", bad)
        with pytest.raises(mheap.SizeOverflow):
            mheap.good_size(bad)
    for bad in (2**64, 2**200):
        with pytest.raises(mheap.InvalidPointer):
            call("free", bad)


@pytest.mark.parametrize("bad", [1.0, "1", b"1", [], object()])
def test_what_is_no_int_is_a_type_error(call: Callable[..., Any], bad: object) -> None:
    for name, args in (("malloc", (bad,)), ("calloc", (1, bad)), ("free", (bad,)), ("realloc", (None, bad))):
        with pytest.raises(TypeError):
            call(name, *args)
    with pytest.raises(TypeError):
        call("malloc", None)


def test_objects_with_an_index_are_numbers(call: Callable[..., Any]) -> None:
    class Number:
        def __init__(self, value: int) -> None:
            self.value = value

        def __index__(self) -> int:
            return self.value

    address = call("malloc", Number(100))
    assert call("usable_size", Number(address)) >= 100
    call("free", Number(address))


def test_an_index_that_closes_the_heap_does_no_harm(heap: mheap.Heap) -> None:
    class Closing:
        def __index__(self) -> int:
            heap.close()
            return 10

    with pytest.raises(mheap.ClosedHeap):
        heap.malloc(Closing())


def test_wrong_numbers_of_arguments_are_type_errors(heap: mheap.Heap) -> None:
    untyped: Any = mheap
    for arguments in ((), (heap,), (heap, 1, 2)):
        with pytest.raises(TypeError, match=r"malloc\(\) takes 2 arguments"):
            untyped.malloc(*arguments)
    with pytest.raises(TypeError, match=r"free\(\) takes 1 argument \(0 given\)"):
        getattr(heap, "free")()  # noqa: B009


@pytest.mark.parametrize("bad", [1, "heap", object()])
def test_md_is_a_heap_or_none(bad: Any) -> None:
    with pytest.raises(TypeError, match="md must be a Heap or None"):
        mheap.malloc(bad, 1)


def test_a_full_heap_raises_and_goes_on(heap_path: Any) -> None:
    with mheap.open(heap_path, mode="live", max_size=8 << 20) as heap:
        blocks: list[int] = []
        with pytest.raises(mheap.HeapFull) as caught:
            blocks.extend(heap.malloc(100_000) for _ in range(1000))
        assert isinstance(caught.value, MemoryError)
        assert isinstance(caught.value, OSError)
        used = heap.mmstats().chunks_used
        assert used > 0
        heap.free(heap.malloc(100))
        with pytest.raises(
            mheap.HeapFull, match=r"no room for 20000000 bytes: .* may grow to 8388608; .*max_size="
        ):
            heap.malloc(20_000_000)


def test_a_readonly_heap_refuses_to_allocate(heap: mheap.Heap) -> None:
    address = heap.malloc(10)
    path = heap.path
    heap.close()
    assert path is not None
    with mheap.open(path, mode="readonly") as reader:
        assert reader.usable_size(address) >= 10
        for operation in (
            lambda: reader.malloc(1),
            lambda: reader.free(address),
            lambda: reader.realloc(address, 100),
            lambda: reader.setkey(0, address),
        ):
            with pytest.raises(mheap.ReadOnlyHeap) as caught:
                operation()
            assert isinstance(caught.value, PermissionError)


def test_good_size_is_what_malloc_reserves_and_wastes_little() -> None:
    for size in range(1, 3000):
        good = mheap.good_size(size)
        assert size <= good
        assert mheap.good_size(good) == good
        assert good - size < 16 or good <= size * 1.125
    assert mheap.Heap.good_size(100) == mheap.good_size(100)
