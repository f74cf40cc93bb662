"""Where the C library is, as a compiler wants to be told.

    cc prog.c $(mheap config --cflags --libs) -o prog

works from an installed package and from an editable one.
"""

from __future__ import annotations

import importlib.resources
import shlex
from pathlib import Path

__all__ = ["cflags", "includedir", "libdir", "libs", "pkgconfigdir"]


def _directory_of(*parts: str) -> Path:
    """The directory of a file of this package, which must be a real file."""
    entry = importlib.resources.files(__package__)
    for part in parts:
        entry = entry / part
    if not entry.is_file():
        raise FileNotFoundError(
            f"{'/'.join(parts)} is missing from the installed mheap package: reinstall it"
        )
    return Path(str(entry)).parent


def includedir() -> str:
    """The directory to search for ``#include <mheap/mheap.h>``."""
    return str(_directory_of("include", "mheap", "mheap.h").parent)


def libdir() -> str:
    """The directory that holds ``libmheap.so`` and ``libmheap.a``."""
    return str(_directory_of("lib", "libmheap.so.0"))


def pkgconfigdir() -> str:
    """The directory to add to ``PKG_CONFIG_PATH``; ``pkg-config mheap`` then says the same as here."""
    return str(_directory_of("lib", "pkgconfig", "mheap.pc"))


def cflags() -> str:
    """Flags that compile a program which uses mheap, quoted for a shell."""
    return shlex.quote(f"-I{includedir()}")


def libs() -> str:
    """Flags that link it, quoted for a shell; the run path makes the program find the library."""
    directory = libdir()
    return shlex.join([f"-L{directory}", f"-Wl,-rpath,{directory}", "-lmheap"])
