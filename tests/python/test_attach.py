"""attach and open: files that become heaps, files that are refused, options, waiting."""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import signal
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import filelock
import pytest

import mheap


def make(path: Path, content: bytes = b"content") -> int:
    """A heap file with one block under key 0; its address."""
    with mheap.open(path, mode="live") as heap:
        address = heap.malloc(len(content))
        heap.view(address, len(content))[:] = content
        heap.setkey(0, address)
    return address


@contextlib.contextmanager
def held_elsewhere(run: Callable[..., Any], path: Path, mode: str = "live") -> Iterator[None]:
    """The heap is attached by another process meanwhile."""
    ready, done = path.with_suffix(".ready"), path.with_suffix(".done")
    code = (
        "import mheap, os, sys, time\n"
        "path, mode, ready, done = sys.argv[1:]\n"
        "with mheap.open(path, mode=mode) as heap:\n"
        "    open(ready, 'w').close()\n"
        "    while not os.path.exists(done): time.sleep(0.01)\n"
    )
    holder = threading.Thread(target=run, args=(code, path, mode, ready, done))
    holder.start()
    try:
        deadline = time.monotonic() + 30
        while not ready.exists() and holder.is_alive() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert ready.exists()
        yield
    finally:
        done.touch()
        holder.join()


# ---- open ----


@pytest.mark.parametrize("mode", ["Atomic", "rw", "", "LIVE"])
def test_other_modes_are_refused_by_name(heap_path: Path, mode: Any) -> None:
    with pytest.raises(mheap.InvalidArgument, match=r"'atomic', 'live', 'readonly' or 'scratch'"):
        mheap.open(heap_path, mode=mode)
    assert not heap_path.exists()


@pytest.mark.parametrize("mode", [None, 1, b"live"])
def test_a_mode_is_a_str(heap_path: Path, mode: Any) -> None:
    with pytest.raises(TypeError, match="mode must be a str"):
        mheap.open(heap_path, mode=mode)


def test_live_creates_a_small_file(heap_path: Path) -> None:
    mheap.open(heap_path, mode="live").close()
    assert 0 < heap_path.stat().st_size <= 256 * 1024


def test_an_empty_file_becomes_a_heap(heap_path: Path) -> None:
    heap_path.touch()
    mheap.open(heap_path, mode="live").close()
    assert heap_path.stat().st_size > 0


def test_a_heap_continues_where_it_stopped(heap_path: Path) -> None:
    address = make(heap_path)
    modes: list[Any] = ["live", "readonly", "scratch", "live"]
    for mode in modes:
        with mheap.open(heap_path, mode=mode) as heap:
            assert heap.getkey(0) == address
            assert bytes(heap.view(address, 7)) == b"content"


@pytest.mark.parametrize("kind", [str, os.fsencode, Path])
def test_paths_of_every_kind(heap_path: Path, kind: Callable[[Path], Any]) -> None:
    with mheap.open(kind(heap_path), mode="live") as heap:
        assert heap.path == str(heap_path)


def test_a_relative_path_is_kept_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with mheap.open("a.heap", mode="live") as heap:
        assert heap.path == str(tmp_path / "a.heap")


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff.heap"
    with mheap.open(path, mode="live") as heap:
        assert heap.path == os.fsdecode(path)
        with pytest.raises(mheap.HeapBusy) as caught:
            mheap.open(path, mode="live")
        assert caught.value.filename == os.fsdecode(path)


