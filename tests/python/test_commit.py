"""Mode atomic: what is committed is there, what is not is not; what closing does."""

from __future__ import annotations

import gc
import shutil
import subprocess
import sys
import warnings
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mheap


def contents(path: Path) -> object:
    with mheap.open(path, mode="readonly") as heap:
        return mheap.to_python(heap.root)


def change_and_raise(
    block: AbstractContextManager[object], heap: mheap.Heap, key: str, mistake: BaseException
) -> None:
    with block:
        heap.root[key] = 2
        raise mistake


def test_open_without_a_mode_is_atomic(heap_path: Path) -> None:
    with mheap.open(heap_path) as heap:
        assert heap.mode == "atomic"
        assert repr(heap) == f"<mheap.Heap {str(heap_path)!r}, atomic, {heap.size} bytes, attached>"
    with open(heap_path, "r+b") as file, mheap.attach(file) as heap:
        assert heap.mode == "live"


def test_a_commit_is_the_files_and_what_comes_after_it_is_not(heap_path: Path) -> None:
    heap = mheap.open(heap_path)
    heap.root["a"] = [1]
    assert heap.generation == 0
    heap.commit()
    assert heap.generation == 1
    heap.root["a"].append(2)
    assert contents(heap_path) == {"a": [1]}
    heap.rollback()
    heap.close()
    assert contents(heap_path) == {"a": [1]}


def test_an_item_appended_far_behind_the_head_of_its_block_is_committed(heap_path: Path) -> None:
    with mheap.open(heap_path) as heap:
        heap.root["l"] = list(range(40_000))
        heap.root["l"].append(0)  # the block has room for more now
        heap.commit()
        for item in range(1, 4):
            heap.root["l"].append(item)
            heap.commit()
    with mheap.open(heap_path, mode="readonly") as heap:
        assert heap.root["l"][-5:] == [39_999, 0, 1, 2, 3]


def test_without_changes_a_commit_writes_nothing(heap_path: Path) -> None:
    with mheap.open(heap_path) as heap:
        heap.commit()
        heap.commit(durable=False)
        assert heap.generation == 0
    size = heap_path.stat().st_size
    with mheap.open(heap_path) as heap:
        assert heap.generation == 0
    assert heap_path.stat().st_size == size


def test_a_rollback_undoes_what_was_not_committed(heap_path: Path) -> None:
    with mheap.open(heap_path) as heap:
        heap.root["a"] = {"b": 1}
        heap.commit(durable=False)
        heap.root["a"]["b"] = 2
        heap.root["c"] = list(range(10_000))
        assert heap.dirty
        heap.rollback()
        assert not heap.dirty
        assert heap.root == {"a": {"b": 1}}
        assert heap.check()


def test_dirty_says_how_much_a_commit_would_write(heap_path: Path) -> None:
    with mheap.open(heap_path) as heap:
        heap.root["a"] = 1
        heap.commit()
        assert heap.dirty == (0, 0)
        assert not heap.dirty
        heap.root["a"] = 2
        assert 0 < heap.dirty.bytes < 4096
        assert heap.dirty.pages == 1
        assert isinstance(heap.dirty, mheap.Dirty)
        heap.rollback()


def test_the_same_as_functions(heap_path: Path) -> None:
    with mheap.open(heap_path) as heap:
        heap.root["a"] = 1
        mheap.commit(heap, durable=True)
        heap.root["a"] = 2
        mheap.rollback(heap)
        assert heap.root["a"] == 1
        mheap.checkpoint(heap)
    assert contents(heap_path) == {"a": 1}


def test_a_checkpoint_empties_the_journal(heap_path: Path) -> None:
    with mheap.open(heap_path) as heap:
        heap.root["a"] = "y" * 1000
        heap.commit()  # what the heap grows by is written straight to its place
        heap.root["a"] = "x" * 1000
        heap.commit()
        assert b"x" * 1000 not in heap_path.read_bytes()[: heap.size]
        heap.root["a"] = "not committed"
        heap.checkpoint()
        assert b"x" * 1000 in heap_path.read_bytes()[: heap.size]
        assert heap.root["a"] == "not committed"
        heap.rollback()
        assert heap.root["a"] == "x" * 1000


