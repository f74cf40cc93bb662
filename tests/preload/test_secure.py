"""Programs with rights of their own: the environment of who starts them opens and writes nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from c_tools import CC, run

from mheap import _preload

NOBODY = 65534


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that everybody can reach, with nobody's directory in it."""
    if os.geteuid() != 0:
        pytest.skip("only root makes a program set-user-ID to somebody else")
    with tempfile.TemporaryDirectory(prefix="mheap-secure.") as name:
        directory = Path(name)
        directory.chmod(0o755)
        (directory / "own").mkdir()
        os.chown(directory / "own", NOBODY, NOBODY)
        yield directory


def build_with_library(public: Path) -> Path:
    """Linked, not preloaded: the dynamic linker would not preload it here, but other ways lead there."""
    library = shutil.copy(_preload.library(), public)
    source = Path(__file__).parent / "secure.c"
    flags = ["-std=c17", "-D_GNU_SOURCE", "-w", "-fno-builtin", f"-Wl,-rpath,{public}"]
    run(*CC, *flags, source, library, "-o", public / "secure")
    os.chmod(public / "secure", 0o755)
    return public / "secure"


def run_as_nobody(program: Path) -> subprocess.CompletedProcess[str]:
    """With every variable that makes the library open or write something."""
    own = program.parent / "own"
    shell = f"MHEAP_PRELOAD_HEAP=$$:{own}/heap MHEAP_PRELOAD_STATS=$$ MALLOC_TRACE={own}/trace exec {program}"
    return subprocess.run(
        ["sh", "-c", shell],
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=True,
    )


def test_a_set_user_id_program_takes_no_notice_of_the_environment(public: Path) -> None:
    program = build_with_library(public)
    program.chmod(0o4755)
    done = run_as_nobody(program)
    assert done.stdout == "secure 1, served 1\n"
    assert done.stderr == ""
    assert list((public / "own").iterdir()) == []


def test_the_same_program_without_rights_of_its_own_does(public: Path) -> None:
    done = run_as_nobody(build_with_library(public))
    assert done.stdout == "secure 0, served 1\n"
    assert "blocks in use" in done.stderr
    assert {path.name for path in (public / "own").iterdir()} >= {"heap", "trace"}


def test_a_set_user_id_program_is_not_preloaded_into(public: Path) -> None:
    program = public / "true"
    shutil.copy("/bin/true", program)
    program.chmod(0o4755)
    library = shutil.copy(_preload.library(), public)
    for name, secure in (("true", True), ("plain", False)):
        shutil.copy("/bin/true", public / "plain")
        done = subprocess.run(
            [public / name],
            env={"LD_PRELOAD": str(library), "MHEAP_PRELOAD_STATS": "1"},
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            capture_output=True,
            text=True,
            check=True,
        )
        assert ("blocks in use" in done.stderr) != secure
