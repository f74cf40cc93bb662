"""PersistentArray where numpy is not installed: in processes that cannot import it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

import mheap

BEGIN = """
import sys
sys.modules["numpy"] = None  # importing it raises ImportError
import array, copy, pickle
import mheap
heap = mheap.open(sys.argv[1], mode="live")
def raises(kind, work):
    try: work()
    except kind as error: return str(error)
    raise AssertionError(f"{kind.__name__} was not raised")
"""


def without_numpy(path: Path, code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + code, str(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_numbers_in_one_dimension(heap_path: Path) -> None:
    code = """
for code in "bBhHiIlLqQfd":
    a = heap.array(2, code)
    heap.root[code] = a
    assert heap.root[code] is a and a.tolist() == [0, 0] and type(a.dtype) is str
    a[0] = 5
    a.append(7)
    a.extend([1, 2])
    a.extend(array.array(code, [3]))
    a.extend(a)
    assert a.tolist() == [5, 0, 7, 1, 2, 3] * 2 == list(a), a.tolist()
    assert (len(a), a[2], a[-1], a[1:3].tolist()) == (12, 7, 3, [0, 7])
    assert memoryview(a).tolist() == a.tolist() and bytes(memoryview(a)) == bytes(a._bytes())
    a.resize(2)
    assert a == array.array(code, [5, 0]) and a != array.array(code, [5, 1]) and a != [5, 0]
    for made in (a.copy(), copy.copy(a), copy.deepcopy(a), a.to_python(), pickle.loads(pickle.dumps(a))):
        assert type(made) is array.array and made == array.array(code, [5, 0])
    assert 5 in a and 6 not in a
    raises(IndexError, lambda: a[2])
a = heap.array(3, "?")
a[1] = True
a.append(True)
assert a.tolist() == [False, True, False, True] == a.to_python()
heap.root["x"] = array.array("d", [1.5, 2.5])
assert heap.root["x"].tolist() == [1.5, 2.5]
print(repr(heap.root["x"]), repr(heap.array(1001, "i4"))[-24:])
"""
    out = without_numpy(heap_path, code)
    assert out == "array([1.5, 2.5], dtype='<f8') 0, 0, ...], dtype='<i4')\n"
    with mheap.open(heap_path, mode="live") as heap:
        assert heap.root["x"].tolist() == [1.5, 2.5]
        assert heap.root["d"].dtype == np.dtype("f8")
        assert heap.root["q"].tolist() == [5, 0]


def test_more_dimensions(heap_path: Path) -> None:
    code = """
a = heap.array((2, 3), "f8")
heap.root["a"] = a
a[1, 2] = 5
a.append([1, 2, 3])
a.extend([[4, 5, 6], (7, 8, 9)])
assert a.tolist() == [[0, 0, 0], [0, 0, 5], [1, 2, 3], [4, 5, 6], [7, 8, 9]]
assert a[1].tolist() == [0, 0, 5] and a[-1, 0] == 7 and a[2][1] == 2
a[2][1] = 20
assert [row.tolist() for row in a][2] == [1, 20, 3]
assert a.to_python() == a.tolist() == pickle.loads(pickle.dumps(a))
raises(ValueError, lambda: a.append([1, 2]))
raises(IndexError, lambda: a[5])
raises(TypeError, lambda: a.append(5))
assert (a.shape, a.strides, a.nbytes, a.ndim) == ((5, 3), (24, 8), 120, 2)
view = memoryview(a)
assert (view.format, view.shape, view.strides, view.readonly) == ("d", (5, 3), (24, 8), False)
raises(BufferError, lambda: a.resize(1000))
view.release()
a.resize(4)
b = heap.put_array(memoryview(bytes(range(24))).cast("B", (2, 3, 4)))
assert b.tolist()[1][2] == [20, 21, 22, 23]
z = heap.array(())
z[()] = 2.5
assert z[()] == z.tolist() == 2.5 and z.shape == ()
print(repr(heap.array((1, 2), "i2")))
"""
    assert without_numpy(heap_path, code) == "array([0, 0], shape=(1, 2), dtype='<i2')\n"


def test_types_that_need_numpy_say_so(heap_path: Path) -> None:
    with mheap.open(heap_path, mode="live") as heap:
        heap.root["s"] = np.zeros(3, [("a", "i4"), ("b", "f8")])
        heap.root["t"] = np.zeros(3, "M8[s]")
        heap.root["u"] = np.array(["abc", "d"])
    code = """
assert "without numpy" in raises(TypeError, lambda: heap.array(3, [("a", "f8")]))
assert "without numpy" in raises(TypeError, lambda: heap.array(3, object))
assert "array.array" in raises(TypeError, lambda: heap.put_array([1, 2]))
s, t, u = (heap.root[name] for name in "stu")
assert s.dtype == "[('a', '<i4'), ('b', '<f8')]" and s.shape == (3,) and s.itemsize == 12
assert memoryview(s).format == "T{<i:a:<d:b:}" and memoryview(u).format == "3w"
assert "format" in raises(BufferError, lambda: memoryview(t))
raises(NotImplementedError, lambda: s[0])
assert bytes(s._bytes()) == bytes(36)
heap.root["copy"] = [s, t]
s.resize(5)
"""
    without_numpy(heap_path, code)
    with mheap.open(heap_path, mode="live") as heap:
        assert heap.root["copy"][0] == np.zeros(5, [("a", "i4"), ("b", "f8")])


def test_numpy_is_imported_only_when_it_is_used(heap_path: Path) -> None:
    code = """
import sys
import mheap
with mheap.open(sys.argv[1], mode="live") as heap:
    heap.root["d"] = {1: [2]}
    assert heap.root["d"].to_python() == {1: [2]}
    assert "mheap.arrays" not in sys.modules
    a = heap.array(3)
    a.append(1.5)
    heap.root["a"] = a
    assert len(memoryview(a)) == len(a) == 4 and a.shape == (4,)
    assert "numpy" not in sys.modules
    a.dtype
    assert "numpy" in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(heap_path)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