@pytest.mark.parametrize("mode", ["live", "readonly", "scratch"])
def test_heaps_of_other_modes_are_refused(heap_path: Path, mode: str) -> None:
    mheap.open(heap_path).close()
    with mheap.open(heap_path, mode=mode) as heap:  # type: ignore[arg-type]
        calls = (heap.commit, heap.rollback, heap.checkpoint, heap.transaction, lambda: heap.dirty)
        for call in calls:
            with pytest.raises(mheap.InvalidArgument, match="not attached with mode atomic"):
                call()


def test_memory_is_refused() -> None:
    with pytest.raises(mheap.InvalidArgument, match="anonymous memory has the mode live only"):
        mheap.attach(-1, mode="atomic")
    with pytest.raises(mheap.InvalidArgument, match="not attached with mode atomic"):
        mheap.commit(None)


# ---- closing ----


def test_with_commits_at_the_end(heap_path: Path) -> None:
    with mheap.open(heap_path) as heap:
        heap.root["a"] = 1
    assert heap.closed
    assert contents(heap_path) == {"a": 1}


def test_with_discards_what_a_block_changed_that_raises(heap_path: Path) -> None:
    mistake = ValueError("of the block")
    heap = mheap.open(heap_path)
    with pytest.raises(ValueError, match="of the block") as raised:
        change_and_raise(heap, heap, "a", mistake)
    assert raised.value is mistake
    assert raised.value.__context__ is None
    assert heap.closed
    assert contents(heap_path) == {}


def test_close_discards_and_says_so(heap_path: Path) -> None:
    heap = mheap.open(heap_path)
    heap.root["a"] = 1
    with pytest.warns(mheap.UncommittedChanges, match="discards changes that were not committed"):
        heap.close()
    assert contents(heap_path) == {}


