"""What a program registers, small blocks, threads, and what a process asks beside memory."""

from __future__ import annotations

import errno
import json
import mmap
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mheap


@pytest.fixture
def heap() -> Any:
    with mheap.attach(-1) as heap:
        yield heap


@pytest.fixture(autouse=True)
def nothing_stays_registered() -> Any:
    yield
    mheap.register_output(None)
    mheap.register_error(None)
    mheap.register_deferred_free(None)


# ---- small blocks


def test_small_blocks_are_blocks(heap: mheap.Heap) -> None:
    for md in (None, heap):
        block = mheap.malloc_small(100, md)
        zeroed = mheap.zalloc_small(mheap.SMALL_SIZE_MAX, md=md)
        assert bytes(mheap.view(md, zeroed, mheap.SMALL_SIZE_MAX)) == bytes(mheap.SMALL_SIZE_MAX)
        assert mheap.usable_size(md, block) == mheap.good_size(100)
        mheap.free(md, block)
        mheap.free(md, zeroed)


def test_a_small_block_is_small(heap: mheap.Heap) -> None:
    for call in (mheap.malloc_small, mheap.zalloc_small):
        with pytest.raises(mheap.InvalidArgument, match="1025 bytes are more than SMALL_SIZE_MAX"):
            call(1025, heap)
    with pytest.raises(mheap.InvalidArgument):
        mheap.malloc_small(-1)


def test_usable_size_needs_no_heap(heap: mheap.Heap) -> None:
    block = heap.malloc(100)
    assert mheap.usable_size(block) == heap.usable_size(block)
    assert mheap.usable_size(None) == 0
    with pytest.raises(mheap.InvalidPointer):
        mheap.usable_size(block + 1)
    heap.free(block)
    with pytest.raises(mheap.DoubleFree):
        mheap.usable_size(block)


# ---- addresses


def test_addresses_are_known_for_what_they_are(heap: mheap.Heap) -> None:
    block = heap.malloc(100)
    assert mheap.is_in_heap_region(block)
    assert mheap.is_in_heap_region(block + 50)
    assert not mheap.is_in_heap_region(0x1000)
    assert not mheap.is_in_heap_region(None)
    assert mheap.heap_of(block) is heap
    with pytest.raises(mheap.InvalidPointer):
        mheap.heap_of(0x1000)


def test_the_default_heaps_blocks_have_a_heap_too() -> None:
    block = mheap.malloc(None, 100)
    found = mheap.heap_of(block)
    assert found.usable_size(block) == mheap.usable_size(None, block)
    mheap.free(None, block)


# ---- collecting, threads


def test_collect_takes_any_heap(heap: mheap.Heap) -> None:
    blocks = [heap.malloc(3 << 20) for _ in range(20)]
    for block in blocks:
        heap.free(block)
    mheap.collect(force=True, md=heap)
    assert heap.stats().bytes_total < 8 << 20
    mheap.collect()
    mheap.collect(True)


def test_a_thread_may_say_when_it_begins_and_ends(heap: mheap.Heap) -> None:
    blocks: list[int] = []

    def work() -> None:
        mheap.thread_init()
        blocks.extend(heap.malloc(64) for _ in range(100))
        mheap.thread_done()
        blocks.append(heap.malloc(64))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(set(blocks)) == 101
    for block in blocks:
        heap.free(block)


# ---- statistics


def test_statistics_count_what_was(heap: mheap.Heap) -> None:
    blocks = [heap.malloc(100) for _ in range(1000)]
    large = heap.malloc(300_000)
    for block in [*blocks, large]:
        heap.free(block)
    found = mheap.stats(heap)
    row = next(row for row in found.classes if row.block_size == mheap.good_size(100))
    assert (row.used, row.total) == (0, 1000)
    assert row.peak >= 1000
    assert row.total_bytes == 1000 * row.block_size
    assert (found.spans.used, found.spans.peak, found.spans.total) == (0, 1, 1)
    assert found == heap.stats()
    mheap.stats_reset(heap)
    row = next(row for row in mheap.stats(heap).classes if row.block_size == mheap.good_size(100))
    assert row.total == 0
    heap.malloc(100)
    assert mheap.stats().bytes_total > 0


