"""``mheap get`` and ``mheap ls``: paths, values, JSON, large and hostile contents."""

from __future__ import annotations

import ast
import datetime as dt
import enum
import json
import re
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

import mheap

Run = Callable[..., "subprocess.CompletedProcess[str]"]

# ---- get ----


@pytest.mark.parametrize(
    ("path", "printed"),
    [
        ("users/ada/age", "36"),
        ("/users/ada/age/", "36"),
        ("users/ada/tags/2", "3.5"),
        ("users/ada/tags/-1", "True"),
        ("users/ada/tags/3", "None"),
        ("users/bob", "{}"),
        ("users/ada", "{'age': 36, 'tags': ['x', 'y', 3.5, None, True]}"),
        ("a\\/b", "slash"),
        ("back\\\\slash", "backslash"),
        ("1", "str one"),
        ("(1)", "int one"),
        ("+1", "int one"),
        ("'1'", "str one"),
        ("2", str(2**100)),
        ("''", "empty"),
        ("clé", "été"),
        ("bytes", r"b'\x00\xff'"),
        ("nan", "nan"),
        ("numbers", "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]"),
    ],
)
def test_get_follows_a_path(run: Run, sample: Path, path: str, printed: str) -> None:
    done = run("get", sample, path)
    assert (done.stdout, done.stderr, done.returncode) == (f"{printed}\n", "", 0)


