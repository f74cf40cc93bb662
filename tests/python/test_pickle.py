"""A handle pickles as its path and mode."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest

import mheap


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_reader_is_attached_again(heap_path: Path, protocol: int) -> None:
    with mheap.open(heap_path, mode="live") as heap:
        identity = heap.uuid
    with (
        mheap.open(heap_path, mode="readonly") as heap,
        pickle.loads(pickle.dumps(heap, protocol)) as again,
    ):
        assert again is not heap
        assert (again.path, again.mode, again.uuid) == (heap.path, "readonly", identity)


def test_a_closed_handle_can_be_sent(heap_path: Path) -> None:
    with mheap.open(heap_path, mode="live") as heap:
        pass
    with pickle.loads(pickle.dumps(heap)) as again:
        assert (again.path, again.mode, again.closed) == (str(heap_path), "live", False)


def test_a_live_one_is_busy_while_the_original_is_attached(heap: mheap.Heap) -> None:
    pickled = pickle.dumps(heap)
    with pytest.raises(mheap.HeapBusy):
        pickle.loads(pickled)
    heap.close()
    pickle.loads(pickled).close()


def test_in_another_process_and_directory(heap_path: Path, run_python: Any) -> None:
    with mheap.open(heap_path, mode="live") as heap:
        heap.setkey(0, heap.malloc(10))
        key = heap.getkey(0)
    pickled = heap_path.with_suffix(".pickle")
    pickled.write_bytes(pickle.dumps(heap))
    code = (
        "import os, pickle, sys\n"
        "os.chdir('/')\n"
        "with open(sys.argv[1], 'rb') as file: heap = pickle.load(file)\n"
        "print(heap.getkey(0))\n"
    )
    assert run_python(code, pickled).stdout == f"{key}\n"


def test_unpickling_makes_no_file(heap: mheap.Heap, heap_path: Path) -> None:
    pickled = pickle.dumps(heap)
    heap.close()
    heap_path.unlink()
    with pytest.raises(FileNotFoundError):
        pickle.loads(pickled)
    heap_path.touch()
    with pytest.raises(mheap.NotAHeap):
        pickle.loads(pickled)


@pytest.mark.parametrize("refused", [pickle.dumps, copy.copy, copy.deepcopy])
def test_anonymous_heaps_refuse_and_say_why(anonymous: mheap.Heap, refused: Any) -> None:
    with pytest.raises(TypeError, match=r"this heap \(anonymous\): it has no path"):
        refused(anonymous)


def test_structures_pickle(heap: mheap.Heap) -> None:
    for structure in (heap.info(), heap.stats(), heap.mmstats()):
        assert pickle.loads(pickle.dumps(structure)) == structure
