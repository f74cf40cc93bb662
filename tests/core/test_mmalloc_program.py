"""A program written for GNU mmalloc: compiled as a user compiles it, traced, and read by mtrace(1)."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from c_tools import CC, run

import mheap.config

PROGRAM = r"""
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <mheap/mmalloc.h>

static void leak(void *md) { strcpy(mcalloc(md, 1, 77), "lost"); }

int main(int argc, char **argv) {
  int fd = argc > 1 ? open(argv[1], O_RDWR | O_CREAT, 0600) : -1;
  mmtrace();
  void *md = mmalloc_attach(fd, (void *)0);
  if (md == NULL) { perror("mmalloc_attach"); return 1; }
  int *runs = mmalloc_getkey(md, 0);
  if (runs == NULL) {
    runs = mcalloc(md, 1, sizeof *runs);
    mmalloc_setkey(md, 0, runs);
  }
  char *text = mmalloc(md, 10);
  text = mrealloc(md, text, 3000);
  mfree(md, text);
  leak(md);
  struct mstats stats = mmstats(md);
  printf("%d %lu\n", ++*runs, (unsigned long)stats.chunks_used);
  return mmalloc_detach(md) != NULL;
}
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    source, binary = tmp_path / "counts.c", tmp_path / "counts"
    source.write_text(PROGRAM)
    flags = f"{mheap.config.cflags()} {source} {mheap.config.libs()}"
    run("sh", "-c", f"{' '.join(CC)} -g -Wall -Werror {flags} -o {binary}")
    return binary


def line_of(text: str) -> int:
    return 1 + PROGRAM[: PROGRAM.index(text)].count("\n")


def test_it_goes_on_where_it_stopped(program: Path, tmp_path: Path) -> None:
    outputs = [run(program, tmp_path / "counts.heap").split() for _ in range(3)]
    assert outputs == [["1", "2"], ["2", "3"], ["3", "4"]]


def test_its_trace_balances(program: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    run("env", f"MALLOC_TRACE={trace}", program)
    live: dict[str, int] = {}
    for line in trace.read_text().splitlines():
        match = re.fullmatch(r"(?:@ \S+\[0x[0-9a-f]+\] )?([-+<>=!]) (\S+)(?: 0x([0-9a-f]+))?", line)
        assert match, line
        if match[1] in "+>":
            live[match[2]] = int(match[3], 16)
        elif match[1] in "-<":
            del live[match[2]]
    assert sorted(live.values()) == [4, 77]


@pytest.mark.skipif(not shutil.which("mtrace"), reason="mtrace(1) is not installed")
def test_mtrace_finds_the_leak_and_its_line(program: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    run("env", f"MALLOC_TRACE={trace}", program)
    found = run("sh", "-c", f"mtrace {program} {trace} || true")  # it ends with 1 when memory was not freed
    assert "never alloc'd" not in found
    leaks = {
        int(size, 16): place
        for size, place in re.findall(r"^0x\w+\s+(0x\w+)\s+at (\S+)", found, re.MULTILINE)
    }
    assert set(leaks) == {4, 77}
    assert leaks[77].endswith(f"counts.c:{line_of('static void leak')}")
    assert leaks[4].endswith(f"counts.c:{line_of('runs = mcalloc')}")
