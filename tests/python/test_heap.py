"""The handle: its life, what it says about itself, what is done with the heap as a whole."""

from __future__ import annotations

import gc
import os
import re
import time
import uuid
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mheap


def test_a_heap_is_a_context_manager(heap_path: Path) -> None:
    with mheap.open(heap_path, mode="live") as heap:
        assert not heap.closed
    assert heap.closed


def test_an_exception_in_the_block_is_not_swallowed(heap_path: Path) -> None:
    with pytest.raises(LookupError), mheap.open(heap_path, mode="live") as heap:
        raise LookupError
    assert heap.closed


@pytest.mark.parametrize("way", ["close", "detach", "function"])
def test_closing_twice_does_nothing(heap_path: Path, way: str) -> None:
    heap = mheap.open(heap_path, mode="live")
    for _ in range(2):
        if way == "function":
            assert mheap.detach(heap) is None  # type: ignore[func-returns-value]
        else:
            assert getattr(heap, way)() is None
        assert heap.closed


def test_the_default_heap_is_not_detached() -> None:
    with pytest.raises(mheap.InvalidArgument, match="default heap"):
        mheap.detach(None)  # type: ignore[arg-type]


def test_every_call_on_a_closed_heap_says_so(heap: mheap.Heap) -> None:
    address = heap.malloc(10)
    heap.close()
    for call in (
        lambda: heap.malloc(1),
        lambda: heap.calloc(1, 1),
        lambda: heap.realloc(address, 1),
        lambda: heap.memalign(16, 1),
        lambda: heap.valloc(1),
        lambda: heap.free(address),
        lambda: heap.free(None),
        lambda: heap.usable_size(address),
        lambda: heap.setkey(0, None),
        lambda: heap.getkey(0),
        lambda: heap.view(address, 1),
        lambda: heap.mmcheck(None),
        lambda: heap.mprobe(address),
        lambda: heap.mmtrace(None),
        heap.mmstats,
        heap.stats,
        heap.info,
        heap.check,
        heap.sync,
        heap.collect,
        heap.errno,
        heap.fileno,
        heap.__enter__,
        lambda: heap.base,
        lambda: heap.size,
        lambda: heap.generation,
        lambda: heap.uuid,
        lambda: heap.roots,
        lambda: heap.root,
        lambda: mheap.malloc(heap, 1),
    ):
        with pytest.raises(mheap.ClosedHeap, match=r"closed: <mheap.Heap .*, closed>") as caught:
            call()
        assert isinstance(caught.value, ValueError)


def test_repr_tells_path_mode_size_and_state(heap: mheap.Heap, heap_path: Path) -> None:
    assert repr(heap) == f"<mheap.Heap '{heap_path}', live, {heap.size} bytes, attached>"
    heap.close()
    assert repr(heap) == f"<mheap.Heap '{heap_path}', live, closed>"
    with mheap.open(heap_path, mode="readonly") as reader:
        assert ", readonly, " in repr(reader)
    with mheap.attach(-1) as anonymous:
        assert repr(anonymous) == f"<mheap.Heap anonymous, live, {anonymous.size} bytes, attached>"


def test_path_and_mode_outlive_the_attachment(heap: mheap.Heap, heap_path: Path) -> None:
    heap.close()
    assert heap.path == str(heap_path)
    assert heap.mode == "live"


def test_info_is_identity_and_geometry(heap: mheap.Heap, heap_path: Path) -> None:
    info = heap.info()
    assert isinstance(info, mheap.HeapInfo)
    assert uuid.UUID(info.uuid).variant == uuid.RFC_4122
    assert info.uuid == heap.uuid
    assert info.version == 1
    assert (info.mode, info.state) == ("live", "clean")
    assert info.size == heap.size
    assert info.file_size == heap_path.stat().st_size
    assert info.disk_size == heap_path.stat().st_blocks * 512
    assert info.max_size >= info.size
    assert info.base == heap.base
    assert info.generation == heap.generation == 0
    assert abs(info.created_ns / 1e9 - time.time()) < 3600
    assert info.has_root is False
    assert info.has_journal is False
    assert re.fullmatch(r"mheap\.HeapInfo\(uuid='.*has_journal=False\)", repr(info))


