"""The project's aims for speed and size, in one place. Nothing fails when one is missed: the
benchmarks print what was measured beside what was aimed at.

Ratios of time are mheap's time to the peer's in the same round; "faster" is the reverse.
"""

from __future__ import annotations

from report import Limit

# mheap's time to a peer's, for each pattern of benchmarks/alloc.
SLOWER: dict[tuple[str, str], Limit] = {
    ("pairs", "glibc"): Limit(1.4, "x glibc"),
    ("slots", "glibc"): Limit(1.0, "x glibc"),
    ("bulk", "glibc"): Limit(1.0, "x glibc"),
    ("slots", "mimalloc"): Limit(2.0, "x mimalloc"),
    ("slots", "jemalloc"): Limit(2.0, "x jemalloc"),
}

# How often mheap's time fits into the time of a peer that keeps its blocks in a file too.
FASTER: dict[tuple[str, str], Limit] = {
    (pattern, peer): Limit(15.0, f"x as fast as {peer}", at_least=True)
    for pattern in ("pairs", "slots", "bulk")
    for peer in ("Boost", "libpmemobj")
}

# What a second thread brings (twice the work in the same time is 2), over what it brings glibc.
SCALING = Limit(1.0, "x glibc's scaling", at_least=True)
SCALING_PATTERNS = ("pairs", "slots", "bulk")

# Bytes of the file, allocated on disk, for each byte asked for and live.
FOOTPRINT: dict[str, Limit] = {
    "slots": Limit(1.45, " file bytes a byte"),
    "bulk": Limit(1.15, " file bytes a byte"),
}

# Preloaded: time and peak memory of a process.
PRELOAD_TIME: dict[str, Limit] = {"glibc": Limit(1.1, "x glibc"), "mimalloc": Limit(1.3, "x mimalloc")}
PRELOAD_PEAK: dict[str, Limit] = {"mimalloc": Limit(1.2, "x mimalloc's peak")}

# From Python.
PYTHON_PAIR = Limit(4.0, "x an empty call pair")
PYTHON_ROOT = Limit(3.0, "x a dict")
ATTACH_US = Limit(200.0, " us")
ATTACH_RATIO = Limit(1.2, "x the small heap")
IMPORT_MS = Limit(10.0, " ms")

# Random access to 2 GiB on huge pages.
HUGE_PAGES = Limit(0.8, "x small pages")

# Commits of one small change: rates, as ratios to those of others in the same round.
COMMIT_DURABLE = {
    "SQLite, WAL": Limit(1.0, "x SQLite", at_least=True),
    "LMDB": Limit(1.7, "x LMDB", at_least=True),
}
COMMIT_NOT_DURABLE_DISK = Limit(4.0, "x the durable rate", at_least=True)
COMMIT_NOT_DURABLE_TMPFS = Limit(30_000, " a second", at_least=True)
# Much at once: speed over that of write and fdatasync of as many bytes to a new file.
COMMIT_FRESH = Limit(0.7, "x write", at_least=True)
COMMIT_OVERWRITE = Limit(0.4, "x write", at_least=True)
# A small commit in a large heap.
COMMIT_LARGE = Limit(1.5, "x the small heap")
COMMIT_RAW_MS = Limit(10.0, " ms a GiB")
# Readers beside a writer, and the heap layer between commits.
REFRESH_US = Limit(20.0, " us")
READONLY_READS = Limit(1.1, "x the writer's own")
ATOMIC_HEAP = Limit(1.05, "x live")

# MB of the heap file a second of the processor.
COMPACT: dict[str, Limit] = {
    "check": Limit(1000, " MB/s of the processor", at_least=True),
    "compact": Limit(200, " MB/s of the processor", at_least=True),
}
