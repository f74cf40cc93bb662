"""What mheap raises.

Every exception is a MheapError and also of the built-in class a caller would expect. Its text
is one line that says which file, what was expected, what was found and what to do; the
attributes say the same to programs. The C library's codes are in `code`.
"""

from __future__ import annotations

import errno as _errno

TYPE_CHECKING = False  # typing's own would cost most of mheap's import time

if TYPE_CHECKING:
    from mheap._core import ArenaId

__all__ = [
    "BaseAddressInUse",
    "ClosedHeap",
    "CorruptHeap",
    "DoubleFree",
    "ForkedHandle",
    "HeapBusy",
    "HeapFull",
    "HeapOSError",
    "HeapTimeout",
    "InvalidArgument",
    "InvalidPointer",
    "MheapError",
    "NoMemory",
    "NotAHeap",
    "NotFound",
    "Overrun",
    "PickleNotAllowed",
    "ReadOnlyHeap",
    "SchemaMismatch",
    "SizeOverflow",
    "SnapshotTooOld",
    "StaleObject",
    "UncleanHeap",
    "UncommittedChanges",
    "UnknownType",
    "VersionMismatch",
]


class MheapError(Exception):
    """The base of all.

    code      the number the C library has for it (mheap_err in mheap.h); 0: none
    errno     of the system call that failed, or the one that fits; None: none
    filename  the heap's file, where it is known; else None
    offset    the place in the file, bytes; None where there is none
    expected  the number that should stand there; None where no number was compared
    found     the number that does
    """

    code: int = 0
    _errno: int | None = None

    # One way to make them all: OSError, among the bases, would read its arguments otherwise.
    def __init__(
        self,
        text: str = "",
        *,
        errno: int | None = None,
        filename: str | None = None,
        offset: int | None = None,
        expected: int | None = None,
        found: int | None = None,
    ) -> None:
        super().__init__(text)
        self.errno = self._errno if errno is None else errno
        self.filename = filename
        self.offset = offset
        self.expected = expected
        self.found = found
        self.strerror: str | None = text

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""

    def __reduce__(self) -> tuple[object, ...]:
        names = ("errno", "filename", "offset", "expected", "found", "strerror")
        return type(self), self.args, {name: getattr(self, name) for name in names if hasattr(self, name)}


class HeapOSError(MheapError, OSError):
    """A system call failed. Raised as a FileNotFoundError, PermissionError, … as well where that fits."""

    code = 1

    @classmethod
    def of(cls, errno: int) -> type[HeapOSError]:
        """The class for an errno."""
        return _SYSTEM.get(errno, cls)


class HeapFileNotFound(HeapOSError, FileNotFoundError):
    """There is no such file, or directory to make it in."""


class HeapFileExists(HeapOSError, FileExistsError):
    """Something by that name exists already."""


class HeapPermissionDenied(HeapOSError, PermissionError):
    """The file system's permissions forbid it."""


class HeapPathIsDirectory(HeapOSError, IsADirectoryError):
    """The path names a directory."""


class HeapPathNotDirectory(HeapOSError, NotADirectoryError):
    """A part of the path is not a directory."""


class HeapTimeout(HeapOSError, TimeoutError):
    """It took too long, or would have. `arena`: what was had until then; None: nothing."""

    _errno = _errno.ETIMEDOUT
    arena: ArenaId | None = None


_SYSTEM: dict[int, type[HeapOSError]] = {
    _errno.ENOENT: HeapFileNotFound,
    _errno.EEXIST: HeapFileExists,
    _errno.EACCES: HeapPermissionDenied,
    _errno.EPERM: HeapPermissionDenied,
    _errno.EISDIR: HeapPathIsDirectory,
    _errno.ENOTDIR: HeapPathNotDirectory,
    _errno.ETIMEDOUT: HeapTimeout,
}


class NotAHeap(MheapError, ValueError):
    """A directory, a FIFO, a file of another program. It was not touched."""

    code = 2


class CorruptHeap(MheapError, ValueError):
    """A heap whose contents contradict themselves, or that was cut short."""

    code = 3


class VersionMismatch(MheapError, ValueError):
    """A heap of another format version, byte order or word size, or with features unknown here."""

    code = 4


class UncleanHeap(MheapError, OSError):
    """The machine went down, or the file was copied, while it was open. salvage=True attaches it."""

    code = 5
    _errno = getattr(_errno, "EUCLEAN", _errno.EIO)


class BaseAddressInUse(MheapError, OSError):
    """The address range is taken in this process. relocate=True attaches elsewhere."""

    code = 6
    _errno = _errno.EADDRINUSE


class HeapBusy(MheapError, BlockingIOError):
    """Another handle has the file open in a way that excludes this one."""

    code = 7
    _errno = _errno.EAGAIN


class HeapFull(MheapError, MemoryError, OSError):
    """No space: max_size is reached, or the disk is full. The heap is as it was."""

    code = 8
    _errno = _errno.ENOSPC


class NoMemory(MheapError, MemoryError):
    """No memory or address space for what the process itself keeps, or of the kind asked for.

    arena  1 GiB pages that were had before there were no more; else None
    """

    code = 9
    _errno = _errno.ENOMEM
    arena: ArenaId | None = None


class InvalidPointer(MheapError, ValueError):
    """An address that is not a block of this heap. Nothing was done."""

    code = 10


class DoubleFree(InvalidPointer):
    """A block that is free already. Nothing was done."""

    code = 11


class Overrun(MheapError, ValueError):
    """A checked block was written beyond its boundaries (see mmcheck)."""

    code = 12


class PickleNotAllowed(MheapError, ValueError):
    """The value is a pickle, and the heap was not opened with allow_pickle=True."""


class UnknownType(MheapError, TypeError):
    """The value is of a type that is not registered in this process, or a zone that is not known here."""


class SchemaMismatch(MheapError, TypeError):
    """A record in the heap has a field that does not fit the one its class declares."""


class StaleObject(MheapError, ReferenceError):
    """The object is gone from the heap."""

    code = 13


class ReadOnlyHeap(MheapError, PermissionError):
    """The heap is attached without the right to change it."""

    code = 14
    _errno = _errno.EACCES


class InvalidArgument(MheapError, ValueError):
    """An argument out of its range."""

    code = 15


class SizeOverflow(MheapError, OverflowError, MemoryError):
    """A size no heap can hold."""

    code = 16


class ForkedHandle(MheapError, RuntimeError):
    """The handle belongs to the parent process."""

    code = 17


class NotFound(MheapError, KeyError):
    """No such key, name or element."""

    code = 18


class SnapshotTooOld(MheapError, RuntimeError):
    """The commit that a reader kept is gone: a writer's journal reached its limit."""

    code = 19


class ClosedHeap(MheapError, ValueError):
    """The heap was closed."""


class UncommittedChanges(RuntimeWarning):
    """A heap of mode atomic was closed, collected or left at exit with changes that were not committed.

    They are gone. commit() keeps them; rollback() before says that they may go. Made an error, by
    -W error, it leaves the heap open when close() raises it.
    """
