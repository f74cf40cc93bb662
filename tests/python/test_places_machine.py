"""Arenas and heaps of a file against a model: made, used, destroyed, deleted, reattached, killed.

MHEAP_EXAMPLES and MHEAP_STEPS make it a long run, as in test_state_machine.py.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from in_memory import temporary_directory

import mheap
from mheap import arenas

MIB = 1 << 20
SEGMENT = 4 * MIB

PICKS = st.integers(0, 1 << 30)
SIZES = st.one_of(st.integers(1, 3000), st.integers(60_000, 400_000), st.integers(3 * MIB, 9 * MIB))
WORK = st.lists(
    st.tuples(st.sampled_from(["new", "malloc", "malloc", "free", "destroy", "delete"]), PICKS, SIZES),
    min_size=1,
    max_size=15,
)


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = temporary_directory()
        self.path = Path(self.directory.name) / "machine.heap"
        self.heaps: dict[int, tuple[int, bool, int]] = {}  # by number: tag, destroyable, start of its arena
        self.arenas: dict[int, tuple[int, bool]] = {}  # by start: size, exclusive
        self.blocks: dict[int, tuple[int, int, int]] = {}  # by address: heap, size, first bytes
        self.seed = 0

    @initialize()
    def open(self) -> None:
        self.attach()
        self.heap.getkey(0)  # fixes the base, so that addresses stay
        self.heap.free(self.heap.malloc(1))

    def attach(self) -> None:
        self.heap = mheap.open(self.path, mode="live")
        self.handles = {one.number: one for one in self.heap.heaps()}

    def teardown(self) -> None:
        if hasattr(self, "heap"):
            try:
                if not self.heap.closed:
                    self.drop_everything()
            finally:
                self.heap.close()
        self.directory.cleanup()

    def drop_everything(self) -> None:
        for number in list(self.heaps):
            self.handles.pop(number).delete()
        for address in list(self.blocks):
            self.heap.free(address)
        for id in arenas.list(self.heap):
            arenas.release(id)
        self.heap.collect(force=True)
        assert self.heap.check()
        assert self.heap.stats().chunks_used == 0
        assert self.heap.size <= 256 * 1024

    # ---- the model ----

    def pick(self, numbers: Any, which: int) -> int | None:
        ordered = sorted(numbers)
        return int(ordered[which % len(ordered)]) if ordered else None

    def arena_of(self, start: int) -> arenas.ArenaId:
        return next(id for id in arenas.list(self.heap) if id.address == start)

    def holds(self, address: int) -> bool:
        _, size, seed = self.blocks[address]
        with self.heap.view(address, min(size, 8)) as view:
            return bytes(view) == seed.to_bytes(8, "little")[: min(size, 8)]

    @invariant()
    def counts_agree(self) -> None:
        if not hasattr(self, "heap"):
            return
        assert self.heap.stats().chunks_used == len(self.blocks)
        assert {h.number: (h.tag, h.destroyable) for h in self.heap.heaps() if h.number} == {
            number: known[:2] for number, known in self.heaps.items()
        }
        assert {id.address: id.size for id in arenas.list(self.heap)} == {
            start: size for start, (size, _) in self.arenas.items()
        }

    def verify(self) -> None:
        assert self.heap.check()
        for number, (_, _, start) in self.heaps.items():
            arena = self.handles[number].arena
            assert (arena.address if arena is not None else 0) == start
        for address, (home, size, _) in self.blocks.items():
            assert self.handles[home].usable_size(address) >= size
            assert self.holds(address)

    # ---- arenas ----

    @rule(size=st.integers(1, 20 * MIB), exclusive=st.booleans(), commit=st.booleans())
    def reserve(self, size: int, exclusive: bool, commit: bool) -> None:
        if len(self.arenas) >= 8:
            return
        id = arenas.reserve_os_memory(
            size, md=self.heap, exclusive=exclusive, commit=commit and size < 9 * MIB
        )
        assert id.size == -(-size // SEGMENT) * SEGMENT
        for start, (length, _) in self.arenas.items():
            assert id.address + id.size <= start or start + length <= id.address
        assert not any(id.address <= address < id.address + id.size for address in self.blocks)
        self.arenas[id.address] = (id.size, exclusive)

    @rule(which=PICKS, more=st.integers(1, 3))
    def grow(self, which: int, more: int) -> None:
        start = self.pick(self.arenas, which)
        if start is None:
            return
        size, exclusive = self.arenas[start]
        end = start + size + more * SEGMENT
        try:
            arenas.grow(self.arena_of(start), size + more * SEGMENT)
        except mheap.InvalidArgument:
            assert start != max(self.arenas) or any(start + size <= address for address in self.blocks)
        else:
            assert not any(start < other < end for other in self.arenas)
            self.arenas[start] = (size + more * SEGMENT, exclusive)

    @rule(which=PICKS)
    def release(self, which: int) -> None:
        start = self.pick(self.arenas, which)
        if start is None:
            return
        end = start + self.arenas[start][0]
        busy = any(known[2] == start for known in self.heaps.values()) or any(
            start <= address < end for address in self.blocks
        )
        if busy:
            with pytest.raises(mheap.HeapBusy):
                arenas.release(self.arena_of(start))
        else:
            arenas.release(self.arena_of(start))
            del self.arenas[start]

    # ---- heaps and blocks ----

    @rule(tag=st.integers(0, 255), destroyable=st.booleans(), which=st.none() | PICKS)
    def new(self, tag: int, destroyable: bool, which: int | None) -> None:
        if len(self.heaps) >= 10:
            return
        start = self.pick(self.arenas, which) if which is not None else None
        arena = self.arena_of(start) if start is not None else None
        made = self.heap.heap_new_ex(tag, destroyable, arena)
        assert made.number not in self.heaps
        self.handles[made.number] = made
        self.heaps[made.number] = (tag, destroyable, start or 0)

    @rule(which=PICKS, size=SIZES)
    def malloc(self, which: int, size: int) -> None:
        number = self.pick(self.handles, which)
        assert number is not None
        start = self.heaps[number][2] if number else 0
        try:
            address = self.handles[number].malloc(size)
        except mheap.HeapFull:
            assert start != 0
            return
        assert address not in self.blocks
        for first, (length, exclusive) in self.arenas.items():
            within = first <= address and address + size <= first + length
            assert within if first == start else not (exclusive and within)
        self.seed += 1
        self.blocks[address] = (number, size, self.seed)
        with self.heap.view(address, min(size, 8)) as view:
            view[:] = self.seed.to_bytes(8, "little")[: min(size, 8)]

    @rule(which=PICKS)
    def free(self, which: int) -> None:
        address = self.pick(self.blocks, which)
        if address is None:
            return
        home, _, _ = self.blocks[address]
        assert self.holds(address)
        for number in self.handles:
            if number != home:
                with pytest.raises(mheap.InvalidPointer):
                    self.handles[number].free(address)
                break
        self.handles[home].free(address)
        del self.blocks[address]

    @rule(which=PICKS)
    def destroy(self, which: int) -> None:
        number = self.pick(self.heaps, which)
        if number is None:
            return
        if not self.heaps[number][1]:
            with pytest.raises(mheap.InvalidArgument):
                self.handles[number].destroy()
            return
        self.handles.pop(number).destroy()
        del self.heaps[number]
        self.blocks = {address: known for address, known in self.blocks.items() if known[0] != number}

    @rule(which=PICKS)
    def delete(self, which: int) -> None:
        number = self.pick(self.heaps, which)
        if number is None:
            return
        self.handles.pop(number).delete()
        del self.heaps[number]
        for address, (home, size, seed) in self.blocks.items():
            if home == number:
                self.blocks[address] = (0, size, seed)

    @rule(force=st.booleans())
    def collect(self, force: bool) -> None:
        self.heap.collect(force)

    # ---- reattaching, and processes that are killed ----

    @rule()
    def reattach(self) -> None:
        self.heap.close()
        self.attach()
        self.verify()

    @rule(work=WORK)
    def kill(self, work: list[tuple[str, int, int]]) -> None:
        """A child works and is killed between two calls; the model does the same without a heap."""
        self.heap.close()
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                self.attach()
                for step in work:
                    self.do(*step)
                os.write(writing, repr((self.heaps, self.blocks, self.seed)).encode())
            finally:
                os.kill(os.getpid(), signal.SIGKILL)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            said = pipe.read().decode()
        os.waitpid(child, 0)
        assert said, "the child failed"
        self.heaps, self.blocks, self.seed = eval(said)
        self.attach()
        self.verify()

    def do(self, verb: str, which: int, size: int) -> None:
        if verb == "new":
            self.new(which % 256, which % 3 != 0, which if which % 2 else None)
        elif verb == "malloc":
            self.malloc(which, size)
        else:
            {"free": self.free, "destroy": self.destroy, "delete": self.delete}[verb](which)


TestMachine: Any = Machine.TestCase
TestMachine.settings = settings(
    max_examples=int(os.environ.get("MHEAP_EXAMPLES", "30")),
    stateful_step_count=int(os.environ.get("MHEAP_STEPS", "40")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