def test_the_address_is_stored_once_one_was_handed_out(heap: mheap.Heap) -> None:
    assert heap.info().stored_base == 0
    heap.malloc(1)
    assert heap.info().stored_base == heap.base


def test_size_grows_with_what_is_in_it(heap: mheap.Heap, heap_path: Path) -> None:
    before = heap.size
    heap.malloc(10 << 20)
    assert heap.size >= before + (10 << 20)
    assert heap_path.stat().st_size >= heap.size


def test_the_repr_of_stats_shows_the_classes_that_are_used(heap: mheap.Heap) -> None:
    heap.malloc(100)
    stats = heap.stats()
    [used] = [row for row in stats.classes if row.runs]
    assert f"segments_free=0, classes=({used!r}, ...), spans={stats.spans!r}, " in repr(stats)
    assert repr(stats).startswith(f"mheap.HeapStats(bytes_total={heap.size}, chunks_used=1, ")
    assert repr(mheap.HeapStats([None] * 12)).count("None") == 12
    assert "classes=()" in repr(mheap.HeapStats([*stats[:8], (), *stats[9:]]))
    assert "classes=(1)" in repr(mheap.HeapStats([*stats[:8], (1,), 2, 3, 4]))


def test_stats_count_blocks_by_class(heap: mheap.Heap) -> None:
    for _ in range(10):
        heap.malloc(100)
    heap.malloc(100_000)
    heap.malloc(10 << 20)
    stats = heap.stats()
    assert isinstance(stats, mheap.HeapStats)
    assert (stats.chunks_used, stats.segments_free) == (12, 0)
    assert stats.bytes_total == heap.size
    [used] = [row for row in stats.classes if row.used]
    assert isinstance(used, mheap.ClassStats)
    assert used.block_size == mheap.good_size(100)
    assert (used.runs, used.used, used.used_bytes) == (1, 10, 10 * used.block_size)
    assert used.blocks >= 10
    assert (stats.spans.used, stats.huge.used) == (1, 1)
    assert stats.huge.used_bytes == mheap.good_size(10 << 20)
    assert stats.bytes_used == used.used_bytes + stats.spans.used_bytes + stats.huge.used_bytes


def test_mmstats_are_the_totals(heap: mheap.Heap) -> None:
    heap.malloc(50)
    counts = heap.mmstats()
    assert isinstance(counts, mheap.MmStats)
    assert tuple(counts) == tuple(heap.stats())[:5]
    assert mheap.mmstats(heap) == counts
    assert counts.bytes_used == mheap.good_size(50)


def test_collect_gives_space_back_to_the_file(heap: mheap.Heap, heap_path: Path) -> None:
    blocks = [heap.malloc(1 << 20) for _ in range(20)]
    grown = heap_path.stat().st_size
    for block in blocks:
        heap.free(block)
    assert heap.collect().done
    heap.collect(force=True)
    heap.collect(True)
    assert heap_path.stat().st_size < grown
    with pytest.raises(TypeError, match="unexpected keyword argument 'hard'"):
        heap.collect(hard=True)  # type: ignore[call-arg]


def test_sync_returns_nothing(heap: mheap.Heap) -> None:
    heap.malloc(10)
    assert heap.sync() is None  # type: ignore[func-returns-value]


def test_check_of_a_sound_heap(heap: mheap.Heap) -> None:
    for size in (10, 1000, 100_000, 10 << 20):
        heap.malloc(size)
    findings: list[mheap.Finding] = []
    steps: list[tuple[int, int]] = []
    assert heap.check(findings.append, lambda done, total: steps.append((done, total)))
    assert [finding for finding in findings if finding.severity] == []
    assert steps
    assert steps == sorted(steps)
    assert heap.check()


def test_check_reports_what_is_broken_and_where(heap: mheap.Heap, heap_path: Path) -> None:
    address = heap.malloc(10)
    offset = address - heap.base
    heap.setkey(3, address)
    heap.close()
    content = bytearray(heap_path.read_bytes())
    place = content.find(offset.to_bytes(8, "little"))
    content[place : place + 8] = (2**50).to_bytes(8, "little")
    heap_path.write_bytes(content)
    findings: list[mheap.Finding] = []
    with mheap.open(heap_path, mode="readonly") as reader:
        assert not reader.check(report=findings.append)
        with pytest.raises(mheap.CorruptHeap):
            reader.getkey(3)
        assert reader.getkey(4) is None
    broken = [finding for finding in findings if finding.severity == 1]
    assert place in [finding.offset for finding in broken]
    assert all(isinstance(finding, mheap.Finding) and "\n" not in finding.text for finding in findings)


