"""Heap.collect: what counting does not free, in steps that other threads and signals come between."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import statistics
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mheap


def leave_circles(heap: mheap.Heap, count: int = 1) -> None:
    heap.root["circles"] = [{"text": f"a text that is long, {i}"} for i in range(count)]
    circles = heap.root["circles"]
    for circle in circles:
        circle["all"] = circles
    del heap.root["circles"]


def findings_of(heap: mheap.Heap) -> list[mheap.Finding]:
    findings: list[mheap.Finding] = []
    heap.check(findings.append)
    return findings


@pytest.fixture(params=["live", "atomic"])
def stored(request: pytest.FixtureRequest, heap_path: Path) -> Iterator[mheap.Heap]:
    heap = mheap.open(heap_path, mode=request.param)
    heap.root["kept"] = {"n": [1, 2, 3]}
    yield heap
    if request.param == "atomic":
        heap.rollback()
    heap.close()


def test_circles_are_freed_and_nothing_else(stored: mheap.Heap) -> None:
    before = stored.stats().chunks_used
    leave_circles(stored, 100)
    collected = stored.collect()
    assert collected.objects == 100 + 100 + 1
    assert collected.bytes > 100 * 64
    assert collected.done
    assert 0 < collected.pause < 10
    assert stored.stats().chunks_used == before
    assert stored.root == {"kept": {"n": [1, 2, 3]}}
    assert stored.collect()[:2] == (0, 0)
    assert findings_of(stored) == []


def test_what_a_variable_leads_to_stays(stored: mheap.Heap) -> None:
    leave_circles(stored)
    stored.root["circle"] = {}
    circle = stored.root["circle"]
    circle["self"] = circle
    circle["inside"] = {"of": circle, "text": "a text that is long"}
    del stored.root["circle"]
    assert stored.collect().objects == 3
    assert circle["self"] is circle
    assert circle["inside"]["text"] == "a text that is long"
    inside, seen = circle["inside"], weakref.ref(circle)
    del circle
    assert seen() is None
    assert stored.collect().objects == 0
    assert inside["of"]["inside"] is inside
    del inside
    assert stored.collect().objects == 3
    assert findings_of(stored) == []


def test_what_only_garbage_and_a_variable_lead_to_goes_with_the_variable(stored: mheap.Heap) -> None:
    before = stored.stats().chunks_used
    stored.root["a"] = {"inner": ["a text that is long"]}
    inner = stored.root["a"]["inner"]
    stored.root["a"]["self"] = stored.root["a"]
    del stored.root["a"]
    stored.collect()
    assert inner == ["a text that is long"]
    inner.append(1)
    del inner
    assert stored.stats().chunks_used == before


def test_an_iterator_keeps_what_it_walks(stored: mheap.Heap) -> None:
    stored.root["a"] = [[i] for i in range(10)]
    stored.root["a"].append(stored.root["a"])
    items = iter(stored.root["a"])
    del stored.root["a"]
    stored.collect()
    assert [item[0] for item in items][:10] == list(range(10))
    del items
    stored.collect()
    assert findings_of(stored) == []


def test_variables_that_come_and_go_meanwhile_keep_what_they_lead_to(anonymous: mheap.Heap) -> None:
    """Each leads to a circle that nothing else leads to; the collection hears of them by and by."""
    choose = random.Random(1)
    anonymous.root["a"] = [[i, {"n": i, "text": f"a text that is long, {i}"}] for i in range(2000)]
    circles = list(anonymous.root["a"])
    for circle in circles:
        circle.append(circle)
    del circle, anonymous.root["a"]
    for _ in range(20):
        inner = []
        while not anonymous.collect(max_pause=1e-9, steps=1).done:
            if not circles:
                continue
            circle = circles.pop(choose.randrange(len(circles)))
            n, found = circle[0], circle[1]
            del circle
            inner.append((n, found))
            if len(inner) > 30:
                circles.append(inner.pop(0)[1].setdefault("new", [n, found]))
        for n, found in inner:
            assert found["n"] == n
            assert found["text"] == f"a text that is long, {n}"
        del inner, found
        if not circles:
            break
    circles.clear()
    anonymous.collect()
    assert anonymous.stats().chunks_used == 2  # the root and its table


def test_small_steps_do_the_same(stored: mheap.Heap) -> None:
    before = stored.stats().chunks_used
    leave_circles(stored, 1000)
    collected = stored.collect(max_pause=1e-6)
    assert collected.objects == 2001
    assert stored.stats().chunks_used == before


def test_an_event_loop_takes_one_step_at_a_time(stored: mheap.Heap) -> None:
    leave_circles(stored, 5000)
    objects = steps = 0
    while True:
        collected = stored.collect(max_pause=1e-6, steps=1)
        objects += collected.objects
        steps += 1
        if collected.done:
            break
        stored.root["kept"]["n"].append(steps)
        stored.root[f"at step {steps % 10}"] = [steps, "a text that is long"]
        assert stored.root["kept"]["n"][-1] == steps
    assert objects == 10001
    assert steps > 100
    assert stored.collect().objects == 0
    assert findings_of(stored) == []


def test_a_chain_of_100000_is_kept_and_freed(stored: mheap.Heap) -> None:
    chain: list[Any] = []
    for _ in range(100_000):
        chain = [chain]
    stored.root["chain"] = chain
    while chain:  # else freeing it recurses
        chain = chain.pop()
    outer = stored.root["chain"]
    assert stored.collect().objects == 0
    outer.append(outer)
    del outer, stored.root["chain"]
    assert stored.collect(max_pause=0.001).objects == 100_001


def test_a_rollback_ends_a_collection_and_brings_back(heap_path: Path) -> None:
    with mheap.open(heap_path) as heap:
        heap.root["a"] = {"text": "a text that is long"}
        heap.root["a"]["self"] = heap.root["a"]
        heap.commit()
        for steps in range(1, 8):
            del heap.root["a"]
            heap.collect(max_pause=1e-9, steps=steps)
            heap.rollback()
            assert heap.root["a"]["text"] == "a text that is long"
            assert heap.root["a"]["self"] is heap.root["a"]
            assert heap.collect()[:2] == (0, 0)
        del heap.root["a"]
        assert heap.collect().objects == 2
        heap.commit()
    with mheap.open(heap_path) as heap:
        assert heap.root == {}


def test_a_collection_without_garbage_changes_nothing(heap_path: Path) -> None:
    with mheap.open(heap_path) as heap:
        heap.root["a"] = [{"i": i} for i in range(1000)]
        heap.commit()
        heap.collect()
        assert not heap.dirty


def test_readers_refuse(heap_path: Path) -> None:
    with mheap.open(heap_path) as heap:
        heap.root["a"] = 1
        heap.commit()
    with mheap.open(heap_path, mode="readonly") as heap, pytest.raises(mheap.ReadOnlyHeap):
        heap.collect()


def test_arguments(anonymous: mheap.Heap) -> None:
    for wrong in (0, -1, float("nan"), float("inf")):
        with pytest.raises(mheap.InvalidArgument):
            anonymous.collect(max_pause=wrong)
    with pytest.raises(mheap.InvalidArgument):
        anonymous.collect(steps=0)
    with pytest.raises(TypeError):
        anonymous.collect(max_pause="long")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        anonymous.collect(True, 1.0)  # type: ignore[call-arg]
    assert anonymous.collect(True, max_pause=None, steps=None).done


def test_another_heap_of_the_region_has_no_objects(heap: mheap.Heap) -> None:
    leave_circles(heap)
    assert heap.heap_new_ex(0, True).collect().objects == 0
    assert heap.collect().objects == 3


def test_the_pause_is_bounded(anonymous: mheap.Heap) -> None:
    """Half of a million objects is garbage; the bound is generous, since the machine has other work."""
    anonymous.root["kept"] = [{"i": i} for i in range(250_000)]
    anonymous.root["circles"] = [[f"a text that is long, {i}"] for i in range(250_000)]
    anonymous.root["circles"].append(anonymous.root["circles"])
    del anonymous.root["circles"]
    whole = anonymous.collect(max_pause=1000, steps=1)
    assert whole.objects == 500_001
    pauses = [anonymous.collect(max_pause=0.001).pause for _ in range(5)]
    assert statistics.median(pauses) < max(0.01, whole.pause / 2)


def test_ctrl_c_stops_it(anonymous: mheap.Heap) -> None:
    leave_circles(anonymous, 20_000)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, stop)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, 0.001)
            anonymous.collect(max_pause=1e-9)
            pytest.fail("it was not interrupted")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert anonymous.check()
    anonymous.collect()
    assert anonymous.root == {}
    assert anonymous.stats().chunks_used == 2  # the root and its table
    assert findings_of(anonymous) == []


def test_a_signal_handler_in_the_middle_of_a_call_is_refused(anonymous: mheap.Heap) -> None:
    refused = []

    def collect(*_: object) -> None:
        try:
            anonymous.collect()
        except mheap.HeapBusy:
            refused.append(True)

    before = signal.signal(signal.SIGALRM, collect)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
        for _ in range(100):
            anonymous.root["a"] = [[i] for i in range(100_000)]
            if refused:
                break
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert refused
    assert anonymous.root["a"][-1] == [99_999]


@pytest.mark.parametrize("mode", ["live", "atomic"])
def test_threads_go_on(mode: str, heap_path: Path) -> None:
    """Each moves objects between containers of its own while another collects; none is lost."""
    heap = mheap.open(heap_path, mode=mode)  # type: ignore[arg-type]
    rounds = int(os.environ.get("MHEAP_ROUNDS", "300"))
    failures: list[BaseException] = []
    running = threading.Event()

    def work(name: str) -> None:
        choose = random.Random(name)
        heap.root[name] = {"a": [[i, f"a text that is long, {i}"] for i in range(200)], "b": []}
        mine = heap.root[name]
        for _ in range(rounds):
            source, target = choose.sample([mine["a"], mine["b"]], 2)
            for _ in range(choose.randrange(20)):
                if source:
                    item = source.pop(choose.randrange(len(source)))
                    target.insert(choose.randrange(len(target) + 1), item)
            leave_circle = [mine["a"], name]
            mine["circle"] = leave_circle
            mine["circle"].append(mine["circle"])
            del mine["circle"]
            assert sorted(item[0] for item in [*mine["a"], *mine["b"]]) == list(range(200))
        for item in [*mine["a"], *mine["b"]]:
            assert item[1] == f"a text that is long, {item[0]}"

    def collect() -> None:
        while not running.is_set():
            heap.collect(max_pause=0.0002)
            if mode == "atomic":
                heap.commit(durable=False)

    def guarded(call: Any, *args: Any) -> None:
        try:
            call(*args)
        except BaseException as failure:
            failures.append(failure)

    workers = [threading.Thread(target=guarded, args=(work, name)) for name in ("one", "two", "three")]
    collectors = [threading.Thread(target=guarded, args=(collect,)) for _ in range(2)]
    for thread in [*workers, *collectors]:
        thread.start()
    for thread in workers:
        thread.join()
    running.set()
    for thread in collectors:
        thread.join()
    assert failures == []
    heap.collect()
    assert findings_of(heap) == []
    if mode == "atomic":
        heap.commit()
    heap.close()


def test_a_heap_closed_by_another_thread_says_so(heap_path: Path) -> None:
    heap = mheap.open(heap_path, mode="live")
    leave_circles(heap, 50_000)
    closer = threading.Timer(0.005, heap.close)
    closer.start()

    def collect() -> None:
        while True:
            heap.collect(max_pause=1e-7)

    with pytest.raises(mheap.ClosedHeap):
        collect()
    closer.join()
    with mheap.open(heap_path, mode="live") as again:
        again.collect()
        assert again.stats().chunks_used == 2
        assert findings_of(again) == []


WORKER = """
import os, sys, mheap
heap = mheap.open(sys.argv[1], mode="live")
heap.root["kept"] = kept = {"a": 1}
i = 0
while True:
    heap.root["circle"] = [{"text": "a text that is long"}, heap.root["kept"]]
    heap.root["circle"].append(heap.root["circle"])
    del heap.root["circle"]
    if i % 50 == 49: heap.collect(max_pause=1e-5)
    if i == 60: print("ready", flush=True)
    i += 1
"""


def test_what_killed_processes_left_is_freed(heap_path: Path) -> None:
    wait = random.Random(1)
    for _ in range(int(os.environ.get("MHEAP_KILLS", "15"))):
        worker = subprocess.Popen([sys.executable, "-c", WORKER, str(heap_path)], stdout=subprocess.PIPE)
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"ready\n"
        threading.Event().wait(wait.random() * 0.02)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        worker.stdout.close()
    with mheap.open(heap_path, mode="live") as heap:
        assert [finding for finding in findings_of(heap) if finding.severity] == []
        heap.collect()
        heap.root.pop("circle", None)
        heap.collect()
        assert heap.root == {"kept": {"a": 1}}
        assert heap.stats().chunks_used == 4  # root and kept, and a table of each
