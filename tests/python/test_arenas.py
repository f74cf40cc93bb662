"""mheap.arenas: arenas in files, in memory, in memory that is lent, of huge pages."""

from __future__ import annotations

import array
import copy
import ctypes
import errno
import gc
import mmap
import pickle
import sys
import threading
from collections.abc import Callable, Iterator
from multiprocessing import shared_memory
from pathlib import Path
from typing import Any

import pytest
from forks import in_child
from huge_pool import GIB, free_pages, pool

import mheap
from mheap import _core, arenas

MIB = 1 << 20
SEGMENT = 4 * MIB


@pytest.fixture
def made() -> Iterator[list[arenas.ArenaId]]:
    """Arenas in memory that are released at the end."""
    ids: list[arenas.ArenaId] = []
    yield ids
    for one in ids:
        arenas.release(one)


def fill(heap: mheap.Heap, size: int = 100_000) -> list[int]:
    """Blocks until the heap is full."""
    blocks: list[int] = []
    try:
        while True:
            blocks.append(heap.malloc(size))
    except mheap.HeapFull:
        return blocks


def inside(id: arenas.ArenaId, addresses: list[int]) -> bool:
    start, size = id.area
    return all(start <= address < start + size for address in addresses)


# ---- in a file ----


def test_an_arena_in_a_file(heap: mheap.Heap) -> None:
    id = arenas.reserve_os_memory(5 * MIB, md=heap)
    assert arenas.list(heap) == [id]
    assert id.area == arenas.area(id) == (id.address, id.size)
    assert (id.size, id.used, id.heap, id.stored) == (2 * SEGMENT, 0, heap, True)
    assert (id.exclusive, id.committed, id.lent, id.pinned) == (False, False, False, False)
    assert id.numa_node is None
    block = heap.malloc(100)
    assert inside(id, [block])  # shared arenas are used first
    assert id.used > 0
    with pytest.raises(mheap.HeapBusy, match="in use"):
        arenas.release(id)
    heap.free(block)
    arenas.release(id)
    assert arenas.list(heap) == []


def test_only_heaps_made_for_it_use_an_exclusive_arena(heap: mheap.Heap) -> None:
    id = arenas.reserve_os_memory(SEGMENT, exclusive=True, md=heap)
    one = mheap.heap_new_ex(0, True, id)
    assert (one.arena, one.main, one.tag, one.destroyable) == (id, heap, 0, True)
    assert "exclusive" in repr(id)
    elsewhere = [heap.malloc(100_000) for _ in range(100)]
    blocks = fill(one)
    assert inside(id, blocks)
    assert not any(inside(id, [block]) for block in elsewhere)
    with pytest.raises(mheap.HeapFull, match=f"arena {id.id} is full"):
        one.malloc(100_000)
    with pytest.raises(mheap.HeapBusy, match="a heap was made for it"):
        arenas.release(id)
    assert isinstance(heap.malloc(100_000), int)
    one.free(blocks[0])
    assert one.malloc(100_000) == blocks[0]
    one.destroy()
    assert id.used < 100_000
    arenas.release(id)


def test_heaps_of_two_arenas_stay_in_theirs(heap: mheap.Heap) -> None:
    ids = [arenas.reserve_os_memory(SEGMENT, exclusive=True, md=heap) for _ in range(2)]
    heaps = [heap.heap_new_ex(tag, True, id) for tag, id in enumerate(ids)]
    assert ids[0] != ids[1]
    for id, one in zip(ids, heaps, strict=True):
        assert inside(id, fill(one))
    heaps[0].destroy()
    assert ids[0].used < 100_000 < ids[1].used
    assert heap.check()


def test_a_committed_arena_has_its_disk_space(heap: mheap.Heap) -> None:
    id = arenas.reserve_os_memory(2 * SEGMENT, commit=True, md=heap)
    assert id.committed
    assert heap.info().disk_size >= 2 * SEGMENT


def test_the_last_arena_grows(heap: mheap.Heap) -> None:
    first = arenas.reserve_os_memory(SEGMENT, exclusive=True, md=heap)
    last = arenas.reserve_os_memory(SEGMENT, exclusive=True, md=heap)
    one = mheap.heap_new_in_arena(last)
    before = len(fill(one))
    arenas.grow(last, 3 * SEGMENT)
    assert last.size == 3 * SEGMENT
    assert len(fill(one)) >= 2 * before
    for id, size, why in [(first, 2 * SEGMENT, "comes after it"), (last, SEGMENT, "larger already")]:
        with pytest.raises(mheap.InvalidArgument, match=why) as caught:
            arenas.grow(id, size)
        assert caught.value.filename == heap.path
    with pytest.raises(mheap.HeapFull, match="max_size"):
        arenas.grow(last, heap.info().max_size)
    assert last.size == 3 * SEGMENT


