"""Commits beside other threads, signals, forks, and syncs that take long or fail."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from c_tools import CC
from forks import in_child

import mheap

numpy = pytest.importorskip("numpy")


def run_all(*works: Callable[[], object], limit: float = 60) -> None:
    """Each in a thread; what one raises fails the test, and so does one that does not end."""
    failed: list[BaseException] = []

    def guarded(work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=guarded, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(limit)
        assert not thread.is_alive(), "a thread does not end"
    if failed:
        raise failed[0]


def contents(path: Path) -> Any:
    with mheap.open(path, mode="readonly") as heap:
        return mheap.to_python(heap.root)


# ---- stores that race a commit ----

COUNTERS = 4


def test_every_increment_through_a_view_is_accounted_for(heap_path: Path) -> None:
    heap = mheap.open(heap_path)
    block = heap.calloc(COUNTERS, 4096)
    heap.roots["counters"] = block
    heap.commit()
    view = heap.view(block, COUNTERS * 4096)
    counts = [0] * COUNTERS
    done = threading.Event()

    def count(number: int) -> None:
        words = view.cast("q")
        while not done.is_set():
            words[number * 512 + counts[number] % 512] += 1
            counts[number] += 1
        words.release()

    def commit() -> None:
        while min(counts) < 2000 or heap.generation < 100:
            heap.commit(durable=heap.generation % 10 == 0)
        done.set()

    run_all(commit, *[lambda n=n: count(n) for n in range(COUNTERS)])
    heap.commit()
    view.release()
    heap.close()
    with mheap.open(heap_path, mode="readonly") as heap:
        seen = bytes(heap.view(heap.roots["counters"], COUNTERS * 4096))
        stored = numpy.frombuffer(seen, dtype="i8").reshape(COUNTERS, 512)
        assert stored.sum(axis=1).tolist() == counts


def test_what_was_stored_before_a_commit_that_returned_is_there_after_a_kill(heap_path: Path) -> None:
    heap = mheap.open(heap_path)
    heap.roots["counters"] = heap.calloc(COUNTERS, 4096)
    heap.commit()
    heap.close()
    wait = random.Random(1)
    least = [0] * COUNTERS
    for _ in range(10):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            count_and_commit(heap_path, writing)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            lines = [pipe.readline() for _ in range(3)]
            time.sleep(wait.random() * 0.03)
            os.kill(child, signal.SIGKILL)
            lines += pipe.readlines()
        os.waitpid(child, 0)
        told = list(map(int, [line for line in lines if line.endswith("\n")][-1].split()))
        assert all(now >= before for now, before in zip(told, least, strict=True))
        with mheap.open(heap_path, mode="readonly") as heap:
            assert heap.check()
            with heap.view(heap.roots["counters"], COUNTERS * 4096) as seen:
                least = [seen.cast("q")[number * 512] for number in range(COUNTERS)]
        assert all(now >= before for now, before in zip(least, told, strict=True))


def count_and_commit(path: Path, writing: int) -> None:
    """In a child that is killed: says what the counters were before each commit that returned."""
    heap = mheap.open(path)
    words = heap.view(heap.roots["counters"], COUNTERS * 4096).cast("q")

    def count(number: int) -> None:
        while True:
            words[number * 512] += 1

    for number in range(COUNTERS):
        threading.Thread(target=count, args=(number,), daemon=True).start()
    while True:
        before = [words[number * 512] for number in range(COUNTERS)]
        heap.commit(durable=False)
        os.write(writing, (" ".join(map(str, before)) + "\n").encode())


def test_what_numpy_stores_is_found(heap_path: Path) -> None:
    with mheap.open(heap_path) as heap:
        heap.roots["array"] = heap.calloc(1 << 20, 8)
        heap.commit()
        with heap.view(heap.roots["array"], 8 << 20) as view:
            array = numpy.frombuffer(view, dtype="f8")
            array[:] = numpy.arange(1 << 20)
            array[777] = -1.5
            heap.commit()
            array *= 2
            assert heap.dirty.pages == 2048
            heap.rollback()
            assert array[777] == -1.5
            del array
    with mheap.open(heap_path, mode="readonly") as heap, heap.view(heap.roots["array"], 8 << 20) as view:
        expected = numpy.arange(1 << 20, dtype="f8")
        expected[777] = -1.5
        assert bytes(view) == expected.tobytes()


# ---- several threads at once ----


def test_commits_rollbacks_and_the_rest_from_several_threads(heap_path: Path) -> None:
    heap = mheap.open(heap_path)
    heap.root["a"] = 0
    heap.commit()
    end = time.monotonic() + 1.5

    def many(seed: int, *works: Callable[[], object]) -> Callable[[], None]:
        choose = random.Random(seed)

        def work() -> None:
            while time.monotonic() < end:
                choose.choice(works)()

        return work

    def change() -> None:
        heap.root["a"] = random.randrange(1000)
        heap.root.setdefault(f"key {random.randrange(50)}", {"a": []})

    def transact() -> None:
        with heap.transaction(durable=False):
            before = len(heap.root)
            heap.root[f"key {random.randrange(1000)}"] = before

    quick = lambda: heap.commit(durable=False)  # noqa: E731
    run_all(
        many(1, heap.commit, change),
        many(2, quick, change, heap.rollback),
        many(3, heap.rollback, change, lambda: heap.dirty, heap.checkpoint),
        many(4, transact, change, heap.stats, lambda: heap.collect(force=True)),
        many(5, heap.check, change, transact),
    )
    assert heap.check()
    heap.commit()
    before = mheap.to_python(heap.root)
    heap.close()
    assert contents(heap_path) == before


def close_beside_commits(path: Path, seed: int) -> None:
    heap = mheap.open(path)
    started = threading.Barrier(4)

    def until_closed(call: Callable[[], object]) -> Callable[[], None]:
        def work() -> None:
            started.wait()
            with contextlib.suppress(mheap.ClosedHeap):
                while True:
                    call()

        return work

    def change() -> None:
        with heap.transaction(durable=False):
            heap.root["a"] = seed

    def close() -> None:
        started.wait()
        time.sleep(0.002 * random.random())
        heap.close()

    run_all(close, until_closed(change), until_closed(heap.commit), until_closed(heap.rollback))
    assert heap.closed


@pytest.mark.filterwarnings("ignore::mheap.UncommittedChanges")
def test_closing_beside_commits(heap_path: Path) -> None:
    for seed in range(20):
        close_beside_commits(heap_path, seed)
    with mheap.open(heap_path) as heap:
        assert heap.check()


def test_a_transaction_is_for_one_thread_at_a_time(heap_path: Path) -> None:
    with mheap.open(heap_path) as heap:
        heap.root["n"] = 0
        heap.commit()

        def add() -> None:
            for _ in range(50):
                with heap.transaction(durable=False):
                    before = heap.root["n"]
                    time.sleep(0)
                    heap.root["n"] = before + 1

        run_all(*[add] * 4)
        assert heap.root["n"] == 200
        assert heap.generation == 201


def test_a_commit_waits_for_another_threads_transaction(heap_path: Path) -> None:
    with mheap.open(heap_path) as heap:
        inside, go = threading.Event(), threading.Event()

        def half() -> None:
            with heap.transaction():
                heap.root["first"] = 1
                inside.set()
                assert go.wait(60)
                heap.root["second"] = 2

        def commit() -> None:
            assert inside.wait(60)
            threading.Timer(0.05, go.set).start()
            heap.commit()
            assert heap.root == {"first": 1, "second": 2}
            assert heap.generation == 1

        run_all(half, commit)


def test_a_signal_is_heard_while_waiting_for_a_transaction(heap_path: Path) -> None:
    with mheap.open(heap_path) as heap:
        inside, go = threading.Event(), threading.Event()

        def block() -> None:
            with heap.transaction():
                heap.root["a"] = 1
                inside.set()
                assert go.wait(60)

        def wait() -> None:
            threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
            heap.commit()

        thread = threading.Thread(target=block)
        thread.start()
        assert inside.wait(60)
        with pytest.raises(KeyboardInterrupt):
            wait()
        go.set()
        thread.join()
        heap.commit()
        assert heap.generation == 1


# ---- forks ----


def test_a_forked_child_cannot_commit(heap_path: Path) -> None:
    with mheap.open(heap_path) as heap:
        heap.root["a"] = 1

        def child() -> None:
            for call in (heap.commit, heap.rollback, heap.checkpoint, heap.transaction, lambda: heap.dirty):
                with pytest.raises(mheap.ForkedHandle):
                    call()

        def child_that_read() -> None:
            assert heap.root["a"] == 1
            assert heap.mode == "readonly"
            child()
            in_child(child)

        in_child(child)
        heap.commit()
        in_child(child)
        in_child(child_that_read)
    assert contents(heap_path) == {"a": 1}


def test_a_child_that_leaves_its_parents_transaction_changes_nothing(heap_path: Path) -> None:
    with mheap.open(heap_path) as heap:
        transaction = heap.transaction()
        with transaction:
            heap.root["a"] = 1

            def clean() -> None:
                with pytest.raises(mheap.ForkedHandle):
                    transaction.__exit__(None, None, None)

            def failed() -> None:
                error = ValueError()
                transaction.__exit__(ValueError, error, None)

            in_child(clean)
            in_child(failed)
        assert heap.generation == 1
    assert contents(heap_path) == {"a": 1}


def test_a_child_that_ends_while_its_parent_has_changes_says_nothing(heap_path: Path) -> None:
    with mheap.open(heap_path) as heap:
        heap.root["a"] = 1

        def child() -> None:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("warnings.warn", lambda *_: os._exit(7))
                heap.close()

        in_child(child)
        assert heap.root == {"a": 1}


# ---- syncs that take long, and that fail ----

SHIM = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int fdatasync(int fd) {
  (void)fd;
  const char *path = getenv("SHIM");
  struct timespec left = {0, 300000000};
  if (path != NULL && access(path, F_OK) == 0) return errno = EIO, -1;
  close(creat("syncing", 0600));
  while (nanosleep(&left, &left) != 0) continue;
  return 0;
}
"""

