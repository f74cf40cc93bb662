"""Raw blocks against a model: every call, mistakes, roots, reattaching, and processes killed at work.

MHEAP_EXAMPLES=5000 and MHEAP_STEPS=200 make it a long run.
"""

from __future__ import annotations

import copy
import os
import signal
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from in_memory import temporary_directory

import mheap

KIB, MIB = 1024, 1024 * 1024

SIZES = st.one_of(
    st.integers(0, 200),
    st.integers(0, 5000),
    st.sampled_from([16, 17, 128, 129, 1024, 1025, 64 * KIB, 64 * KIB + 1, 63 * 64 * KIB, 63 * 64 * KIB + 1]),
    st.integers(64 * KIB, 500 * KIB),
    st.integers(MIB, 9 * MIB),
)
PICKS = st.integers(0, 1 << 30)  # which of the blocks there are
ALIGNMENTS = st.integers(0, 23).map(lambda bits: 1 << bits)

# What a child does until it is killed: a verb, which of its blocks, a size.
WORK = st.lists(
    st.tuples(st.sampled_from(["malloc", "free", "realloc"]), PICKS, SIZES), min_size=1, max_size=40
)


class Block:
    """What is known of a block: its size, and the bytes at its start and in some of its pages."""

    def __init__(self, size: int, seed: int = 0) -> None:
        self.size = size
        self.seed = seed

    def pattern(self, size: int) -> list[tuple[int, bytes]]:
        """Pieces of the first `size` bytes: where they are, what they hold."""
        places = [0, *range(4096, self.size, max(4096, self.size // 16 // 4096 * 4096))]
        return [(at, self.piece(at)[: size - at]) for at in places if at < size]

    def piece(self, at: int) -> bytes:
        return (((self.seed + at + 1) * 0x9E3779B97F4A7C15) & (1 << 64) - 1).to_bytes(8, "little")

    def write(self, heap: mheap.Heap, address: int) -> None:
        if self.size:
            with heap.view(address, self.size) as view:
                for at, piece in self.pattern(self.size):
                    view[at : at + len(piece)] = piece

    def holds(self, heap: mheap.Heap, address: int, size: int) -> bool:
        if not size:
            return True
        with heap.view(address, size) as view:
            return all(bytes(view[at : at + len(piece)]) == piece for at, piece in self.pattern(size))


def usable(heap: mheap.Heap, address: int) -> int:
    """0 for what is no block in use."""
    try:
        return heap.usable_size(address)
    except mheap.InvalidPointer:
        return 0


class Machine(RuleBasedStateMachine):
    """What a killed child had done is not known beforehand, so no rule depends on what there is."""

    mode: Literal["atomic", "live"] = "live"

    def __init__(self) -> None:
        super().__init__()
        self.directory = temporary_directory()
        self.path = Path(self.directory.name) / "machine.heap"
        self.blocks: dict[int, Block] = {}  # by address, which stays the same at every attach
        self.freed: list[int] = []
        self.keys: dict[int, int] = {}
        self.roots: dict[str, int] = {}
        self.others = 0  # blocks in use that are objects', or were on their way to a child that was killed
        self.seed = 0

    @initialize()
    def open(self) -> None:
        self.heap = mheap.open(self.path, mode=self.mode)

    def teardown(self) -> None:
        try:
            if hasattr(self, "heap") and not self.heap.closed:
                self.free_everything()
        finally:
            if hasattr(self, "heap"):
                self.heap.close()
            self.directory.cleanup()

    def free_everything(self) -> None:
        for address in list(self.blocks):
            self.release(address)
        self.heap.collect(force=True)
        assert self.heap.check()
        assert self.heap.stats().chunks_used == self.others
        if self.others == 0:
            assert self.heap.size <= 256 * KIB

    # ---- the model ----

    def add(self, address: int, size: int) -> None:
        assert address % 16 == 0
        assert self.heap.usable_size(address) >= size
        assert address not in self.blocks, "a block in use was handed out"
        self.seed += 1
        self.blocks[address] = Block(size, self.seed)
        self.blocks[address].write(self.heap, address)

    def pick(self, number: int) -> int:
        return sorted(self.blocks)[number % len(self.blocks)]

    def release(self, address: int) -> None:
        block = self.blocks.pop(address)
        assert block.holds(self.heap, address, block.size)
        self.heap.free(address)
        self.freed.append(address)

    @invariant()
    def counts_agree(self) -> None:
        if hasattr(self, "heap"):
            assert self.heap.stats().chunks_used == len(self.blocks) + self.others

    # ---- calls ----

    @rule(size=SIZES)
    def malloc(self, size: int) -> None:
        self.add(self.heap.malloc(size), size)

    @rule(count=st.integers(0, 100), size=st.integers(0, 3000))
    def calloc(self, count: int, size: int) -> None:
        address = self.heap.calloc(count, size)
        if count * size:
            with self.heap.view(address, count * size) as view:
                assert not any(view)
        self.add(address, count * size)

    @rule(alignment=ALIGNMENTS, size=SIZES)
    def memalign(self, alignment: int, size: int) -> None:
        address = self.heap.memalign(alignment, size)
        assert address % alignment == 0
        self.add(address, size)

    @rule(number=PICKS, size=SIZES)
    def realloc(self, number: int, size: int) -> None:
        if not self.blocks:
            return
        old = self.pick(number)
        block = self.blocks.pop(old)
        new = self.heap.realloc(old, size)
        assert block.holds(self.heap, new, min(size, block.size))
        if new != old:
            assert usable(self.heap, old) == 0
        self.add(new, size)

    @rule(number=PICKS)
    def free(self, number: int) -> None:
        if not self.blocks:
            return
        self.release(self.pick(number))

    @rule()
    def free_half(self) -> None:
        if not self.blocks:
            return
        for address in sorted(self.blocks)[::2]:
            self.release(address)

    @rule(force=st.booleans())
    def collect(self, force: bool) -> None:
        self.heap.collect(force)

    # ---- mistakes ----

    @rule(number=PICKS)
    def free_again(self, number: int) -> None:
        if not self.freed:
            return
        address = self.freed[number % len(self.freed)]
        if address not in self.blocks and usable(self.heap, address) == 0:
            with pytest.raises(mheap.InvalidPointer):
                self.heap.free(address)
            with pytest.raises(mheap.InvalidPointer):
                self.heap.realloc(address, 10)

    @rule(number=PICKS, inside=st.integers(1, 100))
    def free_what_is_inside(self, number: int, inside: int) -> None:
        if not self.blocks:
            return
        address = self.pick(number)
        if inside < self.heap.usable_size(address):
            with pytest.raises(mheap.InvalidPointer):
                self.heap.free(address + inside)

    @rule(number=PICKS, size=st.sampled_from([1 << 47, (1 << 63) - 1]))
    def ask_for_too_much(self, number: int, size: int) -> None:
        if not self.blocks:
            return
        address = self.pick(number)
        block = self.blocks[address]
        with pytest.raises(MemoryError):
            self.heap.malloc(size)
        with pytest.raises(MemoryError):
            self.heap.realloc(address, size)
        assert block.holds(self.heap, address, block.size)

    # ---- keys and roots ----

    @rule(key=st.integers(0, mheap._core.KEYS - 1), number=PICKS)
    def set_key(self, key: int, number: int) -> None:
        if not self.blocks:
            return
        self.keys[key] = self.pick(number)
        self.heap.setkey(key, self.keys[key])

    @rule(name=st.text("abcä", min_size=1, max_size=12), number=PICKS)
    def name_root(self, name: str, number: int) -> None:
        if not self.blocks:
            return
        before = self.heap.stats().chunks_used
        self.roots[name] = self.pick(number)
        self.heap.roots[name] = self.roots[name]
        self.others += self.heap.stats().chunks_used - before

    @rule(number=PICKS)
    def remove_root(self, number: int) -> None:
        if not self.roots:
            return
        before = self.heap.stats().chunks_used
        name = sorted(self.roots)[number % len(self.roots)]
        del self.heap.roots[name]
        del self.roots[name]
        self.others += self.heap.stats().chunks_used - before

    def verify(self) -> None:
        """Everything: blocks, keys, roots."""
        assert self.heap.check()
        for address, block in self.blocks.items():
            assert block.holds(self.heap, address, block.size)
        for key, address in self.keys.items():
            if address in self.blocks:  # of others nothing is said
                assert self.heap.getkey(key) == address
        assert set(self.heap.roots) == set(self.roots)
        for name, address in self.roots.items():
            if address in self.blocks:
                assert self.heap.roots[name] == address

    # ---- reattaching ----

    def forget_places(self) -> None:
        """What leads nowhere is cleared: the file may end before it."""
        for key in [key for key, address in self.keys.items() if address not in self.blocks]:
            self.heap.setkey(key, None)
            del self.keys[key]
        before = self.heap.stats().chunks_used
        for name in [name for name, address in self.roots.items() if address not in self.blocks]:
            del self.heap.roots[name]
            del self.roots[name]
        self.others += self.heap.stats().chunks_used - before

    def leave(self) -> None:
        self.forget_places()
        self.heap.close()

    def step_done(self) -> None:
        """In the child, before it says so."""

    @rule()
    def reattach(self) -> None:
        self.leave()
        self.heap = mheap.open(self.path, mode=self.mode)
        self.verify()

    @rule()
    def look_from_a_reader(self) -> None:
        if not self.blocks:
            return
        self.leave()
        with mheap.open(self.path, mode="readonly") as self.heap:
            self.verify()
            self.counts_agree()
        self.heap = mheap.open(self.path, mode=self.mode)

    # ---- processes that are killed ----

    @rule(work=WORK, acknowledged=st.integers(0, 40), pause=st.integers(0, 300))
    def kill(self, work: list[tuple[str, int, int]], acknowledged: int, pause: int) -> None:
        """A child works, and says what is done; somewhere behind the `acknowledged`th it is killed."""
        self.leave()
        reports = run_and_kill(lambda report: self.work(work, report), acknowledged, pause / 1e6)
        self.heap = mheap.open(self.path, mode=self.mode)
        for said in reports:
            self.believe(*said)
        if len(reports) < len(work):
            self.settle(*work[len(reports)])
        self.verify()

    def work(self, work: list[tuple[str, int, int]], report: Callable[..., object]) -> None:
        """In the child: the model is its own copy, and goes along."""
        self.heap = mheap.open(self.path, mode=self.mode)
        for verb, number, size in work:
            old = self.pick(number) if self.blocks and verb != "malloc" else 0
            self.seed += 1
            new = 0
            if verb == "free" and old:
                self.heap.free(old)
            elif verb != "free":
                new = self.heap.realloc(old or None, size)
                Block(size, self.seed).write(self.heap, new)
            self.believe(old, new, size)
            self.step_done()
            report(old, new, size)

    def believe(self, old: int, new: int, size: int) -> None:
        """One step of the child's: `old` was freed or resized, `new` is there."""
        if self.in_parent:
            self.seed += 1
        self.blocks.pop(old, None)
        if new:
            self.blocks[new] = Block(size, self.seed)

    def settle(self, verb: str, number: int, size: int) -> None:
        """The step in flight: done, not done, or a block that was on its way to the child."""
        old = self.pick(number) if self.blocks and verb != "malloc" else 0
        self.seed += 1
        if old:
            kept = self.blocks[old].size if verb == "free" else min(size, self.blocks[old].size)
            block = self.blocks.pop(old)
            if usable(self.heap, old) >= kept and block.holds(self.heap, old, kept):
                self.blocks[old] = Block(kept, block.seed)
                self.blocks[old].write(self.heap, old)
        lost = self.heap.stats().chunks_used - len(self.blocks) - self.others
        assert 0 <= lost <= (verb != "free"), f"{lost} blocks lost"
        assert lost or not old or old in self.blocks or verb == "free", "a realloc lost its block"
        self.others += lost

    in_parent = True


def run_and_kill(
    body: Callable[[Callable[..., object]], object], acknowledged: int, pause: float
) -> list[tuple[int, ...]]:
    """What a forked child said before it was killed: `pause` seconds behind so many reports."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 3
        try:
            Machine.in_parent = False
            body(lambda *said: os.write(writing, (" ".join(map(str, said)) + "\n").encode()) and None)
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = [pipe.readline() for _ in range(acknowledged)]
        time.sleep(pause)
        os.kill(child, signal.SIGKILL)
        said += pipe.readlines()
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL), f"the child ended with status {status}"
    return [tuple(map(int, line.split())) for line in said if line]


class AtomicMachine(Machine):
    """Beside the model, a copy of it as it was at the last commit, which is what reattaching finds."""

    mode = "atomic"

    @initialize()
    def open(self) -> None:
        super().open()
        self.keep()

    def keep(self) -> None:
        self.committed = copy.deepcopy((self.blocks, self.freed, self.keys, self.roots, self.others))

    def restore(self) -> None:
        self.blocks, self.freed, self.keys, self.roots, self.others = copy.deepcopy(self.committed)

    @rule(durable=st.booleans())
    def commit(self, durable: bool) -> None:
        generation = self.heap.generation
        changed = bool(self.heap.dirty)
        self.heap.commit(durable)
        assert self.heap.generation == generation + changed
        assert not self.heap.dirty
        self.keep()

    @rule()
    def rollback(self) -> None:
        self.heap.rollback()
        self.restore()
        self.verify()

    @rule()
    def checkpoint(self) -> None:
        self.heap.checkpoint()

    @rule(number=PICKS)
    def store(self, number: int) -> None:
        """Through a view alone: no call of mheap's knows."""
        if not self.blocks:
            return
        address = self.pick(number)
        self.seed += 1
        self.blocks[address] = Block(self.blocks[address].size, self.seed)
        self.blocks[address].write(self.heap, address)

    def leave(self) -> None:
        """Closing discards."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", mheap.UncommittedChanges)
            self.heap.close()
        self.restore()

    def step_done(self) -> None:
        self.heap.commit(durable=False)

    @rule(work=WORK, acknowledged=st.integers(0, 40), pause=st.integers(0, 300))
    def kill(self, work: list[tuple[str, int, int]], acknowledged: int, pause: int) -> None:
        super().kill(work, acknowledged, pause)
        self.heap.commit()
        self.keep()

    def free_everything(self) -> None:
        self.heap.commit()
        super().free_everything()
        self.heap.commit()


SETTINGS = settings(
    max_examples=int(os.environ.get("MHEAP_EXAMPLES", "40")),
    stateful_step_count=int(os.environ.get("MHEAP_STEPS", "40")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestMachine: Any = Machine.TestCase
TestMachine.settings = SETTINGS
TestAtomicMachine: Any = AtomicMachine.TestCase
TestAtomicMachine.settings = SETTINGS
