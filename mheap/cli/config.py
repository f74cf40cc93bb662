"""``mheap config``: what a compiler needs to know."""

from __future__ import annotations

import click

from mheap.cli._heaps import print_json

_NAMES = ("cflags", "libs", "libdir", "includedir", "pkgconfigdir")


@click.command("config", short_help="What a compiler needs to know to use the C library.")
@click.option("--cflags", is_flag=True, help="Flags to compile with.")
@click.option("--libs", is_flag=True, help="Flags to link with, with a run path.")
@click.option("--libdir", is_flag=True, help="The directory of libmheap.")
@click.option("--includedir", is_flag=True, help="The directory of the headers.")
@click.option("--pkgconfigdir", is_flag=True, help="The directory of mheap.pc.")
@click.option("--json", "as_json", is_flag=True, help="Print all of them as JSON.")
def command(as_json: bool, **wanted: bool) -> None:
    """Print what a compiler needs to know, on one line:

        cc program.c $(mheap config --cflags --libs) -o program

    With --json: {"cflags", "libs", "libdir", "includedir", "pkgconfigdir"}.
    """
    from mheap import config

    functions = {name: getattr(config, name) for name in _NAMES}
    if as_json:
        print_json({name: function() for name, function in functions.items()})
        return
    words = [function() for name, function in functions.items() if wanted[name]]
    if not words:
        raise click.UsageError("say what: --cflags, --libs, --libdir, --includedir, --pkgconfigdir or --json")
    click.echo(" ".join(words))
