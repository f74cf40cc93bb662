"""mheap.Record: classes with typed fields, plain and in a heap."""

from __future__ import annotations

import copy
import gc
import inspect
import json
import pickle
import weakref
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar, Literal, Optional

import pytest

import mheap

_type: Any = type(mheap.Record)


class Address(mheap.Record):
    street: str
    code: int = 0


class User(mheap.Record):
    id: int
    name: str
    score: float = 0.0
    active: bool = True
    tags: tuple[str, ...] = ()
    friends: list[User] = mheap.field(default_factory=list)
    home: Address | None = None
    born: Optional[date] = None  # noqa: UP045
    extra: Any = None
    kind: ClassVar[str] = "user"


class Point(mheap.Record, frozen=True):
    x: int
    y: int = 0


@pytest.fixture
def ada() -> User:
    return User(1, "ada", tags=("a", "b"), home=Address("Main Street"))


@pytest.fixture(params=["live", "atomic"])
def any_heap(request: pytest.FixtureRequest, heap_path: Path) -> Iterator[mheap.Heap]:
    with mheap.open(heap_path, mode=request.param) as opened:
        yield opened
        if request.param == "atomic":
            opened.commit()


def stored(heap: mheap.Heap, record: Any) -> Any:
    heap.root["record"] = record
    return heap.root["record"]


# ---- plain ones ----


def test_a_plain_record_has_what_it_was_given(ada: User) -> None:
    assert (ada.id, ada.name, ada.score, ada.active) == (1, "ada", 0.0, True)
    assert ada.friends == []
    assert ada.home == Address("Main Street", 0)
    assert User.kind == ada.kind == "user"
    assert ada == User(id=1, name="ada", tags=("a", "b"), home=Address("Main Street"))
    assert ada != User(2, "ada")
    assert ada != 5
    assert repr(Point(1)) == "Point(x=1, y=0)"


def test_defaults_made_by_a_factory_are_not_shared() -> None:
    assert User(1, "a").friends is not User(1, "a").friends


@pytest.mark.parametrize(
    ("args", "kwargs", "text"),
    [
        ((1,), {}, "User: the field name has no value"),
        ((1, "a"), {"nose": 1}, "User has no field 'nose'"),
        ((1, "a"), {"id": 1}, "User got two values for the field id"),
        (
            (1, "a", 0.0, True, (), [], None, None, None, 9),
            {},
            r"User takes 9 values by position \(10 given\)",
        ),
        (("x", "a"), {}, "User.id: expected int, found str"),
        ((1, 5), {}, "User.name: expected str, found int"),
        ((1, "a", "z"), {}, "User.score: expected float, found str"),
        ((1, "a", 0.0, 1), {}, "User.active: expected bool, found int"),
        ((1, "a"), {"tags": []}, "User.tags: expected tuple, found list"),
        ((1, "a"), {"friends": None}, "User.friends: expected list, found NoneType"),
        ((1, "a"), {"home": 3}, r"User.home: expected .*:Address \| None, found int"),
        ((1, "a"), {"born": "today"}, r"User.born: expected datetime.date \| None, found str"),
    ],
)
def test_what_does_not_fit_is_named(args: tuple[Any, ...], kwargs: dict[str, Any], text: str) -> None:
    with pytest.raises(TypeError, match=text):
        User(*args, **kwargs)


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**40])
def test_an_int_has_64_bits(number: int, ada: User) -> None:
    with pytest.raises(OverflowError, match=r"User\.id: expected an int of 64 bits, found .*BigInt"):
        ada.id = number
    assert ada.id == 1


def test_numbers_become_those_of_the_field() -> None:
    user = User(True, "a", 3)
    assert type(user.id) is int
    assert user.id == 1
    assert type(user.score) is float
    assert user.score == 3.0


def test_types_of_all_sorts() -> None:
    class Sorts(mheap.Record):
        big: mheap.BigInt
        either: int | str
        word: Literal["a", "b"]
        money: Decimal
        anything: object
        numbers: dict[str, list[int]]

    sorts = Sorts(10**50, "x", "a", Decimal("1.5"), ..., {})
    assert sorts.big == 10**50
    sorts.either = 5
    for name, value in [("big", 1.5), ("either", 1.5), ("word", 3), ("money", 1), ("numbers", [])]:
        with pytest.raises(TypeError, match=f"Sorts.{name}: expected"):
            setattr(sorts, name, value)


