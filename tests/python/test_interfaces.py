"""docs/reference/interfaces.md names what is there: in the headers, in the library, in the package."""

from __future__ import annotations

import ctypes
import importlib
import re
from pathlib import Path

import pytest
from c_tools import ROOT

import mheap.config

PAGE = ROOT / "docs/reference/interfaces.md"
SECTION = re.compile(r"^## .*`<mheap/(\w+\.h)>`$")
ROW = re.compile(r"^\| `(\w+)` \| `([\w.]+)` \|$")


def rows() -> list[tuple[str, str, str]]:
    header, found = "", []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if section := SECTION.match(line):
            header = section[1]
        elif row := ROW.match(line):
            found.append((header, row[1], row[2]))
    return found


def test_the_table_is_whole() -> None:
    headers = [header for header, _, _ in rows()]
    assert {name: headers.count(name) for name in set(headers)} == {
        "mmalloc.h": 16,
        "mimalloc.h": 37,
        "memkind_arena.h": 19,
    }


@pytest.mark.parametrize(("header", "name", "_"), rows())
def test_the_header_declares_it_and_the_library_has_it(header: str, name: str, _: str) -> None:
    text = (ROOT / "mheap/include/mheap" / header).read_text(encoding="utf-8")
    assert re.search(rf"\b{name}\s*\(", text)
    library = ctypes.CDLL(str(Path(mheap.config.libdir()) / "libmheap.so"))
    assert hasattr(library, name)


@pytest.mark.parametrize(("_header", "_name", "dotted"), rows())
def test_the_package_has_it(_header: str, _name: str, dotted: str) -> None:
    module, _, rest = dotted.partition(".")
    found = importlib.import_module(f"mheap.{module}") if rest else mheap
    for part in (rest or module).split("."):
        found = getattr(found, part)
    assert found.__doc__
