"""Heap.new and Heap.named: several heaps in one file, each with objects of its own."""

from __future__ import annotations

import array
import gc
import os
import pickle
import random
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from forks import in_child
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from in_memory import temporary_directory
from kills import broken, killed
from machines import SETTINGS

import mheap
from mheap import arenas

LONG = "a text that is long enough"


def findings(heap: mheap.Heap) -> list[str]:
    found: list[str] = []
    heap.check(lambda finding: found.append(finding.text))
    return found


@pytest.fixture(params=["live", "atomic"])
def stored(request: pytest.FixtureRequest, heap_path: Path) -> Iterator[mheap.Heap]:
    with mheap.open(heap_path, mode=request.param) as heap:
        yield heap
        if not heap.closed:
            assert findings(heap) == []


def is_stale(use: Callable[[], Any]) -> bool:
    with pytest.raises(mheap.StaleObject, match="gone"):
        use()
    return True


# ---- making and finding ----


def test_each_has_a_root_of_its_own(stored: mheap.Heap) -> None:
    one, other = stored.new("one"), stored.new("other")
    assert (one.name, stored.name) == ("one", None)
    for heap in (stored, one, other):
        assert heap.root == {}
        heap.root["who"] = [heap.name, LONG]
    assert [heap.root["who"][0] for heap in (stored, one, other)] == [None, "one", "other"]


def test_they_are_found_by_name_after_the_next_attach(heap_path: Path) -> None:
    names = ["a", "seven b", "a name that is longer", "ä" * 127]
    with mheap.open(heap_path) as heap:
        for name in names:
            heap.new(name, tag=7).root["name"] = name
        heap.commit()
    with mheap.open(heap_path) as heap:
        assert list(heap.named) == names
        assert [found.root["name"] for found in heap.named.values()] == names
        assert {found.tag for found in heap.named.values()} == {7}
        assert set(heap.named.values()) < set(heap.heaps())


def test_named_is_a_mapping_to_look_at(stored: mheap.Heap) -> None:
    assert (len(stored.named), list(stored.named), "one" in stored.named) == (0, [], False)
    one = stored.new("one")
    assert stored.named["one"] is one
    assert one.named["one"] is one
    assert stored.named.get("two") is None
    assert dict(stored.named) == {"one": one}
    assert repr(stored.named) == "<mheap.Named ['one']>"
    assert "heap 'one'" in repr(one)
    with pytest.raises(mheap.NotFound, match="no heap named"):
        stored.named["two"]
    with pytest.raises(TypeError, match="must be a str"):
        stored.named[5]  # type: ignore[index]


@pytest.mark.parametrize("name", ["", "x" * 256, "a\0b", "\udcff"])
def test_what_is_no_name_is_refused(stored: mheap.Heap, name: str) -> None:
    with pytest.raises(mheap.InvalidArgument, match="the name of a heap is UTF-8"):
        stored.new(name)
    assert name not in stored.named


def test_a_name_is_given_once(stored: mheap.Heap) -> None:
    one = stored.new("one")
    for heap in (stored, one):
        with pytest.raises(mheap.InvalidArgument, match='has a heap "one" already'):
            heap.new("one")
    one.destroy()
    assert stored.new("one").root == {}


def test_arguments_of_new(stored: mheap.Heap) -> None:
    with pytest.raises(mheap.InvalidArgument, match="tag 256"):
        stored.new("one", tag=256)
    with pytest.raises(TypeError):
        stored.new(b"one")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        stored.new("one", 1)  # type: ignore[call-arg]
    assert len(stored.named) == 0
    arena = arenas.reserve_os_memory(8 << 20, exclusive=True, md=stored)
    tied = stored.new("tied", arena=arena)
    tied.root["list"] = [LONG] * 100
    assert tied.arena == arena


def test_there_are_63_at_most(stored: mheap.Heap) -> None:
    for number in range(63):
        stored.new(f"{number}").root["number"] = number
    with pytest.raises(mheap.HeapFull, match="rows"):
        stored.new("one more")
    stored.named["17"].destroy()
    stored.new("one more")
    assert len(stored.named) == 63