def test_a_frozen_record_is_a_key_of_a_dict() -> None:
    point = Point(1, 2)
    assert {point: 5}[Point(1, 2)] == 5
    with pytest.raises(AttributeError, match="cannot assign to the field x of a frozen Point"):
        point.x = 3  # type: ignore[misc]
    with pytest.raises(TypeError, match="unhashable"):
        hash(Address(""))


def test_fields_are_inherited() -> None:
    class Admin(User):
        level: int = 3
        name: str = "root"

    admin = Admin(5, level=4)
    assert (admin.id, admin.name, admin.level) == (5, "root", 4)
    assert Admin.__match_args__ == (*User.__match_args__, "level")
    assert User.id.__get__(admin) == 5  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="another class"):
        Admin.level.__get__(User(1, "a"))  # type: ignore[attr-defined]


def test_a_field_declared_anew_is_checked_as_that() -> None:
    class Base(mheap.Record):
        value: int

    class Derived(Base):
        value: str  # type: ignore[assignment]

    derived = Derived("x")
    with pytest.raises(TypeError, match=r"Derived\.value: expected str"):
        Base.value.__set__(derived, 5)  # type: ignore[attr-defined]


def test_classes_that_cannot_be() -> None:
    with pytest.raises(ValueError, match=r"the default of items is a list.*default_factory=list"):

        class Shared(mheap.Record):
            items: list[int] = []  # noqa: RUF012

    with pytest.raises(TypeError, match="the field second has no default, but follows first"):

        class Order(mheap.Record):
            first: int = 1
            second: int  # type: ignore[misc]

    with pytest.raises(TypeError, match="frozen"):

        class Thawed(Point, frozen=False):  # type: ignore[misc]
            z: int  # type: ignore[misc]

    with pytest.raises(TypeError, match="begin with two underscores"):

        class Hidden(mheap.Record):
            __eq__: int  # type: ignore[assignment]

    with pytest.raises(TypeError, match="have a method of that name"):

        class Method(mheap.Record):
            _values: int  # type: ignore[assignment]


def test_keywords_only_and_what_comes_after() -> None:
    class Strict(mheap.Record, kw_only=True):
        a: int = 1
        b: int

        def __post_init__(self) -> None:
            self.a += self.b

    assert Strict(b=5).a == 6
    with pytest.raises(TypeError, match="0 values by position"):
        Strict(1, 2)  # type: ignore[call-arg]


def test_a_type_that_is_defined_later() -> None:
    Late.Other = Other  # type: ignore[attr-defined]
    assert Late(Other(3)).other == Other(3)
    with pytest.raises(TypeError, match=r"Late\.other: expected .*Other"):
        Late(5)  # type: ignore[arg-type]


class Late(mheap.Record):
    other: Other


class Other(mheap.Record):
    n: int


# ---- in a heap ----


def test_what_is_stored_is_read(any_heap: mheap.Heap, ada: User) -> None:
    twin = stored(any_heap, ada)
    assert type(twin) is User
    assert twin is not ada
    assert twin is any_heap.root["record"]
    assert twin == ada
    assert ada == twin
    assert repr(twin) == repr(ada)
    assert isinstance(twin.home, Address)
    assert twin.home is twin.home
    assert any_heap.check()


def test_attributes_are_those_in_the_heap(any_heap: mheap.Heap, ada: User) -> None:
    twin = stored(any_heap, ada)
    twin.id = -(2**63)
    twin.name = "a name that is longer than a word"
    twin.score = 0.1
    twin.active = False
    twin.friends.append(twin)
    twin.born = date(1815, 12, 10)
    twin.extra = {"k": [1, 2]}
    twin.home.code = 7
    assert (ada.id, ada.name, ada.friends) == (1, "ada", [])
    del twin
    gc.collect()
    twin = any_heap.root["record"]
    assert (twin.id, twin.name, twin.score, twin.active) == (
        -(2**63),
        "a name that is longer than a word",
        0.1,
        False,
    )
    assert twin.friends[0] is twin
    assert twin.born == date(1815, 12, 10)
    assert twin.extra == {"k": [1, 2]}
    assert twin.home.code == 7
    with pytest.raises(TypeError, match=r"User\.name: expected str"):
        twin.name = None
    with pytest.raises(AttributeError, match="cannot delete the field name"):
        del twin.name
    assert any_heap.check()
    assert any_heap.collect().objects == 0


