"""The shared library exports what the public headers declare: all of it, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

from c_tools import CC, INCLUDE, c_files, code_of, run

import mheap.config


def declared(header: str) -> set[str]:
    """The functions and variables a header marks as the library's."""
    code = code_of(INCLUDE / "mheap" / header)
    functions = re.findall(r"^MHEAP_API\b[^;]*?(\w+)\s*\(", code, re.MULTILINE)
    variables = re.findall(r"^extern MHEAP_API \w+ ([^;(]*);", code, re.MULTILINE)
    return {*functions, *(name for names in variables for name in re.findall(r"\w+", names))}


def exported() -> set[str]:
    """The defined dynamic symbols, but for the version's own."""
    library = Path(mheap.config.libdir()) / "libmheap.so.0"
    lines = run("nm", "-D", "--defined-only", library).splitlines()
    names = {line.split()[-1].split("@")[0] for line in lines}
    return names - {"MHEAP_0", "MHEAP_MIMALLOC_0", "MHEAP_MEMKIND_0"}


def test_the_headers_are_what_is_exported() -> None:
    assert exported() == {
        name for header in c_files(INCLUDE) for name in declared(str(header.relative_to(INCLUDE / "mheap")))
    }


def test_each_interface_has_a_version_of_its_own() -> None:
    library = Path(mheap.config.libdir()) / "libmheap.so.0"
    versions = dict(re.findall(r" (\w+)@@(MHEAP_\w+)$", run("nm", "-D", library), re.MULTILINE))
    assert versions["mheap_malloc"] == versions["mmalloc"] == "MHEAP_0"
    assert {versions[name] for name in declared("mimalloc.h")} == {"MHEAP_MIMALLOC_0"}
    assert {versions[name] for name in declared("memkind_arena.h")} == {"MHEAP_MEMKIND_0"}


def test_a_program_links_with_what_config_says(tmp_path: Path) -> None:
    source, program = tmp_path / "version.c", tmp_path / "version"
    source.write_text("#include <mheap/mheap.h>\nint main(void) { puts(mheap_version()); return 0; }\n")
    run("sh", "-c", f"{' '.join(CC)} {mheap.config.cflags()} {source} {mheap.config.libs()} -o {program}")
    assert run(program).strip() == mheap.__version__


def test_a_program_links_statically(tmp_path: Path) -> None:
    source, program = tmp_path / "version.c", tmp_path / "version"
    source.write_text("#include <mheap/mheap.h>\nint main(void) { puts(mheap_version()); return 0; }\n")
    library = Path(mheap.config.libdir()) / "libmheap.a"
    run("sh", "-c", f"{' '.join(CC)} {mheap.config.cflags()} {source} {library} -pthread -o {program}")
    assert "libmheap" not in run("readelf", "-d", program)
    assert run(program).strip() == mheap.__version__


def test_the_pkg_config_file_says_the_same() -> None:
    text = (Path(mheap.config.pkgconfigdir()) / "mheap.pc").read_text()
    values = dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))
    for name, expected in (("includedir", mheap.config.includedir()), ("libdir", mheap.config.libdir())):
        path = values[name].replace("${pcfiledir}", mheap.config.pkgconfigdir())
        assert Path(path).resolve() == Path(expected).resolve()