def test_statistics_are_printed_to_whoever_asks(heap: mheap.Heap) -> None:
    heap.malloc(100)
    pieces: list[str] = []
    mheap.stats_print_out(lambda text, arg: pieces.append(arg + text), "", heap)
    table = "".join(pieces)
    assert str(mheap.good_size(100)) in table
    assert table.endswith("\n")
    lines: list[str] = []
    mheap.register_output(lambda text, arg: lines.append(text))
    mheap.stats_print(heap)
    assert "".join(lines) == table
    lines.clear()
    mheap.stats_print_out(md=heap)
    assert "".join(lines) == table
    with pytest.raises(ZeroDivisionError):
        mheap.stats_print_out(lambda text, arg: 1 / 0, md=heap)
    with pytest.raises(TypeError, match="out must be callable or None, not int"):
        mheap.stats_print_out(3)  # type: ignore[arg-type]


def test_statistics_are_json_too(heap: mheap.Heap) -> None:
    heap.malloc(100)
    found = json.loads(mheap.stats_json(heap))
    assert found["chunks_used"] == heap.stats().chunks_used
    assert json.loads(mheap.stats_json())["bytes_total"] > 0


def test_a_heap_stats_becomes_json_by_itself(heap: mheap.Heap) -> None:
    heap.malloc(100)
    stats = heap.stats()
    plain = json.loads(stats.json())
    assert plain["chunks_used"] == stats.chunks_used
    assert [row for row in plain["classes"] if row["used"]] == [
        {name: getattr(row, name) for name in type(row).__match_args__} for row in stats.classes if row.used
    ]
    assert plain["spans"]["peak"] == 0
    assert plain["pages"]["asked"] == stats.pages.asked


def test_what_an_output_function_raises_ends_the_printing(heap: mheap.Heap) -> None:
    calls: list[str] = []

    def fail(text: str, arg: object) -> None:
        calls.append(text)
        raise KeyError(arg)

    with pytest.raises(KeyError, match="17"):
        mheap.stats_print_out(fail, 17, heap)
    heap.malloc(1)
    with pytest.raises(KeyError):
        mheap.thread_stats_print_out(fail)
    assert len(calls) == 2
    for call in (mheap.stats_print_out, mheap.thread_stats_print_out):
        with pytest.raises(TypeError, match="out must be callable or None, not int"):
            call(5)  # type: ignore[arg-type]


def test_an_output_function_may_use_the_heap(heap: mheap.Heap) -> None:
    mheap.stats_print_out(lambda text, arg: heap.free(heap.malloc(50)), md=heap)
    with pytest.raises(mheap.HeapBusy):
        mheap.stats_print_out(lambda text, arg: heap.detach(), md=heap)


def test_a_closed_heap_has_no_statistics() -> None:
    with mheap.attach(-1) as heap:
        pass
    for call in (mheap.stats, mheap.stats_print, mheap.stats_reset):
        with pytest.raises(mheap.ClosedHeap):
            call(heap)
    with pytest.raises(TypeError):
        mheap.stats(5)  # type: ignore[arg-type]


def test_a_thread_has_counts_of_its_own(heap: mheap.Heap) -> None:
    pieces: list[str] = []

    def work() -> None:
        for _ in range(777):
            heap.malloc(3000)
        mheap.thread_stats_print_out(lambda text, arg: pieces.append(text))
        mheap.stats_merge()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert "777" in "".join(pieces)


# ---- output and errors


def test_errors_reach_the_registered_function(heap: mheap.Heap) -> None:
    seen: list[tuple[int, object]] = []
    lines: list[str] = []
    mheap.register_error(lambda number, arg: seen.append((number, arg)), "mine")
    mheap.register_output(lambda text, arg: lines.append(f"{arg}{text}"), "> ")
    block = heap.malloc(64)
    heap.free(block)
    for call, wanted in (
        (lambda: heap.free(block), errno.EAGAIN),
        (lambda: heap.free(0x1000), errno.EINVAL),
        (lambda: heap.malloc(1 << 60), errno.EOVERFLOW),
        (lambda: heap.calloc(1 << 62, 8), errno.EOVERFLOW),
        (lambda: heap.malloc(1 << 40), errno.ENOMEM),
    ):
        seen.clear()
        with pytest.raises(mheap.MheapError):
            call()
        assert seen == [(wanted, "mine")]
    assert lines
    assert all(line.startswith("> ") for line in lines)
    mheap.register_error(None)
    with pytest.raises(mheap.DoubleFree):
        heap.free(block)
    assert len(seen) == 1


