"""Builds the program of benchmarks/alloc once for each allocator there is.

Owns: which allocators are compared, how each is compiled and linked, and what to install for
those that are missing. Runs cc, c++ and, when no installed mheap is found, meson.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
# What GCC knows of malloc would let it drop a pair that does nothing.
FLAGS = ("-O2", "-g", "-pthread", "-fno-builtin-malloc", "-fno-builtin-free")


@dataclass(frozen=True)
class Peer:
    name: str
    adapter: str
    libraries: tuple[str, ...] = ()
    package: str = ""
    # "memory" needs no file; "tmpfs" and "disk" are directories for one.
    places: tuple[str, ...] = ("memory",)
    cplusplus: bool = False
    # Operations to one of glibc's, for what is slow enough to measure in fewer.
    share: float = 1.0


FILES = ("tmpfs", "disk")
LINK = "-Wl,--no-as-needed"
PEERS = (
    Peer("no allocator", "none"),
    Peer("glibc", "malloc"),
    Peer("mimalloc", "malloc", (LINK, "-lmimalloc"), "libmimalloc-dev"),
    Peer("jemalloc", "malloc", (LINK, "-ljemalloc"), "libjemalloc-dev"),
    Peer("mheap", "mheap", places=("tmpfs", "disk", "memory")),
    Peer("Boost", "boost", package="libboost-dev", places=FILES, cplusplus=True, share=0.1),
    Peer("libpmemobj", "pmemobj", ("-lpmemobj",), "libpmemobj-dev", places=FILES, share=0.02),
)


@dataclass(frozen=True)
class Missing:
    name: str
    why: str
    remedy: str


def compiler(cplusplus: bool = False) -> str:
    if cplusplus:
        return os.environ.get("CXX", "c++")
    return os.environ.get("CC", "cc")


def _run(command: Sequence[str | Path]) -> str:
    """Runs a command; what it said if it failed, else nothing."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as failure:
        return str(failure)
    if done.returncode == 0:
        return ""
    lines = (done.stdout + done.stderr).strip().splitlines()
    errors = [line for line in lines if "error" in line.lower()]
    return (errors or lines[-1:] or [f"{command[0]}: exit {done.returncode}"])[0]


def _build_mheap(build: Path) -> Path | str:
    """Compiles libmheap of this source tree as it is released; the directory of the library."""
    meson, source = shutil.which("meson"), HERE.parent
    if not meson:
        return "no installed mheap, and no meson to build one"
    directory = build / "mheap"
    reconfigure = ["--reconfigure"] if (directory / "build.ninja").exists() else []
    failed = _run([meson, "setup", *reconfigure, "-Dextension=false", directory, source])
    failed = failed or _run([meson, "compile", "-C", directory])
    return failed or directory / "mheap" / "core"


def mheap_flags(build: Path, prefix: Path | None) -> list[str] | str:
    """How to compile with mheap: of a prefix, of the installed package, of this source tree."""
    if prefix is None:
        spec = importlib.util.find_spec("mheap")
        package = Path(spec.origin).parent if spec and spec.origin else None
        prefix = package if package and (package / "lib" / "libmheap.so").exists() else None
    if prefix is not None:
        include, library = prefix / "include", prefix / "lib"
    else:
        built = _build_mheap(build)
        if isinstance(built, str):
            return built
        include, library = HERE.parent / "mheap" / "include", built
    return [f"-I{include}", f"-L{library}", f"-Wl,-rpath,{library}", "-lmheap"]


def library_path(name: str, build: Path, prefix: Path | None) -> Path | None:
    """A shared library: of mheap as above, of the others where the linker finds them."""
    if "mheap" in name:
        spec = importlib.util.find_spec("mheap")
        package = Path(spec.origin).parent if spec and spec.origin else None
        for place in (prefix, package):
            if place is not None and (place / "lib" / name).exists():
                return place / "lib" / name
        built = _build_mheap(build)
        return None if isinstance(built, str) else built.parent / "preload" / name
    said = subprocess.run(
        [compiler(), f"-print-file-name={name}"], capture_output=True, text=True, check=False
    )
    path = Path(said.stdout.strip())
    return path.resolve() if path.is_absolute() and path.exists() else None


def _compile(peer: Peer, program: Path, libraries: Sequence[str]) -> str:
    language = ["-x", "c++", "-std=c++17"] if peer.cplusplus else ["-std=c17"]
    adapter = f'-DADAPTER="adapter_{peer.adapter}.h"'
    source = HERE / "alloc" / "main.c"
    return _run([compiler(peer.cplusplus), *language, *FLAGS, adapter, source, "-o", program, *libraries])


def build_all(
    build: Path, prefix: Path | None, wanted: Sequence[str]
) -> tuple[dict[str, Path], list[Missing]]:
    """The program of each wanted allocator that could be built, and what is missing."""
    programs: dict[str, Path] = {}
    missing: list[Missing] = []
    build.mkdir(parents=True, exist_ok=True)
    for peer in PEERS:
        if wanted and peer.name not in wanted:
            continue
        libraries: list[str] | str = list(peer.libraries)
        remedy = f"apt-get install {peer.package}" if peer.package else "see the message"
        if peer.name == "mheap":
            libraries, remedy = mheap_flags(build, prefix), "pip install mheap, or pip install meson ninja"
        program = build / f"alloc-{peer.name.replace(' ', '-')}"
        failed = libraries if isinstance(libraries, str) else _compile(peer, program, libraries)
        if failed:
            missing.append(Missing(peer.name, failed, remedy))
        else:
            programs[peer.name] = program
    return programs, missing