def test_the_default_heap_has_none() -> None:
    with mheap.attach(-1) as anonymous:
        anonymous.new("one").root["a"] = {"b": LONG}
        assert anonymous.named["one"].root == {"a": {"b": LONG}}
        plain = anonymous.heap_new_ex(0, True)
        with pytest.raises(mheap.InvalidArgument, match="no roots of its own"):
            _ = plain.root
        with pytest.raises(mheap.InvalidArgument, match="no roots of its own"):
            _ = anonymous.named["one"].roots
        assert plain.name is None


def test_they_have_blocks_too(stored: mheap.Heap) -> None:
    one = stored.new("one")
    address = one.malloc(100)
    with pytest.raises(mheap.InvalidPointer):
        stored.free(address)
    before = stored.stats().chunks_used
    one.root["list"] = [LONG, LONG + "!"]
    used = one.stats().chunks_used
    assert used > 1
    assert stored.stats().chunks_used > before
    one.free(address)
    assert one.stats().chunks_used == used - 1


# ---- between heaps ----


def test_what_is_stored_from_another_heap_is_copied(stored: mheap.Heap) -> None:
    one = stored.new("one")
    stored.root["a"] = {"list": [1, 2], "set": {1, 2}, "tuple": (LONG, [3]), LONG: LONG}
    stored.root["a"]["self"] = stored.root["a"]
    one.root["a"] = stored.root["a"]
    copy = one.root["a"]
    assert copy is not stored.root["a"]
    assert copy["self"] is copy
    copy["list"].append(3)
    copy["tuple"][1].append(4)
    assert stored.root["a"]["list"] == [1, 2]
    assert stored.root["a"]["tuple"] == (LONG, [3])
    one.root["all"] = [stored.root, one.root["a"]]
    assert one.root["all"][1] is copy
    stored.root.update(one.root)
    one.root["a"]["list"].extend(stored.root["all"])
    assert findings(stored) == []
    one.destroy()
    assert stored.root["a"]["list"] == [1, 2, 3]


def test_a_root_in_itself_is_shared_and_in_another_copied(stored: mheap.Heap) -> None:
    one, other = stored.new("one"), stored.new("other")
    one.root["root"] = one.root
    other.root["root"] = one.root
    assert one.root["root"] is one.root
    assert other.root["root"]["root"] is other.root["root"]
    assert other.root["root"] is not one.root


# ---- the end of one ----


def test_what_was_in_a_destroyed_heap_is_stale(stored: mheap.Heap) -> None:
    one = stored.new("one")
    one.root["d"] = {"list": [1, 2], "set": {1}, LONG: LONG}
    kept = [one.root, one.root["d"], one.root["d"]["list"], one.root["d"]["set"]]
    iterator = iter(kept[1])
    gone = one.root["d"]
    one.destroy()
    for twin in kept:
        assert is_stale(twin.__len__)
    assert is_stale(lambda: next(iterator))
    assert is_stale(lambda: kept[2].append(1))
    assert is_stale(lambda: stored.root.update(a=gone))
    with pytest.raises(mheap.ClosedHeap):
        _ = one.root
    again = stored.new("one")  # in its place
    again.root["d"] = {"list": [1, 2], "set": {1}, LONG: LONG}
    assert is_stale(lambda: gone["list"])
    assert again.root["d"]["list"] == [1, 2]
    for end in (kept.clear, gc.collect):
        end()
    assert again.root["d"] == {"list": [1, 2], "set": {1}, LONG: LONG}


def one_with_what_a_variable_keeps(heap: mheap.Heap) -> tuple[mheap.Heap, Any]:
    """The file has it without a reference, for the variable's sake."""
    one = heap.new("one")
    one.root["a"] = [[1], LONG]
    heap.commit()
    kept = one.root.pop("a")
    heap.commit()
    return one, kept


@pytest.mark.parametrize("first", ["variable", "handle"])
def test_what_only_a_variable_kept_goes_when_the_handle_is_closed(first: str, heap_path: Path) -> None:
    with mheap.open(heap_path) as heap:
        one, kept = one_with_what_a_variable_keeps(heap)
        if first == "variable":
            del kept
        one.close()
        heap.commit()
        assert findings(heap) == []
        assert heap.collect().objects == 0