def test_what_a_file_cannot_have(heap: mheap.Heap) -> None:
    for size, error in [
        (0, mheap.InvalidArgument),
        (-1, mheap.InvalidArgument),
        (1 << 62, mheap.SizeOverflow),
        (1 << 64, mheap.SizeOverflow),
        (heap.info().max_size + SEGMENT, mheap.HeapFull),
    ]:
        with pytest.raises(error):
            arenas.reserve_os_memory(size, md=heap)
    with pytest.raises(mheap.InvalidArgument, match="allow_large"):
        arenas.reserve_os_memory(SEGMENT, allow_large=True, md=heap)
    assert arenas.list(heap) == []


def test_the_table_of_arenas_can_be_full(heap: mheap.Heap) -> None:
    ids = [arenas.reserve_os_memory(SEGMENT, md=heap) for _ in range(63)]
    with pytest.raises(mheap.HeapFull, match="release an arena"):
        arenas.reserve_os_memory(SEGMENT, md=heap)
    arenas.release(ids[5])
    arenas.reserve_os_memory(SEGMENT, md=heap)
    assert len(arenas.list(heap)) == 63
    assert heap.check()


def test_a_reader_looks_only(heap_path: Path) -> None:
    with mheap.open(heap_path, mode="live") as heap:
        size = arenas.reserve_os_memory(SEGMENT, exclusive=True, md=heap).size
    with mheap.open(heap_path, mode="readonly") as heap:
        (id,) = arenas.list(heap)
        assert (id.size, id.exclusive) == (size, True)
        for call in (
            lambda: arenas.reserve_os_memory(SEGMENT, md=heap),
            lambda: arenas.release(id),
            lambda: arenas.grow(id, 2 * SEGMENT),
            lambda: mheap.heap_new_in_arena(id),
        ):
            with pytest.raises(mheap.ReadOnlyHeap):
                call()


def test_arenas_are_there_after_the_next_attach(heap_path: Path) -> None:
    with mheap.open(heap_path, mode="live") as heap:
        ids = [
            arenas.reserve_os_memory(SEGMENT, exclusive=True, md=heap),
            arenas.reserve_os_memory(2 * SEGMENT, md=heap),
        ]
        one = heap.heap_new_ex(7, True, ids[0])
        block = one.malloc(50)
        facts = [(id.size, id.exclusive, id.address - heap.base) for id in ids]
    for id in ids:
        with pytest.raises(mheap.ClosedHeap):
            arenas.area(id)
        assert repr(id) == f"<mheap.arenas.ArenaId {id.id}, gone>"
    with mheap.open(heap_path, mode="live") as heap:
        again = arenas.list(heap)
        assert [(id.size, id.exclusive, id.address - heap.base) for id in again] == facts
        _, one = heap.heaps()
        assert (one.tag, one.arena) == (7, again[0])
        assert inside(again[0], [block, *fill(one)])
        assert not set(again) & set(ids)
        assert heap.check()


def test_another_process_sees_them(heap_path: Path, run_python: Any) -> None:
    with mheap.open(heap_path, mode="live") as heap:
        mheap.heap_new_in_arena(arenas.reserve_os_memory(SEGMENT, exclusive=True, md=heap)).malloc(10)
    program = """
import sys, mheap
from mheap import arenas
with mheap.open(sys.argv[1], mode="live") as heap:
    (id,) = arenas.list(heap)
    main, one = heap.heaps()
    assert one.arena == id and id.exclusive
    one.destroy()
    arenas.release(id)
"""
    run_python(program, heap_path)
    with mheap.open(heap_path, mode="live") as heap:
        assert arenas.list(heap) == []
        assert heap.heaps() == (heap,)


