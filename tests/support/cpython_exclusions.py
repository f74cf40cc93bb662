"""What of CPython's suites does not apply to persistent containers, and why."""

from __future__ import annotations

from typing import NamedTuple


class Reason(NamedTuple):
    why: str
    shows: str = ""  # what the test's failure must say: a regular expression


_OBJECTS = Reason(
    "stores objects of the test's own classes", r"TypeError: a heap holds .* not \w+: [a-z.]+\(\) "
)
_KEYS = Reason("uses objects of the test's own classes as keys", r"TypeError: a key in a heap is .* not \w+$")
_COPIES = Reason("expects the very objects that were stored: a heap holds copies", r"AssertionError")
_SUBCLASS = Reason("tests classes derived from the type: a twin is made by reading a heap alone")
_INIT = Reason("fills an object again by __init__: a twin is made by reading a heap alone", r"AssertionError")
_ITERATORS = Reason(
    "expects that an iterator unpickles as its own type: it does as that of a plain list",
    r"AssertionError: <class 'list_iterator'> != <class",
)
_DEPTH = Reason(
    "expects that deep nesting ends in a RecursionError: there is no limit here",
    r"AssertionError: RecursionError not raised",
)
_CPYTHON = Reason("tests what only CPython's own type has: its C functions, size or garbage collection")
_OTHERS = Reason("tests nothing but other types")
_FROMKEYS = Reason(
    "calls fromkeys of an object: there is no heap in which its type could make a dict",
    r"no attribute 'fromkeys'",
)
_LIAR = Reason("extends by an iterable that lies about its length: list() refuses it as well", r"MemoryError")
_NOTICED = Reason(
    "expects that an iterator does not notice a clear and an update: this one does",
    r"RuntimeError: set changed during iteration",
)
_NEW = Reason("makes an iterator by calling its type", r"TypeError: cannot create")
_NO_DICT = Reason("expects an instance of dict: a twin is none", r"is not an instance of <class 'dict'>")
_UNBOUND = Reason("calls methods of Counter itself, which knows no other type", r"NotImplemented")
_NAMED = Reason("evaluates the text, which names the twin's type", r"'PersistentCounter' is not defined")
_POSITION = Reason("expects that popitem takes no argument: this one a position", r"dictionary is empty")
_PLAIN = Reason(
    "expects a copy of the same type: it is a plain dict", r"is not an instance of <class .*Sorted"
)
_TEXT = Reason("expects the text of a dict", r"AssertionError: 'PersistentSortedDict")
_SKIPPED = Reason("CPython skips it, too", r"Exhausted deque iterator")

# Whole classes that are not run.
CLASSES = {
    "test_dict.CAPITest": _CPYTHON,
    "test_dict.SubclassMappingTests": _SUBCLASS,
    "test_set.TestSetSubclass": _SUBCLASS,
    "test_set.TestFrozenSet": _OTHERS,
    "test_set.TestFrozenSetSubclass": _OTHERS,
    "test_set.TestSetSubclassWithSlots": _SUBCLASS,
    "test_set.TestFrozenSetSubclassWithSlots": _OTHERS,
    **{
        f"test_set.Test{kind}Mutating_{types}": _KEYS
        for kind in ("BinaryOps", "Methods")
        for types in ("Set_Set", "Subclass_Subclass", "Set_Subclass", "Subclass_Set")
    },
    "test_set.TestMethodsMutating_Set_Dict": _KEYS,
    "test_set.TestMethodsMutating_Set_List": _KEYS,
    "test_deque.TestSubclass": _SUBCLASS,
    "test_deque.TestSubclassWithKwargs": _SUBCLASS,
    **{
        f"test_collections.{name}": _OTHERS
        for name in (
            "ABCTestCase",
            "TestChainMap",
            "TestCollectionABCs",
            "TestNamedTuple",
            "TestOneTrickPonyABCs",
            "TestUserObjects",
        )
    },
}

