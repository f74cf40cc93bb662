"""`mheap get` and `ls` of arrays, with numpy and, of plain numbers, without."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import mheap
from mheap._core import _array_new

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    path = tmp_path / "arrays.heap"
    with mheap.open(path, mode="live") as heap:
        heap.root["m"] = np.arange(12.0).reshape(4, 3)
        heap.root["long"] = np.arange(100_000)
        heap.root["zero"] = heap.array((), "f8")
        heap.root["none"] = heap.array((0, 3), "i4")
        heap.root["l"] = [np.array([1, 2], "u1")]
        heap.root["s"] = np.array([(1, b"x")], [("a", "i4"), ("b", "S2")])
        heap.root["t"] = np.array(["2024-01-02"], "M8[D]")
        heap.root["nan"] = np.array([np.nan])
    return path


def test_get_prints_an_array_with_its_shape_and_type(run: Run, arrays: Path) -> None:
    for path, printed in [
        ("m", "array([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0], [6.0, 7.0, 8.0], [9.0, 10.0, 11.0]], shape=(4, 3), "
         "dtype='<f8')"),
        ("m/1", "[3.0, 4.0, 5.0]"),
        ("m/-1/2", "11.0"),
        ("none", "array([], shape=(0, 3), dtype='<i4')"),
        ("l", "[array([1, 2], shape=(2,), dtype='|u1')]"),
        ("zero", "array(0.)"),
        ("s/0", "(1, b'x')"),
        ("t", "array([datetime.date(2024, 1, 2)], shape=(1,), dtype='<M8[D]')"),
    ]:  # fmt: skip
        done = run("get", arrays, path)
        assert (done.stdout, done.stderr, done.returncode) == (printed + "\n", "", 0)
    assert run("get", arrays, "m/4").returncode == 1
    assert run("get", arrays, "m", "--limit", "1").stdout.startswith("array([[0.0, ...], ...], shape")
    cut = run("get", arrays, "long", "--limit", "2").stdout
    assert cut == "array([0, 1, ...], shape=(100000,), dtype='<i8')\n"


def test_get_as_json(run: Run, arrays: Path) -> None:
    found = json.loads(run("get", arrays, "/", "--json").stdout)
    assert found["m"] == {"$array": np.arange(12.0).reshape(4, 3).tolist(), "dtype": "<f8", "shape": [4, 3]}
    assert found["l"] == [{"$array": [1, 2], "dtype": "|u1", "shape": [2]}]
    assert found["s"]["$array"] == [[1, {"$base64": "eA=="}]]
    assert found["t"]["$array"] == [{"$date": "2024-01-02"}]
    assert found["nan"]["$array"] == [{"$float": "nan"}]
    assert found["none"] == {"$array": [], "dtype": "<i4", "shape": [0, 3]}


def test_ls_shows_type_shape_and_first_items(run: Run, arrays: Path) -> None:
    lines = [line.split(maxsplit=2) for line in run("ls", arrays).stdout.splitlines()]
    assert lines[0] == ["m", "array", "<f8 (4, 3) 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0…"]
    assert lines[1] == ["long", "array", "<i8 (100000,) 0, 1, 2, 3, 4, 5, 6, 7…"]
    assert lines[3][2].startswith("<i4 (0, 3)")
    rows = run("ls", arrays, "m").stdout.splitlines()
    assert [row.split()[:2] for row in rows] == [[str(i), "list"] for i in range(4)]
    entry = json.loads(run("ls", arrays, "--json").stdout)["entries"][0]
    assert (entry["type"], entry["length"], entry["dtype"], entry["shape"]) == ("array", 4, "<f8", [4, 3])


def test_plain_numbers_are_shown_without_numpy(run: Run, arrays: Path, tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("raise ImportError('no numpy here')")
    environment = {"PYTHONPATH": str(tmp_path)}
    shown = run("get", arrays, "m", "--limit", "1", env=environment)
    assert shown.stdout == "array([[0.0, ...], ...], shape=(4, 3), dtype='<f8')\n"
    listed = run("ls", arrays, env=environment).stdout
    assert "<f8 (4, 3) 0.0, 1.0" in listed
    assert "[('a', '<i4'), ('b', '|S2')] (1,)" in listed
    for name in "st":
        refused = run("get", arrays, name, env=environment)
        assert refused.returncode == 1
        assert "numpy" in refused.stderr
        assert len(refused.stderr.splitlines()) == 1


def test_a_hostile_type_is_one_line_of_error(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "hostile.heap"
    with mheap.open(path, mode="live") as heap:
        heap.root["a"] = _array_new(heap, "|O", 8, (3,), None)
    for command in (["get", path, "a"], ["get", path, "/"], ["ls", path], ["ls", path, "a"]):
        done = run(*command)
        assert done.returncode == 1, done.stdout
        assert "the type of an array" in done.stderr
        assert len(done.stderr.splitlines()) == 1