def test_a_cycle_of_records_is_stored_as_one(any_heap: mheap.Heap, ada: User) -> None:
    bob = User(2, "bob", friends=[ada])
    ada.friends.append(bob)
    ada.friends.append(ada)
    twin = stored(any_heap, ada)
    assert twin.friends[0].friends[0] is twin
    assert twin.friends[1] is twin
    assert "friends=[User(id=2, name='bob'" in repr(twin)
    assert "User(...)" in repr(twin)
    plain = copy.deepcopy(twin)
    assert plain.friends[0].friends[0] is plain
    assert plain._is_plain()
    del any_heap.root["record"]
    del twin
    assert any_heap.collect().objects > 0
    assert any_heap.check()


def test_a_record_goes_with_its_last_reference(any_heap: mheap.Heap, ada: User) -> None:
    any_heap.root["list"] = [ada, Point(1)]
    any_heap.root.clear()
    before = any_heap.stats().chunks_used  # the root and the schemas
    any_heap.root["list"] = [ada, ada, Point(1)]
    first, second, _ = any_heap.root["list"]
    assert first is second
    gone = weakref.ref(second)
    del any_heap.root["list"]
    assert first.name == "ada"
    first.name = "another name, which needs a block"
    assert first.name == "another name, which needs a block"
    del first, second, _
    assert gone() is None
    any_heap.root["list"] = [Point(2)]
    point = any_heap.root["list"][0]
    any_heap.root.clear()
    assert point.x == 2
    del point
    assert any_heap.collect().objects == 0
    assert any_heap.stats().chunks_used == before


def test_a_rollback_takes_fields_and_schemas_back(heap_path: Path) -> None:
    with mheap.open(heap_path) as heap:
        heap.root["a"] = Point(1, 2)
        heap.rollback()
        assert "a" not in heap.root
        heap.root["b"] = Address("x")  # takes the number that Point had
        kept = heap.root["b"]
        assert kept.street == "x"
        heap.commit()
        kept.street = "a street with a long name"
        kept.code = 5
        heap.rollback()
        assert (kept.street, kept.code) == ("x", 0)
        heap.root["c"] = Point(3, 4)
        gone = heap.root["c"]
        heap.rollback()
        with pytest.raises(mheap.StaleObject):
            _ = gone.x
        heap.root["c"] = Point(5, 6)
        assert heap.root["c"].x == 5
        assert heap.root["b"] is kept
        assert heap.check()
        heap.commit()


def test_records_in_all_containers_and_keys_refused(any_heap: mheap.Heap) -> None:
    any_heap.root["x"] = {"t": (Point(1), [Point(2)]), "d": {"p": Point(3)}}
    x = any_heap.root["x"]
    assert x == {"t": (Point(1), [Point(2)]), "d": {"p": Point(3)}}
    assert x["t"][0] is x["t"][0]
    assert repr(x) == "{'t': (Point(x=1, y=0), [Point(x=2, y=0)]), 'd': {'p': Point(x=3, y=0)}}"
    with pytest.raises(TypeError):
        x[Point(1)] = 5


def test_a_frozen_record_is_an_element_of_a_frozenset(any_heap: mheap.Heap) -> None:
    any_heap.root["x"] = frozenset({Point(1), (Point(2), 3)})
    assert any_heap.root["x"] == frozenset({Point(1), (Point(2), 3)})
    assert any_heap.check()


def test_records_of_another_heap_are_copied(heap: mheap.Heap, anonymous: mheap.Heap, ada: User) -> None:
    twin = stored(heap, ada)
    other = stored(anonymous, twin)
    assert other == twin
    assert other is not twin
    other.name = "bob"
    assert twin.name == "ada"
    assert anonymous.check()