@pytest.mark.parametrize("first", ["variable", "handle"])
@pytest.mark.parametrize("then", ["commit", "reopen", "close"])
def test_what_only_a_variable_kept_goes_with_a_closed_handle_also_after_a_rollback(
    first: str, then: str, heap_path: Path
) -> None:
    with mheap.open(heap_path) as heap:
        one, kept = one_with_what_a_variable_keeps(heap)
        if first == "variable":
            del kept
        one.close()
        heap.rollback()
        if then == "reopen":
            one = heap.named["one"]
            assert one.root == {}
        if then != "close":
            heap.commit()
            assert heap.collect().objects == 0
    with mheap.open(heap_path) as heap:
        assert findings(heap) == []
        assert heap.collect().objects == 0


@pytest.mark.parametrize("first", ["variable", "heap"])
@pytest.mark.parametrize("then", ["commit", "reopen", "close"])
def test_what_only_a_variable_kept_goes_with_a_heap_that_a_rollback_brought_back(
    first: str, then: str, heap_path: Path
) -> None:
    with mheap.open(heap_path) as heap:
        one, kept = one_with_what_a_variable_keeps(heap)
        if first == "variable":
            del kept
        one.destroy()
        heap.rollback()
        if then == "reopen":
            assert heap.named["one"].root == {}
        if then != "close":
            heap.commit()
            assert heap.collect().objects == 0
    with mheap.open(heap_path) as heap:
        assert findings(heap) == []
        assert heap.collect().objects == 0
        assert heap.named["one"].collect().objects == 0


def test_what_came_back_for_another_handle_is_its_variables(heap_path: Path) -> None:
    with mheap.open(heap_path) as heap:
        one, kept = one_with_what_a_variable_keeps(heap)
        one.root["b"] = kept
        one.close()
        again = heap.named["one"]
        twin = again.root["b"]
        heap.rollback()
        for _ in range(2):
            heap.root["x"] = 1
            heap.commit()
            assert twin == [[1], LONG]
        assert findings(heap) == []
        del twin
        heap.commit()
        assert heap.collect().objects == 0


def test_what_a_heap_that_went_had_left_is_nobodys(heap_path: Path) -> None:
    with mheap.open(heap_path) as heap:
        one, kept = one_with_what_a_variable_keeps(heap)
        one.close()
        heap.named["one"].destroy()
        heap.new("one").root["a"] = [[1], LONG]
        heap.commit()
        assert heap.named["one"].root == {"a": [[1], LONG]}
        assert findings(heap) == []
        del kept


def test_a_named_heap_is_not_deleted(stored: mheap.Heap) -> None:
    one = stored.new("one")
    with pytest.raises(mheap.InvalidArgument, match="destroy it"):
        one.delete()
    one.root["a"] = 1
    assert one.destroyable


def test_it_is_not_destroyed_in_the_middle_of_a_call(stored: mheap.Heap) -> None:
    one = stored.new("one")
    one.root["a"] = [1]

    class Value:
        pass

    def to_state(value: Value) -> int:
        with pytest.raises(mheap.HeapBusy, match="middle of a call"):
            one.destroy()
        return 1

    mheap.register(Value, to_state, lambda state: Value(), name=f"{stored.path}: Value")
    one.root["b"] = [Value()]
    assert isinstance(one.root["b"][0], Value)


def test_closing_a_handle_leaves_the_heap(stored: mheap.Heap) -> None:
    one = stored.new("one")
    one.root["a"] = [1, 2]
    twin = one.root["a"]
    one.close()
    with pytest.raises(mheap.ClosedHeap):
        twin.append(3)
    again = stored.named["one"]
    assert again is not one
    assert again.root["a"] == [1, 2]


def test_destroying_frees_all_it_had(stored: mheap.Heap) -> None:
    stored.root["kept"] = [LONG]
    before = stored.stats()
    for _ in range(5):
        one = stored.new("one")
        one.root["all"] = [{"n": n, "text": LONG + str(n)} for n in range(2000)]
        one.malloc(10_000_000)
        one.destroy()
        after = stored.stats()
        assert after.chunks_used == before.chunks_used
        assert after.bytes_used == before.bytes_used


# ---- collecting ----


