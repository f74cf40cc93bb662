"""Heaps of a region beside its main one, from Python."""

from __future__ import annotations

import copy
import errno
import gc
import pickle
import resource
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from forks import in_child

import mheap
from mheap import _core, arenas, kinds


def used(heap: mheap.Heap) -> int:
    return heap.stats().chunks_used


def filled(heap: mheap.Heap, count: int = 200) -> list[int]:
    """Blocks of all kinds: of slabs, spans and one huge span."""
    sizes = [16, 100, 3000, 100_000]
    blocks = [heap.malloc(sizes[i % len(sizes)]) for i in range(count)]
    return [*blocks, heap.malloc(5 << 20)]


# ---- making, listing, facts ----


def test_a_heap_is_made_and_listed_after_the_main_one(heap: mheap.Heap) -> None:
    assert heap.heaps() == (heap,)
    one = heap.heap_new_ex(7, True)
    two = heap.heap_new_ex(tag=255, allow_destroy=False, arena=None)
    assert heap.heaps() == (heap, one, two)
    assert one.heaps() == heap.heaps()
    assert (one.tag, one.destroyable, one.arena, one.main) == (7, True, None, heap)
    assert (two.tag, two.destroyable, two.arena, two.main) == (255, False, None, heap)
    assert (heap.tag, heap.destroyable, heap.arena, heap.main, heap.number) == (0, False, None, heap, 0)
    assert len({one.number, two.number, 0}) == 3
    assert (one.path, one.mode, one.uuid, one.closed) == (heap.path, "live", heap.uuid, False)


def test_there_is_one_object_a_heap(heap: mheap.Heap) -> None:
    one = heap.heap_new_ex(1, True)
    assert heap.heaps()[1] is one
    assert one.heaps()[0] is heap
    number, gone = one.number, weakref.ref(one)
    del one
    assert gone() is None
    assert heap.heaps()[1].number == number


def test_a_handle_keeps_the_main_one_alive(heap_path: Path) -> None:
    one = mheap.open(heap_path, mode="live").heap_new_ex(1, True)
    gc.collect()
    assert not one.main.closed
    one.free(one.malloc(10))
    one.main.close()


def test_repr_says_which_heap(heap: mheap.Heap) -> None:
    one = heap.heap_new_ex(9, True)
    assert repr(one) == f"<mheap.Heap {heap.path!r}, heap {one.number} (tag 9), live, attached>"
    one.destroy()
    assert repr(one).endswith(", live, closed>")


@pytest.mark.parametrize("tag", [-1, 256, 2**40])
def test_a_tag_out_of_range_is_refused(heap: mheap.Heap, tag: int) -> None:
    with pytest.raises(mheap.InvalidArgument):
        heap.heap_new_ex(tag, True)
    assert len(heap.heaps()) == 1


def test_heaps_of_kinds_are_the_kinds_own(heap: mheap.Heap) -> None:
    kind = kinds.Kind("cache", "bijective", heap)
    one = heap.heap_new_ex(1, True)
    assert heap.heaps() == (heap, one)
    kind.destroy()
    assert heap.heaps() == (heap, one)


def test_arguments_that_are_none(heap: mheap.Heap) -> None:
    calls: tuple[Callable[[], object], ...] = (
        lambda: heap.heap_new_ex(1),  # type: ignore[call-arg]
        lambda: heap.heap_new_ex("1", True),  # type: ignore[arg-type]
        lambda: heap.heap_new_ex(1, True, 1),  # type: ignore[arg-type]
        lambda: mheap.heap_new_in_arena(None),  # type: ignore[arg-type]
        lambda: mheap.heap_new_in_arena(1),  # type: ignore[arg-type]
        lambda: mheap.heap_new_ex(1, True, arena=None),  # type: ignore[call-arg]
    )
    for call in calls:
        with pytest.raises(TypeError):
            call()


def fill_table(heap: mheap.Heap, made: list[mheap.Heap]) -> None:
    for _ in range(1000):
        made.append(heap.heap_new_ex(0, True))


def test_the_table_of_heaps_can_be_full(heap: mheap.Heap) -> None:
    made: list[mheap.Heap] = []
    with pytest.raises(mheap.HeapFull, match="destroy or delete"):
        fill_table(heap, made)
    assert len(heap.heaps()) == len(made) + 1
    made.pop().destroy()
    made.append(heap.heap_new_ex(0, True))
    for one in made:
        one.destroy()
    assert heap.heaps() == (heap,)