@pytest.mark.parametrize(
    "path", ["nobody", "users/nobody", "users/ada/age/more", "numbers/10", "numbers/x", "b'1'"]
)
def test_a_path_that_leads_nowhere_is_one_line_and_exit_code_1(run: Run, sample: Path, path: str) -> None:
    done = run("get", sample, path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert repr(path.split("/")[-1]) in done.stderr


def test_get_limits_containers(run: Run, sample: Path) -> None:
    assert run("get", sample, "numbers", "--limit", "3").stdout == "[0, 1, 2, ...]\n"
    assert run("get", sample, "numbers", "--limit", "10").stdout == f"{list(range(10))}\n"
    assert run("get", sample, "users", "--limit", "0").stdout == "{...}\n"


def test_sets_and_deques(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "sets.heap"
    with mheap.open(path) as heap:
        heap.root["s"] = {"a"}
        heap.root["s"].update([2.5, 3])
        heap.root["d"] = deque([1, [2], set(), deque([4])], 7)
    assert run("get", path, "").stdout == (
        "{'s': {'a', 2.5, 3}, 'd': deque([1, [2], set(), deque([4])], maxlen=7)}\n"
    )
    assert run("get", path, "s", "--limit", "1").stdout == "{'a', ...}\n"
    assert run("get", path, "d", "--limit", "1").stdout == "deque([1, ...], maxlen=7)\n"
    assert run("get", path, "d/3/0").stdout == "4\n"
    assert run("get", path, "s/1").stdout == "2.5\n"
    assert [run("get", path, f"s/{step}").returncode for step in ("3", "-1", "a")] == [1, 1, 1]
    assert json.loads(run("get", "--json", path, "").stdout) == {"s": ["a", 2.5, 3], "d": [1, [2], [], [4]]}
    lines = [line.split() for line in run("ls", path).stdout.splitlines()]
    assert lines == [["s", "set", "3", "items"], ["d", "deque", "4", "items"]]
    lines = [line.split() for line in run("ls", path, "s").stdout.splitlines()]
    assert lines == [["0", "str", "'a'"], ["1", "float", "2.5"], ["2", "int", "3"]]
    assert json.loads(run("ls", "--json", path, "d").stdout)["type"] == "deque"


def test_get_raw_writes_the_bytes_alone(run: Run, sample: Path) -> None:
    command = [sys.executable, "-m", "mheap", "get", "--raw", str(sample), "bytes"]
    done = subprocess.run(command, capture_output=True, check=True, cwd=sample.parent)
    assert done.stdout == b"\x00\xff"
    assert run("get", "--raw", sample, "clé").stdout == "été"
    assert run("get", "--raw", sample, "users").returncode == 2
    assert run("get", "--raw", "--json", sample, "clé").returncode == 2


def test_get_json_has_a_form_for_every_value(run: Run, sample: Path) -> None:
    def value(path: str) -> object:
        return json.loads(run("get", "--json", sample, path).stdout)

    assert value("users/ada") == {"age": 36, "tags": ["x", "y", 3.5, None, True]}
    assert value("bytes") == {"$base64": "AP8="}
    assert value("nan") == {"$float": "nan"}
    assert value("2") == 2**100
    assert value("clé") == "été"
    root = value("/")
    assert isinstance(root, dict)
    assert ["1", "str one"] in root["$items"]
    assert [1, "int one"] in root["$items"]


def test_ints_of_thousands_of_digits_are_hexadecimal(run: Run, heap_path: Path) -> None:
    with mheap.open(heap_path, mode="live") as heap:
        heap.root["huge"] = 1 << 100_000
    assert int(run("get", heap_path, "huge").stdout, 16) == 1 << 100_000
    assert int(json.loads(run("get", "--json", heap_path, "huge").stdout)["$int"], 16) == 1 << 100_000
    assert run("ls", heap_path).returncode == 0


# ---- ls ----


def test_ls_lists_keys_as_steps_that_get_understands(run: Run, sample: Path) -> None:
    with mheap.open(sample, mode="readonly") as heap:
        root = heap.root
        entries = json.loads(run("ls", "--json", sample).stdout)
        assert entries["length"] == len(root) == len(entries["entries"])
        for key, entry in zip(root, entries["entries"], strict=True):
            done = run("get", "--json", sample, entry["step"])
            assert done.returncode == 0, entry
            if "value" in entry:
                assert json.loads(done.stdout) == entry["value"], key


def test_ls_prints_a_line_an_entry(run: Run, sample: Path) -> None:
    lines = run("ls", sample).stdout.splitlines()
    assert len(lines) == 13
    assert lines[0].split() == ["users", "dict", "2", "items"]
    assert lines[1].split() == ["a\\/b", "str", "'slash'"]
    assert [line.split() for line in run("ls", sample, "users/ada").stdout.splitlines()] == [
        ["age", "int", "36"],
        ["tags", "list", "5", "items"],
    ]
    assert run("ls", sample, "users/ada/tags").stdout.split()[:3] == ["0", "str", "'x'"]


def test_ls_of_long_values_is_short(run: Run, sample: Path) -> None:
    line = next(line for line in run("ls", sample).stdout.splitlines() if line.startswith("long"))
    assert len(line) < 140
    assert "5000 characters" in line
    entries = json.loads(run("ls", "--json", sample).stdout)["entries"]
    assert next(entry for entry in entries if entry["key"] == "long")["length"] == 5000


def test_control_characters_are_shown_not_obeyed(run: Run, sample: Path) -> None:
    assert "\x1b" not in run("ls", sample).stdout
    assert "\x1b" not in run("get", sample, "/").stdout


def test_ls_of_a_scalar_and_of_nothing_fails(run: Run, sample: Path) -> None:
    done = run("ls", sample, "users/ada/age")
    assert done.returncode == 1
    assert "int" in done.stderr
    assert run("ls", sample, "nowhere").returncode == 1


def test_ls_limits_and_says_so(run: Run, sample: Path) -> None:
    done = run("ls", sample, "numbers", "--limit", "4")
    assert len(done.stdout.splitlines()) == 4
    assert "6 more" in done.stderr
    assert len(json.loads(run("ls", sample, "numbers", "--limit", "4", "--json").stdout)["entries"]) == 4


def test_a_heap_without_a_root_is_empty(run: Run, heap_path: Path) -> None:
    with mheap.open(heap_path, mode="live") as heap:
        heap.malloc(10)
    for args in (["ls", heap_path], ["ls", "--json", heap_path], ["get", heap_path, ""], ["info", heap_path]):
        done = run(*args)
        assert (done.returncode, done.stderr) == (0, ""), args
    assert run("ls", heap_path).stdout == ""


# ---- large, deep ----


def test_large_containers_are_streamed_to_whoever_reads_them(run: Run, heap_path: Path) -> None:
    with mheap.open(heap_path, mode="live") as heap:
        heap.root["many"] = {f"key{i}": i for i in range(100_000)}
    assert ast.literal_eval(run("get", heap_path, "many").stdout)["key99999"] == 99999
    assert len(json.loads(run("get", heap_path, "many", "--json").stdout)) == 100_000
    assert len(run("ls", heap_path, "many").stdout.splitlines()) == 100_000


def test_a_reader_that_has_enough_is_no_error(sample: Path, heap_path: Path) -> None:
    with mheap.open(heap_path, mode="live") as heap:
        heap.root["many"] = list(range(200_000))
    command = f"{sys.executable} -m mheap ls {heap_path} many | head -n 2; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False, cwd=sample.parent
    )
    assert done.returncode == 0
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 2


@pytest.mark.parametrize(
    ("closed", "code", "text"), [(">&-", 1, ""), ("2>&-", 0, "slash"), ("<&-", 0, "slash")]
)
def test_closed_streams(sample: Path, closed: str, code: int, text: str) -> None:
    command = f'"$0" -m mheap get "$1" "$2" {closed}'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable, sample, r"a\/b"],
        capture_output=True,
        text=True,
        cwd=sample.parent,
    )
    assert (done.returncode, done.stdout.strip()) == (code, text)
    assert done.stderr == ("mheap: standard output is closed\n" if code else "")
    command = f'"$0" -m mheap get "$1" nothing {closed} 2>&-'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable, sample], capture_output=True, text=True, cwd=sample.parent
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