def leave_circles(heap: mheap.Heap, count: int) -> None:
    heap.root["circles"] = [{"text": f"{LONG}, {i}"} for i in range(count)]
    circles = heap.root["circles"]
    for circle in circles:
        circle["all"] = circles
    del heap.root["circles"]


def test_a_main_heaps_collection_goes_over_named_ones(stored: mheap.Heap) -> None:
    heaps = [stored, stored.new("one"), stored.new("a name that is longer")]
    for heap in heaps:
        heap.root["kept"] = {"a": [LONG]}
        leave_circles(heap, 10)
    assert heaps[1].collect().objects == 21
    assert heaps[1].collect().objects == 0
    collected = stored.collect()
    assert (collected.objects, collected.done) == (42, True)
    for heap in heaps:
        assert heap.root == {"kept": {"a": [LONG]}}
    assert list(stored.named) == ["one", "a name that is longer"]


def test_steps_are_of_one_heap(stored: mheap.Heap) -> None:
    one = stored.new("one")
    for heap in (stored, one):
        leave_circles(heap, 2000)
    assert not stored.collect(max_pause=1e-6, steps=1).done
    one.root["meanwhile"] = [LONG]
    leave_circles(one, 10)
    collected = one.collect()  # instead of the one that is under way
    assert collected.objects == 4001 + 21
    total = 0
    while True:
        collected = stored.collect(max_pause=1e-3, steps=1)
        total += collected.objects
        if collected.done:
            break
        one.root["meanwhile"].append([LONG])
    assert total == 4001
    assert one.root["meanwhile"][0] == LONG


def test_what_a_twin_holds_stays(stored: mheap.Heap) -> None:
    one = stored.new("one")
    one.root["a"] = {"b": [LONG]}
    twin = one.root.pop("a")
    stored.collect()
    assert twin == {"b": [LONG]}
    used = one.stats().chunks_used
    del twin
    assert one.stats().chunks_used < used


# ---- commits ----


@pytest.fixture
def atomic(heap_path: Path) -> Iterator[mheap.Heap]:
    with mheap.open(heap_path) as heap:
        heap.new("one").root["kept"] = {"list": [1, 2, 3], "text": LONG}
        heap.commit(durable=False)
        yield heap
        assert findings(heap) == []
        heap.rollback()


def test_a_rollback_undoes_what_was_done_in_it(atomic: mheap.Heap) -> None:
    one = atomic.named["one"]
    kept = one.root["kept"]
    kept["list"].append(4)
    one.root["new"] = {"a": [1]}
    new = one.root["new"]
    atomic.rollback()
    assert atomic.named["one"] is one
    assert kept == {"list": [1, 2, 3], "text": LONG}
    assert one.root["kept"] is kept
    assert is_stale(lambda: len(new))


def test_a_rollback_undoes_its_making(atomic: mheap.Heap) -> None:
    other = atomic.new("other")
    other.root["a"] = [1]
    twin, root = other.root["a"], other.root
    atomic.rollback()
    assert is_stale(lambda: len(twin))
    assert is_stale(lambda: root.update(a=1))
    assert "undone by a rollback" in repr(other)
    assert list(atomic.named) == ["one"]
    again = atomic.new("other")
    again.root["a"] = [1]
    assert is_stale(lambda: len(twin))
    assert again.root == {"a": [1]}


def test_a_rollback_undoes_its_end(atomic: mheap.Heap) -> None:
    twin = atomic.named["one"].root["kept"]
    atomic.named["one"].destroy()
    atomic.new("in its place").root["kept"] = {"list": []}
    atomic.rollback()
    assert list(atomic.named) == ["one"]
    assert atomic.named["one"].root == {"kept": {"list": [1, 2, 3], "text": LONG}}
    assert is_stale(lambda: len(twin))  # its handle is closed for good


def test_a_commit_makes_its_end_durable(heap_path: Path) -> None:
    with mheap.open(heap_path) as heap:
        heap.new("one").root["a"] = [LONG] * 1000
        heap.commit()
        heap.named["one"].destroy()
        heap.commit()
    with mheap.open(heap_path) as heap:
        assert list(heap.named) == []
        assert findings(heap) == []