def test_there_are_more_heaps_in_memory_than_a_table_has_rows(heap: mheap.Heap) -> None:
    rows: list[mheap.Heap] = []
    with pytest.raises(mheap.HeapFull):
        fill_table(heap, rows)
    made = [mheap.heap_new_ex(1, True) for _ in range(2 * len(rows) + 1)]
    main = made[0].main
    assert {one.main for one in made} == {main}
    assert set(made) <= set(main.heaps())
    assert len({(one.number, one.tag) for one in made}) < len(made)  # of more regions than one
    blocks = [one.malloc(100) for one in made]
    assert [mheap.heap_of(block) for block in blocks] == made
    for one, block in zip(made, blocks, strict=True):
        if one.number % 2:
            one.delete()
            main.free(block)
        else:
            one.destroy()
    assert not set(made) & set(main.heaps())


def test_a_heap_that_cannot_be_made_is_an_error_of_the_registered_function(heap: mheap.Heap) -> None:
    told: list[int] = []
    mheap.register_error(lambda number, _: told.append(number))
    try:
        with pytest.raises(mheap.HeapFull):
            fill_table(heap, [])
    finally:
        mheap.register_error(None)
    assert told == [errno.ENOMEM]


def test_a_reader_can_look_and_not_make_or_end(heap_path: Path) -> None:
    with mheap.open(heap_path, mode="live") as heap:
        address = heap.heap_new_ex(3, True).malloc(8)
    with mheap.open(heap_path, mode="readonly") as heap:
        one = heap.heaps()[1]
        assert (one.tag, one.mode, one.usable_size(address)) == (3, "readonly", 16)
        for call in (lambda: heap.heap_new_ex(1, True), one.destroy, one.delete, lambda: one.malloc(1)):
            with pytest.raises(mheap.ReadOnlyHeap):
                call()
        assert not one.closed


def test_a_scratch_attach_throws_heaps_away(heap_path: Path) -> None:
    with mheap.open(heap_path, mode="live") as heap:
        heap.heap_new_ex(3, True)
    with mheap.open(heap_path, mode="scratch") as heap:
        heap.heaps()[1].destroy()
        heap.heap_new_ex(4, True)
        assert [one.tag for one in heap.heaps()] == [0, 4]
    with mheap.open(heap_path, mode="readonly") as heap:
        assert [one.tag for one in heap.heaps()] == [0, 3]


# ---- blocks ----


def test_blocks_are_the_heap_s_own(heap: mheap.Heap) -> None:
    one = heap.heap_new_ex(1, True)
    block = mheap.malloc(one, 100)
    for call in (lambda: heap.free(block), lambda: heap.usable_size(block), lambda: heap.realloc(block, 9)):
        with pytest.raises(mheap.InvalidPointer):
            call()
    mheap.view(one, block, 3)[:] = b"abc"
    block = mheap.realloc(one, block, 100_000)
    assert bytes(one.view(block, 3)) == b"abc"
    assert mheap.usable_size(one, block) >= 100_000
    mheap.free(one, block)
    with pytest.raises(mheap.DoubleFree):
        one.free(block)
    assert one.memalign(4096, 10) % 4096 == 0
    assert one.valloc(10) % 4096 == 0
    assert bytes(one.view(one.calloc(3, 5), 15)) == bytes(15)
    assert used(heap) == used(one) == 3
    assert mheap.mmstats(one).chunks_used == 3
    assert one.info().uuid == heap.uuid
    assert one.check()
    one.sync()
    one.collect(force=True)


def test_keys_are_the_region_s_and_names_the_main_heap_s(heap: mheap.Heap) -> None:
    one = heap.heap_new_ex(1, True)
    block = one.malloc(10)
    mheap.setkey(one, 3, block)
    assert heap.getkey(3) == one.getkey(3) == block
    for call in (
        lambda: one.root,
        lambda: one.roots,
        lambda: _core.setroot(one, "a", block),
        lambda: _core.getroot(one, "a"),
        lambda: _core.list_roots(one),
    ):
        with pytest.raises(mheap.InvalidArgument, match=r"\.main"):
            call()
    one.main.roots["a"] = block
    assert heap.roots["a"] == block