def test_what_a_registered_function_raises_goes_where_nobody_waits(
    heap: mheap.Heap, monkeypatch: pytest.MonkeyPatch
) -> None:
    unraisable: list[Any] = []
    monkeypatch.setattr("sys.unraisablehook", lambda args: unraisable.append(args.exc_value))
    mheap.register_error(lambda number, arg: 1 / 0)
    with pytest.raises(mheap.InvalidPointer):
        heap.free(0x1000)
    assert [type(value) for value in unraisable] == [ZeroDivisionError]


def test_only_functions_are_registered() -> None:
    for register in (mheap.register_output, mheap.register_error, mheap.register_deferred_free):
        with pytest.raises(TypeError, match="must be callable or None, not int"):
            register(3)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            register()  # type: ignore[call-arg]


# ---- deferred freeing


def test_deferred_freeing_is_called_every_so_many_allocations(heap: mheap.Heap) -> None:
    calls: list[tuple[bool, int, object]] = []
    mheap.register_deferred_free(lambda force, beat, arg: calls.append((force, beat, arg)), "mine")
    for _ in range(3):
        calls.clear()
        for _ in range(1024):
            heap.free(heap.malloc(64))
        assert len(calls) == 4
        assert all(not force and arg == "mine" for force, _, arg in calls)
        beats = [beat for _, beat, _ in calls]
        assert beats == list(range(beats[0], beats[0] + 4))
    calls.clear()
    mheap.collect(force=True, md=heap)
    assert [force for force, _, _ in calls] == [True]
    mheap.register_deferred_free(None)
    for _ in range(1024):
        heap.free(heap.malloc(64))
    assert len(calls) == 1


def test_deferred_freeing_may_allocate_and_free(heap: mheap.Heap) -> None:
    put_off = [heap.malloc(64) for _ in range(100)]
    calls = 0

    def free_some(force: bool, beat: int, arg: object) -> None:
        nonlocal calls
        calls += 1
        heap.free(heap.malloc(1000))
        for _ in range(len(put_off) if force else 3):
            if put_off:
                heap.free(put_off.pop())

    mheap.register_deferred_free(free_some)
    for _ in range(512):
        heap.malloc(16)
    assert calls == 2
    assert len(put_off) == 94
    mheap.collect(True, heap)
    assert not put_off


# ---- the process


def test_the_process_is_described_by_the_kernel() -> None:
    before = mheap.process_info()
    ballast = mmap.mmap(-1, 50 << 20)  # not from what an earlier test freed
    for at in range(0, len(ballast), 4096):
        ballast[at] = 1
    after = mheap.process_info()
    assert after.elapsed_ms >= before.elapsed_ms > 0
    assert after.peak_rss >= after.current_rss >= before.current_rss + (40 << 20)
    assert after.peak_commit >= after.current_commit
    assert after.user_ms + after.system_ms <= after.elapsed_ms * (os.cpu_count() or 1) * 2
    assert after.page_faults >= before.page_faults
    assert repr(after).startswith("mheap.ProcessInfo(elapsed_ms=")


# ---- what a registered function, in the middle of a call, may not do


def call_deferred(heap: mheap.Heap, fn: Callable[[], object]) -> list[str]:
    """What fn raises when it is called in the middle of an allocation; which goes on."""
    said = []

    def deferred(*_: object) -> None:
        try:
            fn()
        except (mheap.HeapBusy, BufferError) as error:
            said.append(str(error))

    mheap.register_deferred_free(deferred)
    blocks = [heap.malloc(100) for _ in range(300)]
    mheap.register_deferred_free(None)
    for block in blocks:
        heap.free(block)
    return said


def test_a_registered_function_ends_no_heap(heap: mheap.Heap, heap_path: Path) -> None:
    other = heap.heap_new_ex(1, True)
    kind = mheap.kinds.Kind("k", md=heap)
    subproc = mheap.subprocs.new("s")
    subproc.heap.malloc(10)
    for end in (heap.close, other.destroy, other.delete, kind.destroy, subproc.destroy):
        said = call_deferred(heap, end)
        assert len(said) == 1, end
        assert "middle of a call" in said[0]
    with mheap.open(heap_path, mode="atomic") as atomic:
        assert len(call_deferred(atomic, atomic.rollback)) == 1
        atomic.commit()
    assert heap.check()
    kind.destroy()
    other.destroy()
    subproc.destroy()


def test_but_one_that_it_opened_it_closes(heap: mheap.Heap, tmp_path: Path) -> None:
    def note() -> None:
        with mheap.open(tmp_path / "log.heap") as log:
            log.root["calls"] = log.root.get("calls", 0) + 1

    assert call_deferred(heap, note) == []
    with mheap.open(tmp_path / "log.heap") as log:
        assert log.root["calls"] == 1


