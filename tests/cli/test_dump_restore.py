"""``mheap dump`` and ``mheap restore``: sealed files, and JSON lines."""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import fractions
import json
import os
import pathlib
import pty
import subprocess
import sys
import uuid
import zoneinfo
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mheap
from mheap.cli._lines import Refused, lines, read_line

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def contents(path: Path) -> Any:
    with mheap.open(path, mode="readonly") as heap:
        return mheap.to_python(heap.root)


def fails(done: subprocess.CompletedProcess[str], text: str, code: int = 1) -> bool:
    one_line = done.stderr.startswith("mheap: ") and done.stderr.count("\n") == 1
    return done.returncode == code and one_line and text in done.stderr


# ---- sealed files ----


def test_a_heap_is_sealed_and_made_writable_again(run: Run, sample: Path, tmp_path: Path) -> None:
    sealed, again = tmp_path / "sealed.heap", tmp_path / "again.heap"
    assert "sealed" in run("dump", sample, sealed).stdout
    for command in ("info", "ls", "check"):
        assert run(command, sealed).returncode == 0
    assert run("get", sealed, "a\\/b").stdout == "slash\n"
    assert json.loads(run("info", "--json", sealed).stdout)["state"] == "sealed"
    assert "any mode" in run("restore", sealed, again).stdout
    with mheap.open(again) as heap, mheap.open(sample, mode="readonly", relocate=True) as original:
        assert repr(heap.root) == repr(original.root)
        assert heap.uuid != original.uuid
        assert heap.info().state == "clean"
        assert heap.usable_size(heap.getkey(3)) >= 100
        assert heap.usable_size(heap.roots["blob"]) >= 200000
        heap.root["new"] = 1
        heap.commit()
    assert contents(again)["new"] == 1
    assert run("check", again).returncode == 0


def test_a_dump_of_a_value_does_not_say_when_it_was_made(run: Run, tmp_path: Path) -> None:
    mheap.dump({"a": [1]}, tmp_path / "value.heap")
    assert "created       not said\n" in run("info", tmp_path / "value.heap").stdout
    assert run("ls", tmp_path / "value.heap").stdout.split() == ["a", "list", "1", "item"]