def test_guards_and_traces_are_of_one_heap(heap: mheap.Heap, tmp_path: Path) -> None:
    one, found = heap.heap_new_ex(1, True), []
    one.mmcheck(lambda md, block, status: found.append((md, block, status)))
    one.mmtrace(tmp_path / "trace")
    block, other = one.malloc(20), heap.malloc(20)
    one.view(block, 21)[20] = 1
    assert (one.mprobe(block), heap.mprobe(other)) == ("tail", "disabled")
    del one
    gc.collect()  # the main heap keeps a handle whose guard is on
    again = heap.heaps()[1]
    again.free(block)
    assert found == [(again, block, "tail")]
    again.mmtrace(None)
    assert f"{block:#x}" in (tmp_path / "trace").read_text()
    again.destroy()


def test_a_trace_ends_with_its_heap(heap: mheap.Heap, tmp_path: Path) -> None:
    one = heap.heap_new_ex(1, True)
    one.mmtrace(tmp_path / "trace")
    block = one.malloc(20)
    one.destroy()
    assert f"{block:#x}" in (tmp_path / "trace").read_text()


def test_guards_make_no_cycle_that_keeps_the_heap_attached(heap_path: Path) -> None:
    heap = mheap.open(heap_path, mode="live")
    one = heap.heap_new_ex(1, True)

    def on_error(md: mheap.Heap, block: int, status: str, one: mheap.Heap = one) -> None:
        pass

    one.mmcheck(on_error)
    gone = weakref.ref(heap)
    del heap, one, on_error
    with pytest.warns(ResourceWarning):
        gc.collect()
    assert gone() is None
    mheap.open(heap_path, mode="live").close()


# ---- destroying and deleting ----


def test_destroying_frees_every_block(heap: mheap.Heap) -> None:
    kept = heap.malloc(10)
    for _ in range(3):
        one = heap.heap_new_ex(1, True)
        filled(one)
        one.destroy()
        assert one.closed
        assert (used(heap), heap.heaps()) == (1, (heap,))
        assert heap.check()
    heap.free(kept)


def test_the_space_of_a_destroyed_heap_is_used_again(heap: mheap.Heap) -> None:
    filled(heap, 1000)
    sizes = []
    for _ in range(4):
        one = heap.heap_new_ex(1, True)
        for _ in range(5000):
            one.malloc(64)
        sizes.append(heap.info().segments)
        one.destroy()
    assert len(set(sizes)) == 1


def test_destroying_does_not_touch_the_rest_of_the_file(heap_path: Path) -> None:
    with mheap.open(heap_path, mode="live") as heap:
        for tag in (1, 2):
            one = heap.heap_new_ex(tag, True)
            for _ in range(1000):
                one.malloc(100)
        for _ in range(150):
            heap.malloc(1_000_000)
    with mheap.open(heap_path, mode="live") as heap:
        _, one, two = heap.heaps()
        one.destroy()  # the first after an attach looks at every segment
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        two.destroy()
        touched = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
        assert touched < heap.info().segments
        assert used(heap) == 150


def test_deleting_keeps_the_blocks(heap: mheap.Heap) -> None:
    one = heap.heap_new_ex(1, False)
    blocks = filled(one)
    for number, block in enumerate(blocks):
        one.view(block, 4)[:] = number.to_bytes(4, "little")
    one.delete()
    assert one.closed
    assert (used(heap), heap.heaps()) == (len(blocks), (heap,))
    assert [int.from_bytes(heap.view(block, 4), "little") for block in blocks] == list(range(len(blocks)))
    for block in blocks:
        heap.free(block)
    assert used(heap) == 0
    assert heap.check()


def test_what_may_not_end_stays(heap: mheap.Heap) -> None:
    one = heap.heap_new_ex(1, False)
    block = one.malloc(10)
    with pytest.raises(mheap.InvalidArgument, match="allow_destroy"):
        one.destroy()
    for call in (heap.destroy, heap.delete):
        with pytest.raises(mheap.InvalidArgument, match="main heap"):
            call()
    assert one.usable_size(block) == 16


def test_a_heap_that_ended_is_closed(heap: mheap.Heap) -> None:
    one = heap.heap_new_ex(1, True)
    one.destroy()
    for call in (
        lambda: one.malloc(1),
        one.destroy,
        one.delete,
        one.heaps,
        lambda: one.heap_new_ex(1, True),
        lambda: one.arena,
        lambda: one.destroyable,
        lambda: one.root,
        lambda: mheap.view(one, 0, 0),
        one.__enter__,
    ):
        with pytest.raises(mheap.ClosedHeap):
            call()
    one.close()
    assert (one.main, one.tag) == (heap, 1)


