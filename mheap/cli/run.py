"""``mheap run``: a program whose malloc mheap serves."""

from __future__ import annotations

import os
import shutil
import signal
import sys

import click

NOT_STARTED, NOT_FOUND = 126, 127  # as shells and env(1) say it


class _NotRun(click.ClickException):
    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        vars(self)["exit_code"] = code


def _find(program: str) -> str:
    path = shutil.which(program)
    if path is not None:
        return path
    if os.sep in program and os.path.isdir(program):
        raise _NotRun(f"{program}: a directory, not a program", NOT_STARTED)
    if os.sep in program and os.path.exists(program):
        raise _NotRun(f"{program}: not executable; see `chmod +x`", NOT_STARTED)
    where = "" if os.sep in program else " in PATH"
    raise _NotRun(f"{program}: there is no such program{where}", NOT_FOUND)


def _make(path: str) -> str:
    """The heap file, made if need be; an error now, and in words, if it cannot be used."""
    import mheap

    with mheap.open(path, mode="live"):
        return os.path.abspath(path)


@click.command(
    "run",
    short_help="A program whose malloc mheap serves.",
    context_settings={"allow_interspersed_args": False, "ignore_unknown_options": False},
)
@click.option("--heap", metavar="FILE", help="Serve the program from this heap file, made if need be.")
@click.option("--stats", is_flag=True, help="Print what the heap holds when the program exits.")
@click.argument("program")
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def command(heap: str | None, stats: bool, program: str, args: tuple[str, ...]) -> None:
    """Run PROGRAM with ARGS; its malloc, and that of its children, is mheap's.

    The program takes this process over: exit code, signals and standard streams are its own.
    Exit code 127: there is no such program; 126: it cannot be started, or not with another malloc.
    """
    from mheap import _preload

    path = _find(program)
    why = _preload.refusal(path)
    if why is not None:
        raise _NotRun(why, NOT_STARTED)
    settings = _preload.environment(_make(heap) if heap is not None else None, stats)
    sys.stdout.flush()
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores, and exec would hand on
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execve(path, [program, *args], settings)
    except OSError as error:
        raise _NotRun(f"{path}: {error.strerror}", NOT_STARTED) from None
