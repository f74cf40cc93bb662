"""``mheap info FILE``: identity, geometry, state, journal, roots, usage, arenas, heaps."""

from __future__ import annotations

import sys
from datetime import datetime, timezone
from typing import Any

import click

import mheap
from mheap import _core, arenas
from mheap.cli._heaps import error_fields, file_argument, journal_fields, json_option, opened, print_json
from mheap.cli._values import literal

_IDENTITY = [
    "uuid",
    "version",
    "state",
    "generation",
    "epoch",
    "compat",
    "rocompat",
    "incompat",
    "size",
    "file_size",
    "disk_size",
    "max_size",
    "stored_base",
    "segments",
    "created_ns",
    "has_journal",
]
_TOTALS = [
    "bytes_total",
    "chunks_used",
    "bytes_used",
    "chunks_free",
    "bytes_free",
    "bytes_overhead",
    "segments",
    "segments_free",
]
_PAGE_FIELDS = ["page_size", "bytes_1g", "bytes_2m", "bytes_other", "bytes_transparent", "numa_node"]
_CLASS_FIELDS = ["block_size", "runs", "blocks", "used", "used_bytes", "run_bytes"]


def bytes_text(count: int) -> str:
    """A number of bytes, exact and in a unit one can read."""
    size, unit = float(count), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{count} bytes" if unit == "bytes" else f"{size:.1f} {unit} ({count})"


# ---- gathering ----


def _is_set(heap: mheap.Heap, key: int) -> bool:
    try:
        return heap.getkey(key) is not None
    except mheap.InvalidPointer:  # to a block that is gone, with the end of the file
        return True


def _roots(heap: mheap.Heap, has_root: bool) -> dict[str, Any]:
    keys = [key for key in range(_core.KEYS) if _is_set(heap, key)]
    return {"root_items": len(heap.root) if has_root else None, "names": list(heap.roots), "keys": keys}


def _class_fields(stats: Any) -> dict[str, int]:
    return {name: getattr(stats, name) for name in _CLASS_FIELDS}


def _usage(stats: Any) -> dict[str, Any]:
    usage: dict[str, Any] = {name: getattr(stats, name) for name in _TOTALS}
    usage["classes"] = [_class_fields(row) for row in stats.classes if row.runs]
    usage["spans"] = _class_fields(stats.spans)
    usage["huge"] = _class_fields(stats.huge)
    usage["pages"] = {name: getattr(stats.pages, name) for name in _PAGE_FIELDS}
    return usage


def _identity(info: Any) -> dict[str, Any]:
    fields = {name: getattr(info, name) for name in _IDENTITY}
    fields["owner_pid"] = info.owner_pid if info.state == "open" else None
    return fields


def _arena(id: arenas.ArenaId, base: int) -> dict[str, Any]:
    flags = {"exclusive": id.exclusive, "committed": id.committed}
    return {"offset": id.address - base, "size": id.size, "used": id.used, **flags}


def _items_of(heap: mheap.Heap) -> int | None:
    try:
        return len(heap.root)
    except mheap.MheapError:
        return None


def _heap(heap: mheap.Heap, base: int) -> dict[str, Any]:
    arena = None if heap.arena is None else heap.arena.address - base
    fields = {"number": heap.number, "tag": heap.tag, "arena": arena, "destroyable": heap.destroyable}
    return fields if heap.name is None else {**fields, "name": heap.name, "root_items": _items_of(heap)}


def _gather(file: str, report: dict[str, Any]) -> None:
    """Fills the report as far as the heap allows."""
    with opened(file) as heap:
        info = heap.info()
        report.update(_identity(info))
        report["journal"] = journal_fields(mheap.journal(file)) if info.has_journal else None
        report["usage"] = _usage(heap.stats())
        report["roots"] = _roots(heap, info.has_root)
        report["arenas"] = [_arena(id, info.base) for id in arenas.list(heap)]
        report["heaps"] = [_heap(one, info.base) for one in heap.heaps()]


# ---- printing ----


def _line(name: str, value: object) -> None:
    print(f"{name:<14}{value}")


def _state_text(report: dict[str, Any]) -> str:
    commits = "clean, with commits in the journal that are not in the pages yet"
    if report["journal"] and report["journal"]["records"]:
        return commits
    texts = {"clean": "clean: detached in order", "sealed": "sealed: complete, never written again"}
    open_text = f"open: a writer (process {report['owner_pid']}) has it, or died"
    return texts.get(report["state"], open_text)


def _print_identity(report: dict[str, Any]) -> None:
    created = datetime.fromtimestamp(report["created_ns"] / 1e9, timezone.utc)
    _line("file", report["file"])
    _line("uuid", report["uuid"])
    _line("format", f"version {report['version']}")
    _line("created", created.strftime("%Y-%m-%d %H:%M:%S UTC"))
    _line("state", _state_text(report))
    _line("generation", report["generation"])
    _line("crashes", report["epoch"])
    features = {name: report[name] for name in ("compat", "rocompat", "incompat") if report[name]}
    _line("features", ", ".join(f"{name} 0x{bits:x}" for name, bits in features.items()) or "none")


def _print_geometry(report: dict[str, Any]) -> None:
    base = report["stored_base"]
    _line("size", bytes_text(report["size"]))
    _line("on disk", f"{bytes_text(report['disk_size'])} of a file of {bytes_text(report['file_size'])}")
    _line("may grow to", bytes_text(report["max_size"]))
    _line("base", f"0x{base:x}" if base else "none: attaches anywhere")