def test_views_refuse_destroy_and_detach(heap: mheap.Heap) -> None:
    one = heap.heap_new_ex(1, True)
    view = one.view(one.malloc(10), 10)
    for call in (one.destroy, heap.close):
        with pytest.raises(BufferError):
            call()
    assert not one.closed
    view.release()
    one.destroy()


def test_a_view_outlives_its_heap_where_the_block_does(heap: mheap.Heap) -> None:
    one = heap.heap_new_ex(1, True)
    block = one.malloc(10)
    view = one.view(block, 10)
    one.delete()
    view[:3] = b"abc"
    with pytest.raises(BufferError):
        heap.close()
    assert bytes(heap.view(block, 3)) == b"abc"
    with pytest.raises(mheap.ClosedHeap):
        memoryview(view.obj)
    view.release()
    heap.close()


# ---- closing ----


def test_closing_lets_go_of_the_handle_only(heap: mheap.Heap) -> None:
    with heap.heap_new_ex(1, True) as one:
        block = one.malloc(10)
    assert one.closed
    assert "closed" in repr(one)
    with pytest.raises(mheap.ClosedHeap):
        one.malloc(10)
    again = heap.heaps()[1]
    assert again is not one
    assert again.usable_size(block) == 16
    for call in (again.detach, lambda: mheap.detach(again)):
        with pytest.raises(mheap.InvalidArgument, match="destroy"):
            call()
    again.destroy()


@pytest.mark.parametrize("ends", ["close", "detach"])
def test_the_main_heap_takes_the_others_along(heap: mheap.Heap, ends: str) -> None:
    one, two = heap.heap_new_ex(1, True), heap.heap_new_ex(2, True)
    two.close()
    getattr(heap, ends)()
    for call in (lambda: one.malloc(1), one.heaps, one.destroy, lambda: one.arena, lambda: two.malloc(1)):
        with pytest.raises(mheap.ClosedHeap):
            call()
    assert one.closed
    assert one.main is heap


def test_a_detach_that_fails_leaves_the_others(heap_path: Path) -> None:
    heap = mheap.open(heap_path, mode="live")
    one = heap.heap_new_ex(1, True)
    block = one.malloc(10)
    view = heap.view(heap.malloc(10), 10)
    with pytest.raises(BufferError):
        heap.close()
    assert one.usable_size(block) == 16
    view.release()
    heap.close()


# ---- the next attach, other processes ----


def test_heaps_are_there_after_the_next_attach(heap_path: Path) -> None:
    with mheap.open(heap_path, mode="live") as heap:
        one, two = heap.heap_new_ex(3, True), heap.heap_new_ex(4, False)
        first, second = one.malloc(50), two.malloc(60)
        facts = [(h.number, h.tag, h.destroyable) for h in heap.heaps()]
    with mheap.open(heap_path, mode="live") as heap:
        assert [(h.number, h.tag, h.destroyable) for h in heap.heaps()] == facts
        _, one, two = heap.heaps()
        assert (one.usable_size(first), two.usable_size(second)) == (64, 64)
        with pytest.raises(mheap.InvalidPointer):
            one.free(second)
        one.destroy()
        assert used(heap) == 1
        assert heap.check()
    with mheap.open(heap_path, mode="readonly") as heap:
        assert [h.tag for h in heap.heaps()] == [0, 4]


def test_another_process_works_with_them(heap_path: Path, run_python: Any) -> None:
    with mheap.open(heap_path, mode="live") as heap:
        address = heap.heap_new_ex(3, True).malloc(50)
    program = """
import sys, mheap
with mheap.open(sys.argv[1], mode="live") as heap:
    main, one = heap.heaps()
    assert one.usable_size(int(sys.argv[2])) == 64
    one.view(int(sys.argv[2]), 5)[:] = b"hello"
    heap.heap_new_ex(5, True).malloc(10)
"""
    run_python(program, heap_path, address)
    with mheap.open(heap_path, mode="live") as heap:
        assert [h.tag for h in heap.heaps()] == [0, 3, 5]
        assert bytes(heap.heaps()[1].view(address, 5)) == b"hello"