def test_a_file_that_is_there_stays(run: Run, sample: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.heap"
    out.write_text("mine")
    assert fails(run("dump", sample, out), "--replace")
    assert fails(run("restore", sample, out), "--replace")
    assert fails(run("dump", "--json", sample, out), "--replace")
    assert out.read_text() == "mine"
    assert run("dump", "--replace", sample, out).returncode == 0
    assert run("restore", "--replace", sample, out).returncode == 0
    assert run("dump", "--json", "--replace", sample, out).returncode == 0
    assert out.read_text().startswith('{"key": ')


def test_faults_are_told(run: Run, sample: Path, tmp_path: Path) -> None:
    assert fails(run("dump", tmp_path / "none", tmp_path / "out"), "No such file")
    assert fails(run("dump", sample, tmp_path / "none" / "out"), "No such file")
    none = tmp_path / "none"
    assert fails(run("restore", "--json", none, tmp_path / "out"), f"mheap: {none}: No such file")
    assert fails(run("dump", sample), "OUT", 2)
    assert fails(run("dump", "--path", "users", sample, tmp_path / "out"), "--json", 2)
    assert fails(run("restore", "--path", "users", sample, tmp_path / "out"), "--json", 2)
    assert fails(run("restore", "--json", "--replace", sample, tmp_path / "out"), "--replace", 2)
    with mheap.open(sample, mode="live", relocate=True) as heap:
        heap.root["now"] = 1
        assert fails(run("dump", sample, tmp_path / "out"), "busy")
    assert not (tmp_path / "out").exists()


def test_beside_an_atomic_writer_a_commit_is_dumped(run: Run, tmp_path: Path) -> None:
    with mheap.open(tmp_path / "writer.heap") as heap:
        heap.root["number"] = 1
        heap.commit()
        heap.root["number"] = 2
        assert "generation 1" in run("dump", heap.path, tmp_path / "out.heap").stdout
        assert run("dump", "--json", heap.path).stdout == '{"key": "number", "value": 1}\n'
    assert contents(tmp_path / "out.heap") == {"number": 1}


# ---- lines ----

EVERYTHING: dict[Any, Any] = {
    "plain": {"x": [1, -2.5, None, True, False, "text", [], {}]},
    "numbers": [float("inf"), float("-inf"), -0.0, 1e300, 2**100, -(10**5000), 1.5j, complex(-0.0, 2)],
    "bytes": [b"\x00\xff", bytearray(b"more"), b""],
    "text": ["\ud800", "été", "\n\x00", "😀"],
    "tuples": ((), (1, (2, [3])), ({"a": (4,)},)),
    "sets": [{1, (2, 3)}, set(), frozenset({frozenset({5}), "x"})],
    "deques": [collections.deque([1, [2]], 5), collections.deque()],
    "range": range(1, 10, 2),
    "times": [
        datetime.date(2026, 1, 31),
        datetime.time(1, 2, 3, 4, fold=1),
        datetime.datetime(2026, 1, 31, 4, 5, fold=1),
        datetime.datetime(2026, 1, 31, tzinfo=datetime.timezone.utc),
        datetime.datetime(2026, 1, 31, tzinfo=datetime.timezone(datetime.timedelta(hours=-1), "name")),
        datetime.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo("Europe/Paris")),
        datetime.timedelta(-1, 2, 3),
        datetime.timezone(datetime.timedelta(microseconds=1)),
        zoneinfo.ZoneInfo("Europe/Paris"),
    ],
    "others": [decimal.Decimal("1.50"), fractions.Fraction(-1, 3), uuid.UUID(int=7)],
    "paths": [pathlib.PurePosixPath("/a/b"), pathlib.PosixPath("c"), pathlib.PureWindowsPath("c:/x")],
    "keys": {1: 2, "$date": 3, (1, "a"): {None: 4}, datetime.date(2026, 1, 31): 5},
    1: "int",
    (1, (2,)): "tuple",
    "$key": {"$x": 1},
    "": "",
}


def there_and_back(value: Any) -> Any:
    made: dict[Any, Any] = {}
    for line in lines({"value": value}, True):
        assert line.isascii()
        assert line.index("\n") == len(line) - 1
        read = read_line(line, True)
        made[read["key"]] = read["value"]
    return made["value"]