def test_an_arena_of_another_heap_is_refused(heap: mheap.Heap, anonymous: mheap.Heap) -> None:
    id = arenas.reserve_os_memory(SEGMENT, md=anonymous)
    with pytest.raises(mheap.InvalidArgument, match="is not in it"):
        heap.heap_new_ex(0, True, id)
    other = heap.heap_new_ex(0, True)
    mine = arenas.reserve_os_memory(SEGMENT, md=other)  # any heap stands for its region
    assert (mine.heap, arenas.list(other)) == (heap, [mine])


# ---- the id ----


def test_an_id_is_no_int(heap: mheap.Heap) -> None:
    id = arenas.reserve_os_memory(SEGMENT, md=heap)
    (same,) = arenas.list(heap)
    assert (same == id, same != id, same is id, hash(same) == hash(id)) == (True, False, False, True)
    assert (id == id.id, id == None, id.id > 0) == (False, False, True)  # noqa: E711
    for call in (
        lambda: id < same,  # type: ignore[operator]
        lambda: int(id),  # type: ignore[call-overload]
        lambda: type(id)(),
        lambda: arenas.area(id.id),  # type: ignore[arg-type]
        lambda: pickle.dumps(id),
        lambda: copy.deepcopy(id),
    ):
        with pytest.raises(TypeError):
            call()
    with pytest.raises(AttributeError):
        id.size = 1  # type: ignore[misc]


def test_an_id_that_is_gone(heap: mheap.Heap) -> None:
    id = arenas.reserve_os_memory(SEGMENT, md=heap)
    arenas.release(id)
    for call in (
        lambda: id.area,
        lambda: id.exclusive,
        lambda: arenas.area(id),
        lambda: arenas.grow(id, SEGMENT),
        lambda: arenas.release(id),
        lambda: mheap.heap_new_in_arena(id),
        lambda: heap.heap_new_ex(0, True, id),
    ):
        with pytest.raises(mheap.InvalidArgument, match=f"arena {id.id}: there is none"):
            call()


def test_an_id_keeps_its_heap(heap_path: Path) -> None:
    id = arenas.reserve_os_memory(SEGMENT, md=mheap.open(heap_path, mode="live"))
    gc.collect()
    assert id.size == SEGMENT
    assert id.heap is not None
    id.heap.close()


def test_ids_in_a_forked_child(heap_path: Path) -> None:
    with mheap.open(heap_path, mode="live") as heap:
        arenas.reserve_os_memory(SEGMENT, md=heap)
    heap = mheap.open(heap_path, mode="readonly")
    (id,) = arenas.list(heap)

    def body() -> None:
        with pytest.raises(mheap.ForkedHandle, match="list the heap's arenas again"):
            arenas.area(id)
        assert "gone" in repr(id)
        (again,) = arenas.list(heap)
        assert again.size == SEGMENT

    in_child(body)
    assert id.size == SEGMENT
    heap.close()


# ---- in memory ----


def test_an_arena_in_memory(made: list[arenas.ArenaId]) -> None:
    id = arenas.reserve_os_memory(8 * MIB)
    made.append(id)
    assert id in arenas.list()
    assert (id.heap, id.stored, id.exclusive, id.lent) == (None, False, False, False)
    one = mheap.heap_new_ex(0, True, id)
    assert (one.arena, one.path, one.main.path) == (id, None, None)
    assert "the default heap, heap" in repr(one)
    assert inside(id, fill(one))
    one.destroy()


def test_committed_memory(made: list[arenas.ArenaId]) -> None:
    made.append(arenas.reserve_os_memory(8 * MIB, commit=True, exclusive=True))
    assert (made[0].committed, made[0].exclusive) == (True, True)


def test_memory_with_large_pages_if_there_are_any(made: list[arenas.ArenaId]) -> None:
    made.append(arenas.reserve_os_memory(8 * MIB, allow_large=True))
    one = mheap.heap_new_in_arena(made[0])
    one.malloc(MIB)
    one.destroy()


def test_memory_that_cannot_be_had(run_python: Any) -> None:
    program = """
import errno, resource, mheap
from mheap import arenas
arenas.release(arenas.reserve_os_memory(1 << 20))
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, resource.getrlimit(resource.RLIMIT_AS)[1]))
try: arenas.reserve_os_memory(1 << 34)
except mheap.NoMemory as error: assert (error.errno, error.arena) == (errno.ENOMEM, None)
else: raise AssertionError
assert issubclass(mheap.NoMemory, MemoryError) and arenas.list() == []
"""
    run_python(program)
    for size in (0, 1000, 1 << 62):
        with pytest.raises(mheap.InvalidArgument):
            arenas.reserve_os_memory(size)