def test_deep_nesting_does_not_recurse(run: Run, heap_path: Path) -> None:
    with mheap.open(heap_path, mode="live") as heap:
        heap.root["deep"] = []
        inner = heap.root["deep"]
        for _ in range(5000):
            inner.append([])
            inner = inner[0]
    assert run("get", heap_path, "deep").stdout == "[" * 5001 + "]" * 5001 + "\n"
    assert run("get", "--json", heap_path, "deep").stdout == "[" * 5001 + "]" * 5001 + "\n"


# ---- values of other types ----


class Shape(enum.Enum):
    ROUND = 1


class Thing:
    pass


@pytest.fixture
def others(tmp_path: Path) -> Path:
    path = tmp_path / "others.heap"
    mheap.register_enum(Shape, name="shapes:Shape")
    mheap.register(Thing, lambda thing: ("state", 1), lambda state: Thing(), name="things:Thing")
    with mheap.open(path) as heap:
        heap.root["tuple"] = (1, ("x",), [()], frozenset({2}))
        heap.root["range"] = range(3)
        heap.root["bytearray"] = bytearray(b"abc")
        heap.root["date"] = dt.date(2024, 1, 2)
        heap.root["decimal"] = Decimal("1.50")
        heap.root["enum"] = Shape.ROUND
        heap.root["thing"] = [Thing()]
        heap.root["pickle"] = mheap.Pickled(Thing)
        heap.root["keys"] = {
            (1, "a/b"): "tuple",
            dt.date(2024, 1, 2): "date",
            Shape.ROUND: "enum",
            1j: "complex",
        }
    return path


@pytest.mark.parametrize(
    ("path", "printed"),
    [
        ("tuple", "(1, ('x',), [()], frozenset({2}))"),
        ("tuple/1/0", "x"),
        ("range", "range(0, 3)"),
        ("bytearray", "bytearray(b'abc')"),
        ("date", "datetime.date(2024, 1, 2)"),
        ("enum", "<shapes:Shape.ROUND>"),
        ("thing", "[<things:Thing: ('state', 1)>]"),
        ("pickle", None),
        ("keys/(1, 'a\\/b')", "tuple"),
        ("keys/datetime.date(2024, 1, 2)", "date"),
        ("keys/<shapes:Shape.ROUND>", "enum"),
        ("keys/1j", "complex"),
    ],
)
def test_get_shows_values_of_other_types(run: Run, others: Path, path: str, printed: str | None) -> None:
    done = run("get", others, path)
    assert (done.stderr, done.returncode) == ("", 0)
    if printed is None:
        assert re.fullmatch(r"<pickle of \d+ bytes>\n", done.stdout)
    else:
        assert done.stdout == f"{printed}\n"