def test_what_a_check_calls_may_raise(heap: mheap.Heap) -> None:
    def fail(done: int, total: int) -> None:
        raise LookupError("from progress")

    with pytest.raises(LookupError, match="from progress"):
        heap.check(None, fail)
    assert heap.check()


def test_a_check_cannot_be_cut_off_by_closing(heap: mheap.Heap) -> None:
    def close(done: int, total: int) -> None:
        heap.close()

    with pytest.raises(mheap.HeapBusy, match="in the middle of a call"):
        heap.check(progress=close)
    assert not heap.closed


def test_errno_of_the_last_call(heap: mheap.Heap) -> None:
    assert heap.errno() == mheap.errno(heap) == 0
    with pytest.raises(mheap.InvalidPointer):
        heap.free(1)
    assert heap.errno() == 0
    assert mheap.errno(None) == 0


# ---- the end ----


def test_an_unclosed_heap_warns_and_is_detached(heap_path: Path) -> None:
    def leave_open() -> None:
        heap = mheap.open(heap_path, mode="live")
        heap.setkey(0, heap.malloc(10))

    with pytest.warns(ResourceWarning, match=r"unclosed heap <mheap\.Heap '.*test\.heap', live"):
        leave_open()
    with mheap.open(heap_path, mode="live") as again:
        assert again.info().state == "clean"


def test_an_unclosed_heap_in_a_cycle(heap_path: Path) -> None:
    def leave_open() -> weakref.ref[mheap.Heap]:
        heap = mheap.open(heap_path, mode="live")
        heap.mmcheck(lambda md, address, status: heap)
        return weakref.ref(heap)

    there = leave_open()
    assert there() is not None
    with pytest.warns(ResourceWarning, match="unclosed"):
        gc.collect()
    assert there() is None
    mheap.open(heap_path, mode="live").close()


def test_weak_references(heap_path: Path) -> None:
    heap = mheap.open(heap_path, mode="live")
    there = weakref.ref(heap)
    assert there() is heap
    heap.close()
    del heap
    gc.collect()
    assert there() is None


# ---- a file that was cut short beneath ----


def cut(path: Path) -> mheap.Heap:
    heap = mheap.open(path, mode="live")
    heap.root["a"] = list(range(100_000))
    os.truncate(path, 65536)
    return heap


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


WAYS: dict[str, Callable[[mheap.Heap], None]] = {
    "close": mheap.Heap.close,
    "detach": mheap.Heap.detach,
    "function": mheap.detach,
    "with": lambda heap: heap.__exit__(None, None, None),
}


def test_closing_writes_nothing_into_a_file_that_was_cut_short(heap_path: Path) -> None:
    with mheap.open(heap_path) as heap:
        heap.root["a"] = list(range(100_000))
    heap = mheap.open(heap_path)
    heap.root["b"] = 1
    heap.commit()
    os.truncate(heap_path, 200_000)
    with pytest.raises(mheap.CorruptHeap, match="cut short"):
        heap.close()
    assert heap.closed
    assert heap_path.stat().st_size == 200_000
    with pytest.raises(mheap.CorruptHeap, match="the file was cut short"):
        mheap.open(heap_path)


@pytest.mark.parametrize("way", WAYS)
def test_closing_a_heap_that_was_cut_short_says_so_once(heap_path: Path, way: str) -> None:
    before = descriptors()
    heap = cut(heap_path)
    size = heap_path.stat().st_size
    with pytest.raises(mheap.CorruptHeap, match="cut short") as caught:
        WAYS[way](heap)
    assert str(heap_path) in str(caught.value)
    assert caught.value.filename == str(heap_path)
    assert caught.value.found == size
    assert caught.value.expected is not None
    assert caught.value.expected > size
    assert heap.closed
    assert descriptors() == before
    heap.close()
    with pytest.raises(mheap.ClosedHeap):
        heap.malloc(1)
    assert heap_path.stat().st_size == size
    os.truncate(heap_path, 0)
    mheap.open(heap_path, mode="live").close()  # nobody holds the lock