Shimmed = Callable[..., str]


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("shim")
    source, library = directory / "shim.c", directory / "shim.so"
    source.write_text(SHIM)
    subprocess.run([*CC, "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    return library


@pytest.fixture
def shimmed(shim: Path, heap_path: Path) -> Shimmed:
    """Runs Python whose fdatasync takes 0.3 s, and fails while the file `fail` is there; when one has begun
    the file `syncing` is."""

    def run(code: str) -> str:
        fail = heap_path.parent / "fail"
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", "import mheap, os, signal, sys, threading, time\n" + code],
            env={**os.environ, "LD_PRELOAD": str(shim), "SHIM": str(fail)},
            cwd=heap_path.parent,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_other_threads_run_while_a_commit_waits_for_the_disk(shimmed: Shimmed, heap_path: Path) -> None:
    """What they change meanwhile, space that the heap grows by included, is in the next commit."""
    said = shimmed(
        """
heap = mheap.open("test.heap")
heap.root["n"] = 0
heap.root["large"] = []
heap.free(heap.malloc(64 << 20))  # the journal comes to lie where the heap can grow for a while
heap.commit()
heap.root["n"] = 1
thread = threading.Thread(target=heap.commit)
thread.start()
while heap.root["n"] < 2 or thread.is_alive():
    heap.root["n"] += 1
    if heap.root["n"] % 500 == 0:
        heap.root["large"].append("x" * 100000)
    time.sleep(0)
assert heap.generation == 2
assert heap.dirty
with mheap.open("test.heap", mode="readonly", relocate=True) as reader:
    print(reader.root["n"], len(reader.root["large"]))
print(heap.root["n"], len(heap.root["large"]))
heap.commit()
heap.close()
"""
    )
    (first, first_large), (last, last_large) = (map(int, line.split()) for line in said.splitlines())
    assert first < 100
    assert last > 1000
    assert first_large < last_large
    found = contents(heap_path)
    assert (found["n"], len(found["large"])) == (last, last_large)


def test_a_signal_during_a_commit_is_raised_when_it_is_done(shimmed: Shimmed, heap_path: Path) -> None:
    shimmed(
        """
def interrupt():
    while not os.path.exists("syncing"):
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGINT)

def interrupt_the_next_sync():
    os.remove("syncing")
    threading.Thread(target=interrupt).start()

with mheap.open("test.heap") as heap:
    heap.sync()
    heap.root["a"] = 1
    interrupt_the_next_sync()
    try:
        heap.commit()
        time.sleep(5)
    except KeyboardInterrupt:
        pass
    assert heap.generation == 1
    assert not heap.dirty
    heap.root["a"] = 2
    interrupt_the_next_sync()
    try:
        with heap.transaction():
            heap.root["a"] = 3
        time.sleep(5)
    except KeyboardInterrupt:
        pass
    assert heap.generation == 2
    assert heap.root["a"] == 3
"""
    )
    assert contents(heap_path) == {"a": 3}


def test_a_commit_that_fails_keeps_the_changes_and_commits_no_more(shimmed: Shimmed, heap_path: Path) -> None:
    said = shimmed(
        """
heap = mheap.open("test.heap")
heap.root["a"] = 1
heap.commit()
heap.root["a"] = 2
open("fail", "w").close()
for _ in range(2):
    try:
        heap.commit()
    except mheap.HeapOSError as error:
        print(error)
os.unlink("fail")
assert heap.generation == 1
assert heap.root["a"] == 2
try:
    heap.commit()
except mheap.HeapOSError as error:
    print(error)
heap.rollback()
assert heap.root["a"] == 1
heap.close()
"""
    )
    first, second, third = said.splitlines()
    assert "syncing the file: what is on disk is not known" in first
    assert "a sync failed before" in second == third
    assert contents(heap_path)["a"] in (1, 2)


def test_a_transaction_whose_commit_fails_is_undone(shimmed: Shimmed) -> None:
    shimmed(
        """
heap = mheap.open("test.heap")
heap.root["a"] = 1
heap.commit()
open("fail", "w").close()
try:
    with heap.transaction():
        heap.root["a"] = 2
except mheap.HeapOSError as error:
    assert "syncing the file" in str(error)
else:
    raise SystemExit("it did not fail")
assert heap.root["a"] == 1
assert not heap.closed
heap.close()
"""
    )


def test_with_leaves_a_heap_open_that_cannot_be_committed(shimmed: Shimmed) -> None:
    shimmed(
        """
try:
    with mheap.open("test.heap") as heap:
        heap.root["a"] = 1
        open("fail", "w").close()
except mheap.HeapOSError:
    pass
assert not heap.closed
assert heap.root["a"] == 1
heap.rollback()
heap.close()
"""
    )
