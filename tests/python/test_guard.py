"""mmcheck, mprobe and mmtrace."""

from __future__ import annotations

import errno
import io
import os
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mheap

SIZE = 40


def damage_tail(heap: mheap.Heap, block: int) -> None:
    heap.view(block + SIZE, 1)[0] ^= 0xFF


def damage_head(heap: mheap.Heap, block: int) -> None:
    heap.view(block - 1, 1)[0] ^= 0xFF


def free_it(heap: mheap.Heap, block: int) -> None:
    heap.free(block)


@pytest.mark.parametrize("spoil", [damage_tail, damage_head, free_it])
@pytest.mark.parametrize("operation", ["free", "realloc"])
def test_damage_raises_and_nothing_is_done(
    heap: mheap.Heap, spoil: Callable[[mheap.Heap, int], None], operation: str
) -> None:
    heap.mmcheck(None)
    block = heap.malloc(SIZE)
    spoil(heap, block)
    used = heap.mmstats().chunks_used
    expected = mheap.DoubleFree if spoil is free_it else mheap.Overrun
    with pytest.raises(expected, match=f"{block:#x}"):
        heap.free(block) if operation == "free" else heap.realloc(block, 100)
    assert heap.mmstats().chunks_used == used


@pytest.mark.parametrize(
    ("spoil", "status"), [(damage_tail, "tail"), (damage_head, "head"), (free_it, "free")]
)
def test_on_error_is_told_what_was_found(
    heap: mheap.Heap, spoil: Callable[[mheap.Heap, int], None], status: str
) -> None:
    told: list[tuple[object, int, str]] = []
    heap.mmcheck(lambda md, address, found: told.append((md, address, found)))
    block = heap.malloc(SIZE)
    spoil(heap, block)
    assert heap.mprobe(block) == mheap.mprobe(heap, block) == status
    assert told == []
    if status == "tail":
        heap.free(block)
    else:
        with pytest.raises(mheap.Overrun if status == "head" else mheap.DoubleFree):
            heap.free(block)
    assert told == [(heap, block, status)]


def test_an_on_error_that_raises_leaves_the_block(heap: mheap.Heap) -> None:
    def on_error(md: object, address: int, status: str) -> None:
        raise LookupError(status)

    heap.mmcheck(on_error)
    block = heap.malloc(SIZE)
    damage_tail(heap, block)
    with pytest.raises(LookupError, match="tail"):
        heap.free(block)
    assert heap.mprobe(block) == "tail"
    damage_tail(heap, block)
    heap.free(block)


def test_an_on_error_that_closes_the_heap_does_no_harm(heap: mheap.Heap) -> None:
    heap.mmcheck(lambda md, address, status: heap.close())
    block = heap.malloc(SIZE)
    damage_tail(heap, block)
    with pytest.raises(mheap.ClosedHeap):
        heap.free(block)


def test_an_on_error_that_uses_the_heap(heap: mheap.Heap) -> None:
    heap.mmcheck(lambda md, address, status: heap.free(heap.malloc(SIZE)))
    block = heap.malloc(SIZE)
    damage_tail(heap, block)
    heap.free(block)


def test_whole_blocks_pass(heap: mheap.Heap) -> None:
    heap.mmcheck(None)
    for size in (0, 1, 16, 1000, 100_000, 5 << 20):
        block = heap.malloc(size)
        heap.view(block, size)[:] = b"\xff" * size
        assert heap.mprobe(block) == "ok"
        block = heap.realloc(block, size + 100)
        assert heap.usable_size(block) == size + 100
        heap.free(block)


def test_blocks_from_before_are_refused_or_left_unchecked(heap: mheap.Heap) -> None:
    old = heap.malloc(SIZE)
    with pytest.raises(mheap.InvalidArgument, match="force"):
        heap.mmcheck(None)
    heap.mmcheck(None, force=True)
    assert heap.mprobe(old) == "disabled"
    heap.free(old)
    assert heap.mprobe(heap.malloc(SIZE)) == "ok"


def test_guarded_blocks_are_freed_by_later_attaches(heap: mheap.Heap, heap_path: Path) -> None:
    heap.mmcheck(None)
    block = heap.malloc(SIZE)
    heap.close()
    with mheap.open(heap_path, mode="live") as again:
        assert again.usable_size(block) == SIZE
        again.free(block)
        assert again.mmstats().chunks_used == 0


def test_what_is_no_guarded_block_is_disabled(heap: mheap.Heap) -> None:
    heap.mmcheck(None)
    for address in (None, 0, 1, heap.base, heap.base + heap.size, 2**64 - 1):
        assert heap.mprobe(address) == "disabled"


def test_as_a_function_and_by_name(heap: mheap.Heap) -> None:
    mheap.mmcheck(heap, on_error=None, force=True)
    assert heap.mprobe(mheap.malloc(heap, 10)) == "ok"


def test_on_error_must_be_callable(heap: mheap.Heap) -> None:
    untyped: Any = heap
    with pytest.raises(TypeError, match="on_error must be callable or None"):
        untyped.mmcheck(5)
    with pytest.raises(TypeError, match="missing required argument 'on_error'"):
        untyped.mmcheck()
    with pytest.raises(TypeError, match="unexpected keyword argument 'abort'"):
        untyped.mmcheck(None, abort=True)
    with pytest.raises(TypeError, match="multiple values for argument 'on_error'"):
        untyped.mmcheck(None, on_error=None)
    with pytest.raises(TypeError, match="at most 2 arguments"):
        untyped.mmcheck(None, True, 3)


