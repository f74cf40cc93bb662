"""mheap.dump and mheap.restore: a value as a sealed file, and back in no time."""

from __future__ import annotations

import os

from mheap import _core

TYPE_CHECKING = False

if TYPE_CHECKING:
    from mheap._core import Heap

    _Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]

# What keys are hashed with: fixed, so that equal values make equal files.
_SEED = bytes.fromhex("452821e638d01377be5466cf34e90c6c")


def dump(
    value: object,
    path: _Path,
    *,
    replace: bool = True,
    durable: bool = True,
    hash_seed: bytes | None = None,
) -> None:
    """Write a value, with all it leads to, to a sealed heap file at a path.

    value      anything a heap can hold, plain or persistent. A dict becomes heap.root of the file;
               any other value is heap.root["value"]
    path       where the file is to be. It appears, or takes the place of what was there, complete
               and at once; who has the old file attached keeps it. Until then there is a temporary
               file beside it, which no attach takes for a heap
    replace    False: a file that is there raises FileExistsError
    durable    False: nothing is synced; a power cut may lose the file, and the one it replaced
    hash_seed  16 bytes that keys are hashed with. None: the same for all dumps. See the page on
               dumps for who should choose their own

    Equal values make equal files, byte by byte, in every process, whatever PYTHONHASHSEED is.

    Raises TypeError for what no heap can hold; HeapBusy when a writer has the file at `path`
    attached, or another dump to it is under way; HeapFull, HeapOSError. The file at `path` is then
    as it was.
    """
    name = os.path.abspath(os.fsdecode(path))
    root = value if _is_dict(value) else {"value": value}
    heap = _memory()
    try:
        _core._fill(heap, root, _SEED if hash_seed is None else hash_seed)
        _core._dump(heap, name, replace, durable, 1)
    finally:
        heap.close()


def restore(
    path: _Path,
    *,
    verify: bool = False,
    populate: bool = False,
    relocate: bool = False,
    allow_pickle: bool = False,
) -> Heap:
    """Attach the sealed file at a path to work with in memory, and return the Heap.

    It takes the same time whatever is in the file, and the memory of what is changed: pages are
    shared by all processes until they are written to. Changes are this process's own, and thrown
    away when the heap is closed. The file may be read-only. Any other heap file will do, too:
    writers are held off then, until the heap is closed.

    verify    walk every stored structure first, which takes as long as reading all of it; what is
              wrong raises CorruptHeap
    populate  bring all pages into memory at once, instead of each when it is first read
    relocate, allow_pickle  as for open()

    Raises FileNotFoundError, and what open() raises.
    """
    from mheap._attach import open

    heap = open(path, mode="scratch", relocate=relocate, allow_pickle=allow_pickle)
    try:
        if populate:
            heap.prefetch()
        if verify:
            _verify(heap)
    except BaseException:
        heap.close()
        raise
    return heap


def _verify(heap: Heap) -> None:
    broken: list[_core.Finding] = []
    heap.check(lambda finding: broken.append(finding) if finding.severity > 0 else None)
    if not broken:
        return
    from mheap.errors import CorruptHeap

    first, rest = broken[0], len(broken) - 1
    more = f" (and {rest} more; see `mheap check`)" if rest else ""
    text = f"{heap.path}: offset 0x{first.offset:x}: {first.what}: {first.text}{more}; restore a copy"
    raise CorruptHeap(text, filename=heap.path)


def _memory() -> Heap:
    return _core.attach(
        -1, None, "dump", "live", None, None, 0.0, False, False, False, False, "never", None, None, False
    )


def _is_dict(value: object) -> bool:
    if type(value) is dict:
        return True
    from mheap.objects import PersistentDict

    return isinstance(value, PersistentDict)