# Tests, or all of a class, that must fail.
TESTS = {
    "test_dict.DictTest.test_bad_key": _KEYS,
    "test_dict.DictTest.test_container_iterator": _KEYS,
    "test_dict.DictTest.test_copy_maintains_tracking": _KEYS,
    "test_dict.DictTest.test_dict_contain_use_after_free": _KEYS,
    "test_dict.DictTest.test_dict_copy_order": _SUBCLASS,
    "test_dict.DictTest.test_eq": _KEYS,
    "test_dict.DictTest.test_equal_operator_modifying_operand": _KEYS,
    "test_dict.DictTest.test_errors_in_view_containment_check": _OBJECTS,
    "test_dict.DictTest.test_free_after_iterating": _SUBCLASS,
    "test_dict.DictTest.test_fromkeys": _FROMKEYS,
    "test_dict.DictTest.test_fromkeys_operator_modifying_dict_operand": _KEYS,
    "test_dict.DictTest.test_getitem": _KEYS,
    "test_dict.DictTest.test_init_use_after_free": _KEYS,
    "test_dict.DictTest.test_merge_and_mutate": _KEYS,
    "test_dict.DictTest.test_missing": _SUBCLASS,
    "test_dict.DictTest.test_mutating_lookup": _KEYS,
    "test_dict.DictTest.test_oob_indexing_dictiter_iternextitem": _OBJECTS,
    "test_dict.DictTest.test_pop": _KEYS,
    "test_dict.DictTest.test_reentrant_insertion": _OBJECTS,
    "test_dict.DictTest.test_repr": _OBJECTS,
    "test_dict.DictTest.test_repr_deep": _DEPTH,
    "test_dict.DictTest.test_resize2": _KEYS,
    "test_dict.DictTest.test_setdefault": _KEYS,
    "test_dict.DictTest.test_setdefault_atomic": _KEYS,
    "test_dict.DictTest.test_setitem_atomic_at_resize": _KEYS,
    "test_dict.DictTest.test_str_nonstr": _KEYS,
    "test_dict.DictTest.test_track_dynamic": _CPYTHON,
    "test_dict.DictTest.test_track_literals": _CPYTHON,
    "test_list.ListTest.test_contains_fake": _OBJECTS,
    "test_list.ListTest.test_contains_order": _OBJECTS,
    "test_list.ListTest.test_count": _OBJECTS,
    "test_list.ListTest.test_extend": _LIAR,
    "test_list.ListTest.test_free_after_iterating": _SUBCLASS,
    "test_list.ListTest.test_index": _OBJECTS,
    "test_list.ListTest.test_init": _INIT,
    "test_list.ListTest.test_iterator_pickle": _ITERATORS,
    "test_list.ListTest.test_remove": _OBJECTS,
    "test_list.ListTest.test_repr_deep": _DEPTH,
    "test_list.ListTest.test_reversed_pickle": _ITERATORS,
    "test_set.TestSet.test_badcmp": _KEYS,
    "test_set.TestSet.test_c_api": _CPYTHON,
    "test_set.TestSet.test_container_iterator": _KEYS,
    "test_set.TestSet.test_cyclical_repr": _KEYS,
    "test_set.TestSet.test_deepcopy": _KEYS,
    "test_set.TestSet.test_do_not_rehash_dict_keys": _KEYS,
    "test_set.TestSet.test_free_after_iterating": _SUBCLASS,
    "test_set.TestSet.test_gc": _KEYS,
    "test_set.TestSet.test_init": _INIT,
    "test_set.TestSet.test_new_or_init": _INIT,
    "test_set.TestSet.test_pickling": _SUBCLASS,
    "test_set.TestSet.test_subclass_with_custom_hash": _SUBCLASS,
    "test_set.TestBasicOpsTriple": _KEYS,
    "test_set.TestCopyingSingleton.test_copy": _COPIES,
    "test_set.TestCopyingTriple.test_copy": _COPIES,
    "test_set.TestCopyingTuple.test_copy": _COPIES,
    "test_set.TestCopyingNested.test_copy": _COPIES,
    "test_set.TestWeirdBugs.test_iter_and_mutate": _NOTICED,
    "test_deque.TestBasic.test_basics": _INIT,
    "test_deque.TestBasic.test_container_iterator": _OBJECTS,
    "test_deque.TestBasic.test_contains": _OBJECTS,
    "test_deque.TestBasic.test_contains_count_stop_crashes": _OBJECTS,
    "test_deque.TestBasic.test_copy": _COPIES,
    "test_deque.TestBasic.test_count": _OBJECTS,
    "test_deque.TestBasic.test_deepcopy": _COPIES,
    "test_deque.TestBasic.test_index": _OBJECTS,
    "test_deque.TestBasic.test_iterator_pickle": _ITERATORS,
    "test_deque.TestBasic.test_remove": _OBJECTS,
    "test_deque.TestBasic.test_reversed_new": _NEW,
    "test_deque.TestBasic.test_sizeof": _CPYTHON,
    "test_deque.TestSequence.test_contains_fake": _OBJECTS,
    "test_deque.TestSequence.test_contains_order": _OBJECTS,
    "test_deque.TestSequence.test_count": _OBJECTS,
    "test_deque.TestSequence.test_free_after_iterating": _SKIPPED,
    "test_deque.TestSequence.test_index": _OBJECTS,
    "test_collections.TestCounter.test_basics": _NO_DICT,
    "test_collections.TestCounter.test_copy_subclass": _SUBCLASS,
    "test_collections.TestCounter.test_copying": _NAMED,
    "test_collections.TestCounter.test_helper_function": _SUBCLASS,
    "test_collections.TestCounter.test_inplace_operations": _UNBOUND,
    "test_collections.TestCounter.test_multiset_operations": _UNBOUND,
    "mapping_tests.BasicTestMappingProtocol.test_popitem": _POSITION,
    "mapping_tests.TestMappingProtocol.test_popitem": _POSITION,
    "mapping_tests.TestMappingProtocol.test_copy": _PLAIN,
    "mapping_tests.TestMappingProtocol.test_fromkeys": _FROMKEYS,
    "mapping_tests.TestHashMappingProtocol.test_copy": _PLAIN,
    "mapping_tests.TestHashMappingProtocol.test_eq": _KEYS,
    "mapping_tests.TestHashMappingProtocol.test_fromkeys": _FROMKEYS,
    "mapping_tests.TestHashMappingProtocol.test_getitem": _KEYS,
    "mapping_tests.TestHashMappingProtocol.test_pop": _KEYS,
    "mapping_tests.TestHashMappingProtocol.test_popitem": _POSITION,
    "mapping_tests.TestHashMappingProtocol.test_repr": _TEXT,
    "mapping_tests.TestHashMappingProtocol.test_repr_deep": _DEPTH,
    "mapping_tests.TestHashMappingProtocol.test_setdefault": _KEYS,
}
