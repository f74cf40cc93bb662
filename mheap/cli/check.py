"""``mheap check FILE``: is every stored structure sound?"""

from __future__ import annotations

import json
import sys

import click

import mheap
from mheap.cli._heaps import error_fields, file_argument, json_option, opened
from mheap.cli._progress import progress


class _Report:
    """Prints findings as they are made: there may be millions."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.broken = self.notes = 0

    def finding(self, finding: mheap.Finding) -> None:
        if finding.severity > 0:
            self.broken += 1
        else:
            self.notes += 1
        self.show(finding)

    def show(self, finding: mheap.Finding) -> None:
        grade = "broken" if finding.severity > 0 else "note"
        print(f"offset 0x{finding.offset:x}: {grade}: {finding.what}: {finding.text}")

    def end(self, error: Exception | None) -> None:
        if error is None:
            verdict = f"{self.broken} broken" if self.broken else "sound"
            print(f"{self.file}: {verdict}, {self.notes} notes")


class _JsonReport(_Report):
    def __init__(self, file: str) -> None:
        super().__init__(file)
        sys.stdout.write(f'{{"file": {json.dumps(file)}, "findings": [')
        self._between = "\n  "

    def show(self, finding: mheap.Finding) -> None:
        fields = {name: getattr(finding, name) for name in ("severity", "offset", "what", "text")}
        sys.stdout.write(self._between + json.dumps(fields))
        self._between = ",\n  "

    def end(self, error: Exception | None) -> None:
        fault = "" if error is None else f', "error": {json.dumps(error_fields(error))}'
        sound = error is None and self.broken == 0
        sys.stdout.write(f']{fault}, "sound": {json.dumps(sound)}}}\n')


def _walk(file: str, report: _Report) -> mheap.MheapError | None:
    """All findings; the error, if any, that kept the heap from being attached or walked."""
    try:
        with opened(file) as heap, progress(file) as bar:
            heap.check(report.finding, bar)
    except mheap.MheapError as error:
        return error
    return None


@click.command("check", short_help="Whether every stored structure of a heap is sound.")
@file_argument
@json_option
def command(file: str, as_json: bool) -> int:
    """Walk every stored structure of FILE, objects included, and print all that is wrong with it.

    A line a finding, with its offset in the file: "broken" contradicts the format; a "note" is
    worth knowing and no fault, such as space that only a collection gives back. Exit code 0: the
    heap is sound; 1: it is not, or could not be attached.

    With --json: {"file", "findings": [{"severity" (1 broken, 0 note), "offset", "what",
    "text"}], "sound"}, and "error": {"name", "text", "offset"} for a heap that cannot be attached.
    """
    report = _JsonReport(file) if as_json else _Report(file)
    error = _walk(file, report)
    report.end(error)
    sys.stdout.flush()
    if error is not None:
        raise error
    return 1 if report.broken else 0
