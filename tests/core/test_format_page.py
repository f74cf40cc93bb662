"""The page on the file format tells every field at the place where the headers have it."""

from __future__ import annotations

import re

from c_tools import CORE, ROOT

PAGE = ROOT / "docs" / "reference" / "file-format.md"
STRUCT = re.compile(r"^typedef struct (mh_\w+) \{[^\n]*\n(.*?)^\} \1;", re.MULTILINE | re.DOTALL)
MEMBER = re.compile(r"^\s*\w+ ([\w, ]+?)(?:\[[^;]*\])?;\s*/\*\s*(\d+)\b", re.MULTILINE)
ROW = re.compile(r"^\| (\d+) \| `(\w+)` \|", re.MULTILINE)


def in_headers() -> dict[str, list[tuple[int, str]]]:
    """Structures with their fields' places, as the comments say and static_assert confirms."""
    texts = [(CORE / name).read_text(encoding="utf-8") for name in ("layout.h", "objects/layout.h")]
    found = {name: body for text in texts for name, body in STRUCT.findall(text)}
    return {name: [(int(at), field) for field, at in MEMBER.findall(body)] for name, body in found.items()}


def on_page() -> dict[str, list[tuple[int, str]]]:
    """The tables that follow a structure's name."""
    pieces = re.split(r"`(mh_\w+)`", PAGE.read_text(encoding="utf-8"))
    tables = zip(pieces[1::2], pieces[2::2], strict=True)
    return {name: [(int(at), field) for at, field in ROW.findall(text)] for name, text in tables}


def test_the_scanner_finds_the_structures() -> None:
    assert len(in_headers()["mh_identity"]) == 28
    assert (320, "state") in in_headers()["mh_superblock"]


def test_fields_and_places_agree() -> None:
    headers = in_headers()
    page = on_page()
    del headers["mh_bitmaps"]  # within mh_segment_header
    for of_two_words in (headers, page):
        del of_two_words["mh_guard"]
    assert page == headers