def test_memory_does_not_grow(made: list[arenas.ArenaId]) -> None:
    made.append(arenas.reserve_os_memory(8 * MIB))
    with pytest.raises(mheap.InvalidArgument, match="cannot be"):
        arenas.grow(made[0], 16 * MIB)


def test_views_keep_memory_from_being_released() -> None:
    id = arenas.reserve_os_memory(8 * MIB)
    one = mheap.heap_new_ex(0, True, id)
    block = one.malloc(10)
    views = [one.view(block, 10)]
    one.delete()
    views.append(mheap.view(None, block, 10))
    source: Any = views[1].obj
    views.append(memoryview(source))
    mheap.free(None, block)  # which views do not prevent, as the docs say
    for view in views:
        with pytest.raises(BufferError):
            arenas.release(id)
        view.release()
    arenas.release(id)
    with pytest.raises(mheap.InvalidPointer, match="is gone"):
        memoryview(source)


def test_blocks_of_a_heap_deleted_in_memory_are_the_default_heaps() -> None:
    id = arenas.reserve_os_memory(8 * MIB, exclusive=True)
    one = mheap.heap_new_ex(0, True, id)
    block = one.malloc(10)
    main = one.main
    one.delete()
    assert main.usable_size(block) == mheap.usable_size(None, block) == 16
    with pytest.raises(mheap.HeapBusy, match="blocks in use"):
        arenas.release(id)
    mheap.free(None, block)
    arenas.release(id)
    assert not main.closed


# ---- memory that is lent ----


def as_bytearray() -> Any:
    return bytearray(2 * MIB)


def as_mmap() -> Any:
    return mmap.mmap(-1, 2 * MIB)


def as_array() -> Any:
    return array.array("d", bytes(2 * MIB))


def as_numpy() -> Any:
    return pytest.importorskip("numpy").zeros((256, 1024), "f8")


def as_memoryview() -> Any:
    return memoryview(bytearray(2 * MIB + 100))[100:]


@pytest.mark.parametrize("make", [as_bytearray, as_mmap, as_array, as_numpy, as_memoryview])
def test_buffers_are_managed_and_kept(make: Callable[[], Any]) -> None:
    buffer = make()
    lent = bytearray(buffer)
    id = arenas.manage_os_memory(buffer, exclusive=True)
    assert id in arenas.list()
    assert (id.lent, id.exclusive, id.stored, id.heap) == (True, True, False, None)
    assert id.address % arenas.min_alignment() == 0
    assert len(lent) - id.size < 2 * arenas.min_alignment()
    counted = sys.getrefcount(buffer)
    one = mheap.heap_new_ex(0, True, id)
    blocks = fill(one)
    assert inside(id, blocks)
    assert len(blocks) >= 10
    one.view(blocks[0], 100_000)[:] = b"x" * 100_000
    assert b"x" * 1000 in bytes(buffer)
    one.destroy()
    arenas.release(id)
    assert id not in arenas.list()
    assert sys.getrefcount(buffer) < counted


def test_an_exported_buffer_cannot_go_meanwhile() -> None:
    buffer, mapped = bytearray(MIB), mmap.mmap(-1, MIB)
    ids = [arenas.manage_os_memory(buffer), arenas.manage_os_memory(mapped)]
    with pytest.raises(BufferError):
        buffer.extend(b"more")
    with pytest.raises(BufferError):
        mapped.close()
    for id in ids:
        arenas.release(id)
    buffer.extend(b"more")
    mapped.close()


def test_shared_memory_is_managed() -> None:
    shared = shared_memory.SharedMemory(create=True, size=2 * MIB)
    try:
        id = arenas.manage_os_memory(shared, is_zero=True)
        one = mheap.heap_new_ex(0, True, id)
        block = one.malloc(5)
        one.view(block, 5)[:] = b"hello"
        other = shared_memory.SharedMemory(shared.name)
        assert b"hello" in bytes(other.buf or b"")
        other.close()
        gc.collect()
        one.destroy()
        arenas.release(id)
    finally:
        shared.close()
        shared.unlink()


def test_an_address_is_managed() -> None:
    owner = mmap.mmap(-1, 2 * MIB)
    address = ctypes.addressof(ctypes.c_char.from_buffer(owner))
    id = arenas.manage_os_memory(address, 2 * MIB, is_zero=True, is_large=True)
    assert (id.area, id.pinned) == ((address, 2 * MIB), True) or address % arenas.min_alignment()
    arenas.release(id)