def test_a_default_heap_that_is_checked(run_python: Any) -> None:
    done = run_python(
        "import mheap\n"
        "told = []\n"
        "mheap.mmcheck(None, lambda *what: told.append(what))\n"
        "block = mheap.malloc(None, 40)\n"
        "mheap.view(None, block + 40, 1)[0] = 1\n"
        "mheap.free(None, block)\n"
        "assert told == [(None, block, 'tail')]\n"
        "mheap.mmtrace(None, 'trace')\n"
        "mheap.malloc(None, 1)\n"
    )
    assert done.stdout == done.stderr == ""


# ---- mmtrace ----

LINE = re.compile(r"@ \S+ ([-+<>]) 0x[0-9a-f]+( 0x[0-9a-f]+)?")


def signs(trace: str) -> str:
    """The first line is = Start, the last = End; the sign of each between."""
    first, *lines, last = trace.splitlines()
    assert (first, last) == ("= Start", "= End")
    matches = [LINE.fullmatch(line) for line in lines]
    assert all(matches), trace
    return "".join(match[1] for match in matches if match)


def exercise(heap: mheap.Heap) -> None:
    block = heap.malloc(100)
    heap.free(heap.realloc(block, 100_000))
    heap.free(heap.calloc(2, 2))


def test_every_call_is_a_line_as_mtrace_writes_it(heap: mheap.Heap, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    heap.mmtrace(trace)
    exercise(heap)
    heap.mmtrace(None)
    exercise(heap)
    assert signs(trace.read_text()) == "+<>-+-"


def test_detach_ends_the_trace(heap: mheap.Heap, tmp_path: Path) -> None:
    heap.mmtrace(str(tmp_path / "trace"))
    exercise(heap)
    heap.close()
    assert signs((tmp_path / "trace").read_text()) == "+<>-+-"


def test_an_open_file_is_traced_to_and_stays_open(heap: mheap.Heap, tmp_path: Path) -> None:
    with (tmp_path / "trace").open("w") as file:
        mheap.mmtrace(heap, file)
        exercise(heap)
        mheap.mmtrace(heap, None)
        assert not file.closed
    assert signs((tmp_path / "trace").read_text()) == "+<>-+-"


def test_another_trace_ends_the_first(heap: mheap.Heap, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    heap.mmtrace(first)
    heap.mmtrace(bytes(second))
    heap.free(heap.malloc(1))
    heap.mmtrace(None)
    assert signs(first.read_text()) == ""
    assert signs(second.read_text()) == "+-"


def test_lines_are_in_the_file_at_once(heap: mheap.Heap, tmp_path: Path) -> None:
    heap.mmtrace(tmp_path / "trace")
    heap.malloc(77)
    assert "0x4d" in (tmp_path / "trace").read_text()


def broken_pipe(heap: mheap.Heap | None) -> None:
    """A trace whose first line could be written, and no other can."""
    reader, writer = os.pipe()
    mheap.mmtrace(heap, writer)
    os.close(writer)
    os.close(reader)
    mheap.free(heap, mheap.malloc(heap, 10))


def test_a_trace_that_cannot_be_begun_is_refused(heap: mheap.Heap) -> None:
    with pytest.raises(mheap.HeapOSError, match="lines are lost: No space left") as caught:
        heap.mmtrace("/dev/full")
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == heap.path
    heap.malloc(10)
    heap.mmtrace(None)


def test_lines_that_are_lost_are_told_where_the_trace_ends(heap: mheap.Heap, tmp_path: Path) -> None:
    broken_pipe(heap)
    with pytest.raises(mheap.HeapOSError, match="lines are lost") as caught:
        heap.mmtrace(None)
    assert caught.value.errno == heap.errno() == errno.EPIPE
    heap.mmtrace(None)
    broken_pipe(heap)
    with pytest.raises(mheap.HeapOSError):
        heap.mmtrace(tmp_path / "trace")  # not begun
    exercise(heap)
    assert (tmp_path / "trace").read_text() == ""
    heap.mmtrace(tmp_path / "trace")
    exercise(heap)
    heap.mmtrace(None)
    assert signs((tmp_path / "trace").read_text()) == "+<>-+-"


def test_detach_tells_of_lost_lines_and_has_detached(heap: mheap.Heap, heap_path: Path) -> None:
    broken_pipe(heap)
    with pytest.raises(mheap.HeapOSError, match="lines are lost"):
        heap.close()
    assert heap.closed
    heap.close()
    with mheap.open(heap_path, mode="live") as again:
        assert again.info().state == "clean"


def test_lines_of_the_default_heaps_trace_that_are_lost_are_told_at_exit(run_python: Any) -> None:
    code = """
        import os, mheap
        reader, writer = os.pipe()
        mheap.mmtrace(None, writer)
        os.close(reader)
        mheap.malloc(None, 10)
    """
    assert "lines are lost" in run_python(textwrap.dedent(code)).stderr


def test_files_that_cannot_be_traced_to(heap: mheap.Heap, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        heap.mmtrace(tmp_path / "none" / "trace")
    with pytest.raises(IsADirectoryError):
        heap.mmtrace(tmp_path)
    with pytest.raises(OSError, match="fileno"):
        heap.mmtrace(io.StringIO())
    with pytest.raises(TypeError):
        heap.mmtrace(1.5)  # type: ignore[arg-type]
    with pytest.raises(OSError, match="Bad file descriptor"):
        heap.mmtrace(9999)
    heap.mmtrace(None)