def test_nor_one_that_it_opened_in_the_middle_of_a_call_on_that(heap: mheap.Heap, heap_path: Path) -> None:
    said = []

    def try_to_close(number: int, opened: mheap.Heap) -> None:
        try:
            opened.close()
        except mheap.HeapBusy as error:
            said.append(str(error))

    def within() -> None:
        opened = mheap.open(heap_path.with_name("other.heap"), mode="live")
        block = opened.malloc(100)
        opened.free(block)
        mheap.register_error(try_to_close, opened)
        with pytest.raises(mheap.DoubleFree):
            opened.free(block)
        mheap.register_error(None)
        assert not opened.closed
        opened.close()

    assert call_deferred(heap, within) == []
    assert len(said) == 1


def test_nor_does_another_thread_before_it_has_returned(heap_path: Path) -> None:
    heap = mheap.open(heap_path, mode="live")
    inside, go_on = threading.Event(), threading.Event()

    def deferred(*_: object) -> None:
        inside.set()
        assert go_on.wait(60)

    def allocate() -> None:
        for _ in range(256):
            heap.malloc(100)

    mheap.register_deferred_free(deferred)
    allocating, closing = threading.Thread(target=allocate), threading.Thread(target=heap.close)
    allocating.start()
    assert inside.wait(60)
    closing.start()
    closing.join(0.2)
    assert closing.is_alive()
    go_on.set()
    closing.join(60)
    allocating.join(60)
    assert heap.closed
    with mheap.open(heap_path, mode="readonly") as reader:
        assert reader.stats().chunks_used >= 256


@pytest.mark.parametrize("way", ["deferred", "print"])
def test_a_commit_within_a_call_does_not_wait_for_who_waits_for_the_call(way: str, heap_path: Path) -> None:
    heap = mheap.open(heap_path, mode="atomic")
    inside, go_on = threading.Event(), threading.Event()
    refused: list[mheap.HeapBusy] = []

    def within(*_: object) -> None:
        inside.set()
        assert go_on.wait(60)
        try:
            heap.commit()
        except mheap.HeapBusy as error:
            refused.append(error)

    def call() -> None:
        if way == "print":
            mheap.stats_print_out(within, None, heap)
            return
        mheap.register_deferred_free(within)
        for _ in range(256):
            heap.malloc(100)

    calling = threading.Thread(target=call, daemon=True)
    committing = threading.Thread(target=heap.commit, daemon=True)
    heap.malloc(10)
    calling.start()
    assert inside.wait(60)
    committing.start()
    committing.join(0.2)
    assert committing.is_alive()
    go_on.set()
    calling.join(60)
    committing.join(60)
    assert not calling.is_alive()
    assert not committing.is_alive()
    assert "another one is committing" in str(refused[0])
    heap.commit()
    heap.close()


def test_what_an_output_function_prints_does_not_come_back_to_it(capfd: Any) -> None:
    texts = []

    def output(text: str, _: object) -> None:
        texts.append(text)
        mheap.stats_print()

    mheap.register_output(output)
    mheap.stats_print()
    assert "".join(texts).count("spans") == 1
    assert capfd.readouterr().err.count("spans") == len(texts)


def test_printing_within_what_it_is_printed_to_ends(heap: mheap.Heap) -> None:
    def output(_: str, __: object) -> None:
        mheap.stats_print_out(output, None, heap)

    with pytest.raises(RecursionError):
        mheap.stats_print_out(output, None, heap)
    assert heap.check()


@pytest.mark.parametrize("way", ["deferred", "print"])
def test_a_process_ends_though_a_thread_never_returns(
    way: str, run_python: Callable[..., Any], heap_path: Path
) -> None:
    run_python(
        "import sys, threading, mheap\n"
        "way, path = sys.argv[1:]\n"
        "heap, inside = mheap.open(path, mode='live'), threading.Event()\n"
        "def stay(*_):\n"
        "    inside.set()\n"
        "    threading.Event().wait()\n"
        "def deferred():\n"
        "    mheap.register_deferred_free(stay)\n"
        "    for _ in range(300): heap.malloc(10)\n"
        "def printing(): mheap.stats_print_out(stay, None, heap)\n"
        "threading.Thread(target=deferred if way == 'deferred' else printing, daemon=True).start()\n"
        "assert inside.wait(60)\n",
        way,
        heap_path,
    )
    with mheap.open(heap_path, mode="live") as heap:
        assert heap.check()
