"""What `import mheap` brings, and what it does not."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import mheap


def test_no_heavy_module_is_imported(run_python: Any) -> None:
    code = "import sys\nbefore = set(sys.modules)\nimport mheap\nprint(*sorted(set(sys.modules) - before))\n"
    brought = set(run_python(code).stdout.split())
    assert brought <= {
        "__future__",
        "_core",
        "atexit",
        "errno",
        "mheap",
        "mheap._attach",
        "mheap._core",
        "mheap.errors",
        # The rest only where nothing before has imported them.
        "os",
        "stat",
    }


def test_all_names_are_there_and_documented() -> None:
    assert sorted(mheap.__all__) == mheap.__all__ or len(set(mheap.__all__)) == len(mheap.__all__)
    for name in mheap.__all__:
        assert getattr(mheap, name).__doc__, name


def test_modules_are_imported_when_they_are_asked_for(run_python: Any) -> None:
    names = ["arenas", "config", "kinds", "subprocs"]
    code = f"import mheap\nfor name in {names}: print(getattr(mheap, name).__name__)"
    assert run_python(code).stdout.split() == [f"mheap.{name}" for name in names]


def test_names_are_looked_for_once(run_python: Any) -> None:
    code = """
import mheap
assert "to_python" not in vars(mheap)
found = mheap.to_python
assert vars(mheap)["to_python"] is found is mheap.to_python
try:
    mheap.to_pyhton
except AttributeError as error:
    print(error)
"""
    assert "'mheap' has no attribute 'to_pyhton'" in run_python(code).stdout


def test_methods_and_properties_are_documented() -> None:
    for name in dir(mheap.Heap):
        if not name.startswith("_"):
            assert getattr(mheap.Heap, name).__doc__, name


def test_every_function_that_begins_with_md_is_a_method_too() -> None:
    for name in mheap.__all__:
        function = getattr(mheap, name)
        signature = getattr(function, "__text_signature__", None)
        if signature is not None and re.match(r"\((\$module, )?(/, )?md[,)]", signature):
            assert callable(getattr(mheap.Heap, name)), name


def test_signatures_can_be_read() -> None:
    import inspect

    assert str(inspect.signature(mheap.malloc)) == "(md, size, /)"
    assert str(inspect.signature(mheap.Heap.mmcheck)) == "(self, /, on_error, force=False)"
    assert str(inspect.signature(mheap.Heap.good_size)) == "(size, /)"


def test_it_can_be_imported_by_a_second_interpreter() -> None:
    code = (
        "import sys\n"
        "try: import _xxsubinterpreters as interpreters\n"
        "except ImportError: import _interpreters as interpreters\n"
        "import mheap\n"
        "try: other = interpreters.create(isolated=False)\n"
        "except TypeError: other = interpreters.create('legacy')\n"
        "interpreters.run_string(other, '''\n"
        "import mheap\n"
        "heap = mheap.attach(-1)\n"
        "heap.free(heap.malloc(10))\n"
        "try: heap.free(1)\n"
        "except mheap.InvalidPointer: print('second')\n"
        "''')\n"
        "interpreters.destroy(other)\n"
        "heap = mheap.attach(-1)\n"
        "heap.close()\n"
        "print('first')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd="/")
    assert (done.stdout.split(), done.stderr) == (["second", "first"], "")
