"""A bar on stderr, if that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[..., None]


@contextmanager
def progress(label: str, total: int | None = None, *, of_bytes: bool = False) -> Iterator[Advance]:
    """Gives a function that is told how much is done, and of how much, if that was not known before."""
    if not sys.stderr.isatty():
        yield lambda done, whole=total: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    count = DownloadColumn(binary_units=True) if of_bytes else MofNCompleteColumn()
    with Progress(
        TextColumn("{task.description}", markup=False), BarColumn(), count, TimeRemainingColumn(),
        console=Console(stderr=True), transient=True, redirect_stdout=False, redirect_stderr=False,
    ) as bar:  # fmt: skip
        task = bar.add_task(label, total=total)
        yield lambda done, whole=total: bar.update(task, completed=done, total=whole)
