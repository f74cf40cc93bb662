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
