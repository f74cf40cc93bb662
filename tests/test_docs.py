"""Every page of the documentation runs.

On a page, fenced blocks marked `python` run in order, as one program would; those marked `c` are
complete programs, compiled as the docs say and run; lines that begin with `$ ` in blocks marked
`console` run in a shell. All happens in one empty directory a page. Blocks marked otherwise,
and pieces of C without a main, are not run: pieces are compiled with the public header.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from c_tools import CC, ENVIRONMENT, ROOT
from huge_pool import MIB, mounted, pool

import mheap.config

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
# What sets a machine or a clone up is run by .ci/run, not here.
SET_UP = re.compile(r"\$ (sudo|apt-get|pip install|git clone|cd|\./dev)\b")


# Where the pages mount file systems of huge pages.
HUGE = "/mnt/huge"


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    line: int


def blocks(page: Path, huge: Path | None = None) -> list[Block]:
    text = page.read_text(encoding="utf-8").replace(HUGE, str(huge or HUGE))
    return [
        Block(found[1], found[2], text[: found.start()].count("\n") + 2) for found in BLOCK.finditer(text)
    ]


def run(command: list[str], directory: Path, what: str) -> None:
    done = subprocess.run(
        command,
        cwd=directory,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{what}: exit {done.returncode}\n{done.stdout}"


def run_c(block: Block, directory: Path, what: str) -> None:
    source = directory / f"program{block.line}.c"
    whole = "main(" in block.text
    source.write_text(block.text if whole else f"#include <mheap/mheap.h>\n{block.text}")
    flags = f"{mheap.config.cflags()} -Wall -Wextra -Werror -Wno-unused"
    if not whole:
        run(["sh", "-c", f"{' '.join(CC)} {flags} -fsyntax-only {source}"], directory, what)
        return
    run(
        ["sh", "-c", f"{' '.join(CC)} {flags} {source} {mheap.config.libs()} -o {source}.out"],
        directory,
        what,
    )
    run([f"{source}.out"], directory, what)


def run_console(block: Block, directory: Path, what: str) -> None:
    commands = [
        line[2:] for line in block.text.splitlines() if line.startswith("$ ") and not SET_UP.match(line)
    ]
    if commands:
        run(["sh", "-ec", "\n".join(commands)], directory, what)


@contextlib.contextmanager
def huge_place(page: Path, directory: Path) -> Iterator[Path | None]:
    """For a page that has one: a hugetlbfs where that is granted, else a plain directory."""
    place = directory / "huge"
    if HUGE not in page.read_text(encoding="utf-8"):
        yield None
        return
    with pool(2 * MIB, 16) as pages, contextlib.ExitStack() as stack:
        place.mkdir()
        if pages:
            stack.enter_context(mounted("hugetlbfs", "pagesize=2M", place))
        yield place


def run_page(page: Path, directory: Path, huge: Path | None = None) -> None:
    """The blocks in order; neighbouring Python ones form one program, with their lines as on the page."""
    program = ""

    def flush() -> None:
        nonlocal program
        if program:
            (directory / "page.py").write_text(program)
            run([sys.executable, "page.py"], directory, page.name)
        program = ""

    for block in blocks(page, huge):
        what = f"{page.name}:{block.line}"
        if block.language == "python":
            program += "\n" * (block.line - 1 - program.count("\n")) + block.text
            continue
        if block.language in ("c", "console"):
            flush()
            {"c": run_c, "console": run_console}[block.language](block, directory, what)
    flush()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page_runs(page: Path, tmp_path: Path) -> None:
    with huge_place(page, tmp_path) as huge:
        run_page(page, tmp_path, huge)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = [link.split("#")[0] for link in LINK.findall(page.read_text(encoding="utf-8"))]
    local = [target for target in targets if target and "://" not in target]
    assert not [target for target in local if not (page.parent / target).exists()]


def test_the_index_leads_to_every_page() -> None:
    index = ROOT / "docs" / "index.md"
    linked = {
        (index.parent / link.split("#")[0]).resolve()
        for link in LINK.findall(index.read_text(encoding="utf-8"))
    }
    assert not [page for page in PAGES if page not in linked and page not in (index, ROOT / "README.md")]


def test_the_two_commands_of_the_readme_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "$ ./dev demo" in text
    assert "$ ./dev test" in text
    assert os.access(ROOT / "dev", os.X_OK)


def test_a_page_that_fails_is_noticed(tmp_path: Path) -> None:
    """The control: a page with a mistake in each kind of block."""
    for language, text in (
        ("python", "1 / 0"),
        ("c", "int main(void) { return 3; }"),
        ("console", "$ false"),
    ):
        page = tmp_path / f"{language}.md"
        page.write_text(f"# Page\n\n```{language}\n{text}\n```\n")
        with pytest.raises(AssertionError, match="exit"):
            run_page(page, tmp_path)


def words_of_the_reference() -> set[str]:
    pages = (ROOT / "docs" / "reference").glob("*.md")
    return {word for page in pages for word in re.findall(r"\w+", page.read_text(encoding="utf-8"))}


def test_the_python_reference_names_all_there_is() -> None:
    public = {*mheap.__all__, *(name for name in dir(mheap.Heap) if not name.startswith("_"))}
    assert public - words_of_the_reference() <= {"__version__"}


def test_the_c_reference_names_all_functions() -> None:
    words = words_of_the_reference()
    for header in ("mheap.h", "extended.h", "kinds.h", "subprocs.h", "mmalloc.h"):
        text = (ROOT / "mheap" / "include" / "mheap" / header).read_text(encoding="utf-8")
        assert not set(re.findall(r"^MHEAP_API[^;]*?(\w+)\(", text, re.MULTILINE)) - words, header


def test_the_reference_of_memkind_names_all_functions() -> None:
    page = (ROOT / "docs" / "reference" / "memkind.md").read_text(encoding="utf-8")
    text = (ROOT / "mheap" / "include" / "mheap" / "memkind_arena.h").read_text(encoding="utf-8")
    declared = set(re.findall(r"^MHEAP_API[^;]*?(\w+)\(", text, re.MULTILINE))
    assert len(declared) > 50
    assert not declared - set(re.findall(r"\w+", page))


def test_the_reference_of_mimalloc_names_all_functions() -> None:
    page = (ROOT / "docs" / "reference" / "mimalloc.md").read_text(encoding="utf-8")
    text = (ROOT / "mheap" / "include" / "mheap" / "mimalloc.h").read_text(encoding="utf-8")
    declared = set(re.findall(r"^MHEAP_API[^;]*?(\w+)\(", text, re.MULTILINE))
    assert len(declared) > 100
    assert not declared - set(re.findall(r"\bmi_\w+", page))