def test_close_says_nothing_when_nothing_is_lost(heap_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        heap = mheap.open(heap_path)
        heap.root["a"] = 1
        heap.commit()
        heap.root["a"] = 2
        heap.rollback()
        heap.close()
    assert contents(heap_path) == {"a": 1}


def test_a_warning_that_is_an_error_leaves_the_heap_open(heap_path: Path) -> None:
    heap = mheap.open(heap_path)
    heap.root["a"] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("error", mheap.UncommittedChanges)
        with pytest.raises(mheap.UncommittedChanges):
            heap.close()
    assert not heap.closed
    heap.commit()
    heap.close()
    assert contents(heap_path) == {"a": 1}


# ---- transactions ----


def test_a_transaction_commits_at_its_end(heap_path: Path) -> None:
    with mheap.open(heap_path) as heap:
        with heap.transaction() as same:
            assert same is heap
            heap.root["a"] = 1
            assert heap.generation == 0
        assert heap.generation == 1
        assert not heap.dirty


@pytest.mark.parametrize("mistake", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_transaction_that_raises_is_undone(heap_path: Path, mistake: type[BaseException]) -> None:
    with mheap.open(heap_path) as heap:
        heap.root["a"] = 1
        heap.commit()
        one = mistake("why")
        with pytest.raises(mistake) as raised:
            change_and_raise(heap.transaction(), heap, "a", one)
        assert raised.value is one
        assert heap.root["a"] == 1
        assert not heap.dirty


def test_inner_transactions_are_part_of_the_outer(heap_path: Path) -> None:
    with mheap.open(heap_path) as heap:
        with heap.transaction():
            heap.root["outer"] = 1
            with pytest.raises(ValueError, match="caught"):
                change_and_raise(heap.transaction(), heap, "inner", ValueError("caught"))
            assert heap.root["inner"] == 2
            with heap.transaction():
                heap.root["other"] = 3
            assert heap.generation == 0
        assert heap.generation == 1
        assert heap.root == {"outer": 1, "inner": 2, "other": 3}


def test_commit_is_refused_within_a_transaction_and_rollback_is_not(heap_path: Path) -> None:
    with mheap.open(heap_path) as heap, heap.transaction():
        heap.root["a"] = 1
        with pytest.raises(mheap.HeapBusy, match="which commits at its end"):
            heap.commit()
        heap.rollback()
        heap.root["b"] = 2
    assert contents(heap_path) == {"b": 2}


def test_a_transaction_whose_heap_was_closed_says_so(heap_path: Path) -> None:
    heap = mheap.open(heap_path)
    transaction = heap.transaction()
    transaction.__enter__()
    heap.root["a"] = 1
    with pytest.warns(mheap.UncommittedChanges):
        heap.close()
    with pytest.raises(mheap.ClosedHeap):
        transaction.__exit__(None, None, None)
    assert contents(heap_path) == {}


def test_leaving_what_was_not_entered_is_refused(heap_path: Path) -> None:
    with mheap.open(heap_path) as heap:
        transaction = heap.transaction()
        with pytest.raises(RuntimeError, match="not in this transaction"):
            transaction.__exit__(None, None, None)


# ---- what is a change ----


def closes_in_silence(heap: mheap.Heap) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        heap.close()
    return heap.closed


def test_looking_is_no_change(heap_path: Path) -> None:
    heap = mheap.open(heap_path)
    assert heap.root == {}
    assert dict(heap.roots) == {}
    assert heap.check()
    heap.stats()
    assert not heap.dirty
    assert heap.getkey(1) is None
    assert closes_in_silence(heap)


def test_an_address_handed_out_is_no_change_that_is_missed(heap_path: Path) -> None:
    heap = mheap.open(heap_path)
    heap.root["a"] = "text that is long enough"
    heap.commit()
    with heap.view(heap.base + 0x20000, 4096) as view:
        assert bytes(view)
    assert heap.dirty.bytes == 8
    assert closes_in_silence(heap)


def test_a_store_through_a_view_is_one(heap_path: Path) -> None:
    heap = mheap.open(heap_path)
    block = heap.calloc(1, 100)
    heap.roots["block"] = block
    heap.commit()
    with heap.view(block, 100) as view:
        view[7] = 1
    assert heap.dirty == (8, 1)
    with pytest.warns(mheap.UncommittedChanges, match=r"8 bytes"):
        heap.close()


def test_a_store_into_what_an_object_lies_in_is_found(heap_path: Path) -> None:
    """Of which no address was handed out before."""
    with mheap.open(heap_path) as heap:
        heap.root["a"] = "0123456789" * 10
        heap.commit()
        with heap.view(heap.base, heap.size) as view:
            at = bytes(view).index(b"0123456789" * 10)
            view[at : at + 3] = b"new"
        heap.commit()
    with mheap.open(heap_path, mode="readonly") as heap:
        assert heap.root["a"].startswith("new3456789")


def test_what_a_view_stores_after_a_rollback_is_found(heap_path: Path) -> None:
    with mheap.open(heap_path) as heap:
        heap.root["a"] = "0123456789" * 10
        heap.commit()
        with heap.view(heap.base, heap.size) as view:
            heap.rollback()
            at = bytes(view).index(b"0123456789" * 10)
            view[at : at + 3] = b"new"
            heap.commit()
        heap.commit()
    with mheap.open(heap_path, mode="readonly") as heap:
        assert heap.root["a"].startswith("new3456789")


def test_exit_discards_and_says_so(heap_path: Path, run_python: Any) -> None:
    code = (
        "import mheap, sys\n"
        "heap = mheap.open(sys.argv[1])\n"
        "heap.root['a'] = 1\n"
        "heap.commit()\n"
        "heap.root['a'] = 2\n"
    )
    done = run_python(code, heap_path)
    assert "UncommittedChanges: <mheap.Heap" in done.stderr
    assert done.stderr.count("\n") == 1
    assert contents(heap_path) == {"a": 1}
    assert run_python(code + "heap.rollback()\n", heap_path).stderr == ""


def test_a_heap_that_is_collected_discards_and_says_so(heap_path: Path) -> None:
    def lose_one() -> None:
        mheap.open(heap_path).root["a"] = 1
        gc.collect()

    with pytest.warns(mheap.UncommittedChanges), pytest.warns(ResourceWarning, match="unclosed heap"):
        lose_one()
    assert contents(heap_path) == {}


def test_an_error_that_the_block_raises_goes_on_though_views_are_out(
    heap_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr("sys.unraisablehook", lambda seen: told.append(str(seen.exc_value)))
    heap = mheap.open(heap_path)
    view = heap.view(heap.malloc(10), 10)
    with pytest.raises(ValueError, match="mine"):
        change_and_raise(heap, heap, "a", ValueError("mine"))
    assert len(told) == 1
    assert "views of it are exported" in told[0]
    assert not heap.closed
    view.release()
    assert closes_in_silence(heap)
    assert contents(heap_path) == {}


def test_the_name_of_a_new_file_is_made_durable(tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        pytest.skip("no strace, which shows what is synced")
    code = "import mheap, sys; mheap.open(sys.argv[1]).close()"
    traced = ["strace", "-f", "-y", "-e", "trace=fsync", sys.executable, "-c", code]

    def synced() -> bool:
        done = subprocess.run([*traced, tmp_path / "a.heap"], capture_output=True, text=True, check=True)
        return f"<{tmp_path.resolve()}>)" in done.stderr

    assert synced()
    assert not synced()  # it is there already


# ---- a full disk: files may not reach beyond a limit, from some moment on ----

FULL = """
import mheap, os, resource, sys
heap = mheap.open(sys.argv[1])
def let_files_have(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
"""


def test_records_make_room_for_others_when_the_disk_is_full(heap_path: Path, run_python: Any) -> None:
    code = FULL + (
        "heap.root['numbers'] = [0] * 20000\n"
        "numbers = heap.root['numbers']\n"
        "heap.commit()\n"
        "heap.checkpoint()\n"
        "let_files_have(os.path.getsize(sys.argv[1]))\n"
        "for value in range(1, 20):\n"
        "    for index in range(value * 1000, value * 1000 + 1000):\n"
        "        numbers[index] = value\n"
        "    heap.commit()\n"
        "journal = mheap.journal(sys.argv[1])\n"
        "print(journal.pages_generation > 1, journal.generation == 20)\n"
        "for index in range(20000):\n"
        "    numbers[index] = -1\n"
        "try:\n"
        "    heap.commit()\n"
        "except mheap.HeapFull:\n"
        "    print('full')\n"
        "heap.rollback()\n"
        "heap.close()\n"
    )
    assert run_python(code, heap_path).stdout == "True True\nfull\n"
    numbers = contents(heap_path)["numbers"]  # type: ignore[index]
    assert numbers == [value for value in range(20) for _ in range(1000)]


def test_a_full_disk_is_not_in_the_way_of_closing(heap_path: Path, run_python: Any) -> None:
    code = FULL + (
        "with heap:\n"
        "    heap.root['numbers'] = [7] * 20000\n"
        "    heap.commit()\n"
        "    heap.root['more'] = 1\n"
        "    heap.commit()\n"
        "    let_files_have(65536)  # what is changed in the pages is behind that\n"
        "print(heap.closed, mheap.journal(sys.argv[1]).records)\n"
    )
    assert run_python(code, heap_path).stdout == "True 2\n"
    assert contents(heap_path) == {"numbers": [7] * 20000, "more": 1}
    mheap.open(heap_path).close()
    with mheap.open(heap_path) as heap:
        heap.root["more"] = 2
    assert mheap.journal(heap_path).records == 0
    assert contents(heap_path) == {"numbers": [7] * 20000, "more": 2}


# ---- what lies in space that was free ----


@pytest.mark.parametrize("how", ["closed", "recovered", "readonly", "scratch"])
def test_what_takes_space_that_was_used_between_commits(heap_path: Path, how: Any) -> None:
    """What was stored and freed again before a commit is in its record; then the space is another's, whose
    bytes stand in the file, not in a record."""
    heap = mheap.open(heap_path)
    heap.root["other"] = np.full((1638, 40), 3, "u1")
    heap.root["array"] = heap.array((991, 40), "u1")
    heap.root["other"] = 0
    heap.commit(durable=False)
    heap.close()
    heap = mheap.open(heap_path)
    heap.root["array"].extend(np.full((1281, 40), 5, "u1"))
    heap.root["array"] = heap.array((1048576, 8), "u1")
    heap.commit(durable=False)
    heap.root["array"] = np.full((2457, 40), 7, "u1")
    heap.commit(durable=False)
    copied = heap_path.with_suffix(".copy")
    shutil.copy(heap_path, copied)
    heap.close()
    path = heap_path if how == "closed" else copied
    with mheap.open(path, mode=how if how in ("readonly", "scratch") else "atomic") as heap:
        array = np.array(heap.root["array"])
        assert (array.shape, (array == 7).all()) == ((2457, 40), True)
        assert heap.check()


def test_growing_anew_cuts_nothing_off_that_was_committed(heap_path: Path) -> None:
    with mheap.open(heap_path) as heap:
        heap.root.update({"a": np.zeros((1, 1)), "c": np.zeros((0, 1))})
        heap.commit(durable=False)
    assert mheap.compact(heap_path).moved
    with mheap.open(heap_path) as heap:
        del heap.root["a"], heap.root["c"]
        heap.collect()
        for name in "ac":
            heap.root[name] = heap.array((0, 2), "f8")
            heap.collect()
        heap.rollback()
        assert heap.check()
        assert heap.root["a"].shape == (1, 1)