def test_views_keep_a_heap_that_was_cut_short(heap_path: Path) -> None:
    heap = mheap.open(heap_path, mode="live")
    view = heap.view(heap.malloc(1_000_000), 1)
    os.truncate(heap_path, 65536)
    with pytest.raises(BufferError):
        heap.close()
    assert not heap.closed
    view.release()
    with pytest.raises(mheap.CorruptHeap):
        heap.close()
    assert heap.closed


def test_what_checks_and_traces_a_heap_goes_with_it(heap_path: Path, tmp_path: Path) -> None:
    class OnError:
        def __call__(self, *_: object) -> None: ...

    on_error = OnError()
    there = weakref.ref(on_error)
    before = descriptors()
    heap = mheap.open(heap_path, mode="live")
    heap.mmcheck(on_error)
    heap.mmtrace(tmp_path / "trace")
    heap.malloc(1_000_000)
    os.truncate(heap_path, 65536)
    del on_error
    with pytest.raises(mheap.CorruptHeap):
        heap.close()
    assert there() is None
    assert descriptors() == before
    assert (tmp_path / "trace").read_text().endswith("= End\n")


def test_a_cut_heap_that_is_forgotten_says_so_once(heap_path: Path, run_python: Any) -> None:
    code = (
        "import mheap, os, sys, warnings\n"
        "warnings.simplefilter('ignore')\n"
        "heap = mheap.open(sys.argv[1], mode='live')\n"
        "heap.malloc(1_000_000)\n"
        "os.truncate(sys.argv[1], 65536)\n"
        "del heap\n"
    )
    said = run_python(code, heap_path).stderr
    assert said.startswith("Exception ignored in: <mheap.Heap ")
    assert said.count("CorruptHeap") == 1


def test_an_exit_says_once_what_it_cannot_detach(heap_path: Path, run_python: Any) -> None:
    code = (
        "import mheap, os, sys\n"
        "heap = mheap.open(sys.argv[1], mode='live')\n"
        "heap.root['a'] = list(range(100_000))\n"
        "os.truncate(sys.argv[1], 0)\n"
        "try: heap.root['a'][-1]\n"
        "except mheap.CorruptHeap: print(repr(heap).rpartition(' ')[2])\n"
    )
    done = run_python(code, heap_path)
    assert done.stdout == "damaged>\n"
    cut, ignored, error = done.stderr.splitlines()
    assert "cut short" in cut
    assert ignored.startswith("Exception ignored in: <mheap.Heap ")
    assert error.startswith("mheap.errors.CorruptHeap: ")


def test_an_exit_detaches_what_is_open(heap_path: Path, run_python: Any) -> None:
    code = (
        "import mheap, sys\n"
        "heap = mheap.open(sys.argv[1], mode='live')\n"
        "heap.setkey(0, heap.malloc(10))\n"
        "other = mheap.attach(-1)\n"
        "view = heap.view(heap.getkey(0), 10) if len(sys.argv) > 2 else None\n"
    )
    done = run_python(code, heap_path)
    assert (done.stdout, done.stderr) == ("", "")
    with mheap.open(heap_path, mode="live") as again:
        assert again.info().state == "clean"
        assert again.getkey(0) is not None
    # With a view still out nothing is lost either.
    done = run_python(code, heap_path, "view")
    assert (done.stdout, done.stderr) == ("", "")
    with mheap.open(heap_path, mode="live") as again:
        assert again.getkey(0) is not None


def test_heaps_are_not_made_by_hand() -> None:
    untyped: Any = mheap.Heap
    with pytest.raises(TypeError, match="cannot create"):
        untyped()
    with pytest.raises(TypeError):
        type("Mine", (untyped,), {})
    with pytest.raises(TypeError):
        untyped.malloc = None


def test_properties_are_read_only(heap: mheap.Heap) -> None:
    untyped: Any = heap
    for name in ("closed", "path", "mode", "base", "size", "generation", "uuid", "roots", "root", "new"):
        with pytest.raises(AttributeError):
            setattr(untyped, name, 1)


def test_heaps_are_equal_to_themselves_only(heap: mheap.Heap, anonymous: mheap.Heap) -> None:
    assert heap in (heap,)
    assert heap != anonymous
    assert len({heap, anonymous}) == 2