def test_a_transaction_may_span_them(atomic: mheap.Heap) -> None:
    one = atomic.named["one"]
    with suppress(ZeroDivisionError), atomic.transaction():
        atomic.root["a"] = 1
        one.root["a"] = 1
        raise ZeroDivisionError
    assert "a" not in atomic.root
    assert "a" not in one.root
    with one.transaction():
        atomic.root["a"] = one.root["a"] = 1
    atomic.rollback()
    assert (atomic.root["a"], one.root["a"]) == (1, 1)


def test_what_only_a_twin_kept_at_the_commit_is_freed_with_the_next(atomic: mheap.Heap) -> None:
    used = atomic.stats().chunks_used
    twin = atomic.named["one"].root.pop("kept")
    atomic.commit(durable=False)
    assert twin["list"] == [1, 2, 3]
    del twin
    gc.collect()
    assert not atomic.dirty  # the end of a Python object is no change
    atomic.root["a"] = 1
    atomic.commit(durable=False)
    del atomic.root["a"]
    assert atomic.stats().chunks_used < used
    assert atomic.collect().objects == 0


def test_what_only_a_twin_kept_goes_when_the_file_is_closed(heap_path: Path) -> None:
    with mheap.open(heap_path) as heap:
        heap.new("one").root["kept"] = {"list": [1, 2, 3], "text": LONG}
        heap.commit()
        twin = heap.named["one"].root.pop("kept")
        heap.commit()
    with mheap.open(heap_path) as heap:
        assert heap.collect().objects == 0
        assert heap.named["one"].root == {}
    with pytest.raises(mheap.ClosedHeap):
        len(twin)


# ---- readers ----


def test_readers_see_them_come_and_go(atomic: mheap.Heap, heap_path: Path) -> None:
    with mheap.open(heap_path, mode="readonly") as reader:
        seen = reader.named["one"]
        twin, root = seen.root["kept"], seen.root
        assert twin["list"] == [1, 2, 3]
        atomic.named["one"].root["kept"]["list"].append(4)
        atomic.new("other").root["a"] = 1
        assert list(reader.named) == ["one"]
        atomic.commit(durable=False)
        assert twin["list"] == [1, 2, 3, 4]
        assert list(reader.named) == ["one", "other"]
        with pytest.raises(mheap.ReadOnlyHeap):
            reader.new("more")
        with pytest.raises(mheap.ReadOnlyHeap):
            seen.destroy()
        atomic.named["one"].destroy()
        atomic.new("one").root["kept"] = {"list": [5]}
        atomic.commit(durable=False)
        assert is_stale(lambda: twin["list"])
        assert is_stale(lambda: len(root))
        with pytest.raises(mheap.StaleObject, match="destroyed"):
            _ = seen.root
        assert reader.named["one"].root["kept"] == {"list": [5]}


def test_a_snapshot_keeps_one_that_is_destroyed(atomic: mheap.Heap, heap_path: Path) -> None:
    with mheap.open(heap_path, mode="readonly") as reader:
        seen = reader.named["one"]
        with reader.snapshot():
            assert seen.root["kept"]["list"] == [1, 2, 3]
            atomic.named["one"].destroy()
            atomic.new("other").root["x"] = [LONG] * 100
            atomic.commit(durable=False)
            assert list(reader.named) == ["one"]
            assert seen.root["kept"] == {"list": [1, 2, 3], "text": LONG}
        assert list(reader.named) == ["other"]
        with pytest.raises(mheap.StaleObject):
            _ = seen.root


def test_a_reader_notices_though_nothing_took_its_place(atomic: mheap.Heap, heap_path: Path) -> None:
    with mheap.open(heap_path, mode="readonly") as reader:
        seen = reader.named["one"]
        twins = [seen.root, seen.root["kept"], seen.root["kept"]["list"]]
        atomic.named["one"].destroy()
        atomic.commit(durable=False)
        assert reader.heaps() == (reader,)
        for twin in twins:
            assert is_stale(twin.__len__)
            assert is_stale(twin.__len__)
        with pytest.raises(mheap.StaleObject):
            _ = seen.root


