"""State machines of what a heap holds against a plain model of it: what all of them do with the file, and how
long they run: MHEAP_EXAMPLES sequences of MHEAP_STEPS steps."""

from __future__ import annotations

import copy
import gc
import os
import warnings
from pathlib import Path
from typing import Any, Literal

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from in_memory import temporary_directory

import mheap

SETTINGS = settings(
    max_examples=int(os.environ.get("MHEAP_EXAMPLES", "60")),
    stateful_step_count=int(os.environ.get("MHEAP_STEPS", "40")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


class HeapMachine(RuleBasedStateMachine):
    """A heap in a file of its own, which is attached anew and compacted between other steps. Who derives from
    it begins and ends it, and has the model in `plain`."""

    mode: Literal["atomic", "live"] = "live"
    plain: Any

    def begin(self) -> None:
        self.directory = temporary_directory()
        self.path = Path(self.directory.name) / "machine.heap"
        self.open()
        gc.freeze()  # full collections do not look at what came before this sequence

    def open(self) -> None:
        self.heap = mheap.open(self.path, mode=self.mode)

    def leave(self) -> None:
        self.heap.close()

    def end(self) -> None:
        self.leave()
        self.directory.cleanup()

    @rule()
    def reattach(self) -> None:
        self.leave()
        self.open()

    @rule()
    def compact(self) -> None:
        """Garbage is gone, and counts are right again."""
        self.leave()
        done = mheap.compact(self.path)
        assert done.moved
        assert done.after.blocks <= done.before.blocks
        self.open()
        assert self.heap.check()


class Committing(HeapMachine):
    """To be mixed in before another: in mode `atomic`, with the model as it was at the last commit."""

    mode = "atomic"
    committed: Any

    @rule(durable=st.booleans())
    def commit(self, durable: bool = False) -> None:
        self.heap.commit(durable)
        assert not self.heap.dirty
        self.committed = copy.deepcopy(self.plain)

    def as_committed(self) -> None:
        self.plain = copy.deepcopy(self.committed)

    def leave(self) -> None:
        """Closing discards."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", mheap.UncommittedChanges)
            super().leave()
        self.as_committed()
