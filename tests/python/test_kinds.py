"""Kinds: in memory and in files, found by name, by arena, by the address of a block."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mheap
from mheap import kinds
from mheap.kinds import Kind


@pytest.fixture(params=["memory", "file"])
def md(request: pytest.FixtureRequest, heap: mheap.Heap) -> mheap.Heap | None:
    return heap if request.param == "file" else None


@pytest.fixture
def kind(md: mheap.Heap | None) -> Iterator[Kind]:
    made = Kind("a kind", md=md)
    yield made
    if not made.destroyed and not (md and md.closed):
        made.destroy()


def test_blocks(kind: Kind) -> None:
    address = kind.malloc(100)
    assert address % 16 == 0
    assert kind.usable_size(address) >= 100
    kind.view(address, 3)[:] = b"abc"
    address = kind.realloc(address, 200_000)
    assert bytes(kind.view(address, 3)) == b"abc"
    zeros = kind.calloc(10, 10)
    assert bytes(kind.view(zeros, 100)) == bytes(100)
    assert kind.memalign(4096, 10) % 4096 == 0
    assert kind.usable_size(None) == 0
    kind.free(address)
    kind.free(zeros)
    kind.free(None)
    assert kind.usable_size(kind.realloc(None, 20)) >= 20


def test_what_is_refused(kind: Kind, md: mheap.Heap | None) -> None:
    other = Kind("other", "bijective", md)
    theirs, ours = other.malloc(10), kind.malloc(10)
    with pytest.raises(mheap.InvalidPointer, match='is a block of the kind "other"'):
        kind.free(theirs)
    with pytest.raises(mheap.InvalidPointer):
        kind.realloc(theirs, 10)
    with pytest.raises(mheap.InvalidPointer):
        kind.usable_size(theirs)
    with pytest.raises(mheap.InvalidPointer):
        kind.view(ours, 10_000)
    with pytest.raises(mheap.InvalidPointer):
        kind.free(12345)
    kind.free(ours)
    with pytest.raises(mheap.DoubleFree):
        kind.free(ours)
    for size in (2**64 - 1, 2**62):
        with pytest.raises(mheap.SizeOverflow):
            kind.malloc(size)
    with pytest.raises(mheap.SizeOverflow):
        kind.calloc(2**40, 2**40)
    with pytest.raises(mheap.InvalidArgument):
        kind.memalign(24, 10)
    with pytest.raises(mheap.InvalidArgument):
        kind.malloc(-1)
    with pytest.raises(TypeError):
        kind.malloc("10")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        kind.calloc(1)  # type: ignore[call-arg]
    other.destroy()


def test_functions_find_the_kind_of_a_block(kind: Kind) -> None:
    address = kind.malloc(10)
    assert kinds.detect(address) is kind
    address = kinds.realloc(address, 100_000)
    assert kinds.detect(address) is kind
    kinds.free(address)
    with pytest.raises(mheap.DoubleFree):
        kinds.free(address)
    with pytest.raises(mheap.InvalidPointer):
        kinds.detect(12345)
    with pytest.raises(mheap.InvalidPointer):
        kinds.realloc(12345, 10)


def test_blocks_of_no_kind() -> None:
    address = kinds.realloc(None, 100)
    assert kinds.detect(address) is None
    kinds.free(kinds.realloc(address, 1000))
    kinds.free(None)


def test_a_kind_is_found_by_its_name(kind: Kind, md: mheap.Heap | None) -> None:
    assert Kind("a kind", md=md) is kind
    assert Kind("a kind", "thread", md) is kind
    assert kind in kinds.list_kinds(md)
    with mheap.attach(-1) as elsewhere:
        assert kinds.list_kinds(elsewhere) == []
    with pytest.raises(mheap.InvalidArgument, match="exists already, with the policy thread"):
        Kind("a kind", "bijective", md)


def test_properties(kind: Kind, md: mheap.Heap | None) -> None:
    assert (kind.name, kind.policy, kind.md, kind.destroyed) == ("a kind", "thread", md, False)
    processors = len(os.sched_getaffinity(0)) if md is None else 1
    assert len(kind.heaps) >= 4 * processors
    kind.malloc(10)
    assert (kind.size > 0) is (md is None)
    assert "'a kind', thread" in repr(kind)
    with pytest.raises(AttributeError):
        kind.name = "another"  # type: ignore[misc]


def test_arenas(kind: Kind, md: mheap.Heap | None) -> None:
    assert kind.thread_arena() in kind.heaps
    assert all(kinds.by_arena(arena) is kind for arena in kind.heaps)
    with pytest.raises(mheap.InvalidArgument, match="its policy is thread"):
        kind.bijective_arena()
    one = Kind("one", "bijective", md)
    assert one.heaps == (one.bijective_arena(),) == (one.thread_arena(),)
    one.destroy()
    for number in (0, -1, kind.heaps[-1] + 10_000):
        with pytest.raises(mheap.NotFound):
            kinds.by_arena(number)


@pytest.mark.parametrize("name", ["", "x" * 256, "a\0b", "\ud800"])
def test_bad_names(name: str) -> None:
    with pytest.raises(mheap.InvalidArgument, match="1 to 255"):
        Kind(name)


def test_bad_arguments() -> None:
    with pytest.raises(TypeError):
        Kind(b"bytes")  # type: ignore[arg-type]
    with pytest.raises(mheap.InvalidArgument):
        Kind("x", "other")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Kind("x", md=1)  # type: ignore[arg-type]


def test_names_of_any_language(heap: mheap.Heap) -> None:
    longest = "\N{SNOWMAN}" * 85
    for name in ("\N{DECIDUOUS TREE} kind", longest):
        assert Kind(name, md=heap).name == name
    assert [found.name for found in kinds.list_kinds(heap)] == ["\N{DECIDUOUS TREE} kind", longest]


def test_destroyed(kind: Kind, md: mheap.Heap | None) -> None:
    address = kind.malloc(10)
    kind.destroy()
    kind.destroy()
    assert kind.destroyed
    assert "destroyed" in repr(kind)
    for call in (lambda: kind.malloc(1), lambda: kind.free(address), kind.thread_arena, lambda: kind.policy):
        with pytest.raises(mheap.StaleObject):
            call()
    again = Kind("a kind", md=md)
    assert again is not kind
    assert again.malloc(10)
    again.destroy()


def test_a_stored_kind_outlives_the_process_that_made_it(heap_path: Path) -> None:
    with mheap.open(heap_path, mode="live") as heap:
        with Kind("kept", md=heap) as kind:
            kind.memory_usage_policy = "conservative"
            address = kind.malloc(10)
            kind.view(address, 5)[:] = b"hello"
            heaps = len(kind.heaps)
        heap.setkey(0, address)
    with pytest.raises(mheap.ClosedHeap):
        kind.malloc(1)
    assert "closed" in repr(kind)
    with mheap.open(heap_path, mode="live") as heap:
        address = heap.getkey(0) or 0
        kind = kinds.detect(address) or pytest.fail("no kind")
        assert (kind.name, kind.md, len(kind.heaps)) == ("kept", heap, heaps)
        assert kind.memory_usage_policy == "conservative"
        assert bytes(kind.view(address, 5)) == b"hello"
        assert [found.name for found in kinds.list_kinds(heap)] == ["kept"]
    with mheap.open(heap_path, mode="readonly") as heap:
        kind = Kind("kept", md=heap)
        assert kind.view(address, 5).readonly
        with pytest.raises(mheap.ReadOnlyHeap):
            kind.malloc(1)
        with pytest.raises(mheap.ReadOnlyHeap):
            kind.destroy()
        with pytest.raises(mheap.ReadOnlyHeap):
            kind.memory_usage_policy = "default"
        with pytest.raises(mheap.ReadOnlyHeap):
            Kind("new", md=heap)


def test_a_kind_in_memory_goes_with_its_block() -> None:
    with Kind("block") as kind:
        kind.malloc(10)
    assert kind.destroyed


def test_the_usage_policy_gives_memory_back(heap: mheap.Heap, heap_path: Path) -> None:
    kind = Kind("usage", "bijective", heap)

    def freed() -> int:
        blocks = [kind.malloc(200_000) for _ in range(100)]
        for block in blocks:
            kind.view(block, 200_000)[:] = b"x" * 200_000
        before = heap_path.stat().st_blocks
        for block in blocks[::2]:
            kind.free(block)
        after = heap_path.stat().st_blocks
        for block in blocks[1::2]:
            kind.free(block)
        return (before - after) * 512

    assert freed() < 2_500_000
    kind.memory_usage_policy = "conservative"
    assert freed() > 7_500_000
    kind.memory_usage_policy = "default"
    assert freed() < 2_500_000
    for bad in ("other", None, 1):
        with pytest.raises(mheap.InvalidArgument):
            kind.memory_usage_policy = bad  # type: ignore[assignment]


def test_views_keep_a_kind_and_its_heap(kind: Kind, md: mheap.Heap | None) -> None:
    view = kind.view(kind.malloc(10), 10)
    with pytest.raises(BufferError):
        kind.destroy()
    if md:
        with pytest.raises(BufferError):
            md.close()
    memory = view.obj
    view.release()
    kind.destroy()
    with pytest.raises(mheap.StaleObject):
        memoryview(memory)


def test_decorators(kind: Kind, md: mheap.Heap | None) -> None:
    seen: list[Any] = []

    def pre(call: kinds.KindCall) -> None:
        seen.append(("pre", call.operation, call.size))
        if call.size == 1:
            call.size = 5000

    def post(call: kinds.KindCall) -> None:
        assert call.kind is kind
        seen.append(("post", call.operation, call.result))

    kind.decorate(pre, post)
    address = kind.malloc(1)
    assert kind.usable_size(address) >= 5000
    moved = kind.realloc(address, 10)
    kinds.free(moved)
    with pytest.raises(mheap.InvalidArgument):
        kind.memalign(3, 7)
    assert seen == [
        ("pre", "malloc", 1),
        ("post", "malloc", address),
        ("pre", "realloc", 10),
        ("post", "realloc", moved),
        ("pre", "free", 0),
        ("post", "free", None),
        ("pre", "memalign", 7),
        ("post", "memalign", None),
    ]
    kind.decorate()
    kind.free(kind.calloc(3, 3))
    assert len(seen) == 8
    with pytest.raises(TypeError):
        kind.decorate(pre=3)  # type: ignore[arg-type]


def test_decorators_may_raise_and_redirect(kind: Kind, md: mheap.Heap | None) -> None:
    other = Kind("other", md=md)

    def refuse(call: kinds.KindCall) -> None:
        raise LookupError(call.operation)

    kind.decorate(pre=refuse)
    with pytest.raises(LookupError, match="calloc"):
        kind.calloc(1, 1)
    kind.decorate(post=refuse)
    with pytest.raises(LookupError, match="malloc"):
        kind.malloc(100)  # the block was given back

    def redirect(call: kinds.KindCall) -> None:
        call.kind = other

    kind.decorate(pre=redirect)
    assert kinds.detect(kind.malloc(10)) is other

    def garble(call: kinds.KindCall) -> None:
        call.size = "x"  # type: ignore[assignment]

    kind.decorate(pre=garble)
    with pytest.raises(TypeError):
        kind.malloc(10)

    def spoil(call: kinds.KindCall) -> None:
        call.kind = 1  # type: ignore[assignment]

    kind.decorate(pre=spoil)
    with pytest.raises(TypeError):
        kind.malloc(10)
    kind.decorate()
    other.destroy()


def test_decorators_go_with_the_object(md: mheap.Heap | None) -> None:
    made = Kind("dropped", md=md)
    calls: list[str] = []
    made.decorate(post=lambda call: calls.append(call.operation))
    address = made.malloc(10)
    watch = weakref.ref(made)
    del made
    gc.collect()
    assert watch() is None
    kinds.free(address)
    assert calls == ["malloc"]
    Kind("dropped", md=md).destroy()


def test_threads_share_a_kind(kind: Kind) -> None:
    arenas: set[int] = set()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            arenas.add(kind.thread_arena())
            blocks = [kind.malloc(size) for size in range(300)]
            for block in blocks:
                kinds.free(block)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert arenas <= set(kind.heaps)


def in_child(act: Any) -> None:
    child = os.fork()
    if child == 0:
        try:
            act()
            os._exit(0)
        except BaseException as failure:
            os.write(2, f"in the child: {failure!r}\n".encode())
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_forked_child_goes_on_with_a_copy() -> None:
    with Kind("forked") as kind:
        address = kind.malloc(10)
        kind.view(address, 6)[:] = b"parent"

        def child() -> None:
            kind.view(address, 6)[:] = b"child!"
            kind.free(kind.malloc(1000))
            kind.destroy()

        in_child(child)
        assert bytes(kind.view(address, 6)) == b"parent"


def test_a_forked_child_reads_a_stored_kind(heap_path: Path) -> None:
    with mheap.open(heap_path, mode="live") as heap:
        kind = Kind("stored", md=heap)
        address = kind.malloc(10)
        kind.view(address, 6)[:] = b"parent"
    with mheap.open(heap_path, mode="readonly") as heap:
        kind = Kind("stored", md=heap)

        def child() -> None:
            assert bytes(kind.view(address, 6)) == b"parent"
            with pytest.raises(mheap.ReadOnlyHeap):
                kind.malloc(10)
            assert kinds.detect(address) is kind

        in_child(child)


def test_kinds_is_imported_when_it_is_asked_for() -> None:
    assert mheap.kinds is kinds
    assert Kind.__module__ == "mheap.kinds"