def shape(value: Any) -> Any:
    """A value with the types of all its parts; sets in one order."""
    if isinstance(value, dict):
        return [(shape(key), shape(item)) for key, item in value.items()]
    if isinstance(value, (set, frozenset)):
        return type(value), sorted(map(repr, map(shape, value)))
    if isinstance(value, collections.deque):
        return type(value), value.maxlen, [shape(item) for item in value]
    if isinstance(value, (list, tuple)):
        return type(value), [shape(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return hex(value)
    return type(value), repr(value)


def test_lines_bring_everything_back(run: Run, tmp_path: Path) -> None:
    first, second, out = (tmp_path / name for name in ("first.heap", "second.heap", "out.jsonl"))
    with mheap.open(first) as heap:
        heap.root.update(EVERYTHING)
    assert run("dump", "--json", first, out).returncode == 0
    assert out.read_text() == run("dump", "--json", first).stdout
    assert f"{len(EVERYTHING)} items" in run("restore", "--json", out, second).stdout
    assert shape(contents(second)) == shape(EVERYTHING)
    assert run("dump", "--json", second).stdout == out.read_text()


def test_equal_sets_are_equal_bytes(run: Run, tmp_path: Path) -> None:
    """Whatever became of them before, and whatever the process hashes with."""
    members = ["text", b"bytes", 1, 2.5, None, (1, frozenset({"a", "b", "c"})), *map(str, range(100))]
    outs = []
    for order, seed in ((members, "1"), (members[::-1], "2")):
        with mheap.open(tmp_path / "heap") as heap:
            heap.root["set"] = set()
            for number in range(1000):
                heap.root["set"].add(number)
            heap.root["set"].clear()
            for member in order:
                heap.root["set"].add(member)
            heap.root["other"] = (frozenset(order),)
        env = {"PYTHONHASHSEED": seed}
        outs.append(run("dump", "--json", tmp_path / "heap", env=env).stdout)
        outs.append(run("dump", "--json", "--path", "set", tmp_path / "heap", env=env).stdout)
    assert outs[:2] == outs[2:]
    lines = outs[1].splitlines()
    assert len(lines) == len(members)
    assert lines == sorted(lines)
    assert read_line(outs[0].splitlines()[0], True)["value"] == set(members)


def scalars() -> st.SearchStrategy[Any]:
    times = st.dates() | st.times() | st.datetimes() | st.timedeltas()
    numbers = st.integers() | st.floats(allow_nan=False) | st.complex_numbers(allow_nan=False)
    texts = st.text(st.characters()) | st.binary() | st.uuids() | st.fractions()
    return st.none() | st.booleans() | numbers | texts | times | st.decimals(allow_nan=False)


def hashable() -> st.SearchStrategy[Any]:
    return st.recursive(
        scalars(), lambda s: st.lists(s, max_size=3).map(tuple) | st.frozensets(s, max_size=3), max_leaves=4
    )


@given(
    st.recursive(
        hashable(),
        lambda s: (
            st.lists(s) | st.dictionaries(hashable(), s) | st.dictionaries(st.text("$ab"), s)
            | st.lists(s).map(collections.deque) | st.sets(hashable())
        ),
        max_leaves=10,
    )
)  # fmt: skip
def test_any_value_comes_back(value: Any) -> None:
    assert shape(there_and_back(value)) == shape(value)


def test_a_container_in_the_heap(run: Run, sample: Path, tmp_path: Path) -> None:
    to = tmp_path / "to.heap"
    numbers = run("dump", "--json", "--path", "numbers", sample).stdout
    assert numbers == "".join(f'{{"value": {i}}}\n' for i in range(10))
    (tmp_path / "in.jsonl").write_text("\n" + numbers + "\n")
    assert run("restore", "--json", "--path", "new", tmp_path / "in.jsonl", to).returncode == 0
    assert run("restore", "--json", "--path", "new", tmp_path / "in.jsonl", to).returncode == 0
    assert contents(to) == {"new": [*range(10), *range(10)]}
    (tmp_path / "in.jsonl").write_bytes(b'\xef\xbb\xbf{"key": "a", "value": {"$set": [1]}}\n')
    assert run("restore", "--json", "--path", "more", tmp_path / "in.jsonl", to).returncode == 0
    (tmp_path / "in.jsonl").write_text('{"value": 2}')
    assert run("restore", "--json", "--path", "more/a", tmp_path / "in.jsonl", to).returncode == 0
    assert contents(to)["more"] == {"a": {1, 2}}
    assert fails(run("dump", "--json", "--path", "new/0", to), "has no items")
    assert fails(run("dump", "--json", "--path", "none", to), "no 'none'")
    assert fails(run("restore", "--json", "--path", "new/x", tmp_path / "in.jsonl", to), "in a list")


def test_standard_input(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mheap", "restore", "--json", "-", "to.heap"]
    done = subprocess.run(command, input=b'{"key": "a", "value": 1}\n', cwd=tmp_path, check=False, timeout=60)
    assert done.returncode == 0
    assert contents(tmp_path / "to.heap") == {"a": 1}


class Item(mheap.Record):
    number: int
    more: object = None
    made: list[object] = mheap.field(default_factory=list)


class Circle(mheap.Record):
    of: object = None


@mheap.register_enum
class Colour(enum.Enum):
    RED = 1


def test_counters_sorted_dicts_and_arrays_come_back(run: Run, tmp_path: Path) -> None:
    first, second, out = (tmp_path / name for name in ("first.heap", "second.heap", "out.jsonl"))
    structure = [("x", "<i4"), ("at", "<M8[ms]"), ("name", "<U3", (2,))]
    with mheap.open(first) as heap:
        heap.root["counter"] = collections.Counter({"a": 2, (1, "b"): -1})
        heap.root["sorted"] = mheap.SortedDict({3: {"x": [1]}, 1: None})
        heap.root["arrays"] = [
            np.arange(6, dtype=">f4").reshape(2, 3),
            np.zeros((0, 2)),
            np.ones(3, structure),
        ]
    assert run("dump", "--json", first, out).returncode == 0
    assert run("restore", "--json", out, second).returncode == 0
    with mheap.open(second) as heap:
        root = heap.root
        assert type(root["counter"]) is mheap.PersistentCounter
        assert root["counter"] == {"a": 2, (1, "b"): -1}
        assert type(root["sorted"]) is mheap.PersistentSortedDict
        assert root["sorted"] == {1: None, 3: {"x": [1]}}
        line, empty, structured = root["arrays"]
        assert (line.dtype.str, line.tolist()) == (">f4", [[0, 1, 2], [3, 4, 5]])
        assert empty.shape == (0, 2)
        assert structured.dtype == np.dtype(structure)
        assert structured.to_python().tobytes() == np.ones(3, structure).tobytes()
    assert run("dump", "--json", second).stdout == out.read_text()


def test_records_come_back() -> None:
    deep = Item(1, [Item(2, made=[(Item(3),)]), mheap.RecordList(Item, [(4,), (5, {"$x": {6}})])])
    empty: mheap.RecordList[Item] = mheap.RecordList(Item)
    for value in (deep, mheap.RecordList(Item, [deep, (7, deep)]), empty):
        again = there_and_back(value)
        assert type(again) is type(value)
        assert again == value
    assert type(there_and_back(deep).more[1]) is mheap.RecordList
    assert there_and_back(empty).cls is Item


def test_records_of_another_version(tmp_path: Path) -> None:
    name = f"{__name__}:Item"

    def read(**fields: Any) -> Any:
        line = {"value": {"$record": name, "fields": fields}}
        return read_line(json.dumps(line), True)["value"]

    assert read(number=1) == Item(1)
    for fields, text in (
        ({"more": 1}, "Item.number is missing"),
        ({"number": "1"}, "expected int, found str"),
        ({"number": 1, "old": 2}, "Item has no field 'old'"),
    ):
        with pytest.raises(Refused, match=text):
            read(**fields)


def test_records_that_cannot_be_are_told_in_words_of_the_line() -> None:
    name = f"{__name__}:Item"
    for value, text in (
        ({"$record": name}, "it needs 'fields' beside it"),
        ({"$record": name, "fields": {"number": 1}, "more": 1}, "it takes no 'more' beside it"),
        ({"$record": name, "fields": ["number"]}, "'fields' are an object"),
        ({"$record": name, "fields": 1}, "'fields' are an object"),
        ({"$record": [1], "fields": {}}, "a class is known by a str, not [1]"),
        ({"$records": name, "rows": []}, "it needs 'fields' beside it"),
        ({"$records": name, "fields": None, "rows": []}, "'fields' are a list of names"),
        ({"$records": name, "fields": [1], "rows": []}, "'fields' are a list of names"),
        ({"$records": name, "fields": ["number", "number"], "rows": []}, "'number' is there twice"),
        ({"$records": name, "fields": ["old"], "rows": []}, "Item has no field 'old'"),
        ({"$records": name, "fields": ["number"], "rows": 1}, "'rows' are a list of lists"),
        ({"$records": name, "fields": ["number"], "rows": [[1], 2]}, "'rows' are a list of lists"),
        ({"$records": name, "fields": ["number"], "rows": [[1], []]}, "row 2 has 0 values for 1 fields"),
        ({"$records": name, "fields": ["number"], "rows": [[1], [2, 3]]}, "row 2 has 2 values for 1 fields"),
        ({"$records": name, "fields": ["number"], "rows": [[1], ["2"]]}, "row 2: Item.number: expected int"),
        ({"$path": "x"}, "it needs 'of' beside it"),
        ({"$array": "", "dtype": "<f8"}, "it needs 'shape' beside it"),
        ({"$date": "2026-01-30", "zone": 1}, "it takes no 'zone' beside it"),
    ):
        with pytest.raises(Refused) as refused:
            read_line(json.dumps({"value": value}), True)
        assert text in str(refused.value)


def test_records_whose_class_is_in_a_module(run: Run, tmp_path: Path) -> None:
    first, second, out, shop = (tmp_path / name for name in ("first.heap", "second.heap", "out", "shop.py"))
    shop.write_text("import mheap\nclass Order(mheap.Record):\n    item: str\n    price: float = 0.5\n")
    fill = (
        "import mheap, shop\n"
        "with mheap.open('first.heap') as heap:\n"
        "    heap.root['order'] = shop.Order('lamp')\n"
        "    heap.root['orders'] = mheap.RecordList(shop.Order, [('bulb', 2.0), ('cable',)])\n"
    )
    subprocess.run([sys.executable, "-c", fill], cwd=tmp_path, check=True, timeout=60)
    assert run("dump", "--json", first, out).returncode == 0
    assert out.read_text() == (
        '{"key": "order", "value": {"$record": "shop:Order", "fields": {"item": "lamp", "price": 0.5}}}\n'
        '{"key": "orders", "value": {"$records": "shop:Order", "fields": ["item", "price"], '
        '"rows": [["bulb", 2.0], ["cable", 0.5]]}}\n'
    )
    assert fails(
        run("restore", "--json", out, second), "column 29: $record: the class 'shop:Order' is not known"
    )
    assert not second.exists()
    assert run("restore", "--json", "--import", "shop", out, second).returncode == 0
    assert run("dump", "--json", second).stdout == out.read_text()
    rows = run("dump", "--json", "--path", "orders", first).stdout
    out.write_text(rows)
    arguments = ("restore", "--json", "--import", "shop", "--path", "orders", out, second)
    assert run(*arguments).returncode == 0
    assert run("dump", "--json", "--path", "orders", second).stdout == rows * 2
    assert fails(run("restore", "--json", "--import", "no_such", out, second), "--import no_such: No module")
    assert fails(run("restore", "--import", "shop", out, second), "go with --json", 2)


MALFORMED = [
    (b'{"key": 1, "value": }', 21, "Expecting value"),
    (b'{"key": 1, "value": 2', 22, "Expecting"),
    (b'{"key": 1}', 1, "a line is"),
    (b"[1]", 1, "a line is"),
    (b'{"key": 1, "value": 2, "more": 3}', 1, "a line is"),
    (b'{"value": 1}', 1, '"key"'),
    (b'{"key": [1], "value": 1}', 1, "unhashable"),
    (b'{"key": 1, "value": {"$date": "2026-02-30"}}', 23, "$date"),
    (b'{"key": 1, "value": {"$date": "2026-01-30", "x": 1}}', 23, "$date"),
    (b'{"key": 1, "value": {"$nothing": 1}}', 23, "$nothing"),
    (b'{"key": 1, "value": {"$set": [[]]}}', 23, "$set"),
    (b'{"key": 1, "value": {"$path": "x", "of": "system"}}', 23, "$path"),
    (b'{"key": 1, "value": {"$decimal": "x"}}', 23, "$decimal"),
    (b'{"key": 1, "value": {"$array": "AAA=", "dtype": "<f8", "shape": [1]}}', 23, "$array"),
    (b'{"key": 1, "value": {"$array": "AAAA", "dtype": "|V3", "shape": [2]}}', 23, "$array"),
    (b'{"key": 1, "value": {"$array": "AAAA", "dtype": "[((", "shape": [1]}}', 23, "$array"),
    (b'{"key": 1, "value": {"$array": "AAAAAAAAAAA=", "dtype": "|O8", "shape": [1]}}', 23, "$array"),
    (b'{"key": 1, "value": {"$counter": [1]}}', 23, "$counter"),
    (b'{"key": 1, "value": {"$record": "no:Such", "fields": {}}}', 23, "'no:Such' is not known"),
    (b'{"key": 1, "value": {"$record": ["no"], "fields": {}}}', 23, "$record"),
    (b'{"key": 1, "value": {"$records": "no:Such", "fields": [], "rows": []}}', 23, "'no:Such' is not known"),
    (b'{"key": 1, "value": NaN}', 21, "NaN"),
    (b'{"key": 1, "value": "\xff"}', 22, "UTF-8"),
    (b'{"key": 1, "value": ' + b"[" * 100_000, 1, "recursion"),
    (b'{"key": 1, "value": ' + b"1" * 5000 + b"}", 1, "digits"),
]


@pytest.mark.parametrize(("line", "column", "text"), MALFORMED, ids=[str(i) for i in range(len(MALFORMED))])
def test_a_malformed_line_is_told_and_nothing_is_restored(
    line: bytes, column: int, text: str, run: Run, tmp_path: Path
) -> None:
    source, to = tmp_path / "in.jsonl", tmp_path / "to.heap"
    source.write_bytes(b'{"key": "first", "value": 1}\n\n' + line + b"\n")
    done = run("restore", "--json", source, to)
    assert fails(done, f"{source}: line 3, column {column}: ")
    assert text in done.stderr
    assert not to.exists()
    with mheap.open(to) as heap:
        heap.root["before"] = 1
    assert fails(run("restore", "--json", source, to), "nothing was restored")
    assert contents(to) == {"before": 1}


def test_without_tags(run: Run, tmp_path: Path) -> None:
    path, source = tmp_path / "heap", tmp_path / "in.jsonl"
    source.write_text('{"key": "a", "value": {"$date": "not a date", "b": [1]}}\n')
    assert run("restore", "--json", "--no-tags", source, path).returncode == 0
    assert contents(path) == {"a": {"$date": "not a date", "b": [1]}}
    assert run("dump", "--json", "--no-tags", path).stdout == source.read_text()
    value: Any
    for value in ((1,), b"x", {1: 2}, {1}, frozenset(), float("nan"), datetime.date(2026, 1, 1), Item(1)):
        with pytest.raises(Refused, match="--no-tags"):
            list(lines([[value]], False))
    with mheap.open(path) as heap:
        heap.root["deep"] = {"er": (1,)}
    assert fails(run("dump", "--json", "--no-tags", path), "deep: JSON has no tuple")


def test_what_has_no_line_is_told(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "heap"
    with mheap.open(path) as heap:
        heap.root["ok"] = 1
        heap.root["bad"] = [mheap.Pickled(print)]
        heap.commit()
        assert fails(run("dump", "--json", path, tmp_path / "out"), "bad: a value of type")
        heap.root["bad"] = []
        heap.root["bad"].append(heap.root["bad"])
        heap.root["record"] = Circle()
        heap.root["record"].of = heap.root["record"]
    assert fails(run("dump", "--json", path, tmp_path / "out"), "contains itself")
    with mheap.open(path) as heap:
        del heap.root["bad"]
    assert fails(run("dump", "--json", path, tmp_path / "out"), "record: a container contains itself")
    assert fails(run("dump", "--json", "--path", "record", path), "which has no items")
    with mheap.open(path) as heap:
        heap.root["set"] = {1, Colour.RED}
    assert fails(run("dump", "--json", "--path", "set", path), "a member of set: a value of type")
    assert "out" not in " ".join(os.listdir(tmp_path))


def test_a_bar_where_stderr_is_a_terminal(sample: Path, tmp_path: Path) -> None:
    for arguments in (["dump", "--json", sample, "out.jsonl"], ["restore", "--json", "out.jsonl", "to.heap"]):
        outer, inner = pty.openpty()
        command = [sys.executable, "-m", "mheap", *map(str, arguments)]
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
        done = subprocess.run(
            command,
            stderr=inner,
            stdout=subprocess.PIPE,
            cwd=tmp_path,
            env=environment,
            check=False,
            timeout=60,
        )
        os.close(inner)
        assert done.returncode == 0
        assert b"\x1b[" in os.read(outer, 65536)
        os.close(outer)
