"""What memory and the kernel take alone, beneath any store: loops in C without a store, for objects.py.

Owns: `read` and `change`, of tables as large as a heap's with as many entries, in memory and in a file.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
from pathlib import Path
from time import perf_counter

from peers import compiler

SOURCE = Path(__file__).resolve().parent / "objects" / "floors.c"
SLOT, ENTRY = 8, 16
RECORD = 168  # bytes from one to the next, with what it refers to
CACHES = 128 << 20
PIECE = 64 << 10  # as a heap's file grows: the kernel keeps together what is written at once


class _Table(ctypes.Structure):
    _fields_ = [
        ("slots", ctypes.c_void_p),
        ("entries", ctypes.c_void_p),
        ("records", ctypes.c_void_p),
        ("room", ctypes.c_uint64),
        ("count", ctypes.c_uint64),
        ("apart", ctypes.c_uint64),
    ]


def _address(memory: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


class Floors:
    """Of one number of entries. `directory`, on the disk, is for the file and what the compiler makes."""

    def __init__(self, directory: Path, entries: int) -> None:
        library = directory / "floors.so"
        subprocess.run([compiler(), "-O2", "-shared", "-fPIC", str(SOURCE), "-o", str(library)], check=True)
        self._library = ctypes.CDLL(str(library))
        self._path = directory / "floors"
        self._entries, self._room = entries, 1 << (entries * 3 // 2).bit_length()
        self._size = self._room * SLOT + entries * ENTRY
        self._records, self._caches = mmap.mmap(-1, RECORD * entries), mmap.mmap(-1, CACHES)
        ctypes.memset(_address(self._caches), 1, CACHES)  # else all of it is the system's one page of zeros

    def _table(self, memory: mmap.mmap) -> _Table:
        slots, records = _address(memory), _address(self._records)
        table = _Table(slots, slots + self._room * SLOT, records, self._room, self._entries, RECORD)
        self._library.lay_out(ctypes.byref(table))
        return table

    def _timed(self, name: str, table: _Table, steps: int) -> float:
        """Nanoseconds a step, with cold caches."""
        self._library.evict(ctypes.c_void_p(_address(self._caches)), ctypes.c_uint64(CACHES))
        begin = perf_counter()
        self._library[name](ctypes.byref(table), ctypes.c_uint64(steps), ctypes.c_uint64(1))
        return (perf_counter() - begin) / steps * 1e9

    def read(self, steps: int) -> float:
        """A word of a record, which a slot and its entry lead to."""
        with mmap.mmap(-1, self._size) as memory:
            return self._timed("follow", self._table(memory), steps)

    def change(self, steps: int) -> float:
        """A word of an entry, which a slot leads to, in a file that was just synced."""
        with self._path.open("wb", buffering=0) as new:
            for at in range(0, self._size, PIECE):
                new.write(bytes(min(PIECE, self._size - at)))
        with self._path.open("r+b") as file, mmap.mmap(file.fileno(), self._size) as memory:
            table = self._table(memory)
            memory.flush()
            os.fsync(file.fileno())
            return self._timed("change", table, steps)
