"""``mheap compact FILE``: the heap, packed into a file as small as what is in it."""

from __future__ import annotations

import sys

import click

import mheap
from mheap.cli._heaps import file_argument, json_option, print_json
from mheap.cli._progress import progress

_ROWS = {
    "file_size": "bytes of the file",
    "disk_size": "bytes on disk",
    "objects": "objects",
    "blocks": "blocks in use",
    "bytes_used": "bytes in them",
    "bytes_free": "bytes free",
}


def _print_text(file: str, done: mheap.Compacted, dry_run: bool) -> None:
    if done.moved:
        print(f"{file}: {'would be' if dry_run else 'was'} rewritten with its objects packed")
    else:
        print(f"{file}: nothing {'would be' if dry_run else 'was'} moved: {done.kept}")
        print(f"{file}: free space {'would be' if dry_run else 'was'} given back to the disk in place")
    extents = [done.before] if dry_run and not done.moved else [done.before, done.after]
    rows = {what: [getattr(extent, name) for extent in extents] for name, what in _ROWS.items()}
    width = max(len(f"{number:,}") for numbers in rows.values() for number in numbers)
    for what, numbers in rows.items():
        print(f"  {what:<18}" + " -> ".join(f"{number:>{width},}" for number in numbers))


@click.command("compact", short_help="The heap packed into a smaller file, which replaces it.")
@file_argument
@click.option("--dry-run", is_flag=True, help="Only say what would come of it; FILE need only be readable.")
@click.option("--timeout", type=float, default=0.0, metavar="SECONDS", help="Wait so long for a writer.")
@json_option
def command(file: str, dry_run: bool, timeout: float, as_json: bool) -> None:
    """Rewrite FILE with its objects packed, in the order in which they are reached, garbage left out.

    The new file is made beside the old one, checked, and takes its place at once: being killed leaves
    the one or the other. Readers of the old file go on with that one. Space for both is needed meanwhile.

    Where there are raw blocks, or roots, arenas, kinds and heaps for them, nothing is moved, since
    programs may know where they are: garbage is collected, and free space given back to the disk in
    place. That is said.

    Exit code 0: done; 1: it cannot be done, since somebody has FILE open for writing, it is sealed, damaged,
    no heap, or the disk is full. FILE is as it was then.

    With --json: {"file", "dry_run", "moved", "kept": why not, or null, "before", "after": {"file_size",
    "disk_size", "objects", "blocks", "bytes_used", "bytes_free"}}; of a dry run "after" is an estimate.
    """
    with progress(file, of_bytes=True) as bar:
        done = mheap.compact(file, dry_run=dry_run, timeout=timeout, progress=bar)
    if as_json:
        fields = {"file": file, "dry_run": dry_run, "moved": done.moved, "kept": done.kept or None}
        print_json({**fields, "before": done.before._asdict(), "after": done.after._asdict()})
    else:
        _print_text(file, done, dry_run)
    sys.stdout.flush()