def test_heaps_pickle_as_their_main_heap_and_number(heap_path: Path) -> None:
    with mheap.open(heap_path, mode="live") as heap:
        block = heap.heap_new_ex(3, True).malloc(10)
        heap.heap_new_ex(4, True)
    with mheap.open(heap_path, mode="readonly") as heap:
        both, second = pickle.dumps(heap.heaps()[1:]), pickle.dumps(heap.heaps()[2])
    one, two = pickle.loads(both)
    assert one.main is two.main
    assert (one.tag, two.tag, one.usable_size(block)) == (3, 4, 16)
    one.main.close()
    with mheap.open(heap_path, mode="live") as heap:
        heap.heaps()[2].destroy()
    with pytest.warns(ResourceWarning), pytest.raises(mheap.NotFound, match="heap 3"):
        pickle.loads(second)
    gc.collect()


def test_what_cannot_be_pickled(anonymous: mheap.Heap) -> None:
    for one in (anonymous.heap_new_ex(1, True), mheap.heap_new_ex(1, True)):
        with pytest.raises(TypeError, match="cannot pickle this heap"):
            pickle.dumps(one)
        assert copy.copy(one) is one
        one.destroy()


# ---- forks ----


def test_a_child_finds_the_heap_again_once_the_parent_is_done(heap_path: Path) -> None:
    with mheap.open(heap_path, mode="live") as heap:
        one, gone = heap.heap_new_ex(3, True), heap.heap_new_ex(4, True)
        number, block = gone.number, one.malloc(10)
    heap = mheap.open(heap_path, mode="readonly")
    _, one, gone = heap.heaps()

    def body() -> None:
        assert "inherited over a fork" in repr(one)
        assert one.usable_size(block) == 16
        assert "inherited" not in repr(one)
        assert heap.heaps() == (heap, one, gone)
        with pytest.raises(mheap.ReadOnlyHeap):
            one.destroy()
        assert not one.closed

    in_child(body)
    heap.close()
    heap = mheap.open(heap_path, mode="live")
    _, one, gone = heap.heaps()

    def busy() -> None:
        for call in (lambda: one.malloc(1), one.heaps, one.destroy):
            with pytest.raises(mheap.HeapBusy, match="inherited over a fork"):
                call()
        assert not one.closed
        one.close()
        heap.close()
        assert gone.closed

    in_child(busy)
    assert gone.number == number
    heap.close()


def test_a_child_is_told_when_the_heap_is_gone(heap_path: Path, run_python: Any) -> None:
    with mheap.open(heap_path, mode="live") as heap:
        heap.heap_new_ex(3, True)
    heap = mheap.open(heap_path, mode="readonly")
    one = heap.heaps()[1]
    program = "import sys, mheap; h = mheap.open(sys.argv[1], mode='live'); h.heaps()[1].destroy(); h.close()"

    def ended() -> None:
        run_python(program, heap_path)
        with pytest.raises(mheap.NotFound, match="no longer in the file"):
            one.usable_size(0)

    in_child(ended, first=heap.close)


def test_views_of_another_heap_keep_the_child_from_attaching_anew(heap_path: Path) -> None:
    with mheap.open(heap_path, mode="live") as heap:
        block = heap.heap_new_ex(3, True).malloc(10)
    heap = mheap.open(heap_path, mode="readonly")
    view = heap.heaps()[1].view(block, 10)

    def body() -> None:
        with pytest.raises(mheap.ForkedHandle):
            heap.usable_size(block)
        view.release()
        assert heap.heaps()[1].usable_size(block) == 16

    in_child(body)
    view.release()
    heap.close()


# ---- threads ----


@pytest.mark.parametrize("ends", ["destroy", "delete"])
def test_ending_waits_for_calls_of_other_threads(heap: mheap.Heap, ends: str) -> None:
    one = heap.heap_new_ex(1, True)
    inside, may_go, order = threading.Event(), threading.Event(), []

    def progress(done: int, total: int) -> None:
        inside.set()
        may_go.wait(30)

    def check() -> None:
        one.check(progress=progress)
        order.append("checked")

    def end() -> None:
        getattr(one, ends)()
        order.append("ended")

    threads = [threading.Thread(target=check), threading.Thread(target=end)]
    threads[0].start()
    assert inside.wait(30)
    threads[1].start()
    while not one.closed:
        pass
    may_go.set()
    for thread in threads:
        thread.join(30)
    assert order == ["checked", "ended"]
    assert len(heap.heaps()) == 1


