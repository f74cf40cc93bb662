"""What tests of C code share: the compiler, the sources, a build of the units."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).resolve().parent.parent.parent
CORE = ROOT / "mheap" / "core"
INCLUDE = ROOT / "mheap" / "include"
CC = shlex.split(os.environ.get("CC", "cc"))
STRICT = ["-std=c17", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE"]

# Tools that pip installed beside this interpreter come first.
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def run(*command: object, **options: object) -> str:
    """Runs a command; its output, which a failure shows in full."""
    done = subprocess.run(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env=ENVIRONMENT,
        **options,  # type: ignore[call-overload]
    )
    if done.returncode != 0:
        raise AssertionError(f"exit {done.returncode}: {shlex.join(map(str, command))}\n{done.stdout}")
    return str(done.stdout)


def meson_build(directory: Path, *options: str) -> Path:
    """A build of the C library and its units in `directory`, made or brought up to date."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{directory}.lock"):
        meson = [sys.executable, "-m", "mesonbuild.mesonmain"]
        fresh = [] if not (directory / "build.ninja").exists() else ["--reconfigure"]
        settings = ["-Dextension=false", "-Dtests=true", "-Dwerror=true", *options]
        run(*meson, "setup", *fresh, *settings, directory, ROOT)
        run(*meson, "compile", "-C", directory)
    return directory


def c_files(directory: Path) -> list[Path]:
    """The C sources and headers below a directory, in a fixed order."""
    return sorted(path for path in directory.rglob("*.[ch]"))


_COMMENT_OR_STRING = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', re.DOTALL)


def _blank(match: re.Match[str]) -> str:
    """As many lines, nothing in them."""
    quote = match[0][0] if match[0][0] in "\"'" else ""
    return quote + "\n" * match[0].count("\n") + quote


def code_of(path: Path) -> str:
    """A file's text without comments and the contents of strings, with its lines in their places."""
    return _COMMENT_OR_STRING.sub(_blank, path.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Function:
    """A function definition: where it begins, and its lines from the opening to the closing brace."""

    name: str
    line: int
    lines: int


def functions(path: Path) -> Iterator[Function]:
    """The functions a file defines: bodies that open at depth 0 behind a parameter list."""
    depth, header, start = 0, "", 0
    for number, line in enumerate(code_of(path).splitlines(), 1):
        if depth == 0 and not line.startswith("#"):
            header = line if not header else f"{header} {line}"
            if "{" in line:
                start = number
        depth += line.count("{") - line.count("}")
        if depth != 0:
            continue
        if start and ")" in header and "=" not in header.split("{")[0]:
            match = re.search(r"(\w+)\s*\(", header)
            if match and not header.lstrip().startswith(("typedef", "struct {", "enum")):
                yield Function(match[1], start, number - start + 1)
        if start or ";" in line or not line.strip():
            header, start = "", 0