def test_an_unaligned_start_is_moved_up() -> None:
    owner = mmap.mmap(-1, 2 * MIB)
    address = ctypes.addressof(ctypes.c_char.from_buffer(owner))
    id = arenas.manage_os_memory(address + 1, MIB)
    step = arenas.min_alignment()
    assert id.address == -(-(address + 1) // step) * step
    arenas.release(id)


def test_a_part_of_a_buffer(made: list[arenas.ArenaId]) -> None:
    buffer = bytearray(4 * MIB)
    made.append(arenas.manage_os_memory(buffer, 2 * MIB))
    assert made[0].size <= 2 * MIB
    with pytest.raises(mheap.InvalidArgument, match="bytes, not"):
        arenas.manage_os_memory(bytearray(MIB), MIB + 1)


def test_a_node_is_remembered(made: list[arenas.ArenaId]) -> None:
    made.append(arenas.manage_os_memory(bytearray(MIB), numa_node=0))
    made.append(arenas.manage_os_memory(bytearray(MIB), numa_node=-1))
    assert [id.numa_node for id in made] == [0, None]
    for node in (-2, 1 << 20):
        with pytest.raises(mheap.InvalidArgument, match="NUMA node"):
            arenas.manage_os_memory(bytearray(MIB), numa_node=node)


def test_memory_that_will_not_do() -> None:
    before = arenas.list()
    for memory in (bytes(MIB), memoryview(bytes(MIB))):
        with pytest.raises(BufferError):
            arenas.manage_os_memory(memory)
    for what, size in [("text", None), (None, 5), (1.5, 5), (MIB, None), (object(), None)]:
        with pytest.raises(TypeError):
            arenas.manage_os_memory(what, size)  # type: ignore[arg-type]
    small = bytearray(64 << 10)
    with pytest.raises(mheap.InvalidArgument):
        arenas.manage_os_memory(small)
    small.extend(b"its export was given back")
    with pytest.raises(mheap.InvalidPointer):
        arenas.manage_os_memory(-1, MIB)
    with pytest.raises(mheap.MheapError):
        arenas.manage_os_memory(0, MIB)
    assert arenas.list() == before


def test_memory_is_managed_once(made: list[arenas.ArenaId]) -> None:
    buffer = bytearray(MIB)
    made.append(arenas.manage_os_memory(buffer))
    with pytest.raises(mheap.MheapError):
        arenas.manage_os_memory(buffer)


def test_lent_memory_of_an_object_that_dies() -> None:
    id = arenas.manage_os_memory(bytearray(2 * MIB))
    gc.collect()
    one = mheap.heap_new_ex(0, True, id)
    for block in fill(one):
        one.view(block, 100_000)[:] = bytes(100_000)
    assert one.check()
    one.destroy()
    arenas.release(id)


def test_min_alignment() -> None:
    assert arenas.min_alignment() == 65536


def test_arenas_are_shown(heap_path: Path, run_python: Any) -> None:
    program = """
import sys, mheap
from mheap import arenas
with mheap.open(sys.argv[1], mode="live") as heap:
    ids = [arenas.reserve_os_memory(8 << 20, md=md) for md in (heap, None)]
    heap.malloc(10)
    arenas.debug_show()
    arenas.debug_show(in_use=False, abandoned=True, purge=True)
    print(*(id.id for id in ids))
"""
    done = run_python(program, heap_path)
    assert all(f"arena {number}" in done.stderr for number in done.stdout.split()), done.stderr


def test_keys_lead_into_arenas_in_memory(made: list[arenas.ArenaId]) -> None:
    before = mheap.malloc(None, 100)
    made.append(arenas.reserve_os_memory(8 * MIB))
    block = mheap.malloc(None, 100)
    assert inside(made[0], [block])
    for one in (before, block, before, block):
        mheap.setkey(None, 9, one)
        assert mheap.getkey(None, 9) == one
    mheap.setkey(None, 9, None)
    assert mheap.getkey(None, 9) is None
    mheap.free(None, before)
    mheap.free(None, block)


# ---- pages of 1 GiB ----


def refuses_pages_of_1_gib() -> None:
    before = arenas.list()
    for call in (
        lambda: arenas.reserve_huge_os_pages_at(1),
        lambda: arenas.reserve_huge_os_pages_at(1, 0, 1000, exclusive=True),
        lambda: arenas.reserve_huge_os_pages_interleave(1),
        lambda: arenas.reserve_huge_os_pages_interleave(1, 1, 1000),
    ):
        with pytest.raises(mheap.NoMemory) as caught:
            call()
        assert caught.value.arena is None
    assert arenas.list() == before


def released(before: list[arenas.ArenaId]) -> list[int]:
    """The sizes of the arenas that came since, which are given back."""
    new = [one for one in arenas.list() if one not in before]
    sizes = [one.size for one in new]
    for one in new:
        arenas.release(one)
    return sizes


def reserves_pages_of_1_gib(pages: int) -> None:
    before = arenas.list()
    header = arenas.min_alignment()  # what describes it, before the first page
    id = arenas.reserve_huge_os_pages_at(pages, exclusive=True)
    assert (id.size, id.pinned, id.exclusive) == (pages * GIB + header, True, True)
    assert free_pages(GIB) == 0
    inside = mheap.heap_new_ex(0, True, id)
    block = inside.malloc(pages * GIB - SEGMENT)
    inside.view(block, pages * GIB - SEGMENT)[-1] = 1
    inside.destroy()
    assert released(before) == [pages * GIB + header]
    arenas.reserve_huge_os_pages_interleave(pages, 1)
    assert released(before) == [pages * GIB + header]
    assert free_pages(GIB) == pages


def gives_up_after_a_page_of_1_gib() -> None:
    before = arenas.list()
    with pytest.raises(mheap.HeapTimeout, match="1 of 2 pages of 1024 MiB") as caught:
        arenas.reserve_huge_os_pages_at(2, timeout_msecs=1)  # clearing one page takes longer
    assert caught.value.errno == errno.ETIMEDOUT
    assert caught.value.arena in arenas.list()
    with pytest.raises(mheap.HeapTimeout):
        arenas.reserve_huge_os_pages_interleave(2, 1, 1)
    assert len(released(before)) == 2


def test_pages_of_1_gib() -> None:
    """Real ones, where the machine has memory in such pieces."""
    with pool(GIB, 2) as got:
        if got > 0:
            reserves_pages_of_1_gib(got)
        if got == 2:
            gives_up_after_a_page_of_1_gib()
        assert free_pages(GIB) == got
    with pool(GIB, 0):
        if free_pages(GIB) == 0:
            refuses_pages_of_1_gib()


def test_arguments_of_huge_pages() -> None:
    for call in (
        lambda: arenas.reserve_huge_os_pages_at(-1),
        lambda: arenas.reserve_huge_os_pages_at(0),
        lambda: arenas.reserve_huge_os_pages_at(1, -2),
        lambda: arenas.reserve_huge_os_pages_at(1, timeout_msecs=-1),
        lambda: arenas.reserve_huge_os_pages_interleave(-1),
    ):
        with pytest.raises(mheap.InvalidArgument):
            call()


def test_a_timeout_is_a_timeout_error() -> None:
    error = mheap.HeapOSError.of(errno.ETIMEDOUT)("text", errno=errno.ETIMEDOUT)
    assert isinstance(error, mheap.HeapTimeout)
    assert isinstance(error, TimeoutError)
    assert (error.errno, error.arena) == (errno.ETIMEDOUT, None)


# ---- threads, interpreters ----


def test_threads_reserve_and_release(heap: mheap.Heap) -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for turn in range(10):
                id = arenas.reserve_os_memory(SEGMENT, exclusive=True, md=heap if turn % 2 else None)
                one = mheap.heap_new_ex(0, True, id)
                assert inside(id, [one.malloc(1000) for _ in range(50)])
                one.destroy()
                arenas.release(id)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert failures == []
    assert arenas.list(heap) == []
    assert heap.check()


def test_the_module_is_imported_when_it_is_asked_for(run_python: Any) -> None:
    run_python(
        "import sys, mheap\n"
        "assert 'mheap.arenas' not in sys.modules\n"
        "assert mheap.arenas.min_alignment() == 65536\n"
        "assert 'arenas' in dir(mheap) and 'arenas' in mheap.__all__\n"
    )
    for call in (_core.arena_reserve, _core.arena_manage, _core.arena_grow):
        with pytest.raises(TypeError, match="takes"):
            call()  # type: ignore[call-arg]
