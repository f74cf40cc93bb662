"""A persistent mapped heap: a file that is memory.

mheap.open() and mheap.attach() give a Heap; all functions that take a heap take it as their
first argument, `md`, and exist as methods of Heap too. `md` None is the process's default
heap, in anonymous memory. Addresses are ints.
"""

from mheap._attach import attach, open
from mheap._core import (
    SMALL_SIZE_MAX,
    ClassStats,
    Finding,
    Heap,
    HeapInfo,
    HeapStats,
    JournalInfo,
    MmStats,
    PageStats,
    ProcessInfo,
    Transaction,
    calloc,
    checkpoint,
    collect,
    commit,
    detach,
    errno,
    findbase,
    free,
    getkey,
    good_size,
    heap_new_ex,
    heap_new_in_arena,
    heap_of,
    is_in_heap_region,
    is_redirected,
    journal,
    malloc,
    malloc_small,
    memalign,
    mmcheck,
    mmstats,
    mmtrace,
    mprobe,
    process_info,
    realloc,
    recover,
    refresh,
    register_deferred_free,
    register_error,
    register_output,
    rollback,
    setkey,
    stats,
    stats_json,
    stats_merge,
    stats_print,
    stats_print_out,
    stats_reset,
    thread_done,
    thread_init,
    thread_stats_print_out,
    usable_size,
    valloc,
    view,
    zalloc_small,
)
from mheap._core import version as __version__
from mheap.errors import (
    BaseAddressInUse,
    ClosedHeap,
    CorruptHeap,
    DoubleFree,
    ForkedHandle,
    HeapBusy,
    HeapFull,
    HeapOSError,
    HeapTimeout,
    InvalidArgument,
    InvalidPointer,
    MheapError,
    NoMemory,
    NotAHeap,
    NotFound,
    Overrun,
    PickleNotAllowed,
    ReadOnlyHeap,
    SizeOverflow,
    SnapshotTooOld,
    StaleObject,
    UncleanHeap,
    UncommittedChanges,
    UnknownType,
    VersionMismatch,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mheap import arenas, kinds, subprocs
    from mheap._collect import Collected
    from mheap._commits import Dirty
    from mheap._compact import Compacted, Extent, compact
    from mheap._values import Pickled, register, register_enum
    from mheap.objects import PersistentDeque, PersistentDict, PersistentList, PersistentSet, to_python

__all__ = [
    "SMALL_SIZE_MAX",
    "BaseAddressInUse",
    "ClassStats",
    "ClosedHeap",
    "Collected",
    "Compacted",
    "CorruptHeap",
    "Dirty",
    "DoubleFree",
    "Extent",
    "Finding",
    "ForkedHandle",
    "Heap",
    "HeapBusy",
    "HeapFull",
    "HeapInfo",
    "HeapOSError",
    "HeapStats",
    "HeapTimeout",
    "InvalidArgument",
    "InvalidPointer",
    "JournalInfo",
    "MheapError",
    "MmStats",
    "NoMemory",
    "NotAHeap",
    "NotFound",
    "Overrun",
    "PageStats",
    "PersistentDeque",
    "PersistentDict",
    "PersistentList",
    "PersistentSet",
    "PickleNotAllowed",
    "Pickled",
    "ProcessInfo",
    "ReadOnlyHeap",
    "SizeOverflow",
    "SnapshotTooOld",
    "StaleObject",
    "Transaction",
    "UncleanHeap",
    "UncommittedChanges",
    "UnknownType",
    "VersionMismatch",
    "__version__",
    "arenas",
    "attach",
    "calloc",
    "checkpoint",
    "collect",
    "commit",
    "compact",
    "detach",
    "errno",
    "findbase",
    "free",
    "getkey",
    "good_size",
    "heap_new_ex",
    "heap_new_in_arena",
    "heap_of",
    "is_in_heap_region",
    "is_redirected",
    "journal",
    "kinds",
    "malloc",
    "malloc_small",
    "memalign",
    "mmcheck",
    "mmstats",
    "mmtrace",
    "mprobe",
    "open",
    "process_info",
    "realloc",
    "recover",
    "refresh",
    "register",
    "register_deferred_free",
    "register_enum",
    "register_error",
    "register_output",
    "rollback",
    "setkey",
    "stats",
    "stats_json",
    "stats_merge",
    "stats_print",
    "stats_print_out",
    "stats_reset",
    "subprocs",
    "thread_done",
    "thread_init",
    "thread_stats_print_out",
    "to_python",
    "usable_size",
    "valloc",
    "view",
    "zalloc_small",
]


def __getattr__(name: str) -> object:
    """Modules, and the names of mheap.objects: imported when they are first asked for."""
    if name in ("PersistentDeque", "PersistentDict", "PersistentList", "PersistentSet", "to_python"):
        from mheap import objects

        return getattr(objects, name)
    if name in ("Pickled", "register", "register_enum"):
        from mheap import _values

        return getattr(_values, name)
    if name == "Dirty":
        from mheap import _commits

        return _commits.Dirty
    if name == "Collected":
        from mheap import _collect

        return _collect.Collected
    if name in ("Compacted", "Extent", "compact"):
        from mheap import _compact

        return getattr(_compact, name)
    if name in ("arenas", "kinds", "subprocs"):
        import importlib

        return importlib.import_module(f"mheap.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
