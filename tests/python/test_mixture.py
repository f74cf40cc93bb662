"""All kinds of objects within one another, in the main heap and in named ones, against a plain model: changed
at random by processes that are killed between two steps, rolled back, collected, compacted, dumped."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import random
import signal
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from forks import in_child
from kills import broken
from mixture import (
    CONTAINERS,
    FIELDS,
    MOST,
    Array,
    Comparison,
    Maker,
    Pair,
    Rows,
    Sorted,
    Thing,
)

import mheap

PROCESSES = int(os.environ.get("MHEAP_MIXTURES", "25"))
SEED = int(os.environ.get("MHEAP_SEED", "1"))  # of the first; one more for each after it
STEPS = 200
Mode = Literal["atomic", "live"]


class Mixture:
    """A heap in a file and, in a file beside it, the model of what a kill leaves."""

    def __init__(self, path: Path, mode: Mode, seed: int) -> None:
        self.path, self.mode, self.beside = path, mode, path.with_suffix(".model")
        self.maker, self.random = Maker(seed), random.Random(seed)
        self.heap = mheap.open(path, mode=mode)
        self.saved = self.beside.read_bytes() if self.beside.exists() else pickle.dumps({"": {}})
        self.plain: dict[str, dict[Any, Any]] = pickle.loads(self.saved)
        self.held: list[tuple[str, Pair]] = []
        self.copied = (
            False  # something of another heap, in this step: a second time it may be the same object
        )

    # -- finding something --

    def root(self, name: str) -> Any:
        return (self.heap.named[name] if name else self.heap).root

    def pick(self) -> tuple[str, Pair]:
        """A container somewhere, and the heap it is in."""
        name = self.random.choice(list(self.plain))
        pair = Pair(self.root(name), self.plain[name])
        if self.held and self.random.random() < 0.2:
            name, pair = self.random.choice(self.held)
        while self.random.random() < 0.75:
            inner = self.step_into(*pair)
            if inner is None or not isinstance(inner.plain, CONTAINERS):
                break
            pair = inner
        return name, pair

    def step_into(self, stored: Any, plain: Any) -> Pair | None:
        if isinstance(plain, Thing):
            name = self.random.choice(("any", "more"))
            return Pair(getattr(stored, name), getattr(plain, name))
        if isinstance(plain, (set, Counter, Array)) or not plain:
            return None
        key = self.random.choice(list(plain) if isinstance(plain, dict) else range(len(plain)))
        return Pair(stored[key], plain[key])

    def value(self, heap: str) -> Pair:
        """To be stored in this heap: something new, or something that is there, or in another heap."""
        name, found = self.pick()
        other = name != heap
        if self.random.random() < 0.7 or (other and self.copied) or found.plain is self.plain[name]:
            return self.maker.fresh()
        if isinstance(found.plain, Thing) and found.plain.is_row:
            return self.maker.fresh()
        self.copied = self.copied or other
        return Pair(found.stored, copy.deepcopy(found.plain)) if other else found

    def key_of(self, plain: dict[Any, Any]) -> Any:
        """One that is there, or perhaps not."""
        if plain and self.random.random() < 0.4:
            return self.random.choice(list(plain))
        if not isinstance(plain, Sorted):
            return self.maker.scalar()
        number = self.random.randrange(500)
        return number if not plain or isinstance(next(iter(plain)), int) else f"s{number}"

    def index(self, plain: Any) -> int:
        return self.random.randrange(len(plain))

    # -- one step --

    def step(self) -> None:
        name, pair = self.pick()
        self.copied = False
        kind = next(kind for kind in DONE if isinstance(pair.plain, kind))
        work = self.random.choice(DONE[kind])
        work(self, name, *pair)
        if self.random.random() < 0.05 and not (isinstance(pair.plain, Thing) and pair.plain.is_row):
            self.held = [*self.held[-6:], (name, pair)]
        if self.random.random() < 0.04:
            self.random.choice(BETWEEN)(self)

    def run(self) -> None:
        self.save()
        for _ in range(STEPS):
            self.step()

    def save(self) -> None:
        self.saved = pickle.dumps(self.plain)
        new = self.beside.with_suffix(".new")
        new.write_bytes(self.saved)
        new.replace(self.beside)

    def check(self) -> None:
        assert sorted(self.heap.named) == sorted(name for name in self.plain if name)
        for name, plain in self.plain.items():
            Comparison(Pair(self.root(name), plain))

    # -- between steps --

    def commit(self) -> None:
        if self.mode == "atomic":
            self.heap.commit(durable=False)
            self.save()

    def rollback(self) -> None:
        if self.mode == "atomic":
            self.held.clear()
            self.heap.rollback()
            self.plain = pickle.loads(self.saved)

    def attach(self) -> None:
        self.commit()
        self.held.clear()
        self.heap.close()
        self.heap = mheap.open(self.path, mode=self.mode)

    def collect(self) -> None:
        self.heap.collect(max_pause=self.random.choice((None, 0.0001, 0.01)))

    def new_heap(self) -> None:
        name = f"heap {self.random.randrange(4)}"
        if name not in self.plain:
            self.heap.new(name)
            self.plain[name] = {}

    def destroy_heap(self) -> None:
        name = self.random.choice(list(self.plain))
        if name:
            self.held = [held for held in self.held if held[0] != name]
            self.heap.named[name].destroy()
            del self.plain[name]

    def let_go(self) -> None:
        self.held.clear()
        gc.collect()


BETWEEN: list[Callable[[Mixture], None]] = [
    Mixture.commit,
    Mixture.commit,
    Mixture.rollback,
    Mixture.attach,
    Mixture.collect,
    Mixture.new_heap,
    Mixture.destroy_heap,
    Mixture.let_go,
    Mixture.check,
]

# ---- what is done to each kind: what stands first is looked at first ----

Work = Callable[[Mixture, str, Any, Any], None]
DONE: dict[type, list[Work]] = {
    kind: [] for kind in (Thing, Counter, Sorted, dict, Rows, list, deque, set, Array)
}


def done_to(*kinds: type) -> Callable[[Work], Work]:
    def note(work: Work) -> Work:
        for kind in kinds:
            DONE[kind].append(work)
        return work

    return note


@done_to(Thing)
def assign(m: Mixture, heap: str, stored: Any, plain: Any) -> None:
    name = m.random.choice(FIELDS)
    new = m.maker.new_record(2)
    values = m.value(heap) if name == "any" else Pair(getattr(new.stored, name), getattr(new.plain, name))
    setattr(stored, name, values.stored)
    setattr(plain, name, values.plain)


@done_to(dict, dict, Sorted, Sorted)
def set_item(m: Mixture, heap: str, stored: Any, plain: Any) -> None:
    key, value = m.key_of(plain), m.value(heap)
    stored[key], plain[key] = value


@done_to(dict, Sorted)
def set_default(m: Mixture, heap: str, stored: Any, plain: Any) -> None:
    key, value = m.key_of(plain), m.value(heap)
    stored.setdefault(key, value.stored)
    plain.setdefault(key, value.plain)


@done_to(dict, Sorted)
def update(m: Mixture, heap: str, stored: Any, plain: Any) -> None:
    entries = [(m.key_of(plain), m.value(heap)) for _ in m.maker.some(6)]
    stored.update([(key, value.stored) for key, value in entries])
    plain.update([(key, value.plain) for key, value in entries])


@done_to(Counter)
def count(m: Mixture, heap: str, stored: Any, plain: Any) -> None:
    key = m.key_of(plain)
    for counts in (stored, plain):
        counts.update([key, key, 1])
        counts[key] += 3


@done_to(dict, Sorted, Counter)
def pop_key(m: Mixture, heap: str, stored: Any, plain: Any) -> None:
    key = m.key_of(plain)
    assert (key in stored) == (key in plain)
    stored.pop(key, None)
    plain.pop(key, None)


@done_to(dict, Counter)
def pop_item(m: Mixture, heap: str, stored: Any, plain: Any) -> None:
    if plain:
        assert stored.popitem()[0] == plain.popitem()[0]


@done_to(Sorted)
def pop_place(m: Mixture, heap: str, stored: Any, plain: Any) -> None:
    if plain:
        at = m.index(plain)
        key = sorted(plain)[at]
        assert stored.popitem(at)[0] == key
        del plain[key]


@done_to(dict, Sorted, Counter, set)
def shrink(m: Mixture, heap: str, stored: Any, plain: Any) -> None:
    keys = list(plain)[: 20 if len(plain) > MOST else m.random.randrange(4)]
    for key in keys:
        if isinstance(plain, set):
            stored.remove(key)
            plain.remove(key)
        else:
            del stored[key], plain[key]


@done_to(dict, list, set, deque, Counter, Sorted, Rows)
def clear(m: Mixture, heap: str, stored: Any, plain: Any) -> None:
    if m.random.random() < 0.2:
        stored.clear()
        plain.clear()


@done_to(set, set)
def add(m: Mixture, heap: str, stored: Any, plain: Any) -> None:
    value = m.maker.scalar()
    stored.add(value)
    plain.add(value)


@done_to(set)
def unite(m: Mixture, heap: str, stored: Any, plain: Any) -> None:
    values = {m.maker.scalar() for _ in range(9)}
    stored |= values
    plain |= values
    stored ^= {1, *list(values)[:2]}
    plain ^= {1, *list(values)[:2]}


@done_to(set)
def pop_member(m: Mixture, heap: str, stored: Any, plain: Any) -> None:
    if plain:
        plain.remove(stored.pop())


@done_to(list, list, deque, deque, Rows, Rows)
def append(m: Mixture, heap: str, stored: Any, plain: Any) -> None:
    value = m.maker.new_row(2) if isinstance(plain, Rows) else m.value(heap)
    stored.append(value.stored)
    plain.append(value.plain)


@done_to(deque)
def append_left(m: Mixture, heap: str, stored: Any, plain: Any) -> None:
    value = m.value(heap)
    stored.appendleft(value.stored)
    plain.appendleft(value.plain)


@done_to(deque)
def rotate(m: Mixture, heap: str, stored: Any, plain: Any) -> None:
    stored.rotate(3)
    plain.rotate(3)
    if plain:
        stored.popleft()
        plain.popleft()


@done_to(list, deque, Rows)
def replace(m: Mixture, heap: str, stored: Any, plain: Any) -> None:
    if plain:
        at = m.index(plain)
        value = m.maker.new_row(2) if isinstance(plain, Rows) else m.value(heap)
        stored[at], plain[at] = value


@done_to(list, Rows)
def splice(m: Mixture, heap: str, stored: Any, plain: Any) -> None:
    start = m.random.randrange(len(plain) + 1)
    end = m.random.randrange(start, len(plain) + 1)
    rows = isinstance(plain, Rows)
    values = [m.maker.new_row(2) if rows else m.value(heap) for _ in m.maker.some(5)]
    stored[start:end] = [value.stored for value in values]
    plain[start:end] = [value.plain for value in values]


@done_to(list, deque, Rows)
def remove_some(m: Mixture, heap: str, stored: Any, plain: Any) -> None:
    for _ in range(20 if len(plain) > MOST else min(len(plain), 2)):
        at = m.index(plain)
        del stored[at], plain[at]


@done_to(list, deque, Rows)
def reverse(m: Mixture, heap: str, stored: Any, plain: Any) -> None:
    stored.reverse()
    plain.reverse()


@done_to(list)
def repeat(m: Mixture, heap: str, stored: Any, plain: Any) -> None:
    if len(plain) < MOST // 2:
        stored *= 2
        plain *= 2
        stored[::2] = stored[::2][::-1]
        plain[::2] = plain[::2][::-1]


@done_to(Rows)
def sort(m: Mixture, heap: str, stored: Any, plain: Any) -> None:
    stored.sort(key=lambda row: row.number)
    plain.sort(key=lambda row: row.number)


@done_to(Rows)
def append_row(m: Mixture, heap: str, stored: Any, plain: Any) -> None:
    if plain:
        at = m.index(plain)
        stored.append(stored[at])
        plain.append(copy.copy(plain[at]))


@done_to(Rows)
def change_column(m: Mixture, heap: str, stored: Any, plain: Any) -> None:
    if plain:
        numbers = np.asarray(stored.column("number"))
        numbers += 1.0
        for row in plain:
            row.number += 1.0


@done_to(Array)
def resize(m: Mixture, heap: str, stored: Any, plain: Any) -> None:
    rows, kept = m.random.randrange(40), plain.values
    stored.resize(rows)
    plain.values = np.zeros((rows, *kept.shape[1:]), kept.dtype)
    plain.values[: len(kept)] = kept[:rows]


@done_to(Array)
def change_array(m: Mixture, heap: str, stored: Any, plain: Any) -> None:
    if len(plain.values) and plain.values.dtype.names is None:
        at = m.index(plain.values)
        np.asarray(stored)[at] = plain.values[at] = 5


@done_to(Array)
def append_to_array(m: Mixture, heap: str, stored: Any, plain: Any) -> None:
    row = np.zeros(plain.values.shape[1:], plain.values.dtype)
    if len(plain.values) < MOST:
        stored.append(row)
        plain.values = np.concatenate([plain.values, row[None]])


# ---- processes ----


def work_and_die(path: Path, mode: Mode, seed: int) -> None:
    mixture = Mixture(path, mode, seed)
    mixture.run()
    if mode == "live":
        mixture.save()
    os.kill(os.getpid(), signal.SIGKILL)


def dies(work: Callable[[], None]) -> bool:
    """Runs it in a child, which ends itself."""
    try:
        in_child(work)
    except AssertionError as failure:
        if "status 9" in str(failure):
            return True
        raise
    return False


def look_after(path: Path, mode: Mode, seed: int) -> None:
    """What was left is all there; and after a collection, in a compacted file, and in a dump."""
    mixture = Mixture(path, mode, seed)
    assert broken(mixture.heap) == []
    mixture.check()
    if mixture.random.random() < 0.5:
        mixture.heap.collect()
        mixture.commit()
        assert broken(mixture.heap) == []
        mixture.check()
    image = path.with_suffix(".dump")
    mixture.heap.dump(image)
    mixture.heap.close()
    if mixture.random.random() < 0.3:
        assert mheap.compact(path).moved
    for other in (mheap.open(path, mode="readonly"), mheap.restore(image)):
        mixture.heap = other
        assert broken(other) == []
        mixture.check()
        other.close()
    image.unlink()


@pytest.mark.parametrize("mode", ["atomic", "live"])
def test_all_kinds_within_one_another_are_as_in_a_model(heap_path: Path, mode: Mode) -> None:
    for seed in range(SEED, SEED + PROCESSES):
        print("seed", seed)  # shown if it fails
        assert dies(partial(work_and_die, heap_path, mode, seed))
        in_child(partial(look_after, heap_path, mode, seed))


once: list[Any] = [0]


@pytest.mark.parametrize(
    ("stored", "plain"),
    [
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"a": True}),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a": [[1]]}, {"a": [[1], 2]}),
        ({"a": once, "b": once}, {"a": [0], "b": [0]}),
        ({"a": [0], "b": [0]}, {"a": once, "b": once}),
        ({"a": {1}}, {"a": {1, 2}}),
        ({"a": np.zeros(2)}, {"a": Array(np.ones(2))}),
    ],
)
def test_a_difference_is_found(anonymous: mheap.Heap, stored: dict[str, Any], plain: dict[str, Any]) -> None:
    anonymous.root["it"] = stored
    with pytest.raises(AssertionError):
        Comparison(Pair(anonymous.root["it"], plain))
