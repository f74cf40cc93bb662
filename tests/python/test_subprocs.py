"""Subprocesses from Python: what None means in a thread, what is kept apart, how they end."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

import mheap
from mheap import Heap, arenas, subprocs
from mheap.subprocs import Subproc

Result = TypeVar("Result")


@pytest.fixture
def workers() -> Iterator[Subproc]:
    made = subprocs.new("workers")
    yield made
    if made in subprocs.list():
        made.destroy()


def in_thread(call: Callable[[], Result]) -> Result:
    """What a call gives in a thread of its own; what it raises is raised here."""
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


# ---- which one ----


def test_the_main_one_is_there() -> None:
    main = subprocs.main()
    assert (main.id, main.name, main.threads) == (1, "main", 0)
    assert subprocs.current() == main
    assert subprocs.list()[0] == main
    assert repr(main) == "<mheap.subprocs.Subproc 1 'main'>"


def test_objects_of_one_subprocess_are_equal(workers: Subproc) -> None:
    again = Subproc(workers.id)
    assert again == workers
    assert hash(again) == hash(workers)
    assert len({again, workers}) == 1
    assert workers != subprocs.main()
    assert workers != workers.id
    assert repr(workers) == f"<mheap.subprocs.Subproc {workers.id} 'workers'>"
    nameless = subprocs.new()
    assert nameless.name is None
    assert repr(nameless) == f"<mheap.subprocs.Subproc {nameless.id}>"
    nameless.destroy()


def test_none_is_the_main_heap_of_the_threads_subprocess(workers: Subproc) -> None:
    before = mheap.malloc(None, 100)
    with workers as entered:
        assert entered is workers
        assert subprocs.current() == workers
        assert workers.threads == 1
        inside = mheap.malloc(None, 100)
        assert mheap.usable_size(None, inside) == 112
        assert in_thread(subprocs.current) == subprocs.main()
    assert subprocs.current() == subprocs.main()
    assert workers.threads == 0
    assert workers.heap.usable_size(inside) == 112
    workers.heap.free(inside)
    mheap.free(None, before)


def test_with_goes_back_to_where_the_thread_was(workers: Subproc) -> None:
    others = subprocs.new("others")
    with workers:
        with others, others:
            assert subprocs.current() == others
        assert subprocs.current() == workers
    with workers:
        others.add_current_thread()
        workers.destroy()
        subprocs.main().add_current_thread()
    with others:
        pass
    others.destroy()
    assert subprocs.current() == subprocs.main()


def test_with_goes_to_the_main_one_if_that_is_gone(workers: Subproc) -> None:
    with workers:
        with subprocs.main():
            workers.destroy()
        assert subprocs.current() == subprocs.main()


def test_an_id_is_never_used_again(workers: Subproc) -> None:
    gone = subprocs.new()
    gone.destroy()
    assert subprocs.new().id > gone.id
    for call in (gone.destroy, gone.delete, gone.add_current_thread, gone.stats, lambda: gone.heap):
        with pytest.raises(mheap.InvalidArgument, match="there is none of this number"):
            call()
    for list_of in (lambda: gone.arenas, lambda: list(gone), lambda: gone.threads, lambda: Subproc(gone.id)):
        with pytest.raises(mheap.InvalidArgument, match="there is none of this number"):
            list_of()
    with pytest.raises(mheap.InvalidArgument), gone:
        pass


def test_wrong_types_are_refused() -> None:
    with pytest.raises(TypeError):
        subprocs.new(7)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        subprocs.new("name", heap=7)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Subproc("one")  # type: ignore[arg-type]


# ---- isolation ----


def test_a_block_of_another_one_is_refused_by_name(workers: Subproc) -> None:
    with workers:
        block = mheap.malloc(None, 100)
    text = rf"is a block of subprocess {workers.id} \(workers\), not of subprocess 1 \(main\)"
    for call in (
        lambda: mheap.free(None, block),
        lambda: mheap.realloc(None, block, 10),
        lambda: mheap.usable_size(None, block),
    ):
        with pytest.raises(mheap.InvalidPointer, match=text):
            call()


def test_statistics_and_lists_are_its_own(workers: Subproc, heap_path: Path) -> None:
    before = subprocs.main().stats().chunks_used
    with workers:
        for _ in range(50):
            mheap.malloc(None, 1000)
        assert workers.stats().chunks_used == 50
        heap = mheap.open(heap_path, mode="live")
    assert list(workers) == [workers.heap, heap]
    assert subprocs.main().stats().chunks_used == before
    seen: list[tuple[Heap, str]] = []

    def see(heap: Heap, arg: str) -> bool | None:
        seen.append((heap, arg))
        return False if heap is workers.heap and arg == "stop" else None

    assert workers.visit_heaps(see, "all") is True
    assert seen == [(workers.heap, "all"), (heap, "all")]
    assert workers.visit_heaps(see, "stop") is False
    assert len(seen) == 3
    workers.destroy()
    assert heap in subprocs.main()
    assert not heap.closed
    heap.close()


def test_arenas_are_its_own(workers: Subproc) -> None:
    with workers:
        arena = arenas.reserve_os_memory(16 << 20)
        assert workers.arenas == [arena] == arenas.list()
        start, size = arenas.area(arena)
        assert start <= mheap.malloc(None, 100) < start + size
    assert arena not in arenas.list()
    assert not start <= mheap.malloc(None, 100) < start + size
    workers.destroy()
    with pytest.raises(mheap.InvalidArgument):
        arenas.area(arena)


def test_lent_memory_comes_back_with_the_end(workers: Subproc) -> None:
    memory = bytearray(1 << 20)
    with workers:
        arenas.manage_os_memory(memory)
    with pytest.raises(BufferError):
        memory.append(0)
    workers.destroy()
    memory.append(0)


def test_checking_is_its_own(workers: Subproc) -> None:
    found: list[tuple[Heap | None, int, str]] = []
    with workers:
        mheap.mmcheck(None, lambda *args: found.append(args))
        block = mheap.malloc(None, 100)
        assert mheap.mprobe(None, block) == "ok"
        mheap.free(None, block)
        with pytest.raises(mheap.DoubleFree):
            mheap.free(None, block)
    assert found == [(None, block, "free")]
    assert mheap.mprobe(None, mheap.malloc(None, 100)) == "disabled"


def test_a_trace_is_its_own(workers: Subproc, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    with workers:
        mheap.mmtrace(None, trace)
        mheap.malloc(None, 77)
    mheap.malloc(None, 79)
    workers.destroy()
    text = trace.read_text()
    assert " 0x4d\n" in text
    assert " 0x4f\n" not in text
    assert text.endswith("= End\n")


# ---- heaps ----


def test_its_main_heap_is_one_object(workers: Subproc) -> None:
    heap = workers.heap
    assert heap is workers.heap
    assert heap.main is heap
    assert heap.number == 0
    assert f"the main heap of subprocess {workers.id} (workers)" in repr(heap)
    with pytest.raises(mheap.InvalidArgument, match="cannot be detached"):
        heap.detach()
    with workers:
        made = mheap.heap_new_ex(0, True)
        assert made.main is heap
    assert made in workers
    address = made.malloc(10)
    workers.destroy()
    assert heap.closed
    assert made.closed
    with pytest.raises(mheap.ClosedHeap):
        made.free(address)
    del heap, made
    gc.collect()


def test_its_main_heap_may_be_a_file(heap_path: Path) -> None:
    with mheap.open(heap_path, mode="live") as heap:
        filed = subprocs.new("filed", heap=heap)
        assert filed.heap is heap
        with filed:
            address = mheap.malloc(None, 100)
            mheap.setkey(None, 5, address)
            with pytest.raises(mheap.InvalidArgument, match=r"main heap of subprocess \d+ \(filed\)"):
                heap.close()
        with pytest.raises(mheap.HeapBusy):
            subprocs.new("again", heap=heap)
        with pytest.raises(mheap.HeapBusy):
            subprocs.new("again", heap=heap.heap_new_ex(0, True))
        filed.delete()
        assert heap.getkey(5) == address


def test_a_file_that_is_a_main_heap_at_exit_is_closed_cleanly(heap_path: Path, run_python: Any) -> None:
    code = (
        "import sys, mheap\n"
        "heap = mheap.open(sys.argv[1], mode='live')\n"
        "filed = mheap.subprocs.new(heap=heap)\n"
        "filed.add_current_thread()\n"
        "mheap.setkey(None, 1, mheap.malloc(None, 10))\n"
    )
    assert run_python(code, heap_path).stderr == ""
    with mheap.open(heap_path, mode="live") as heap:
        assert heap.info().state == "clean"
        assert heap.getkey(1) is not None


# ---- the end ----


def test_the_main_one_stays() -> None:
    for end in (subprocs.main().destroy, subprocs.main().delete):
        with pytest.raises(mheap.InvalidArgument, match="cannot be destroyed"):
            end()


def test_nobody_may_be_in_it(workers: Subproc) -> None:
    with workers:
        for end in (workers.destroy, workers.delete):
            with pytest.raises(mheap.HeapBusy, match="threads are in it"):
                end()


def test_delete_is_refused_while_blocks_are_in_use(workers: Subproc) -> None:
    with workers:
        block = mheap.malloc(None, 10)
    with pytest.raises(mheap.HeapBusy, match="1 blocks in it are in use"):
        workers.delete()
    workers.heap.free(block)
    workers.delete()
    assert workers not in subprocs.list()


def test_views_keep_it(workers: Subproc) -> None:
    address = workers.heap.malloc(100)
    with workers.heap.view(address, 100) as view:
        with pytest.raises(BufferError, match="views of"):
            workers.destroy()
        view[0] = 1
    with workers:
        unnamed = mheap.view(None, address, 100)
    with pytest.raises(BufferError, match="views of"):
        workers.destroy()
    unnamed.release()
    workers.destroy()


def test_a_thread_that_was_joined_is_not_in_it(workers: Subproc) -> None:
    def inside() -> None:
        workers.add_current_thread()
        mheap.malloc(None, 10)

    for _ in range(200):
        in_thread(inside)
        assert workers.threads == 0
    workers.destroy()


def test_threads_come_and_go(workers: Subproc) -> None:
    def work(own: Subproc) -> None:
        for i in range(300):
            with own:
                kept = [mheap.malloc(None, 10 + i % 50) for _ in range(10)]
                for address in kept:
                    mheap.free(None, address)

    both = [workers, subprocs.new("others")]
    threads = [threading.Thread(target=work, args=(both[i % 2],)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in both:
        assert one.stats().chunks_used == 0
    both[1].delete()


def test_a_forked_child_goes_on_in_it(workers: Subproc) -> None:
    with workers:
        block = mheap.malloc(None, 100)
        child = os.fork()
        if child == 0:
            good = subprocs.current() == workers and workers.threads == 1
            mheap.free(None, block)
            os._exit(0 if good and workers.stats().chunks_used == 0 else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert workers.stats().chunks_used == 1


# ---- interpreters ----


# A module of CPython's own, which has had three names.
INTERPRETERS = """
import sys
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters

