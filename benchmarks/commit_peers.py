#!/usr/bin/env python3
"""Stores that commit one small change at a time, for commits.py to compare.

    python benchmarks/commit_peers.py STORE DIRECTORY COUNT [--not-durable]

makes so many commits in a store of its own, each of another value, and prints nothing: for strace, which
counts what is synced. Owns: which stores there are, and what a small change is in each. Modules that
are missing are told by `missing`.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sqlite3
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mheap

PAGE = 4096


class Store:
    """One way to keep a number in a file: `change` makes it another, and returns once that is committed."""

    package = ""  # to install, where it does not come with Python
    module = ""
    can_skip_sync = True

    def __init__(self, directory: Path, durable: bool) -> None:
        self.path = directory / type(self).__name__.lower()
        self.durable = durable
        self.open()

    def open(self) -> None:
        raise NotImplementedError

    def change(self, value: int) -> None:
        raise NotImplementedError

    def value(self) -> int:
        """What the last change made it."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def commits(self) -> int | None:
        """How many there were that changed bytes; None: the store does not count them."""
        return None

    @classmethod
    def about(cls) -> str:
        return f"{cls.package} {version(cls.package)}"


class Objects(Store):
    """One int of heap.root."""

    def open(self) -> None:
        self.heap = mheap.open(self.path)
        self.root = self.heap.root
        self.root["number"] = 0
        self.heap.commit()

    def change(self, value: int) -> None:
        self.root["number"] = value
        self.heap.commit(self.durable)

    def value(self) -> int:
        number: int = self.root["number"]
        return number

    def commits(self) -> int:
        return self.heap.generation

    def close(self) -> None:
        self.heap.close()

    @classmethod
    def about(cls) -> str:
        return f"mheap {mheap.__version__}"


class View(Objects):
    """8 bytes of a block, through a view of it."""

    def open(self) -> None:
        self.heap = mheap.open(self.path)
        self.view = self.heap.view(self.heap.malloc(PAGE), PAGE).cast("Q")
        self.view[0] = 0
        self.heap.commit()

    def change(self, value: int) -> None:
        self.view[0] = value
        self.heap.commit(self.durable)

    def value(self) -> int:
        return self.view[0]

    def close(self) -> None:
        self.view.release()
        self.heap.close()


class Sqlite(Store):
    """A row of a table, in WAL mode."""

    def open(self) -> None:
        self.base = sqlite3.connect(self.path, isolation_level=None)
        assert self.base.execute("PRAGMA journal_mode=WAL").fetchone() == ("wal",)
        self.base.execute(f"PRAGMA synchronous={'FULL' if self.durable else 'OFF'}")
        self.base.execute("CREATE TABLE numbers (name TEXT PRIMARY KEY, value INTEGER)")
        self.base.execute("INSERT INTO numbers VALUES ('number', 0)")

    def change(self, value: int) -> None:
        self.base.execute("UPDATE numbers SET value = ? WHERE name = 'number'", (value,))

    def value(self) -> int:
        number: int = self.base.execute("SELECT value FROM numbers").fetchone()[0]
        return number

    def close(self) -> None:
        self.base.close()

    @classmethod
    def about(cls) -> str:
        return f"SQLite {sqlite3.sqlite_version}"


class Lmdb(Store):
    package = module = "lmdb"

    def open(self) -> None:
        lmdb: Any = importlib.import_module("lmdb")
        self.base = lmdb.open(str(self.path), map_size=1 << 28, sync=self.durable, metasync=self.durable)

    def change(self, value: int) -> None:
        with self.base.begin(write=True) as transaction:
            transaction.put(b"number", value.to_bytes(8, "little"))

    def value(self) -> int:
        with self.base.begin() as transaction:
            return int.from_bytes(transaction.get(b"number"), "little")

    def close(self) -> None:
        self.base.close()

    @classmethod
    def about(cls) -> str:
        lmdb: Any = importlib.import_module("lmdb")
        return f"LMDB {'.'.join(map(str, lmdb.version()))} (lmdb {version('lmdb')})"


class Zodb(Store):
    """It has no way to commit without a sync."""

    package, module, can_skip_sync = "ZODB", "ZODB", False

    def open(self) -> None:
        zodb: Any = importlib.import_module("ZODB")
        storage: Any = importlib.import_module("ZODB.FileStorage")
        self.transaction: Any = importlib.import_module("transaction")
        self.base = zodb.DB(storage.FileStorage(str(self.path)))
        self.root = self.base.open().root()

    def change(self, value: int) -> None:
        self.root["number"] = value
        self.transaction.commit()

    def value(self) -> int:
        number: int = self.root["number"]
        return number

    def close(self) -> None:
        self.base.close()


class Gdbm(Store):
    """A key, stored and synced."""

    module = "dbm.gnu"
    package = "python3-gdbm"

    def open(self) -> None:
        gnu: Any = importlib.import_module("dbm.gnu")
        self.base = gnu.open(str(self.path), "n")

    def change(self, value: int) -> None:
        self.base["number"] = str(value)
        if self.durable:
            self.base.sync()

    def value(self) -> int:
        return int(self.base["number"])

    def close(self) -> None:
        self.base.close()

    @classmethod
    def about(cls) -> str:
        gnu: Any = importlib.import_module("_gdbm")
        return f"GNU dbm {'.'.join(map(str, getattr(gnu, '_GDBM_VERSION', ('of unknown version',))))}"


class Bare(Store):
    """4 KiB written into blocks of a file that have been written before, and synced: what a disk can do."""

    pages = 1024

    def open(self) -> None:
        self.file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        os.pwrite(self.file, bytes(self.pages * PAGE), 0)
        os.fsync(self.file)

    def change(self, value: int) -> None:
        self.last = value
        os.pwrite(self.file, value.to_bytes(8, "little").ljust(PAGE), value % self.pages * PAGE)
        if self.durable:
            os.fdatasync(self.file)

    def value(self) -> int:
        return int.from_bytes(os.pread(self.file, 8, self.last % self.pages * PAGE), "little")

    def close(self) -> None:
        os.close(self.file)

    @classmethod
    def about(cls) -> str:
        return ""


STORES: dict[str, type[Store]] = {
    "mheap, an int of heap.root": Objects,
    "mheap, 8 bytes of a view": View,
    "SQLite, WAL": Sqlite,
    "LMDB": Lmdb,
    "ZODB": Zodb,
    "GNU dbm": Gdbm,
    "4 KiB written": Bare,
}


def missing(store: type[Store]) -> str:
    """Why it cannot be compared; "" if it can."""
    try:
        importlib.import_module(store.module or "mheap")
    except ImportError as error:
        return str(error)
    return ""


def change_often(store: Store, start: int, count: int) -> None:
    before = store.commits()
    for value in range(start, start + count):
        store.change(value)
    if store.value() != start + count - 1:
        raise SystemExit(f"{type(store).__name__}: the last change is not there")
    if before is not None and store.commits() != before + count:
        raise SystemExit(f"{type(store).__name__}: a commit found nothing to do")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", choices=STORES)
    parser.add_argument("directory", type=Path)
    parser.add_argument("count", type=int)
    parser.add_argument("--not-durable", action="store_true")
    options = parser.parse_args()
    store = STORES[options.store](options.directory, not options.not_durable)
    change_often(store, 1, options.count)
    store.close()


if __name__ == "__main__":
    main()
