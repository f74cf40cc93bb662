"""Stores of many values by str keys, for objects.py to compare.

Owns: which stores there are, and how each does what is timed, in the way that its own documentation
shows; every loop is here, so that none pays for a call of ours. An entry is an int, or a record of
id, name, score and three tags. Modules that are missing are told by `missing`.
"""

from __future__ import annotations

import importlib
import json
import os
import pickle
import shelve
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import mheap

INTS, RECORDS = "ints", "records"
READS = frozenset({"read", "again", "field", "contains", "length", "iterate"})
FILES = frozenset({"store", "update", "open", "bytes"})


def make(kind: str, number: int) -> Any:
    """The value of the entry with this number, as a program has it before it is stored."""
    if kind == INTS:
        return number
    tags = [f"tag{number % 7}", f"group{number % 1000}", f"city of {number % 50000}"]
    return {"id": number, "name": f"A. N. Other {number}", "score": number * 0.37, "tags": tags}


def why_not(module: str) -> str:
    """What importing it says; "" if it is there."""
    try:
        importlib.import_module(module)
    except ImportError as error:
        return str(error)
    return ""


class Store:
    """Entries of one kind in one directory. What it `can` is what there are methods for."""

    kinds: tuple[str, ...] = (INTS, RECORDS)
    needs = ""  # of mheap: what older ones do not have
    modules: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()  # to install, where a module does not come with Python
    can = READS | FILES
    most = 10**9  # entries: more would take minutes
    slow = False  # filled once, not anew in each round

    def __init__(self, directory: Path, kind: str) -> None:
        self.kind = kind
        self.directory = directory
        self.path = directory / "store"

    def natural(self, data: dict[str, Any]) -> Any:
        """The data in the form in which a program that uses this store would have it. Not timed."""
        return data

    def open(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        pass

    def store(self, data: Any) -> None:
        """All of it at once; returns when it is durable. Into an open, empty store."""
        raise NotImplementedError

    def read(self, keys: Iterable[str]) -> Any:
        """All these values; the last one."""
        raise NotImplementedError

    def field(self, keys: Iterable[str]) -> Any:
        """The score of all these records; the last one."""
        raise NotImplementedError

    def contains(self, keys: Iterable[str]) -> bool:
        raise NotImplementedError

    def length(self, times: int) -> int:
        raise NotImplementedError

    def iterate(self) -> int:
        """All entries, key and value; how many."""
        raise NotImplementedError

    def update(self, entries: Sequence[tuple[str, Any]]) -> None:
        """Other ints, or other scores, in one durable commit."""
        raise NotImplementedError

    def bytes(self) -> int:
        """On disk, of all its files."""
        return sum(
            path.stat().st_blocks * 512
            for path in self.directory.rglob("*")
            if path.is_file() and not path.is_symlink()
        )

    @classmethod
    def about(cls) -> str:
        return ", ".join(f"{package} {version(package)}" for package in cls.packages)


class Mapped(Store):
    """What of a store is written as for a dict: `table`."""

    table: Any

    def read(self, keys: Iterable[str]) -> Any:
        table, value = self.table, None
        for key in keys:
            value = table[key]
        return value

    def field(self, keys: Iterable[str]) -> Any:
        table, value = self.table, None
        for key in keys:
            value = table[key]["score"]
        return value

    def contains(self, keys: Iterable[str]) -> bool:
        table, there = self.table, False
        for key in keys:
            there = key in table
        return there

    def length(self, times: int) -> int:
        table, count = self.table, 0
        for _ in range(times):
            count = len(table)
        return count

    def iterate(self) -> int:
        count = 0
        for _key, _value in self.table.items():
            count += 1
        return count

    def change(self, entries: Sequence[tuple[str, Any]]) -> None:
        table = self.table
        if self.kind == INTS:
            for key, value in entries:
                table[key] = value
        else:
            for key, value in entries:
                table[key]["score"] = value


class Objects(Mapped):
    """A dict in a heap; records are dicts, too."""

    mode: Literal["atomic", "live"] = "atomic"

    def open(self) -> None:
        self.heap = mheap.open(self.path, mode=self.mode)
        self.table = self.heap.root.get("table")

    def close(self) -> None:
        self.heap.close()

    def store(self, data: Any) -> None:
        self.heap.root["table"] = data
        self.table = self.heap.root["table"]
        self.heap.commit()

    def update(self, entries: Sequence[tuple[str, Any]]) -> None:
        self.change(entries)
        self.heap.commit()

    @classmethod
    def about(cls) -> str:
        return f"mheap {mheap.__version__}"


class Records(Objects):
    """The same dict, of records with typed fields."""

    kinds = (RECORDS,)
    needs = "Record"

    def natural(self, data: dict[str, Any]) -> Any:
        entry = entry_class()
        return {
            key: entry(one["id"], one["name"], one["score"], tuple(one["tags"])) for key, one in data.items()
        }

    def field(self, keys: Iterable[str]) -> Any:
        table, value = self.table, None
        for key in keys:
            value = table[key].score
        return value

    def change(self, entries: Sequence[tuple[str, Any]]) -> None:
        table = self.table
        for key, value in entries:
            table[key].score = value


@cache
def entry_class() -> Any:
    base: Any = mheap.Record  # type: ignore[attr-defined, unused-ignore]

    class Entry(base):  # type: ignore[misc]
        id: int
        name: str
        score: float
        tags: tuple[str, ...]

    return Entry


class Live(Objects):
    """In mode live: each change is in the file, whatever happens to the process, when it returns."""

    mode = "live"
    can = frozenset({"store", "update", "change"})

    def store(self, data: Any) -> None:
        self.heap.root["table"] = data
        self.table = self.heap.root["table"]
        self.heap.sync()

    def update(self, entries: Sequence[tuple[str, Any]]) -> None:
        self.change(entries)
        self.heap.sync()


class Dict(Mapped):
    """In memory alone."""

    can = READS

    def open(self) -> None:
        self.table = {}

    def store(self, data: Any) -> None:
        self.table = data


class Pickle(Mapped):
    """A dict, written as a whole and read as a whole."""

    can = FILES

    def natural(self, data: dict[str, Any]) -> Any:
        return pickle.loads(pickle.dumps(data))  # of its own, to change

    def open(self) -> None:
        self.table = {}
        if self.path.exists():
            with self.path.open("rb") as file:
                self.table = pickle.load(file)

    def store(self, data: Any) -> None:
        self.table = data
        with self.path.open("wb") as file:
            pickle.dump(data, file, pickle.HIGHEST_PROTOCOL)
            file.flush()
            os.fsync(file.fileno())

    def update(self, entries: Sequence[tuple[str, Any]]) -> None:
        self.change(entries)
        self.store(self.table)


class Shelve(Mapped):
    """The standard library's; what it is on top of is among the facts."""

    slow, most = True, 100_000
    can = READS - {"again"} | FILES

    def open(self) -> None:
        self.table = shelve.open(str(self.path))  # noqa: SIM115

    def close(self) -> None:
        self.table.close()

    def sync(self) -> None:
        self.table.close()
        for path in self.directory.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        self.open()

    def store(self, data: Any) -> None:
        self.table.update(data)
        self.sync()

    def change(self, entries: Sequence[tuple[str, Any]]) -> None:
        for key, value in entries:
            self.table[key] = value if self.kind == INTS else self.table[key] | {"score": value}

    def update(self, entries: Sequence[tuple[str, Any]]) -> None:
        self.change(entries)
        self.sync()

    @classmethod
    def about(cls) -> str:
        for name in ("dbm.sqlite3", "dbm.gnu", "dbm.ndbm"):  # as dbm itself chooses
            if not why_not(name):
                return f"shelve on {name}"
        return "shelve on dbm.dumb"


class Sqlite(Store):
    """A table by key, in WAL mode; of records without an index besides, the tags as JSON."""

    can = READS - {"again"} | FILES

    def open(self) -> None:
        self.base = sqlite3.connect(self.path, isolation_level=None)
        self.base.execute("PRAGMA journal_mode=WAL")
        self.base.execute("PRAGMA synchronous=FULL")
        self.base.execute("PRAGMA cache_size=-1000000")
        columns = "value" if self.kind == INTS else "id INTEGER, name TEXT, score REAL, tags TEXT"
        self.base.execute(
            f"CREATE TABLE IF NOT EXISTS entries (key TEXT PRIMARY KEY, {columns}) WITHOUT ROWID"
        )

    def close(self) -> None:
        self.base.close()

    def natural(self, data: dict[str, Any]) -> Any:
        if self.kind == INTS:
            return list(data.items())
        return [
            (key, one["id"], one["name"], one["score"], json.dumps(one["tags"])) for key, one in data.items()
        ]

    def store(self, data: Any) -> None:
        self.base.execute("BEGIN")
        marks = ", ".join("?" * len(data[0]))
        self.base.executemany(f"INSERT INTO entries VALUES ({marks})", data)
        self.base.execute("COMMIT")

    def select(self, what: str, keys: Iterable[str]) -> Any:
        execute, value = self.base.execute, None
        question = f"SELECT {what} FROM entries WHERE key = ?"
        for key in keys:
            (value,) = execute(question, (key,)).fetchone()
        return value

    def read(self, keys: Iterable[str]) -> Any:
        if self.kind == INTS:
            return self.select("value", keys)
        execute, value = self.base.execute, None
        for key in keys:
            value = execute("SELECT id, name, score, tags FROM entries WHERE key = ?", (key,)).fetchone()
            json.loads(value[3])
        return value

    def field(self, keys: Iterable[str]) -> Any:
        return self.select("score", keys)

    def contains(self, keys: Iterable[str]) -> bool:
        execute, there = self.base.execute, False
        for key in keys:
            there = execute("SELECT 1 FROM entries WHERE key = ?", (key,)).fetchone() is not None
        return there

    def length(self, times: int) -> int:
        count = 0
        for _ in range(times):
            (count,) = self.base.execute("SELECT count(*) FROM entries").fetchone()
        return count

    def iterate(self) -> int:
        count = 0
        for entry in self.base.execute("SELECT * FROM entries"):
            if self.kind == RECORDS:
                json.loads(entry[4])
            count += 1
        return count

    def update(self, entries: Sequence[tuple[str, Any]]) -> None:
        column = "value" if self.kind == INTS else "score"
        self.base.execute("BEGIN")
        changes = [(value, key) for key, value in entries]
        self.base.executemany(f"UPDATE entries SET {column} = ? WHERE key = ?", changes)
        self.base.execute("COMMIT")

    @classmethod
    def about(cls) -> str:
        return f"SQLite {sqlite3.sqlite_version}"


class Lmdb(Store):
    """Values as msgspec makes bytes of them: of records, msgspec.Struct and MessagePack."""

    modules = packages = ("lmdb", "msgspec")
    can = READS - {"again"} | FILES

    def __init__(self, directory: Path, kind: str) -> None:
        super().__init__(directory, kind)
        self.lmdb: Any = importlib.import_module("lmdb")
        msgspec: Any = importlib.import_module("msgspec")
        fields = [("id", int), ("name", str), ("score", float), ("tags", list[str])]
        self.type = int if kind == INTS else msgspec.defstruct("Entry", fields, array_like=True)
        self.encode = msgspec.msgpack.Encoder().encode
        self.decode = msgspec.msgpack.Decoder(self.type).decode

    def natural(self, data: dict[str, Any]) -> Any:
        return data if self.kind == INTS else {key: self.type(**one) for key, one in data.items()}

    def open(self) -> None:
        self.base = self.lmdb.open(str(self.path), map_size=1 << 34)

    def close(self) -> None:
        self.base.close()

    def store(self, data: Any) -> None:
        encode = self.encode
        with self.base.begin(write=True) as transaction:
            items = ((key.encode(), encode(value)) for key, value in data.items())
            transaction.cursor().putmulti(items)

    def read(self, keys: Iterable[str]) -> Any:
        decode, value = self.decode, None
        with self.base.begin() as transaction:
            get = transaction.get
            for key in keys:
                value = decode(get(key.encode()))
        return value

    def field(self, keys: Iterable[str]) -> Any:
        decode, value = self.decode, None
        with self.base.begin() as transaction:
            get = transaction.get
            for key in keys:
                value = decode(get(key.encode())).score
        return value

    def contains(self, keys: Iterable[str]) -> bool:
        there = False
        with self.base.begin() as transaction:
            get = transaction.get
            for key in keys:
                there = get(key.encode()) is not None
        return there

    def length(self, times: int) -> int:
        count = 0
        with self.base.begin() as transaction:
            for _ in range(times):
                count = transaction.stat()["entries"]
        return count

    def iterate(self) -> int:
        decode, count = self.decode, 0
        with self.base.begin() as transaction:
            for key, value in transaction.cursor():
                key.decode(), decode(value)
                count += 1
        return count

    def update(self, entries: Sequence[tuple[str, Any]]) -> None:
        encode, decode = self.encode, self.decode
        with self.base.begin(write=True) as transaction:
            get, put = transaction.get, transaction.put
            for key, value in entries:
                name = key.encode()
                if self.kind == INTS:
                    put(name, encode(value))
                    continue
                entry = decode(get(name))
                entry.score = value
                put(name, encode(entry))

    @classmethod
    def about(cls) -> str:
        lmdb: Any = importlib.import_module("lmdb")
        return f"LMDB {'.'.join(map(str, lmdb.version()))}, {super().about()}"


class Zodb(Mapped):
    """An OOBTree; records are PersistentMappings. All that was read stays in its cache."""

    modules = ("ZODB", "BTrees.OOBTree")
    packages = ("ZODB",)
    slow = True

    def open(self) -> None:
        zodb: Any = importlib.import_module("ZODB")
        storage: Any = importlib.import_module("ZODB.FileStorage")
        self.transaction: Any = importlib.import_module("transaction")
        self.base = zodb.DB(storage.FileStorage(str(self.path)), cache_size=10**8)
        self.connection = self.base.open()
        self.root = self.connection.root()
        self.table = self.root.get("table")

    def close(self) -> None:
        self.transaction.abort()
        self.connection.close()
        self.base.close()

    def natural(self, data: dict[str, Any]) -> Any:
        mapping: Any = importlib.import_module("persistent.mapping")
        if self.kind == INTS:
            return data
        return {key: mapping.PersistentMapping(one) for key, one in data.items()}

    def store(self, data: Any) -> None:
        tree: Any = importlib.import_module("BTrees.OOBTree")
        self.root["table"] = self.table = tree.OOBTree()
        self.table.update(data)
        self.transaction.commit()

    def update(self, entries: Sequence[tuple[str, Any]]) -> None:
        self.change(entries)
        self.transaction.commit()


class Diskcache(Mapped):
    """Nothing evicted, every change synced."""

    modules = packages = ("diskcache",)
    slow, most = True, 100_000
    can = READS - {"again"} | FILES

    def open(self) -> None:
        diskcache: Any = importlib.import_module("diskcache")
        self.table = diskcache.Cache(
            str(self.path), eviction_policy="none", size_limit=1 << 40, sqlite_synchronous=2
        )

    def close(self) -> None:
        self.table.close()

    def store(self, data: Mapping[str, Any]) -> None:
        with self.table.transact():
            for key, value in data.items():
                self.table[key] = value

    def iterate(self) -> int:
        count = 0
        for key in self.table:
            self.table[key]
            count += 1
        return count

    def update(self, entries: Sequence[tuple[str, Any]]) -> None:
        with self.table.transact():
            for key, value in entries:
                self.table[key] = value if self.kind == INTS else self.table[key] | {"score": value}


STORES: dict[str, type[Store]] = {
    "mheap": Objects,
    "mheap, Record": Records,
    "mheap, live": Live,
    "dict": Dict,
    "LMDB": Lmdb,
    "SQLite": Sqlite,
    "pickle": Pickle,
    "ZODB": Zodb,
    "shelve": Shelve,
    "diskcache": Diskcache,
}


def missing(store: type[Store]) -> str:
    """Why it cannot be compared; "" if it can."""
    if store.needs and not hasattr(mheap, store.needs):
        return f"this mheap has no {store.needs}"
    return next(filter(None, map(why_not, store.modules)), "")