def test_the_main_heap_waits_for_calls_on_the_others(heap: mheap.Heap) -> None:
    one = heap.heap_new_ex(1, True)
    inside, may_go, order = threading.Event(), threading.Event(), []

    def progress(done: int, total: int) -> None:
        inside.set()
        may_go.wait(30)

    def check() -> None:
        one.check(progress=progress)
        order.append("checked")

    thread = threading.Thread(target=check)
    thread.start()
    assert inside.wait(30)

    def close() -> None:
        heap.close()
        order.append("closed")

    closer = threading.Thread(target=close)
    closer.start()
    while not heap.closed:
        pass
    with pytest.raises(mheap.ClosedHeap):
        one.malloc(1)
    may_go.set()
    thread.join(30)
    closer.join(30)
    assert order == ["checked", "closed"]


def test_ending_from_within_a_call_is_refused(heap: mheap.Heap) -> None:
    one = heap.heap_new_ex(1, True)
    for call in (one.destroy, one.delete, heap.close):

        def progress(done: int, total: int, call: Callable[[], None] = call) -> None:
            with pytest.raises(mheap.HeapBusy):
                call()

        assert one.check(progress=progress)
    one.destroy()


def test_many_threads_make_fill_and_end(heap: mheap.Heap) -> None:
    failures: list[BaseException] = []

    def work(tag: int) -> None:
        try:
            for turn in range(20):
                one = heap.heap_new_ex(tag, True)
                blocks = [one.malloc(size) for size in (16, 200, 70_000) for _ in range(20)]
                assert one in heap.heaps()
                one.destroy() if turn % 2 else one.delete()
                if turn % 2 == 0:
                    for block in blocks:
                        heap.free(block)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(tag,)) for tag in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert failures == []
    assert (used(heap), heap.heaps()) == (0, (heap,))
    assert heap.check()


# ---- memory ----


def test_a_heap_in_memory_has_the_default_heap_as_its_main_one() -> None:
    one = mheap.heap_new_ex(5, True)
    assert (one.tag, one.path, one.arena, one.main.path) == (5, None, None, None)
    assert "the default heap, heap" in repr(one)
    block = one.malloc(10)
    one.delete()
    mheap.free(None, block)
    one = mheap.heap_new_ex(5, True)
    main = one.main
    assert one in main.heaps()
    one.destroy()
    block = main.malloc(10)
    mheap.free(None, block)
    for call in (main.detach, lambda: mheap.detach(main)):
        with pytest.raises(mheap.InvalidArgument, match="default heap"):
            call()
    main.close()
    assert not main.closed


def test_guards_of_the_default_heap_s_object_are_the_default_heap_s(run_python: Any) -> None:
    program = """
import mheap
one = mheap.heap_new_ex(5, True)
main = one.main
found = []
mheap.mmcheck(None, lambda md, block, status: found.append(status), force=True)
block = main.malloc(20)
main.view(block, 21)[20] = 1
main.free(block)
assert found == ["tail"], found
"""
    run_python(program)


def test_handles_that_are_open_at_exit_are_quiet(heap_path: Path, run_python: Any) -> None:
    program = """
import sys, mheap
from mheap import arenas
heap = mheap.open(sys.argv[1], mode="live")
one = heap.heap_new_ex(5, True)
one.mmcheck(lambda *found: one)
one.mmtrace(sys.argv[1] + ".trace")
two = mheap.heap_new_ex(6, True)
two.mmtrace(sys.argv[1] + ".trace2")
lent = arenas.manage_os_memory(bytearray(1 << 20))
three = mheap.heap_new_in_arena(lent)
blocks = [h.malloc(10) for h in (heap, one, two, three)]
view = three.view(blocks[3], 10)
"""
    done = run_python(program, heap_path)
    assert done.stderr == ""
    with mheap.open(heap_path, mode="readonly") as heap:
        assert (heap.info().state, used(heap)) == ("clean", 2)


def test_anonymous_regions_have_heaps_too(anonymous: mheap.Heap) -> None:
    arena = arenas.reserve_os_memory(4 << 20, md=anonymous)
    one = anonymous.heap_new_ex(1, True, arena)
    assert (one.main, one.arena, arena.heap, arena.stored) == (anonymous, arena, anonymous, False)
    one.malloc(10)
    one.destroy()
    assert used(anonymous) == 0
