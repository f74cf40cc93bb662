"""CPython's own tests of dict, list, set, deque, Counter and mappings, run against persistent twins.

The modules of the installed `test` package are executed with the type's name, its literals, or
the attribute that names the type under test, made to store a plain container in a heap and read
it back. What does not apply is listed in cpython_exclusions.py, with the reason, and must fail for it:
what is not listed must pass.
"""

from __future__ import annotations

import ast
import builtins
import collections
import importlib.util
import re
import types
import unittest
from collections.abc import Iterator
from typing import Any

import pytest
from cpython_exclusions import CLASSES, TESTS, Reason

import mheap

# ---- the types under test ----


class _Made:
    """The heap that a test's containers are in."""

    heap: mheap.Heap | None = None


def persistent(plain: Any) -> Any:
    """The twin of a copy of it, which stays in the heap."""
    assert _Made.heap is not None
    made = _Made.heap.root["made"]
    made.append(plain)
    return made[-1]


class _Factory(type):
    """Calling the class makes the plain container and stores it."""

    plain: Any
    twin: Any

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return persistent(cls.plain(*args, **kwargs))

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, (cls.plain, cls.twin))

    def __getattr__(cls, name: str) -> Any:
        return getattr(cls.plain, name)


class Dict(metaclass=_Factory):
    plain, twin = dict, mheap.PersistentDict


class List(metaclass=_Factory):
    plain, twin = list, mheap.PersistentList


class Set(metaclass=_Factory):
    plain, twin = set, mheap.PersistentSet


class Deque(metaclass=_Factory):
    plain, twin = collections.deque, mheap.PersistentDeque


class Counter(metaclass=_Factory):
    plain, twin = collections.Counter, mheap.PersistentCounter


class Sorted(metaclass=_Factory):
    plain, twin = mheap.SortedDict, mheap.PersistentSortedDict


# ---- the suites ----


class _Literals(ast.NodeTransformer):
    """Makes {…} of a test's functions a persistent dict."""

    def __init__(self) -> None:
        self.depth = 0

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.depth += 1
        self.generic_visit(node)
        self.depth -= 1
        return node

    def _wrap(self, node: ast.expr) -> ast.AST:
        self.generic_visit(node)
        if self.depth == 0:
            return node
        return ast.Call(ast.Name("_persistent", ast.Load()), [node], [])

    visit_Dict = _wrap  # noqa: N815 (what ast asks for)
    visit_DictComp = _wrap  # noqa: N815


def suite(name: str, literals: bool = False) -> types.ModuleType:
    """A copy of test.NAME of its own."""
    spec = importlib.util.find_spec(f"test.{name}")
    assert spec is not None, "the package `test` of CPython is not installed"
    assert spec.origin is not None
    with open(spec.origin, encoding="utf-8") as file:
        tree = ast.parse(file.read())
    if literals:
        tree = ast.fix_missing_locations(_Literals().visit(tree))
    module = types.ModuleType(f"cpython_{name}")
    module.__dict__["_persistent"] = persistent
    exec(compile(tree, spec.origin, "exec"), module.__dict__)
    return module


def _set_up() -> dict[str, types.ModuleType]:
    suites = {
        "test_dict": suite("test_dict", literals=True),
        "test_list": suite("test_list"),
        "test_set": suite("test_set"),
        "test_deque": suite("test_deque"),
        "test_collections": suite("test_collections"),
        "mapping_tests": suite("mapping_tests"),
    }
    suites["test_dict"].__dict__["dict"] = Dict
    suites["test_dict"].GeneralMappingTests.type2test = Dict
    suites["test_list"].ListTest.type2test = List
    suites["test_set"].__dict__["set"] = Set
    suites["test_set"].TestSet.thetype = Set
    suites["test_set"].TestSet.basetype = builtins.set
    suites["test_deque"].__dict__["deque"] = Deque
    suites["test_deque"].TestSequence.type2test = Deque
    suites["test_collections"].__dict__["Counter"] = Counter
    suites["mapping_tests"].BasicTestMappingProtocol.type2test = Sorted
    return suites


SUITES = _set_up()


def classes() -> Iterator[tuple[str, type[unittest.TestCase]]]:
    for name, module in SUITES.items():
        for found in vars(module).values():
            if isinstance(found, type) and issubclass(found, unittest.TestCase):
                yield f"{name}.{found.__name__}", found


RUN = {name: found for name, found in classes() if name not in CLASSES}
NAMES = [
    f"{name}.{method}"
    for name, found in RUN.items()
    for method in unittest.TestLoader().getTestCaseNames(found)
]


# ---- running them ----


@pytest.fixture
def heap() -> Iterator[mheap.Heap]:
    with mheap.attach(-1) as heap:
        heap.root["made"] = []
        _Made.heap = heap
        yield heap
        _Made.heap = None


def reason(name: str) -> Reason | None:
    """Why a test must fail, if it must."""
    return TESTS.get(name, TESTS.get(name.rpartition(".")[0]))


def outcome(name: str) -> str:
    """How a test ends; nothing: it passes."""
    class_name, _, method = name.rpartition(".")
    result = unittest.TestResult()
    case = RUN[class_name](method)
    for operand in ("left", "right"):  # which TestSubsets has in its classes
        if type(getattr(case, operand, None)) is builtins.set:
            setattr(case, operand, persistent(getattr(case, operand)))
    case.run(result)
    assert result.testsRun == 1
    skipped = [reason for _, reason in result.skipped]
    return "\n".join([*skipped, *(text for _, text in result.failures + result.errors)])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # in classes of the tests
@pytest.mark.parametrize("name", NAMES)
def test_as_cpython_tests_it(name: str, heap: mheap.Heap) -> None:
    found = outcome(name)
    excluded = reason(name)
    if excluded:
        assert found, f"{name} passes: it is an exclusion no more"
        expected = re.search(excluded.shows, found, re.MULTILINE)
        assert expected, f"{name} fails, but not because it {excluded.why}\n{found}"
    else:
        assert not found, found
    findings: list[Any] = []
    assert heap.check(findings.append)
    assert not findings


def test_what_is_excluded_is_there() -> None:
    assert set(CLASSES) <= {name for name, _ in classes()}
    assert set(TESTS) <= {*NAMES, *RUN}
    assert len(NAMES) > 300
    assert len(NAMES) > 3 * sum(reason(name) is not None for name in NAMES)
