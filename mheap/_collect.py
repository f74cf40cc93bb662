"""What Heap.collect() returns."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Collected"]


class Collected(NamedTuple):
    """What a call of Heap.collect() did.

    objects  that were freed
    bytes    of these, and of blocks that a killed process had in hand
    pause    seconds for which other threads had to wait at most
    done     it went to its end: not, if it was to make a number of steps, or if another thread
             rolled back or began another collection meanwhile
    """

    objects: int
    bytes: int
    pause: float
    done: bool
