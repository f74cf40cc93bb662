"""The exceptions: their table, their built-in bases, their attributes."""

from __future__ import annotations

import copy
import errno
import pickle
import re
from pathlib import Path
from typing import Any

import pytest

import mheap
from mheap import errors

BASES: dict[type[mheap.MheapError], tuple[type[Exception], ...]] = {
    mheap.HeapOSError: (OSError,),
    mheap.NotAHeap: (ValueError,),
    mheap.CorruptHeap: (ValueError,),
    mheap.VersionMismatch: (ValueError,),
    mheap.UncleanHeap: (OSError,),
    mheap.BaseAddressInUse: (OSError,),
    mheap.HeapBusy: (BlockingIOError,),
    mheap.HeapFull: (MemoryError, OSError),
    mheap.NoMemory: (MemoryError,),
    mheap.InvalidPointer: (ValueError,),
    mheap.DoubleFree: (mheap.InvalidPointer,),
    mheap.Overrun: (ValueError,),
    mheap.StaleObject: (ReferenceError,),
    mheap.ReadOnlyHeap: (PermissionError,),
    mheap.InvalidArgument: (ValueError,),
    mheap.SizeOverflow: (OverflowError, MemoryError),
    mheap.ForkedHandle: (RuntimeError,),
    mheap.NotFound: (KeyError,),
    mheap.SnapshotTooOld: (RuntimeError,),
    mheap.ClosedHeap: (ValueError,),
}


def header_codes(root: Path) -> list[str]:
    """The codes of mheap.h, in order: BASE_IN_USE, …"""
    header = (root / "mheap/include/mheap/mheap.h").read_text()
    enum = header[header.index("typedef enum mheap_err") : header.index("MHEAP_ERR_COUNT_")]
    return ["OK", *re.findall(r"MHEAP_ERR_(\w+),", enum)]


def test_every_code_of_the_header_has_one_class(root: Path) -> None:
    codes = header_codes(root)
    by_code = {kind.code: kind for kind in BASES if kind.code}
    assert sorted(by_code) == list(range(1, len(codes)))


@pytest.mark.parametrize("file", ["mheap/ext/errors.c", "mheap/core/error.c"])
def test_c_names_the_class_of_each_code(root: Path, file: str) -> None:
    table = re.findall(r"\[MHEAP_ERR_(\w+)\] = \"(\w+)\"", (root / file).read_text())
    codes = header_codes(root)
    assert [name for name, _ in table] == codes[1:]
    for name, kind in table:
        assert getattr(errors, kind).code == codes.index(name)


@pytest.mark.parametrize("kind", BASES)
def test_each_is_also_the_built_in_a_caller_would_expect(kind: type[mheap.MheapError]) -> None:
    assert issubclass(kind, mheap.MheapError)
    for base in BASES[kind]:
        assert issubclass(kind, base)
    assert kind.__doc__
    assert kind.__name__ in mheap.__all__


@pytest.mark.parametrize("kind", [mheap.MheapError, *BASES])
def test_text_and_attributes(kind: type[mheap.MheapError]) -> None:
    error = kind("what was wrong", filename="a.heap", offset=8, expected=1, found=2)
    assert str(error) == "what was wrong"
    assert repr(error) == f"{kind.__name__}('what was wrong')"
    assert (error.filename, error.offset, error.expected, error.found) == ("a.heap", 8, 1, 2)
    bare = kind("text")
    assert (bare.filename, bare.offset, bare.expected, bare.found) == (None, None, None, None)
    assert str(kind()) == ""
    with pytest.raises(kind, match="text"):
        raise bare


@pytest.mark.parametrize("kind", [mheap.MheapError, errors.HeapFileNotFound, *BASES])
@pytest.mark.parametrize("clone", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy])
def test_errors_pickle(kind: type[mheap.MheapError], clone: Any) -> None:
    error = kind("text", errno=errno.EIO, filename="a.heap", offset=8, expected=1, found=2)
    same = clone(error)
    assert type(same) is kind
    assert (str(same), same.args) == ("text", ("text",))
    for name in ("errno", "filename", "offset", "expected", "found", "code"):
        assert getattr(same, name) == getattr(error, name)


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        (mheap.HeapBusy, errno.EAGAIN),
        (mheap.HeapFull, errno.ENOSPC),
        (mheap.NoMemory, errno.ENOMEM),
        (mheap.BaseAddressInUse, errno.EADDRINUSE),
        (mheap.ReadOnlyHeap, errno.EACCES),
        (mheap.UncleanHeap, errno.EUCLEAN),
    ],
)
def test_errno_is_the_one_that_fits(kind: type[mheap.MheapError], number: int) -> None:
    assert kind("text").errno == number
    assert kind("text", errno=errno.EIO).errno == errno.EIO


@pytest.mark.parametrize(
    ("number", "base"),
    [
        (errno.ENOENT, FileNotFoundError),
        (errno.EEXIST, FileExistsError),
        (errno.EACCES, PermissionError),
        (errno.EPERM, PermissionError),
        (errno.EISDIR, IsADirectoryError),
        (errno.ENOTDIR, NotADirectoryError),
        (errno.EIO, OSError),
    ],
)
def test_system_errors_are_the_right_oserror(number: int, base: type[OSError]) -> None:
    kind = errors.HeapOSError.of(number)
    assert issubclass(kind, errors.HeapOSError)
    assert issubclass(kind, base)
    error = kind("text", errno=number, filename="a")
    assert (error.errno, error.filename, error.strerror) == (number, "a", "text")


def test_a_system_error_from_the_heap_has_errno_and_filename(tmp_path: Path) -> None:
    below_a_file = tmp_path / "file" / "a.heap"
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError) as caught:
        mheap.open(below_a_file, mode="live")
    assert isinstance(caught.value, mheap.HeapOSError)
    assert caught.value.errno == errno.ENOTDIR
    assert caught.value.filename == str(below_a_file)
    assert caught.value.code == 1


def test_errors_of_a_heap_name_its_file(heap: mheap.Heap, heap_path: Path) -> None:
    address = heap.malloc(10)
    with pytest.raises(mheap.InvalidPointer) as caught:
        heap.free(address + 1)
    assert caught.value.filename == str(heap_path)
    assert caught.value.offset in (address + 1 - heap.base, None)
    assert str(heap_path) in str(caught.value)


def test_one_except_clause_catches_all(heap: mheap.Heap) -> None:
    for call in (lambda: heap.free(1), lambda: heap.malloc(-1), lambda: heap.roots["x"]):
        with pytest.raises(mheap.MheapError):
            call()
