"""``mheap recover FILE``: what the journal of a heap holds, brought into its pages."""

from __future__ import annotations

import sys

import click

import mheap
from mheap.cli._heaps import file_argument, journal_fields, json_option, print_json


def _say(file: str, text: str) -> None:
    print(f"mheap: {file}: {text}", file=sys.stderr)


def _print_text(file: str, info: mheap.JournalInfo, apply: bool) -> None:
    if not info.records:
        print(f"{file}: nothing to recover: the pages are generation {info.generation}, the last one")
        return
    done = "brought into the pages" if apply else "to be brought into the pages"
    print(
        f"{file}: {info.records} records, {info.used} bytes, {done}: "
        f"generation {info.pages_generation} to {info.generation}"
    )


def _remark(file: str, info: mheap.JournalInfo, apply: bool) -> None:
    if not info.offset:
        _say(file, "it has no journal: nothing to recover")
    elif info.busy and not apply:
        _say(file, "a writer has it open; what is shown may be changing")
    elif info.records and not apply:
        _say(file, "nothing was written; --apply does it")


@click.command("recover", short_help="What is in a heap's journal, brought into its pages.")
@file_argument
@click.option("--apply", is_flag=True, help="Do it; without this, only say what there is to do.")
@json_option
def command(file: str, apply: bool, as_json: bool) -> None:
    """Say what commits are in the journal of FILE and not in its pages; with --apply, bring them in.

    Nobody needs to do so after a crash: whoever attaches the heap sees all commits, and a writer
    brings them in sooner or later.

    Exit code 0: done, or there is nothing to do; 1: it cannot be done, since somebody has FILE open for
    writing, a reader keeps an earlier commit, FILE cannot be written, is no heap, or its journal is damaged.

    With --json: {"file", "applied", "busy", "journal": null, or {"offset", "size", "used", "records",
    "pages_generation", "generation"} as it was before}.
    """
    info = mheap.recover(file) if apply else mheap.journal(file)
    if as_json:
        done = apply and info.records > 0
        print_json({"file": file, "applied": done, "busy": info.busy, "journal": journal_fields(info)})
    elif info.offset:
        _print_text(file, info, apply)
    sys.stdout.flush()
    _remark(file, info, apply)