def test_copies_are_plain(any_heap: mheap.Heap, ada: User) -> None:
    ada.friends.append(User(2, "bob"))
    twin = stored(any_heap, ada)
    shallow, deep, pickled = copy.copy(twin), copy.deepcopy(twin), pickle.loads(pickle.dumps(twin))
    assert shallow == deep == pickled == ada
    assert shallow._is_plain()
    assert deep._is_plain()
    assert pickled._is_plain()
    assert shallow.friends is twin.friends
    assert type(deep.friends) is list
    assert deep.friends[0]._is_plain()
    assert twin.to_python() == deep
    replaced = mheap.replace(twin, id=9)
    assert replaced.id == 9
    assert replaced.name == "ada"
    assert replaced._is_plain()


def test_a_record_is_a_dict_to_json(any_heap: mheap.Heap) -> None:
    twin = stored(any_heap, Address("x", 3))
    assert mheap.asdict(twin) == {"street": "x", "code": 3}
    assert json.dumps([twin], default=mheap.to_python) == '[{"street": "x", "code": 3}]'
    assert json.dumps(any_heap.root, default=mheap.to_python) == '{"record": {"street": "x", "code": 3}}'
    user = stored(any_heap, User(1, "a", friends=[User(2, "b", home=Address("s"))]))
    assert mheap.asdict(user)["friends"][0]["home"] == {"street": "s", "code": 0}


def test_records_match_patterns(any_heap: mheap.Heap, ada: User) -> None:
    for record in (ada, stored(any_heap, ada)):
        match record:
            case User(1, name, home=Address(street)):
                assert (name, street) == ("ada", "Main Street")
            case _:
                pytest.fail("no match")


def test_a_reader_sees_what_is_committed(heap_path: Path, ada: User) -> None:
    with mheap.open(heap_path) as heap:
        heap.root["u"] = ada
        heap.commit()
        with mheap.open(heap_path, mode="readonly") as reader:
            twin = reader.root["u"]
            assert twin.name == "ada"
            heap.root["u"].name = "a longer name than before"
            assert twin.name == "ada"
            heap.commit()
            assert twin.name == "a longer name than before"
            with pytest.raises(mheap.ReadOnlyHeap):
                twin.name = "x"
            with pytest.raises(mheap.ReadOnlyHeap):
                twin.id = 5
            assert reader.root["u"] is twin


def test_a_twin_of_a_closed_heap_says_so(heap_path: Path, ada: User) -> None:
    with mheap.open(heap_path) as heap:
        twin = stored(heap, ada)
        heap.commit()
    with pytest.raises(mheap.ClosedHeap):
        _ = twin.name
    with pytest.raises(mheap.ClosedHeap):
        twin.name = "x"


# ---- migration ----


def class_of(annotations: dict[str, Any], **defaults: Any) -> Any:
    """A class that heaps take for the same one, with these fields."""
    namespace = {"__annotations__": annotations, "__module__": __name__, **defaults}
    return _type("Shape", (mheap.Record,), namespace, name="Shape")


def test_fields_gained_lost_and_reordered(any_heap: mheap.Heap) -> None:
    old = class_of({"a": int, "b": str, "c": float, "d": bool, "e": list})
    any_heap.root["r"] = old(1, "some text that is long", 2.5, True, [1])
    any_heap.root["s"] = old(2, "s", 3.5, False, [2])
    blocks = any_heap.stats().chunks_used
    new = class_of(
        {"d": bool, "c": float, "b": "str | None", "a": float, "n": int, "f": list},
        n=7,
        f=mheap.field(default_factory=lambda: [9]),
    )
    gc.collect()
    twin, other = any_heap.root["r"], any_heap.root["s"]
    assert type(twin) is new
    assert not hasattr(twin, "e")
    assert (twin.d, twin.c, twin.b, twin.n, twin.a, twin.f) == (
        True,
        2.5,
        "some text that is long",
        7,
        1.0,
        [9],
    )
    assert any_heap.stats().chunks_used == blocks  # reading writes nothing
    twin.n = 8
    twin.b = None
    twin.f.append(10)
    assert (twin.d, twin.c, twin.b, twin.n, twin.a, twin.f) == (True, 2.5, None, 8, 1.0, [9, 10])
    assert other.n == 7
    assert any_heap.root["r"] is twin
    assert any_heap.check()
    assert any_heap.collect().objects == 0
    third = class_of({"b": "str | None", "z": "int | None"}, z=None)
    del twin
    twin = any_heap.root["r"]
    twin.z = 5
    assert type(twin) is third
    assert (twin.b, twin.z) == (None, 5)
    del any_heap.root["r"], any_heap.root["s"], twin, other
    assert any_heap.collect().objects == 0
    assert any_heap.check()