def _print_journal(journal: dict[str, Any] | None) -> None:
    if journal is None:
        return
    place = f"at 0x{journal['offset']:x}: {bytes_text(journal['size'])}, {bytes_text(journal['used'])} used"
    records = f"{journal['records']} records; pages of generation {journal['pages_generation']}"
    _line("journal", f"{place}, {records}")


def _print_roots(roots: dict[str, Any]) -> None:
    count = roots["root_items"]
    _line("root", "none yet" if count is None else f"{count} items")
    _line("named roots", ", ".join(literal(name) for name in roots["names"]) or "none")
    _line("keys set", ", ".join(map(str, roots["keys"])) or "none")


def _pages_text(pages: dict[str, Any]) -> str:
    size = pages["page_size"]
    text = bytes_text(size) if size else "not known"
    return text if pages["numa_node"] is None else f"{text}, NUMA node {pages['numa_node']}"


def _arena_text(arena: dict[str, Any]) -> str:
    flags = "".join(f", {name}" for name in ("exclusive", "committed") if arena[name])
    return f"{bytes_text(arena['size'])}, {bytes_text(arena['used'])} used{flags}"


def _heap_text(heap: dict[str, Any]) -> str:
    arena = "" if heap["arena"] is None else f", only in the arena at 0x{heap['arena']:x}"
    text = f"tag {heap['tag']}{arena}{', destroyable' if heap['destroyable'] else ''}"
    if "name" not in heap:
        return text
    items = heap["root_items"]
    return f"{literal(heap['name'])}, {'damaged' if items is None else f'{items} items'}, {text}"


def _print_places(report: dict[str, Any]) -> None:
    """Nothing of what every file has: the main heap, and space that is in no arena."""
    for arena in report["arenas"]:
        _line("arena", f"at 0x{arena['offset']:x}: {_arena_text(arena)}")
    for heap in report["heaps"][1:]:
        _line(f"heap {heap['number']}", _heap_text(heap))


def _rows(usage: dict[str, Any]) -> list[tuple[str, dict[str, int]]]:
    rows = [(str(row["block_size"]), row) for row in usage["classes"]]
    return rows + [(name, usage[name]) for name in ("spans", "huge") if usage[name]["runs"]]


def _columns(*cells: object) -> str:
    return " ".join(f"{cell:>{width}}" for cell, width in zip(cells, (10, 12, 12, 16, 16, 5), strict=True))


def _print_usage(usage: dict[str, Any]) -> None:
    _line("used", f"{usage['chunks_used']} blocks, {bytes_text(usage['bytes_used'])}")
    _line("free", f"{usage['chunks_free']} blocks and runs, {bytes_text(usage['bytes_free'])}")
    _line("overhead", bytes_text(usage["bytes_overhead"]))
    _line("segments", f"{usage['segments']}, {usage['segments_free']} free")
    _line("pages of", _pages_text(usage["pages"]))
    rows = _rows(usage)
    if rows:
        print("\n" + _columns("block size", "in use", "room for", "bytes in use", "occupied", "full"))
    for name, row in rows:
        full = row["used"] / row["blocks"] if row["blocks"] else 0.0
        print(_columns(name, row["used"], row["blocks"], row["used_bytes"], row["run_bytes"], f"{full:.0%}"))


def _print_text(report: dict[str, Any]) -> None:
    if "uuid" not in report:
        return
    _print_identity(report)
    _print_geometry(report)
    if "journal" in report:
        _print_journal(report["journal"])
    if "roots" in report:
        _print_roots(report["roots"])
    if "heaps" in report:
        _print_places(report)
    if "usage" in report:
        _print_usage(report["usage"])


@click.command("info", short_help="Identity, geometry, state, journal, roots, arenas, heaps and usage.")
@file_argument
@json_option
def command(file: str, as_json: bool) -> None:
    """Print identity, geometry, state, journal, roots, arenas, heaps and usage by size class of FILE.

    With --json: {"file", "uuid", "version", "state" ("clean", "open", "sealed"), "generation", "epoch",
    "compat", "rocompat", "incompat", "size", "file_size", "disk_size", "max_size", "stored_base", "segments",
    "created_ns", "has_journal", "owner_pid", "journal": null, or {"offset", "size", "used", "records",
    "pages_generation", "generation"}, "usage": {"bytes_total", "chunks_used", "bytes_used",
    "chunks_free", "bytes_free", "bytes_overhead", "segments", "segments_free", "classes": [{"block_size",
    "runs", "blocks", "used", "used_bytes", "run_bytes"}], "spans": {…}, "huge": {…}, "pages":
    {"page_size", "bytes_1g", "bytes_2m", "bytes_other", "bytes_transparent", "numa_node"}},
    "roots": {"root_items", "names", "keys"}, "arenas": [{"offset", "size", "used", "exclusive",
    "committed"}], "heaps": [{"number" (0: the main one), "tag", "arena" (the offset of the only one it
    uses; or null), "destroyable", and of a named heap "name" and "root_items" (or null)}]}, and "error":
    {"name", "text", "offset"} for a heap at fault.
    """
    report: dict[str, Any] = {"file": file}
    failure: mheap.MheapError | None = None
    try:
        _gather(file, report)
    except mheap.MheapError as error:
        failure = error
        report["error"] = error_fields(error)
    if as_json:
        print_json(report)
    else:
        _print_text(report)
    sys.stdout.flush()
    if failure is not None:
        raise failure
