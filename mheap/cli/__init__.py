"""The command ``mheap``: what is in a heap file, and is it sound.

One file a subcommand, imported when it is used. Nothing here writes to a heap, but for ``run``,
``recover --apply``, ``compact`` and ``restore``: files are attached read-only, also beside a live writer
(which is said on stderr).
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import click

__all__ = ["main"]

_COMMANDS = {
    "info": "Identity, geometry, state, journal, roots and usage of a heap.",
    "ls": "What a container of a heap holds.",
    "get": "One value of a heap.",
    "check": "Whether every stored structure of a heap is sound.",
    "compact": "The heap packed into a smaller file, which replaces it.",
    "dump": "A heap as a sealed file, or as JSON lines.",
    "restore": "A heap made of a sealed file, or of JSON lines.",
    "recover": "What is in a heap's journal, brought into its pages.",
    "run": "A program whose malloc mheap serves.",
    "config": "What a compiler needs to know to use the C library.",
}


class _Group(click.Group):
    """Subcommands that are imported when they are called, not to list them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        command = importlib.import_module(f"mheap.cli.{name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from mheap import __version__

        click.echo(f"mheap {__version__}")
        ctx.exit()


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
def _cli() -> None:
    """Look into heap files, without writing to them unless told to; or run a program on mheap."""


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


def _fail(text: object, code: int) -> int:
    print(f"mheap: {_one_line(text)}", file=sys.stderr)
    return code


def _run(args: list[str] | None) -> int:
    """The one place where errors become a line on stderr and an exit code."""
    try:
        # Not click's main(), which has its own ideas of what a closed pipe means.
        with _cli.make_context("mheap", list(sys.argv[1:] if args is None else args)) as context:
            code: Any = _cli.invoke(context)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        return 2
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx is not None else "mheap"
        return _fail(f"{_one_line(error.format_message())} (try `{path} --help`)", 2)
    except click.ClickException as error:
        return _fail(error.format_message(), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted", 130)
    except BrokenPipeError:
        # Whoever read has had enough; nothing may be written when the interpreter ends, either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        from mheap import MheapError

        said = isinstance(error, MheapError) or error.filename is None
        return _fail(error if said else f"{os.fsdecode(error.filename)}: {error.strerror}", 1)
    except MemoryError:
        return _fail("not enough memory", 1)
    except Exception as error:
        from mheap import MheapError

        if not isinstance(error, MheapError):
            raise
        return _fail(error, 1)


def main(args: list[str] | None = None) -> None:
    """Runs the command line; ends the process with exit code 0, 1 (heap at fault) or 2 (usage)."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # whatever the locale: data is never lost to '?'
    if sys.stderr is None:  # closed: print() would take stdout in its place
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
    sys.exit(_run(args) if sys.stdout is not None else _fail("standard output is closed", 1))
