"""Sub-interpreters: those that share one GIL use mheap as any; those with their own are refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import mheap

# A module of CPython's own, which has had three names and two ways to ask for a GIL of one's own.
HELPER = """
import sys
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters

def create(own_gil):
    if sys.version_info >= (3, 13):
        return interpreters.create('isolated' if own_gil else 'legacy')
    return interpreters.create(isolated=own_gil)

def run(one, code):
    said = interpreters.run_string(one, code)
    if said is not None:
        raise RuntimeError(said.formatted)
"""


def run_in(run_python: Any, code: str, *args: object) -> Any:
    return run_python(HELPER + code, *args)


def test_interpreters_with_one_gil_use_heaps(heap_path: Path, run_python: Any) -> None:
    inner = (
        "import mheap\n"
        "with mheap.open(PATH, mode='live') as heap:\n"
        "    heap.root['a'] = [1, {'b': 2}]\n"
        "    try: mheap.open(PATH, mode='live')\n"
        "    except mheap.HeapBusy: pass\n"
        "    else: raise AssertionError\n"
        "mheap.free(None, mheap.malloc(None, 10))\n"
        "left = mheap.open(PATH, mode='live')\n"
        "left.root['c'] = 3\n"
    )
    code = (
        "import mheap\n"
        "for i in range(3):\n"
        "    one = create(False)\n"
        f"    run(one, f'PATH = {{sys.argv[1]!r}}\\n' + {inner!r})\n"
        "    interpreters.destroy(one)\n"
        "    with mheap.open(sys.argv[1], mode='live') as heap:\n"
        "        assert heap.info().state == 'clean'\n"
        "        print(heap.root)\n"
        "        heap.root.clear()\n"
    )
    assert run_in(run_python, code, heap_path).stdout == "{'a': [1, {'b': 2}], 'c': 3}\n" * 3


def test_checks_and_traces_of_one_interpreter_are_not_the_others(run_python: Any, tmp_path: Path) -> None:
    code = (
        "import ctypes, mheap\n"
        "mheap.mmtrace(None, sys.argv[1])\n"
        "mheap.mmcheck(None, lambda md, address, status: print(status), force=True)\n"
        "one = create(False)\n"
        "run(one, 'import mheap\\nmheap.free(None, mheap.malloc(None, 10))')\n"
        "interpreters.destroy(one)\n"
        "block = mheap.malloc(None, 100)\n"
        "ctypes.memset(block + 100, 7, 1)\n"
        "mheap.free(None, block)\n"
    )
    done = run_in(run_python, code, tmp_path / "trace")
    assert done.stdout == "tail\n"
    assert (tmp_path / "trace").read_text().count("+ 0x") == 1


def test_what_one_interpreter_is_to_call_is_not_called_in_another(run_python: Any) -> None:
    inner = "import mheap\nmheap.mmcheck(None, lambda *_: print('called'), force=True)\n"
    code = (
        "import ctypes, mheap\n"
        "one = create(False)\n"
        f"run(one, {inner!r})\n"
        "for _ in range(2):\n"
        "    block = mheap.malloc(None, 100)\n"
        "    ctypes.memset(block + 100, 7, 1)\n"
        "    try: mheap.free(None, block)\n"
        "    except mheap.Overrun: print('raised')\n"
        "    else: print('not checked')\n"
        "    if one is not None: interpreters.destroy(one)\n"
        "    one = None\n"
    )
    assert run_in(run_python, code).stdout == "not checked\n" * 2


if sys.version_info >= (3, 12):  # before it all interpreters share one GIL

    def test_an_interpreter_with_a_gil_of_its_own_is_refused(run_python: Any) -> None:
        inner = "try: import mheap\nexcept ImportError as error: print(error)\n"
        done = run_in(run_python, f"import mheap\none = create(True)\nrun(one, {inner!r})\n")
        assert "mheap._core does not support loading in subinterpreters" in done.stdout
        assert mheap.__version__


def test_a_heap_in_memory_ends_in_one_interpreter_only(run_python: Any) -> None:
    code = (
        "import mheap\n"
        "one = create(False)\n"
        "make = 'with mheap.subprocs.main(): made = mheap.heap_new_ex(3, True)'\n"
        "run(one, 'import mheap\\n' + make + '\\nblock = made.malloc(10)')\n"
        "mine = mheap.heap_new_ex(4, True)\n"
        "other = next(heap for heap in mine.main.heaps() if heap.tag == 3)\n"
        "other.free(other.malloc(10))\n"
        "for end in (other.destroy, other.delete):\n"
        "    try: end()\n"
        "    except mheap.HeapBusy as error: assert 'another interpreter' in str(error)\n"
        "    else: raise AssertionError\n"
        "run(one, 'made.close()')\n"
        "other.destroy()\n"
        "interpreters.destroy(one)\n"
        "assert mine.main.heaps() == (mine.main, mine)\n"
    )
    run_in(run_python, code)


def test_what_an_interpreter_did_with_its_thread_ends_with_it(run_python: Any) -> None:
    """The next ones lie where it was."""
    inner = (
        "from mheap import subprocs\n"
        "assert subprocs.current() != subprocs.main()\n"
        "subprocs.main().add_current_thread()\n"
        "assert subprocs.current() == subprocs.main()\n"
    )
    code = (
        "import mheap\n"
        "for _ in range(10):\n"
        "    one = create(False)\n"
        f"    run(one, {inner!r})\n"
        "    interpreters.destroy(one)\n"
        "assert mheap.subprocs.list() == [mheap.subprocs.main()]\n"
    )
    run_in(run_python, code)