@pytest.mark.parametrize(
    ("stored_type", "value", "declared", "fits"),
    [
        (int, 3, float, 3.0),
        (int, 2**62, "int | None", 2**62),
        (int, 3, Any, 3),
        (int, 3, mheap.BigInt, 3),
        (float, 0.1, "float | None", 0.1),
        (float, 0.1, object, 0.1),
        (bool, True, "bool | None", True),
        (str, "x", "str | int", "x"),
        ("str | None", None, "str | int | None", None),
        (int, 3, str, None),
        (float, 0.1, int, None),
        (float, 0.1, bool, None),
        (bool, True, int, None),
        ("int | None", 3, int, None),
        (Any, 3, int, None),
        (str, "x", bytes, None),
        (list, [], dict, None),
    ],
)
def test_types_that_change(
    any_heap: mheap.Heap, stored_type: Any, value: Any, declared: Any, fits: Any
) -> None:
    any_heap.root["r"] = class_of({"v": stored_type, "w": int})(value, 1)
    gc.collect()
    class_of({"v": declared, "w": int})
    if fits is None and value is not None:
        with pytest.raises(mheap.SchemaMismatch, match=r"the field Shape\.v is declared as"):
            _ = any_heap.root["r"]
        return
    twin = any_heap.root["r"]
    assert twin.v == fits
    assert type(twin.v) is type(fits)
    twin.w = 2
    assert twin.v == fits
    assert type(twin.v) is type(fits)
    assert twin.w == 2
    assert any_heap.check()
    assert any_heap.collect().objects == 0


def test_a_field_without_a_default_cannot_be_gained(any_heap: mheap.Heap) -> None:
    any_heap.root["r"] = class_of({"a": int})(1)
    gc.collect()
    class_of({"a": int, "b": int})
    with pytest.raises(mheap.SchemaMismatch, match="has no field b, and the class no default"):
        _ = any_heap.root["r"]
    assert issubclass(mheap.SchemaMismatch, TypeError)
    assert issubclass(mheap.SchemaMismatch, mheap.MheapError)


def test_a_class_that_is_not_known(any_heap: mheap.Heap) -> None:
    cls = _type(
        "Gone",
        (mheap.Record,),
        {"__annotations__": {"a": int, "b": str}, "__module__": __name__},
        name="shop:Gone",
    )
    any_heap.root["r"] = cls(1, "x")
    del cls
    gc.collect()
    any_heap.root["o"] = 1
    twin = any_heap.root["r"]
    if type(twin) is not mheap.UnknownRecord:
        pytest.fail("the class is still known")
    assert (twin.a, twin.b) == (1, "x")
    assert repr(twin) == "<shop:Gone a=1, b='x'>"
    assert mheap.asdict(twin) == {"a": 1, "b": "x"}
    assert "a" in dir(twin)
    with pytest.raises(AttributeError, match="no field 'c'"):
        _ = twin.c
    with pytest.raises(AttributeError, match="only read"):
        twin.a = 5
    fields = {"a": 1, "b": "x"}
    assert copy.copy(twin) == copy.deepcopy(twin) == pickle.loads(pickle.dumps(twin)) == fields
    any_heap.root["l"] = [twin, (twin,)]
    assert mheap.to_python(any_heap.root["l"]) == [fields, (fields,)]
    assert copy.deepcopy(any_heap.root)["r"] == fields
    assert json.loads(json.dumps(any_heap.root, default=mheap.to_python))["l"] == [fields, [fields]]


def test_the_signature_of_a_class_is_its_fields() -> None:
    class Point(mheap.Record):
        x: int
        tags: list[str] = mheap.field(default_factory=list)
        y: float | None = None

    class Named(mheap.Record, kw_only=True):
        name: str = "none"

    assert str(inspect.signature(Point)) == "(x: int, tags: list = list(), y: float | None = None)"
    assert str(inspect.signature(Named)) == "(*, name: str = 'none')"
