"""Each header compiles by itself, and the public ones as any C or C++ program would see them."""

from __future__ import annotations

from pathlib import Path

import pytest
from c_tools import CC, CORE, INCLUDE, STRICT, c_files, run

PUBLIC = c_files(INCLUDE)
HEADERS = [*PUBLIC, *(path for path in c_files(CORE) if path.suffix == ".h")]


@pytest.mark.parametrize("header", HEADERS, ids=lambda path: path.name)
def test_header_is_complete_in_itself(header: Path, tmp_path: Path) -> None:
    source = tmp_path / "self.c"
    # An unused static inline function is no fault in a header, so included, not compiled itself.
    source.write_text(f'#include "{header}"\n#include "{header}"\nint self_contained;\n')
    run(*CC, *STRICT, f"-I{INCLUDE}", f"-I{CORE}", "-fsyntax-only", source)


@pytest.mark.parametrize("header", PUBLIC, ids=lambda path: path.name)
@pytest.mark.parametrize("standard", ["c99", "c11", "c17", "gnu2x"])
def test_public_header_needs_no_special_setting(header: Path, standard: str, tmp_path: Path) -> None:
    source = tmp_path / "plain.c"
    source.write_text(f"#include <{header.relative_to(INCLUDE)}>\nint main(void) {{ return 0; }}\n")
    strict = [] if standard == "c99" else ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]
    run(*CC, f"-std={standard}", *strict, f"-I{INCLUDE}", "-fsyntax-only", source)