@pytest.mark.parametrize("bad", ["a\0b", 3.5, None])
def test_what_is_no_path(bad: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        mheap.open(bad, mode="live")


@pytest.mark.parametrize("mode", ["readonly", "scratch"])
def test_only_live_creates(heap_path: Path, mode: Any) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        mheap.open(heap_path, mode=mode)
    assert isinstance(caught.value, mheap.HeapOSError)
    assert caught.value.errno == errno.ENOENT
    assert caught.value.filename == str(heap_path)
    assert not heap_path.exists()


def test_no_directories_are_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        mheap.open(tmp_path / "none" / "a.heap", mode="live")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", ["live", "readonly", "scratch"])
def test_files_that_are_no_heaps_are_not_touched(tmp_path: Path, mode: Any) -> None:
    other = tmp_path / "other"
    for content in (b"x", b"#!/bin/sh\n" * 1000, bytes(300_000)):
        other.write_bytes(content)
        with pytest.raises(mheap.NotAHeap):
            mheap.open(other, mode=mode)
        assert other.read_bytes() == content
    assert [entry.name for entry in tmp_path.iterdir()] == ["other"]


@pytest.mark.parametrize("mode", ["live", "readonly", "scratch"])
def test_directories_and_fifos_are_refused_at_once(tmp_path: Path, mode: Any) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo"):
        with pytest.raises(mheap.NotAHeap):
            mheap.open(path, mode=mode)


def test_readonly_writes_nothing(heap_path: Path) -> None:
    make(heap_path)
    before, stat = heap_path.read_bytes(), heap_path.stat()
    heap_path.chmod(0o400)
    with mheap.open(heap_path, mode="readonly") as heap:
        heap.stats()
        assert heap.check()
    assert heap_path.read_bytes() == before
    assert heap_path.stat().st_mtime_ns == stat.st_mtime_ns


def test_scratch_changes_are_thrown_away(heap_path: Path) -> None:
    address = make(heap_path)
    before = heap_path.read_bytes()
    with mheap.open(heap_path, mode="scratch") as heap:
        heap.free(address)
        for size in (10, 100_000, 5 << 20):
            heap.view(heap.malloc(size), size)[:] = b"z" * size
    assert heap_path.read_bytes() == before


# ---- creating is guarded ----


def test_creating_waits_for_the_lock_on_the_path(heap_path: Path) -> None:
    with filelock.FileLock(f"{heap_path}.lock"):
        with pytest.raises(mheap.HeapBusy, match=r"\.lock") as caught:
            mheap.open(heap_path, mode="live")
        assert caught.value.errno == errno.EAGAIN
        assert not heap_path.exists()
        start = time.monotonic()
        with pytest.raises(mheap.HeapBusy):
            mheap.open(heap_path, mode="live", timeout=0.2)
        assert time.monotonic() - start >= 0.2
    mheap.open(heap_path, mode="live").close()


def test_what_a_failed_creation_made_goes(tmp_path: Path, run_python: Any) -> None:
    path, lock = tmp_path / "new.heap", tmp_path / "new.heap.lock"
    with pytest.raises(mheap.InvalidArgument):
        mheap.open(path, mode="live", max_size=1 << 60)
    assert list(tmp_path.iterdir()) == []
    code = """
        import resource, sys
        import mheap

        resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
        try:
            mheap.open(sys.argv[1], mode="live")
        except mheap.HeapFull:
            print("full")
    """
    assert run_python(textwrap.dedent(code), path).stdout == "full\n"
    assert list(tmp_path.iterdir()) == []
    path.touch()  # what was there before stays, and so does the lock's file
    lock.touch()
    assert run_python(textwrap.dedent(code), path).stdout == "full\n"
    assert sorted(tmp_path.iterdir()) == [path, lock]
    assert path.stat().st_size == 0


def test_a_link_to_nothing_names_what_is_to_be_created(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("target")
    mheap.open(tmp_path / "link", mode="live").close()
    assert (tmp_path / "target").stat().st_size > 0


def test_few_descriptors_are_an_error_of_ours(tmp_path: Path, run_python: Any) -> None:
    code = """
        import errno, os, resource, sys
        import filelock, mheap, mheap.errors

        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
        held = []
        try:
            while True:
                held.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
        refused = 0
        for number in range(20):
            path = f"{sys.argv[1]}/{number}.heap"
            try:
                mheap.open(path, mode="live").close()
                break
            except mheap.MheapError as error:
                assert isinstance(error, OSError) and error.errno == errno.EMFILE, repr(error)
                assert error.filename == path and path in str(error), error
                refused += 1
            os.close(held.pop())
            assert os.listdir(sys.argv[1]) == []
        print(refused)
    """
    assert int(run_python(textwrap.dedent(code), tmp_path).stdout) >= 3


def test_an_existing_heap_needs_no_lock_on_the_path(heap_path: Path) -> None:
    make(heap_path)
    with filelock.FileLock(f"{heap_path}.lock"):
        mheap.open(heap_path, mode="live").close()


def test_filelock_is_imported_only_to_create(heap_path: Path, run_python: Any) -> None:
    code = "import mheap, sys\nmheap.open(sys.argv[1], mode='live').close()\nprint('filelock' in sys.modules)"
    assert run_python(code, heap_path).stdout == "True\n"
    assert run_python(code, heap_path).stdout == "False\n"


def test_two_threads_that_create_one_heap(tmp_path: Path) -> None:
    for attempt in range(20):
        path = tmp_path / f"{attempt}.heap"
        found: list[str] = []

        def create(path: Path = path, found: list[str] = found) -> None:
            with mheap.open(path, mode="live", timeout=30) as heap:
                found.append(heap.uuid)

        threads = [threading.Thread(target=create) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 3
        assert len(set(found)) == 1


# ---- one writer ----


@pytest.mark.parametrize(
    ("first", "second"),
    [("live", "live"), ("live", "readonly"), ("readonly", "live"), ("live", "scratch"), ("scratch", "live")],
)
def test_a_writer_excludes_others(heap_path: Path, run_python: Any, first: Any, second: Any) -> None:
    make(heap_path)
    with held_elsewhere(run_python, heap_path, first):
        with pytest.raises(mheap.HeapBusy) as caught:
            mheap.open(heap_path, mode=second)
        assert isinstance(caught.value, BlockingIOError)
        assert caught.value.errno == errno.EAGAIN
        assert caught.value.filename == str(heap_path)
    mheap.open(heap_path, mode=second).close()


def test_readers_do_not_exclude_each_other(heap_path: Path, run_python: Any) -> None:
    make(heap_path)
    with (
        held_elsewhere(run_python, heap_path, "readonly"),
        mheap.open(heap_path, mode="readonly") as first,
        # In one process the second cannot have the same address.
        mheap.open(heap_path, mode="readonly", relocate=True) as second,
    ):
        assert first.uuid == second.uuid


def test_two_writers_in_one_process_are_refused(heap_path: Path) -> None:
    with mheap.open(heap_path, mode="live"):
        with pytest.raises(mheap.HeapBusy):
            mheap.open(heap_path, mode="live")
        with heap_path.open("r+b") as file, pytest.raises(mheap.HeapBusy):
            mheap.attach(file)


def test_unsafe_reads_beside_a_writer(heap_path: Path, run_python: Any) -> None:
    address = make(heap_path)
    with (
        held_elsewhere(run_python, heap_path),
        mheap.open(heap_path, mode="readonly", unsafe=True) as heap,
    ):
        assert bytes(heap.view(address, 7)) == b"content"


def test_timeout_waits_for_the_writer(heap_path: Path) -> None:
    writer = mheap.open(heap_path, mode="live")
    closing = threading.Event()

    def close() -> None:
        closing.set()
        writer.close()

    threading.Timer(0.3, close).start()
    with mheap.open(heap_path, mode="live", timeout=30):
        assert closing.is_set()


def test_timeout_ends(heap_path: Path) -> None:
    with mheap.open(heap_path, mode="live"):
        for timeout in (0, 0.2):
            start = time.monotonic()
            with pytest.raises(mheap.HeapBusy):
                mheap.open(heap_path, mode="live", timeout=timeout)
            assert timeout <= time.monotonic() - start < timeout + 10


def test_waiting_for_ever_hears_signals(heap_path: Path) -> None:
    def interrupt(number: int, frame: object) -> None:
        raise InterruptedError("by the signal")

    def wait() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        mheap.open(heap_path, mode="live", timeout=-1)

    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        with mheap.open(heap_path, mode="live"), pytest.raises(InterruptedError, match="by the signal"):
            wait()
    finally:
        signal.signal(signal.SIGALRM, previous)


@pytest.mark.parametrize("bad", ["1", None, float("nan")])
def test_bad_timeouts(heap_path: Path, bad: Any) -> None:
    make(heap_path)
    with pytest.raises((TypeError, ValueError)):
        mheap.open(heap_path, mode="live", timeout=bad)


# ---- attach ----


def test_attach_formats_an_empty_file_and_duplicates_the_descriptor(heap_path: Path) -> None:
    fd = os.open(heap_path, os.O_RDWR | os.O_CREAT, 0o600)
    heap = mheap.attach(fd)
    os.close(fd)
    assert heap.path == str(heap_path)
    assert heap.fileno() != fd
    address = heap.malloc(10)
    heap.setkey(0, address)
    mheap.detach(heap)
    with heap_path.open("r+b") as file, mheap.attach(file) as again:
        assert again.getkey(0) == address


def test_attach_takes_what_has_a_fileno(heap_path: Path) -> None:
    make(heap_path)
    with heap_path.open("rb") as file, mheap.attach(file, mode="readonly") as heap:
        assert heap.mode == "readonly"


def test_attach_live_needs_a_writable_descriptor(heap_path: Path) -> None:
    make(heap_path)
    before = heap_path.read_bytes()
    with heap_path.open("rb") as file, pytest.raises(OSError, match=r"test\.heap"):
        mheap.attach(file)
    assert heap_path.read_bytes() == before


def test_an_unlinked_file_has_no_path(heap_path: Path) -> None:
    with heap_path.open("w+b") as file:
        heap_path.unlink()
        with mheap.attach(file) as heap:
            assert heap.path is None
            assert heap.fileno() >= 0
            assert (
                repr(heap) == f"<mheap.Heap unlinked {str(heap_path)!r}, live, {heap.size} bytes, attached>"
            )
            with pytest.raises(TypeError, match=rf"\(unlinked '{heap_path}'\): it has no path"):
                pickle.dumps(heap)
        assert repr(heap) == f"<mheap.Heap unlinked {str(heap_path)!r}, live, closed>"


def test_minus_one_is_anonymous_memory() -> None:
    with mheap.attach(-1) as heap:
        assert heap.path is None
        assert heap.mode == "live"
        heap.free(heap.malloc(10 << 20))
        heap.sync()
        with pytest.raises(OSError, match="no file") as caught:
            heap.fileno()
        assert caught.value.errno == errno.EBADF


@pytest.mark.parametrize("fd", [-2, 9999, 2**31 - 1])
def test_bad_descriptors(fd: int) -> None:
    with pytest.raises(mheap.MheapError):
        mheap.attach(fd)


@pytest.mark.parametrize("fd", ["3", None, 3.0, object()])
def test_what_is_no_descriptor(fd: Any) -> None:
    with pytest.raises((TypeError, AttributeError)):
        mheap.attach(fd)


def test_descriptors_beyond_an_int() -> None:
    for fd in (2**31, 2**64, -(2**64)):
        with pytest.raises((mheap.InvalidArgument, OverflowError)):
            mheap.attach(fd)


# ---- addresses ----


def test_the_address_is_the_same_at_every_attach(heap_path: Path, run_python: Any) -> None:
    address = make(heap_path)
    code = "import mheap, sys\nwith mheap.open(sys.argv[1], mode='readonly') as h: print(h.base, h.getkey(0))"
    outputs = {run_python(code, heap_path).stdout for _ in range(3)}
    with mheap.open(heap_path, mode="live") as heap:
        assert outputs == {f"{heap.base} {address}\n"}


def test_a_given_address_is_honoured(heap_path: Path) -> None:
    base = mheap.findbase(64 << 30)
    assert base is not None
    fd = os.open(heap_path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        with mheap.attach(fd, base) as heap:
            assert heap.base == base
    finally:
        os.close(fd)


def test_an_address_that_is_taken_is_refused(heap_path: Path, tmp_path: Path) -> None:
    with mheap.attach(-1) as other, (tmp_path / "b.heap").open("w+b") as file:
        with pytest.raises(mheap.BaseAddressInUse) as caught:
            mheap.attach(file, other.base)
        assert isinstance(caught.value, OSError)
        assert caught.value.errno == errno.EADDRINUSE
        other.free(other.malloc(10))


def test_another_copy_at_the_same_address_is_refused_unless_relocated(
    heap_path: Path, tmp_path: Path
) -> None:
    make(heap_path)
    copy = tmp_path / "copy.heap"
    copy.write_bytes(heap_path.read_bytes())
    with mheap.open(heap_path, mode="live") as heap:
        with pytest.raises(mheap.BaseAddressInUse, match="relocate"):
            mheap.open(copy, mode="live")
        with mheap.open(copy, mode="live", relocate=True) as elsewhere:
            assert elsewhere.base != heap.base
            address = elsewhere.getkey(0)
            assert address is not None
            assert bytes(elsewhere.view(address, 7)) == b"content"


def test_bad_addresses(heap_path: Path) -> None:
    heap_path.touch()
    with heap_path.open("r+b") as file:
        for base in (1, 12345, 2**47 + 5, 2**64 - 1, 2**64, -1):
            with pytest.raises(mheap.MheapError):
                mheap.attach(file, base)
    assert heap_path.stat().st_size == 0


def test_findbase_finds_a_free_range() -> None:
    base = mheap.findbase(1 << 30)
    assert base is not None
    assert base % 4096 == 0
    assert mheap.findbase(0) is None
    assert mheap.findbase(2**62) is None
    with pytest.raises(mheap.InvalidArgument):
        mheap.findbase(-1)


def test_max_size_limits_growth(heap_path: Path) -> None:
    with mheap.open(heap_path, mode="live", max_size=16 << 20) as heap:
        assert 16 << 20 <= heap.info().max_size < 32 << 20
        with pytest.raises(mheap.HeapFull):
            heap.malloc(20 << 20)
    with mheap.open(heap_path, mode="live", max_size=64 << 20) as heap:
        heap.malloc(20 << 20)


@pytest.mark.parametrize("bad", [-1, 2**64, "1", 1.5])
def test_bad_max_sizes(heap_path: Path, bad: Any) -> None:
    make(heap_path)
    with pytest.raises((TypeError, mheap.MheapError)):
        mheap.open(heap_path, mode="live", max_size=bad)


# ---- damage ----


def test_a_heap_cut_short_is_corrupt(heap_path: Path) -> None:
    make(heap_path)
    whole = heap_path.read_bytes()
    for length in (8, 255, 4096, 65536, len(whole) - 1):
        heap_path.write_bytes(whole[:length])
        with pytest.raises((mheap.CorruptHeap, mheap.NotAHeap)) as caught:
            mheap.open(heap_path, mode="live")
        assert caught.value.filename == str(heap_path)
        assert heap_path.read_bytes() == whole[:length]


def test_corruption_names_place_expected_and_found(heap_path: Path) -> None:
    make(heap_path)
    content = bytearray(heap_path.read_bytes())
    content[100] ^= 1
    heap_path.write_bytes(content)
    with pytest.raises(mheap.CorruptHeap) as caught:
        mheap.open(heap_path, mode="live")
    error = caught.value
    assert isinstance(error, ValueError)
    assert error.offset is not None
    assert error.expected is not None
    assert error.found is not None
    assert error.expected != error.found
    assert str(heap_path) in str(error)
    assert "\n" not in str(error)


def test_a_copy_of_an_open_heap_is_unclean(heap_path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.heap"
    address = make(heap_path)
    with mheap.open(heap_path, mode="live") as heap:
        heap.malloc(100)
        copy.write_bytes(heap_path.read_bytes())
    with pytest.raises(mheap.UncleanHeap, match="salvage") as caught:
        mheap.open(copy, mode="live")
    assert isinstance(caught.value, OSError)
    with mheap.open(copy, mode="live", salvage=True) as heap:
        assert bytes(heap.view(address, 7)) == b"content"
    mheap.open(copy, mode="live").close()


def test_a_killed_writer_leaves_a_heap(heap_path: Path, run_python: Any) -> None:
    make(heap_path)
    code = (
        "import mheap, os, signal, sys\n"
        "heap = mheap.open(sys.argv[1], mode='live')\n"
        "heap.setkey(1, heap.malloc(1000))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert run_python(code, heap_path, check=False).returncode == -signal.SIGKILL
    with mheap.open(heap_path, mode="live") as heap:
        assert heap.info().state == "open"
        assert heap.info().epoch == 1
        address = heap.getkey(1)
        assert address is not None
        assert heap.usable_size(address) >= 1000
        heap.free(address)


def test_standard_streams_that_are_closed_do_not_become_the_heap(heap_path: Path, run_python: Any) -> None:
    code = (
        "import mheap, os, sys\n"
        "for fd in range(3): os.close(fd)\n"
        "with mheap.open(sys.argv[1], mode='live') as heap:\n"
        "    with mheap.attach(heap.fileno(), mode='readonly', unsafe=True) as again:\n"
        "        os._exit(100 if min(heap.fileno(), again.fileno()) > 2 else 1)\n"
    )
    assert run_python(code, heap_path, check=False).returncode == 100
