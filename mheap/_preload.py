"""Starting programs whose malloc libmheap-preload serves: what ``mheap run`` knows of them."""

from __future__ import annotations

import os
import struct
from pathlib import Path

__all__ = ["environment", "library", "refusal"]

_PT_INTERP = 3
_SCRIPTS_DEEP = 4  # as the kernel follows interpreters of interpreters


def library() -> Path:
    """The library to be preloaded."""
    from mheap import config

    path = Path(config.libdir()) / "libmheap-preload.so"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing from the installed mheap package: reinstall it")
    if any(letter in str(path) for letter in ": "):
        raise ValueError(f"{path}: the dynamic linker takes no path with a colon or a space in it")
    return path


def environment(heap: str | None, statistics: bool) -> dict[str, str]:
    """The environment for a program that this process becomes, by exec."""
    settings = dict(os.environ)
    # What the interpreter set for itself is not the program's.
    if "LC_CTYPE" in settings and b"\0LC_CTYPE=" not in b"\0" + Path("/proc/self/environ").read_bytes():
        del settings["LC_CTYPE"]
    before = settings.get("LD_PRELOAD")
    settings["LD_PRELOAD"] = f"{library()} {before}" if before else str(library())
    for name, value in (("HEAP", f"{os.getpid()}:{heap}"), ("STATS", f"{os.getpid()}")):
        settings.pop(f"MHEAP_PRELOAD_{name}", None)
        if statistics if name == "STATS" else heap is not None:
            settings[f"MHEAP_PRELOAD_{name}"] = value
    return settings


def _gains_privileges(path: str) -> bool:
    """Does exec change who the process is? Then the dynamic linker ignores LD_PRELOAD."""
    status = os.stat(path)
    if status.st_mode & 0o4000 and status.st_uid != os.getuid():
        return True
    if status.st_mode & 0o2010 == 0o2010 and status.st_gid != os.getgid():
        return True
    return os.getuid() != 0 and "security.capability" in os.listxattr(path)


def _elf_refusal(path: str, head: bytes) -> str | None:
    """Why an ELF file cannot be preloaded into."""
    own = library().read_bytes()[:20]
    if head[4:6] != own[4:6] or head[18:20] != own[18:20]:
        return f"{path}: made for another kind of machine than libmheap-preload"
    start, size, count = struct.unpack_from("=Q", head, 32)[0], *struct.unpack_from("=HH", head, 54)
    with Path(path).open("rb") as file:
        file.seek(start)
        table = file.read(size * count)
    kinds = [struct.unpack_from("=I", table, at)[0] for at in range(0, len(table) - 3, max(size, 4))]
    if _PT_INTERP not in kinds:
        return f"{path}: statically linked: its malloc is inside it and cannot be replaced"
    return None


def refusal(path: str) -> str | None:
    """Why libmheap-preload cannot serve the program at `path`; None: it can."""
    for _ in range(_SCRIPTS_DEEP):
        try:
            with Path(path).open("rb") as file:
                head = file.read(256)
        except PermissionError:
            head = b""  # what may only be executed is not looked into
        if not head.startswith(b"#!") and _gains_privileges(path):  # scripts never do
            return f"{path}: runs with rights of its own (set-user-ID or the like): nothing can be preloaded"
        if head.startswith(b"\x7fELF") and len(head) >= 64:
            return _elf_refusal(path, head)
        if not head.startswith(b"#!"):
            return None  # the system says what it is
        words = os.fsdecode(head[2:].split(b"\n", 1)[0]).split()
        if not words or not os.access(words[0], os.X_OK):
            return f"{path}: its interpreter {' '.join(words[:1])!r} is not there"
        path = words[0]
    return None