def test_get_shows_them_as_json(run: Run, others: Path) -> None:
    found = json.loads(run("get", others, "/", "--json").stdout)
    assert found["tuple"] == [1, ["x"], [[]], {"$repr": "frozenset({2})"}]
    assert found["bytearray"] == {"$bytearray": "YWJj"}
    assert found["date"] == {"$date": "2024-01-02"}
    assert found["decimal"] == {"$decimal": "1.50"}
    assert found["enum"] == {"$repr": "<shapes:Shape.ROUND>"}
    assert found["keys"]["$items"][1] == [{"$date": "2024-01-02"}, "date"]


def test_ls_lists_them(run: Run, others: Path) -> None:
    lines = run("ls", others).stdout.splitlines()
    assert [line.split()[:2] for line in lines[:8]] == [
        ["tuple", "tuple"],
        ["range", "range"],
        ["bytearray", "bytearray"],
        ["date", "date"],
        ["decimal", "Decimal"],
        ["enum", "Enum"],
        ["thing", "list"],
        ["pickle", "pickle"],
    ]
    for line in run("ls", others, "keys").stdout.splitlines():
        step = line.split("  ")[0]
        assert run("get", others, f"keys/{step}").returncode == 0
    assert json.loads(run("ls", others, "tuple", "--json").stdout)["type"] == "tuple"


# ---- named heaps ----


@pytest.fixture
def several(tmp_path: Path) -> Path:
    path = tmp_path / "several.heap"
    with mheap.open(path) as heap:
        heap.root["a"] = 1
        heap.new("cache").root["page"] = {"hits": [3, 4]}
        heap.new("a b\n\x1b[31m")
        heap.commit()
    return path


def test_ls_shows_the_named_heaps_behind_the_root(run: Run, several: Path) -> None:
    done = run("ls", several)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "a                         int    1",
        "--heap cache              heap   1 item",
        r"--heap 'a b\n\x1b[31m'    heap   0 items",
    ]
    assert "heap" not in run("ls", several, "--heap", "cache").stdout
    shown = json.loads(run("ls", several, "--json").stdout)
    assert shown["heaps"] == [{"name": "cache", "length": 1}, {"name": "a b\n\x1b[31m", "length": 0}]
    assert "heaps" not in json.loads(run("ls", several, "--heap", "cache", "--json").stdout)


def test_a_named_heap_is_looked_into_by_its_name(run: Run, several: Path) -> None:
    assert run("ls", several, "--heap", "cache", "page").stdout == f"{'hits':<24}  list   2 items\n"
    assert run("get", several, "--heap", "cache", "page/hits/1").stdout == "4\n"
    done = run("get", "--heap", "nobody", several, "page")
    assert (done.returncode, done.stdout) == (1, "")
    assert 'there is no heap named "nobody"' in done.stderr
    assert run("get", several, "page").returncode == 1


def test_a_named_heap_that_is_damaged_does_not_hide_the_others(run: Run, several: Path) -> None:
    contents = bytearray(several.read_bytes())
    with mheap.open(several, mode="readonly") as heap:
        row = 12288 + 64 * heap.named["cache"].number
    contents[row + 24 : row + 32] = (48).to_bytes(8, "little")  # its root
    several.write_bytes(contents)
    done = run("ls", several)
    assert done.returncode == 0
    assert "--heap cache              heap   damaged" in done.stdout
    assert run("ls", several, "--heap", "cache").returncode == 1
    assert "'cache', damaged" in run("info", several).stdout
    assert run("check", several).returncode == 1