def test_a_root_that_was_not_there_goes_too(heap_path: Path) -> None:
    with mheap.open(heap_path) as heap:
        heap.new("one")
        heap.commit()
        with mheap.open(heap_path, mode="readonly") as reader:
            root = reader.named["one"].root
            assert root == {}
            heap.named["one"].destroy()
            heap.commit()
            assert is_stale(lambda: len(root))


# ---- other processes ----


def test_a_forked_child_reads_them(atomic: mheap.Heap) -> None:
    one = atomic.named["one"]
    twin = one.root["kept"]

    def body() -> None:
        assert twin["list"] == [1, 2, 3]
        assert one.root["kept"] is twin
        assert atomic.named["one"] is one

    in_child(body)
    one.destroy()
    atomic.new("one").root["kept"] = 1
    atomic.commit(durable=False)
    assert atomic.named["one"].root == {"kept": 1}


def test_a_forked_child_does_not_take_another_for_it(atomic: mheap.Heap) -> None:
    one = atomic.named["one"]
    twin = one.root["kept"]
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.read(read, 1)
            with pytest.raises(mheap.NotFound, match="no longer in the file"):
                len(twin)
            with pytest.raises(mheap.NotFound):
                _ = one.root
            status = 0
        finally:
            os._exit(status)
    one.destroy()
    atomic.new("one").root["kept"] = {"list": []}
    atomic.commit(durable=False)
    os.write(write, b"x")
    assert os.waitpid(child, 0)[1] == 0


def test_a_handle_is_pickled_by_name(heap_path: Path) -> None:
    with mheap.open(heap_path) as heap:
        heap.new("one").root["a"] = 1
        heap.commit()
    with mheap.open(heap_path, mode="readonly") as heap:
        pickled = pickle.dumps(heap.named["one"])
    again = pickle.loads(pickled)
    assert (again.name, again.root) == ("one", {"a": 1})
    again.main.close()


WORKER = f"""
import random, sys
import mheap
heap = mheap.open(sys.argv[1], mode="live")
print("ready", flush=True)
while True:
    name = f"heap {{random.randrange(4)}}"
    if name in heap.named and random.random() < 0.7:
        heap.named[name].destroy()
    elif name not in heap.named:
        one = heap.new(name)
        one.root["all"] = [{{"n": n, "text": {LONG!r}}} for n in range(random.randrange(200))]
        heap.root[name] = one.root["all"]
    else:
        heap.named[name].root["more"] = heap.root.get(name)
"""


def test_a_kill_leaves_whole_heaps(heap_path: Path) -> None:
    seen = 0
    for heap in killed(WORKER, heap_path):
        for name, one in heap.named.items():
            seen += 1
            assert name.startswith("heap ")
            for entry in one.root.get("all", ()):
                assert entry["text"] == LONG
        heap.collect(force=True)
        assert findings(heap) == []
        for one in heap.named.values():
            assert one.collect().objects == 0
    assert seen > 0


EXIT = f"""
import sys
import mheap
heap = mheap.open(sys.argv[1])
one = heap.new("one")
one.root["a"] = {{"list": [{LONG!r}]}}
heap.commit()
kept = one.root.pop("a")
heap.commit()
one.root["never"] = 1
"""