def create():
    if sys.version_info >= (3, 13):
        return interpreters.create('legacy')
    return interpreters.create(isolated=False)

def run(one, code):
    said = interpreters.run_string(one, code)
    if said is not None:
        raise RuntimeError(said.formatted)
"""


def test_an_interpreter_has_one_of_its_own(run_python: Any) -> None:
    inner = (
        "import mheap\n"
        "from mheap import arenas, subprocs\n"
        "own = subprocs.current()\n"
        "assert own != subprocs.main() and own.name.startswith('interpreter'), own\n"
        "block = mheap.malloc(None, 100)\n"
        "assert own.heap.usable_size(block) == 112 and own.stats().chunks_used == 1\n"
        "arena = arenas.reserve_os_memory(8 << 20)\n"
        "assert arenas.list() == [arena] == own.arenas and subprocs.main().arenas == []\n"
        "assert mheap.heap_new_ex(0, True) in own\n"
        "with subprocs.new('inner') as inner:\n"
        "    assert subprocs.current() == inner and mheap.malloc(None, 10)\n"
        "assert subprocs.current() == own\n"
        "inner.destroy()\n"
        "try: mheap.free(None, OUTER)\n"
        "except mheap.InvalidPointer as error: assert 'subprocess 1 (main)' in str(error), error\n"
        "else: raise AssertionError\n"
        "mheap.free(None, block)\n"
        "mheap.malloc(None, 5)\n"
    )
    code = (
        "import mheap\n"
        "from mheap import subprocs\n"
        "outer = mheap.malloc(None, 10)\n"
        "with subprocs.new('outer') as one:\n"
        "    for i in range(3):\n"
        "        other = create()\n"
        f"        run(other, f'OUTER = {{outer}}\\n' + {inner!r})\n"
        "        assert subprocs.current() == one and len(subprocs.list()) == 3\n"
        "        interpreters.destroy(other)\n"
        "        assert len(subprocs.list()) == 2\n"
        "mheap.free(None, outer)\n"
        "print('ended', subprocs.main().stats().chunks_used)\n"
    )
    assert run_python(INTERPRETERS + code).stdout == "ended 0\n"


# ---- what cannot be done ----


def test_a_subprocess_is_not_pickled(workers: Subproc) -> None:
    with pytest.raises(TypeError, match="the number is this process's"):
        pickle.dumps(workers)
    assert copy.copy(workers) is workers
    assert copy.deepcopy([workers]) == [workers]


def test_only_what_was_entered_is_left(workers: Subproc) -> None:
    with pytest.raises(mheap.InvalidArgument, match="did not enter it last"):
        workers.__exit__(None, None, None)
    other = subprocs.new("other")
    with workers:
        with pytest.raises(mheap.InvalidArgument, match="did not enter it last"):
            other.__exit__(None, None, None)
        assert subprocs.current() == workers
    assert subprocs.current() == subprocs.main()
    other.destroy()


def test_a_name_is_a_str() -> None:
    with pytest.raises(TypeError, match="must be a str or None, not float"):
        subprocs.new(1.5)  # type: ignore[arg-type]
