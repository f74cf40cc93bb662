"""mheap.dump and mheap.restore, and Heap.dump."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

import mheap

VALUES: list[object] = [
    {},
    {"a": 1, 2: [3.5, None, True], "nested": {"long key, beyond what is inline": "long text in it"}},
    [1, "two", b"three and more", (4, [5]), {6, "seven is long enough"}, frozenset({8})],
    "text that is not inline",
    None,
    10**40,
]


def restored(path: Path) -> object:
    """The value in a file."""
    with mheap.restore(path) as heap:
        return mheap.to_python(heap.root)


@pytest.mark.parametrize("value", VALUES, ids=[str(i) for i in range(len(VALUES))])
def test_what_is_dumped_is_restored(value: object, tmp_path: Path) -> None:
    mheap.dump(value, tmp_path / "value.heap")
    assert restored(tmp_path / "value.heap") == (value if isinstance(value, dict) else {"value": value})
    with mheap.restore(tmp_path / "value.heap") as heap:
        assert heap.info().state == "sealed"
        assert heap.mode == "scratch"
        assert heap.info().created_ns == 0
        assert heap.check()


def test_persistent_values_are_dumped(heap: mheap.Heap, tmp_path: Path) -> None:
    heap.root["of"] = {"some": [1, 2, {"deep": "text that is not inline"}]}
    mheap.dump(heap.root, tmp_path / "root.heap")
    mheap.dump(heap.root["of"]["some"], tmp_path / "some.heap")
    assert restored(tmp_path / "root.heap") == {"of": {"some": [1, 2, {"deep": "text that is not inline"}]}}
    assert restored(tmp_path / "some.heap") == {"value": [1, 2, {"deep": "text that is not inline"}]}


def test_cycles_and_shared_parts_stay_what_they_are(tmp_path: Path) -> None:
    shared = ["shared"]
    value: dict[str, object] = {"one": shared, "two": shared}
    value["self"] = value
    mheap.dump(value, tmp_path / "cycle.heap")
    with mheap.restore(tmp_path / "cycle.heap") as heap:
        assert heap.root["self"] is heap.root
        assert heap.root["one"] is heap.root["two"]


def test_changes_of_a_restored_heap_are_thrown_away(tmp_path: Path) -> None:
    path = tmp_path / "value.heap"
    mheap.dump({"list": [1]}, path)
    path.chmod(0o444)
    before = path.read_bytes()
    with mheap.restore(path) as one, mheap.restore(path) as two:
        one.root["list"].append(2)
        one.root["more"] = {"long text in it": list(range(10000))}
        assert one.root["list"] == [1, 2]
        assert two.root == {"list": [1]}
    assert path.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["value.heap"]


def test_a_dump_is_not_opened_for_writing(tmp_path: Path) -> None:
    mheap.dump([], tmp_path / "value.heap")
    for mode in ("atomic", "live"):
        with pytest.raises(mheap.ReadOnlyHeap, match=r"sealed.*mheap restore"):
            mheap.open(tmp_path / "value.heap", mode=mode)
    with mheap.open(tmp_path / "value.heap", mode="readonly") as heap:
        assert heap.root == {"value": []}


def test_what_cannot_be_stored_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "value.heap"
    mheap.dump({"a": 1}, path)
    with pytest.raises(TypeError, match="object"):
        mheap.dump({"a": object()}, path)
    assert restored(path) == {"a": 1}
    assert os.listdir(tmp_path) == ["value.heap"]


def test_a_file_is_replaced_at_once(tmp_path: Path) -> None:
    path = tmp_path / "value.heap"
    mheap.dump({"a": 1}, path)
    with mheap.restore(path) as old, mheap.open(path, mode="readonly") as reader:
        mheap.dump({"a": 2}, path)
        assert old.root["a"] == reader.root["a"] == 1
    assert restored(path) == {"a": 2}
    with pytest.raises(FileExistsError):
        mheap.dump({"a": 3}, path, replace=False)
    assert restored(path) == {"a": 2}
    mheap.dump({"a": 3}, tmp_path / "new.heap", replace=False, durable=False)
    assert restored(tmp_path / "new.heap") == {"a": 3}


@pytest.mark.parametrize("mode", ["live", "atomic"])
def test_a_heap_that_a_writer_has_is_not_replaced(mode: str, heap_path: Path) -> None:
    with mheap.open(heap_path, mode=mode) as heap:  # type: ignore[arg-type]
        heap.root["a"] = 1
        with pytest.raises(mheap.HeapBusy, match="a writer has it attached"):
            mheap.dump({}, heap_path)
        with pytest.raises(mheap.HeapBusy, match="a writer has it attached"):
            heap.dump(heap_path)
        assert heap.root["a"] == 1


def test_permissions_are_those_of_a_new_file_or_of_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "value.heap"
    mask = os.umask(0o027)
    try:
        mheap.dump([], path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        path.chmod(0o604)
        mheap.dump([], path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o604
    finally:
        os.umask(mask)


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        mheap.dump([], tmp_path / "none" / "value.heap")
    with pytest.raises(mheap.InvalidArgument, match="a directory, not a file"):
        mheap.dump([], tmp_path)


@pytest.mark.parametrize("mode", ["live", "atomic"])
def test_a_whole_heap_is_dumped(mode: str, heap_path: Path, tmp_path: Path) -> None:
    with mheap.open(heap_path, mode=mode) as heap:  # type: ignore[arg-type]
        heap.root["objects"] = {"long text in it": [1, 2, 3]}
        block = heap.malloc(100)
        heap.setkey(3, block)
        heap.roots["name"] = block
        with heap.view(block, 5) as view:
            view[:] = b"bytes"
        heap.dump(tmp_path / "all.heap")
        uuid, base = heap.uuid, heap.base
    with mheap.restore(tmp_path / "all.heap") as copy:
        assert (copy.uuid, copy.base) == (uuid, base)
        assert copy.root == {"objects": {"long text in it": [1, 2, 3]}}
        assert copy.getkey(3) == copy.roots["name"] == block
        assert bytes(copy.view(block, 5)) == b"bytes"
        assert copy.check()


def test_a_heap_that_did_not_change_is_dumped_alike(heap_path: Path, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.heap" for number in range(4)]
    with mheap.open(heap_path) as heap:
        heap.root["objects"] = {f"text number {i}": [i] for i in range(1000)}
        heap.root["set"] = {"some", "more text in it"}
        del heap.root["set"]
        heap.commit()
        heap.dump(paths[0])
        heap.dump(paths[1])
    for path, mode in ((paths[2], "readonly"), (paths[3], "scratch")):
        with mheap.open(heap_path, mode=mode) as heap:  # type: ignore[arg-type]
            heap.dump(path)
    assert len({path.read_bytes() for path in paths}) == 1


def test_a_snapshot_is_dumped_beside_its_writer(heap_path: Path, tmp_path: Path) -> None:
    with mheap.open(heap_path) as writer:
        writer.root["a"] = 1
        writer.commit()
        with mheap.open(heap_path, mode="readonly") as reader:
            with reader.snapshot():
                assert reader.root["a"] == 1
                writer.root["a"] = 2
                writer.commit()
                reader.dump(tmp_path / "one.heap")
            assert reader.root["a"] == 2
            reader.dump(tmp_path / "two.heap")
    assert restored(tmp_path / "one.heap") == {"a": 1}
    assert restored(tmp_path / "two.heap") == {"a": 2}


def test_a_root_that_nothing_was_put_into(heap: mheap.Heap, tmp_path: Path) -> None:
    mheap.dump(heap.root, tmp_path / "value.heap")
    heap.dump(tmp_path / "heap.heap")
    assert restored(tmp_path / "value.heap") == restored(tmp_path / "heap.heap") == {}
    heap.close()
    with pytest.raises(mheap.ClosedHeap):
        heap.dump(tmp_path / "heap.heap")


def test_beside_threads_that_change_the_heap(tmp_path: Path) -> None:
    with mheap.attach(-1) as heap:
        done = threading.Event()

        def change() -> None:
            number = 0
            while not done.is_set():
                heap.root[number % 1000] = [number, "x" * (number % 300), number]
                number += 1

        threads = [threading.Thread(target=change) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(20):
                heap.dump(tmp_path / "heap.heap", durable=False)
                with mheap.restore(tmp_path / "heap.heap", verify=True) as copy:
                    assert all(first == last for first, _, last in copy.root.values())
        finally:
            done.set()
            for thread in threads:
                thread.join()


def test_a_hash_seed_of_ones_own(tmp_path: Path) -> None:
    value = {f"key {i}": i for i in range(100)}
    for name, seed in (("own", b"0123456789abcdef"), ("usual", None)):
        mheap.dump(value, tmp_path / name, hash_seed=seed)
        assert restored(tmp_path / name) == value
    assert b"0123456789abcdef" in (tmp_path / "own").read_bytes()
    assert b"0123456789abcdef" not in (tmp_path / "usual").read_bytes()
    with pytest.raises(mheap.InvalidArgument, match="16 bytes"):
        mheap.dump(value, tmp_path / "none.heap", hash_seed=b"short")