def test_what_a_process_held_at_its_end_is_freed(heap_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", EXIT, heap_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert set(re.findall(r"\w+Warning", done.stderr)) <= {"ResourceWarning"}
    with mheap.open(heap_path) as heap:
        assert heap.named["one"].root == {}
        assert heap.collect().objects == 0


# ---- threads ----


def test_threads_use_heaps_of_their_own(atomic: mheap.Heap) -> None:
    failures: list[BaseException] = []
    done = threading.Event()

    def work(number: int) -> None:
        try:
            for turn in range(60):
                one = atomic.new(f"thread {number}")
                one.root["list"] = [{"n": n, "text": LONG} for n in range(30)]
                items = one.root["list"]
                for item in items:
                    item["of"] = items
                atomic.root[f"{number}"] = items
                if turn % 3 == 0:
                    one.collect(max_pause=1e-4)
                assert [item["n"] for item in items] == list(range(30))
                atomic.named[f"thread {number}"].destroy()
                assert is_stale(items.copy)
        except BaseException as error:
            failures.append(error)
        finally:
            done.set()

    threads = [threading.Thread(target=work, args=[number]) for number in range(3)]
    for thread in threads:
        thread.start()
    while not done.is_set():
        atomic.commit(durable=False)
        atomic.collect(max_pause=1e-3)
    for thread in threads:
        thread.join()
    assert failures == []
    assert list(atomic.named) == ["one"]
    assert set(atomic.root) == {"0", "1", "2"}


def test_it_may_be_destroyed_while_it_is_collected(stored: mheap.Heap) -> None:
    for _ in range(20):
        one = stored.new("one")
        leave_circles(one, 300)
        begun = threading.Event()
        seen: list[BaseException] = []

        def collect(one: mheap.Heap = one, begun: threading.Event = begun, seen: list[Any] = seen) -> None:
            begun.set()
            try:
                one.collect(max_pause=1e-5)
            except mheap.ClosedHeap as error:
                seen.append(error)

        thread = threading.Thread(target=collect)
        thread.start()
        begun.wait()
        one.destroy()
        thread.join()
    assert stored.collect().objects == 0


# ---- against a model ----


class Machine(RuleBasedStateMachine):
    """Several heaps of one file, in mode atomic, beside dicts that say what is in them."""

    values = st.recursive(
        st.integers() | st.text(max_size=12), lambda of: st.lists(of, max_size=3), max_leaves=6
    )
    names = st.sampled_from(["a", "bee", "a third name, longer"])

    @initialize()
    def begin(self) -> None:
        self.directory = temporary_directory()
        self.path = Path(self.directory.name) / "model.heap"
        self.heap = mheap.open(self.path)
        self.model: dict[str, dict[str, Any]] = {}
        self.root: dict[str, Any] = {}
        self.twins: list[tuple[str, Any, Any]] = []
        self.stale: list[Any] = []
        self.heap.commit(durable=False)
        self.committed = self.copy()

    def copy(self) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
        return deepcopy((self.model, self.root))

    def of(self, name: str) -> mheap.Heap:
        return self.heap.named[name]

    @rule(name=names)
    def make(self, name: str) -> None:
        if name in self.model:
            with pytest.raises(mheap.InvalidArgument):
                self.heap.new(name)
        else:
            self.heap.new(name)
            self.model[name] = {}

    @rule(name=names, key=st.sampled_from("xyz"), value=values)
    def fill(self, name: str, key: str, value: Any) -> None:
        if name in self.model:
            self.of(name).root[key] = {"v": value}
            self.model[name][key] = {"v": value}

    @rule(name=names, other=names, key=st.sampled_from("xyz"))
    def cross(self, name: str, other: str, key: str) -> None:
        if name in self.model and other in self.model and name != other and key in self.model[name]:
            twin = self.of(name).root[key]
            self.of(other).root[key] = twin
            assert self.of(other).root[key] is not twin
            self.model[other][key] = deepcopy(self.model[name][key])
            self.heap.root[key] = self.of(other).root[key]
            self.root[key] = deepcopy(self.model[name][key])

    @rule(name=names, key=st.sampled_from("xyz"))
    def hold(self, name: str, key: str) -> None:
        if name in self.model and key in self.model[name]:
            self.twins.append((name, self.of(name).root[key], dict(self.model[name][key])))

    @rule(name=names, key=st.sampled_from("xyz"))
    def remove(self, name: str, key: str) -> None:
        if name in self.model:
            assert (self.of(name).root.pop(key, None) is None) == (self.model[name].pop(key, None) is None)

    @rule(name=names)
    def destroy(self, name: str) -> None:
        if name in self.model:
            self.of(name).destroy()
            del self.model[name]
            self.stale += [twin for of, twin, _ in self.twins if of == name]
            self.twins = [entry for entry in self.twins if entry[0] != name]

    @rule(name=names, main=st.booleans())
    def collect(self, name: str, main: bool) -> None:
        if main:
            self.heap.collect()
        elif name in self.model:
            self.of(name).collect()

    @rule()
    def leave_garbage(self) -> None:
        for heap in (self.heap, *self.heap.named.values()):
            heap.root["circle"] = []
            heap.root["circle"].append(heap.root["circle"])
            del heap.root["circle"]

    @rule()
    def commit(self) -> None:
        self.heap.commit(durable=False)
        self.committed = self.copy()

    @rule()
    def roll_back(self) -> None:
        self.heap.rollback()
        self.forget()

    def forget(self) -> None:
        self.twins.clear()
        self.model, self.root = self.committed
        self.committed = self.copy()

    @rule()
    def reattach(self) -> None:
        self.heap.commit(durable=False)
        self.committed = self.copy()
        self.heap.close()
        self.heap = mheap.open(self.path)
        self.twins.clear()
        self.stale.clear()

    @rule()
    def compact(self) -> None:
        self.reattach()
        self.heap.close()
        assert mheap.compact(self.path).moved
        self.heap = mheap.open(self.path)

    @rule()
    def die(self) -> None:
        """As a process that is killed: what was not committed is gone."""
        program = (
            "import mheap, os, signal, sys\n"
            "heap = mheap.open(sys.argv[1])\n"
            "[one.destroy() for one in heap.named.values()]\n"
            "heap.new('never committed').root['a'] = 1\n"
            "os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        self.roll_back()
        self.heap.close()
        done = subprocess.run([sys.executable, "-c", program, str(self.path)], check=False)
        assert done.returncode == -signal.SIGKILL
        self.heap = mheap.open(self.path)
        self.stale.clear()

    @invariant()
    def all_is_as_the_model_says(self) -> None:
        if not hasattr(self, "heap"):
            return
        assert set(self.heap.named) == set(self.model)
        for name, wanted in self.model.items():
            assert self.of(name).root == wanted
        assert self.heap.root == self.root
        for _, twin, wanted in self.twins:
            assert twin == wanted
        for twin in self.stale:
            assert is_stale(twin.__len__)

    @precondition(lambda self: hasattr(self, "heap"))
    @rule()
    def check(self) -> None:
        assert broken(self.heap) == []

    def teardown(self) -> None:
        if hasattr(self, "heap"):
            assert broken(self.heap) == []
            self.heap.rollback()
            self.heap.close()
            self.directory.cleanup()


TestMachine = Machine.TestCase
TestMachine.settings = SETTINGS


def test_many_come_and_go(stored: mheap.Heap) -> None:
    choose = random.Random(5)
    for number in range(300):
        name = f"heap {choose.randrange(10)}"
        if name in stored.named:
            assert stored.named[name].root["n"][0] < number
            stored.named[name].destroy()
        else:
            stored.new(name).root["n"] = [number, LONG]
    assert findings(stored) == []


class Pair(mheap.Record):
    name: str
    other: object = None


class Late(mheap.Record):
    number: int


@pytest.mark.parametrize("mode", ["live", "atomic"])
def test_everything_has_a_place_in_named_heaps(heap_path: Path, mode: Any) -> None:
    """Also schemas of records, which are the main heap's and outlive the heap that needed them first."""
    with mheap.open(heap_path, mode=mode) as heap:
        one = heap.new("one")
        one.root["record"] = Pair("a name of some length", [1])
        one.root["rows"] = mheap.RecordList(Pair, [Pair("another name of some length")])
        one.root["sorted"] = mheap.SortedDict({number: [number] for number in range(100)})
        one.root["array"] = array.array("d", [1, 2])
        one.root["counter"] = Counter("several")
        heap.root.update(one.root)
        assert all(one.root[name] is not heap.root[name] for name in one.root)
        assert heap.check()
        if mode == "atomic":
            heap.commit()
        one.collect()
        heap.collect()
        assert heap.check()
    with mheap.open(heap_path, mode=mode) as heap:
        one = heap.named["one"]
        assert repr(one.root) == repr(heap.root)
        one.root["late"] = Late(5)
        if mode == "atomic":
            heap.rollback()
            one = heap.named["one"]
            one.root["late"] = Late(6)
            heap.commit()
        one.destroy()
        heap.root["late"] = Late(7)
        assert heap.check()
        if mode == "atomic":
            heap.commit()
    with mheap.open(heap_path, mode="readonly") as heap:
        assert (heap.root["late"].number, heap.root["record"].other) == (7, [1])
        assert heap.root["rows"][0].name == "another name of some length"
