"""mheap run: the program's own exit code and signals; what cannot be run says why."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import mheap

Run = Callable[..., "subprocess.CompletedProcess[str]"]

SERVED = "import mheap, sys; assert mheap.is_redirected(); sys.exit(7)"


def test_the_program_is_served_and_its_exit_code_is_its_own(run: Run) -> None:
    assert run("run", "--", sys.executable, "-c", SERVED).returncode == 7
    assert run("run", sys.executable, "-c", SERVED).returncode == 7


def test_its_signals_are_its_own(run: Run) -> None:
    assert run("run", "--", "sh", "-c", "kill -TERM $$").returncode == -signal.SIGTERM
    handled = run("run", "--", "sh", "-c", "yes | head -1; trap").stdout
    assert handled == "y\n"


def test_arguments_and_environment_arrive_as_they_are(run: Run) -> None:
    code = "import sys, os; print(sys.argv[1:], os.environ['X'])"
    done = run("run", "--", sys.executable, "-c", code, "--heap", "a b", "", env={"X": "y z"})
    assert done.stdout == "['--heap', 'a b', ''] y z\n"
    assert "LC_CTYPE" not in run("run", "--", "env", env={"LC_ALL": "", "LANG": ""}).stdout


def test_another_preloaded_library_stays(run: Run) -> None:
    assert run(
        "run", "--", "sh", "-c", 'echo "$LD_PRELOAD"', env={"LD_PRELOAD": "libm.so.6"}
    ).stdout.endswith("libmheap-preload.so libm.so.6\n")


def test_children_are_served_too(run: Run) -> None:
    code = f"import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', {SERVED!r}]).returncode)"
    assert run("run", "--", sys.executable, "-c", code).returncode == 7


# ---- what cannot be run


def refused(run: Run, *program: object) -> tuple[int, str]:
    done = run("run", "--", *program)
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("mheap: ")
    return done.returncode, done.stderr


def test_a_program_that_is_not_there(run: Run, tmp_path: Path) -> None:
    assert refused(run, "no-such-program")[0] == 127
    assert refused(run, tmp_path / "missing")[0] == 127


def test_a_file_that_is_no_program(run: Run, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("text")
    code, text = refused(run, plain)
    assert code == 126
    assert "not executable" in text
    plain.chmod(0o755)
    assert refused(run, plain)[0] == 126
    assert "a directory" in refused(run, tmp_path)[1]
    plain.write_text("#!/no/such/interpreter\n")
    assert "/no/such/interpreter" in refused(run, plain)[1]


def test_a_statically_linked_program(run: Run, tmp_path: Path) -> None:
    source, binary = tmp_path / "p.c", tmp_path / "p"
    source.write_text("int main(void) { return 0; }")
    subprocess.run(["cc", "-static", source, "-o", binary], check=True)
    code, text = refused(run, binary)
    assert code == 126
    assert "statically linked" in text


def someone_elses_setuid_program(directory: Path) -> Path:
    """One of the test's making, where it may give files to others; else one of the system's."""
    if os.getuid() != 0:
        return Path(shutil.which("su") or "")
    binary = directory / "sleep"
    shutil.copy(shutil.which("sleep") or "", binary)
    os.chown(binary, 65534, 65534)
    binary.chmod(0o4755)
    return binary


def test_a_program_with_rights_of_its_own(run: Run, tmp_path: Path) -> None:
    code, text = refused(run, someone_elses_setuid_program(tmp_path), 0)
    assert code == 126
    assert "set-user-ID" in text


def test_a_script_never_has_rights_of_its_own(run: Run, tmp_path: Path) -> None:
    """Whatever its mode says: the kernel takes no notice of that."""
    script = someone_elses_setuid_program(tmp_path)
    if script.parent == tmp_path:
        script.write_text("#!/bin/sh\necho $LD_PRELOAD\n")
        script.chmod(0o4755)
        assert "libmheap-preload" in run("run", "--", script).stdout


def test_what_may_only_be_executed_is_run(run: Run, tmp_path: Path) -> None:
    """Seen with the eyes of a user who may not read it: the system decides."""
    binary = tmp_path / "true"
    shutil.copy(shutil.which("true") or "", binary)
    binary.chmod(0o111)
    code = (
        "import pathlib, sys; from mheap import _preload\n"
        "def refuse(self, *_): raise PermissionError(13, 'Permission denied', str(self))\n"
        "_preload.library()\n"
        "pathlib.Path.open = refuse\n"
        "assert _preload.refusal(sys.argv[1]) is None\n"
    )
    subprocess.run([sys.executable, "-c", code, binary], check=True)
    assert run("run", "--", binary).returncode == 0


def test_usage(run: Run) -> None:
    assert run("run").returncode == 2
    assert run("run", "--no-such-option", "true").returncode == 2


# ---- --stats, --heap


def test_statistics_at_exit(run: Run) -> None:
    code = "import ctypes, subprocess; subprocess.run(['true']); c = ctypes.CDLL(None); c.malloc(10 << 20)"
    done = run("run", "--stats", "--", sys.executable, "-c", code)
    assert done.stderr.count("blocks in use") == 1  # the child's are not printed
    assert "huge spans" in done.stderr
    assert "blocks in use" in run("run", "--stats", "--", "ls", "/").stderr  # which closes its streams first


KEEP = (
    "import ctypes, subprocess, sys, os\n"
    "c = ctypes.CDLL(None)\n"
    "c.mheap_default.restype = c.malloc.restype = c.mheap_getkey.restype = ctypes.c_void_p\n"
    "heap = ctypes.c_void_p(c.mheap_default())\n"
    "old = c.mheap_getkey(heap, 0)\n"
    "if old: print(ctypes.string_at(old).decode())\n"
    "new = c.malloc(100)\n"
    "ctypes.memmove(new, sys.argv[1].encode() + bytes(1), len(sys.argv[1]) + 1)\n"
    "assert c.mheap_setkey(heap, 0, ctypes.c_void_p(new)) == 0\n"
)


def test_a_heap_file_keeps_what_the_program_left(run: Run, heap_path: Path) -> None:
    for before, word in (("", "one"), ("one", "two"), ("two", "three")):
        done = run("run", "--heap", heap_path, "--", sys.executable, "-c", KEEP, word)
        assert (done.returncode, done.stdout.strip()) == (0, before), done.stderr
    with mheap.open(heap_path, mode="readonly") as heap:
        assert heap.stats().bytes_used > 100_000
        assert heap.info().state == "clean"
    checked = run("check", heap_path)
    assert checked.returncode == 0, checked.stdout


def test_a_forked_child_changes_its_own_copy(run: Run, heap_path: Path) -> None:
    code = (
        "import os, sys, ctypes\n"
        "c = ctypes.CDLL(None); c.malloc.restype = ctypes.c_void_p\n"
        "block = c.malloc(1000); ctypes.memset(block, 65, 1000); words = [str(i) for i in range(50000)]\n"
        "for turn in range(5):\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        assert ctypes.string_at(block, 1000) == b'A' * 1000\n"
        "        ctypes.memset(block, 66, 1000); words.sort(); more = [w * 3 for w in words]\n"
        "        os._exit(len(more) != 50000)\n"
        "    more = [w * 2 for w in words]\n"
        "    assert os.waitpid(pid, 0)[1] == 0\n"
        "    assert ctypes.string_at(block, 1000) == b'A' * 1000 and words[10] == '10'\n"
    )
    done = run("run", "--heap", heap_path, "--", sys.executable, "-c", code, env={"PYTHONMALLOC": "malloc"})
    assert (done.returncode, done.stderr) == (0, "")


def test_children_that_are_other_programs_have_memory_of_their_own(run: Run, heap_path: Path) -> None:
    done = run("run", "--heap", heap_path, "--", "sh", "-c", "ls / >/dev/null; exec expr 1 + 1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "2\n", "")


def test_a_killed_program_leaves_a_heap_that_attaches(run: Run, heap_path: Path) -> None:
    command = [sys.executable, "-m", "mheap", "run", "--heap", str(heap_path), "--", sys.executable, "-c"]
    code = "x = []\nprint(1, flush=True)\nwhile True: x.append(str(len(x)) * 9)"
    with subprocess.Popen([*command, code], stdout=subprocess.PIPE, cwd=heap_path.parent) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.2)
        process.kill()
    with mheap.open(heap_path, mode="live") as heap:
        assert heap.stats().chunks_used > 0
    assert run("check", heap_path).returncode == 0


def test_a_heap_that_cannot_be_used_is_said_before_anything_runs(run: Run, heap_path: Path) -> None:
    with mheap.open(heap_path, mode="live"):
        done = run("run", "--heap", heap_path, "--", "echo", "ran")
    assert (done.returncode, done.stdout) == (1, "")
    assert "busy" in done.stderr
    heap_path.write_text("of another program")
    assert run("run", "--heap", heap_path, "--", "echo", "ran").returncode == 1
    assert run("run", "--heap", heap_path.parent / "no" / "x.heap", "--", "echo", "ran").returncode == 1
