"""Arrays that live in a heap: PersistentArray.

numpy is used where it is installed, and imported when something here needs it: then `dtype` is a
numpy.dtype, and indexing, iterating and printing do what they do with a numpy array. Where it is not
installed, `dtype` is a str, and they do what they do with a memoryview. Nothing else differs: a heap
is the same either way.
"""

from __future__ import annotations

import re
import sys
from _operator import index

from mheap._core import ArrayTwin, _array_new
from mheap.errors import CorruptHeap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, SupportsIndex, TypeAlias

    from mheap._core import Heap

    _Parts: TypeAlias = tuple[str, int, tuple[int, ...], Any]  # type, itemsize, shape, what has the bytes

__all__ = ["PersistentArray"]

_SIMPLE = re.compile(r"([<>|=]?)([biufcSUVMm])(\d+)(\[[A-Za-z0-9/]+\])?")
_MOST_TEXT = 1 << 16  # characters of a type
_MOST_LEVELS = 20  # of fields within fields
_SHOWN = 1000  # items that repr() writes without numpy

# Of memoryview and array.array, on the machines that mheap runs on.
_CODES = {"i": "bhilq", "u": "BHILQ", "f": "efdg"}
_SIZES = {"b": 1, "h": 2, "i": 4, "l": 8, "q": 8, "B": 1, "H": 2, "I": 4, "L": 8, "Q": 8}
_FLOATS = {"e": 2, "f": 4, "d": 8, "g": 16}
_NAMES = {"float": "<f8", "int": "<i8", "bool": "|b1", "complex": "<c16", "?": "|b1"}

_numpy_found: Any = ...


def _numpy() -> Any:
    """The module, or None where it is not installed."""
    global _numpy_found
    if _numpy_found is ...:
        try:
            import numpy
        except ImportError:
            _numpy_found = None
        else:
            _numpy_found = numpy
    return _numpy_found


# ---- types: as a .npy file's header has them ----


def _simple(text: str) -> tuple[str, int] | None:
    """A plain type in its full form, and its size; None: it is none."""
    match = _SIMPLE.fullmatch(text)
    if match is None:
        return None
    order, kind, number, unit = match.groups()
    count = int(number)
    size = 4 * count if kind == "U" else count
    sizes = {"b": (1,), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "f": (2, 4, 8, 16), "c": (8, 16, 32)}
    if (unit is not None or kind in "Mm") and (kind not in "Mm" or count != 8):
        return None
    if size == 0 or size not in sizes.get(kind, (size,)):
        return None
    if kind in "bSV" or size == 1:
        order = "|"
    elif order in ("", "=", "|"):
        order = "<"
    return f"{order}{kind}{count}{unit or ''}", size


def _of_format(code: str) -> str | None:
    """The type of a buffer's items, if it is one of a single letter."""
    if code in ("u", "w"):
        return "<U1"
    if code == "c":
        return "|S1"
    if code == "?":
        return "|b1"
    if code in _SIZES:
        return f"{'|' if _SIZES[code] == 1 else '<'}{'i' if code.islower() else 'u'}{_SIZES[code]}"
    return f"<f{_FLOATS[code]}" if code in ("e", "f", "d") else None


def _refuse_objects(dtype: Any) -> None:
    raise TypeError(
        f"an array in a heap holds plain bytes, not references, as {dtype} has: store a list, or make the "
        "items a type of fixed size, with astype('U20'), astype('f8') and the like"
    )


def _of_dtype(dtype: Any) -> tuple[str, int, tuple[int, ...]]:
    """(type, itemsize, shape of each item) of a numpy dtype."""
    numpy = _numpy()
    base = dtype.base
    if base.hasobject:
        _refuse_objects(base)
    descr = numpy.lib.format.dtype_to_descr(base) if base.kind in "biufcSUVMm" else None
    text = descr if isinstance(descr, str) else repr(descr)
    if descr is None or len(text) > _MOST_TEXT or _dtype_of(text, base.itemsize) != base:
        raise TypeError(f"a heap has no arrays of {base}: convert it, with astype(), to a plain type")
    if base.itemsize == 0:
        raise ValueError(f"{base}: items of no bytes")
    return text, base.itemsize, dtype.shape


def _type_of(dtype: Any) -> tuple[str, int, tuple[int, ...]]:
    """(type, itemsize, shape of each item) of whatever was given for a dtype."""
    name = dtype.__name__ if isinstance(dtype, type) else dtype
    plain = _simple(_NAMES.get(name, name)) if isinstance(name, str) else None
    if plain is None and isinstance(name, str) and (known := _of_format(name)) is not None:
        plain = _simple(known)
    if plain is not None:
        return *plain, ()
    numpy = _numpy()
    if numpy is None:
        raise TypeError(f"dtype {dtype!r}: without numpy, a str like 'f8', '<i4', 'u1', 'b1', 'S5', 'U5'")
    return _of_dtype(numpy.dtype(dtype))


def _fields(text: str) -> Any:
    """The list of fields that a type is: literals, whose leaves are plain types."""
    from ast import literal_eval

    def check(fields: Any, level: int) -> None:
        if not isinstance(fields, list) or level > _MOST_LEVELS:
            raise ValueError("no list of fields")
        names = [field[0] for field in fields if isinstance(field, tuple) and field and field[0] != ""]
        if len(set(names)) < len(names):
            raise ValueError("two fields have one name")
        for field in fields:
            if not isinstance(field, tuple) or len(field) not in (2, 3):
                raise ValueError("a field is a tuple of two or three")
            if not isinstance(field[1], str):
                check(field[1], level + 1)
            elif _simple(field[1]) is None:
                raise ValueError(f"{field[1]!r} is no plain type")

    fields = literal_eval(text) if len(text) <= _MOST_TEXT else None
    check(fields, 0)
    return fields


_dtypes: dict[tuple[str, int], Any] = {}


def _dtype_of(text: str, itemsize: int) -> Any:
    """The numpy dtype that a heap says its items are of; nothing in it may be an object."""
    known = _dtypes.get((text, itemsize))
    if known is not None:
        return known
    numpy = _numpy()
    try:
        plain = _simple(text)
        dtype = numpy.dtype(text) if plain is not None else numpy.lib.format.descr_to_dtype(_fields(text))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise CorruptHeap(f"the type of an array: expected a dtype, found {text[:80]!r}: {error}") from None
    if dtype.hasobject or dtype.itemsize != itemsize or dtype.shape != ():
        raise CorruptHeap(f"the type of an array: expected items of {itemsize} bytes, found {text[:80]!r}")
    if len(_dtypes) > 1000:
        _dtypes.clear()
    return _dtypes.setdefault((text, itemsize), dtype)


# ---- types: as a buffer has them (PEP 3118) ----


def _code_of(text: str, native: bool) -> str | None:
    """The format of a plain type; None: there is none."""
    plain = _simple(text)
    if plain is None:
        return None
    order, kind, size = plain[0][0], plain[0][1], plain[1]
    if kind == "b":
        return "?"
    if kind == "S":
        return f"{size}s"
    if kind == "c":
        letter = {8: "f", 16: "d", 32: "g"}[size]
        return f"Z{letter}" if native else None if letter == "g" else f"{order}Z{letter}"
    prefix = "" if size == 1 or (native and order == "<") else order
    if kind == "U":
        return f"{prefix}{size // 4}w"
    if kind not in _CODES or (size == 16 and not native):
        return None
    position = size.bit_length() - (2 if kind == "f" else 1)
    code = _CODES[kind][position]
    return prefix + ({"l": "q", "L": "Q"}.get(code, code) if prefix else code)


def _size_of(fields: Any) -> int:
    total = 0
    for _, kind, *shape in fields:
        plain = _simple(kind) if isinstance(kind, str) else None
        size = plain[1] if plain is not None else _size_of(kind)
        for length in shape[0] if shape else ():
            size *= index(length)
        total += size
    return total


def _struct_of(fields: Any) -> str | None:
    pieces = []
    for name, kind, *shape in fields:
        if isinstance(kind, str) and name == "" and kind.startswith("|V"):
            pieces.append(f"{int(kind[2:])}x")
            continue
        code = _code_of(kind, False) if isinstance(kind, str) else _struct_of(kind)
        if code is None or not isinstance(name, str) or ":" in name:
            return None
        sizes = f"({','.join(str(index(size)) for size in shape[0])})" if shape else ""
        order = "<" if code[0] not in "<>T" else ""
        pieces.append(f"{sizes}{order}{code}:{name}:")
    return "T{" + "".join(pieces) + "}"


def _format_of(text: str, itemsize: int) -> bytes | None:
    """The format of a buffer of such items, for the C half; None: a buffer cannot say what they are."""
    plain = _simple(text)
    if plain is not None:
        code = _code_of(text, text[0] in "<|" and sys.byteorder == "little")
        return code.encode() if code is not None and plain[1] == itemsize else None
    try:
        fields = _fields(text)
        code = _struct_of(fields) if _size_of(fields) == itemsize else None
        return None if code is None else code.encode()
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


# ---- what is stored ----


def _parts_of_ndarray(array: Any) -> _Parts:
    numpy = _numpy()
    if hasattr(array, "mask"):
        raise TypeError("a masked array: store its data and its mask, each for itself")
    text, itemsize, _ = _of_dtype(array.dtype)
    array = numpy.asarray(array, order="C")
    return text, itemsize, array.shape, array.reshape(-1).view("u1")


def _parts_of_buffer(source: Any) -> _Parts:
    view: Any = memoryview(source)
    text = _of_format(view.format.removeprefix("@"))
    if text is not None:
        data = view.cast("B") if view.c_contiguous and view.nbytes > 0 else view.tobytes()
        return text, view.itemsize, view.shape, data
    numpy = _numpy()
    if numpy is None:
        raise TypeError(f"a buffer of items {view.format!r}: numpy is needed to store that")
    return _parts_of_ndarray(numpy.asarray(view))


def _parts(source: Any) -> _Parts | None:
    """Of an array that is stored as it is assigned, for the C half; None: it is none."""
    kind = type(source)
    if kind is PersistentArray:
        data, shape = source._out()
        return source._type, source.itemsize, shape, data
    if kind.__module__ == "array" and kind.__name__ == "array":
        return _parts_of_buffer(source)
    if "numpy" in sys.modules and _numpy() is not None and kind is _numpy().ndarray:
        return _parts_of_ndarray(source)
    return None


def _put(heap: Heap, source: Any) -> PersistentArray:
    parts = _parts(source)
    numpy = _numpy() if parts is None else None
    if parts is None and numpy is not None and not isinstance(source, (list, tuple, str, bytes, memoryview)):
        is_array = isinstance(source, numpy.ndarray)
        if is_array or hasattr(source, "__array__") or hasattr(source, "__array_interface__"):
            parts = _parts_of_ndarray(source if is_array else numpy.asarray(source))
    if parts is None:
        try:
            parts = _parts_of_buffer(source)
        except TypeError as error:
            if "bytes-like" not in str(error):
                raise
            raise TypeError(
                f"put_array() takes a numpy array or a buffer, not {type(source).__name__}: "
                "numpy.asarray(), or array.array(), makes one of it"
            ) from None
    return _array_new(heap, *parts)


def _zeros(heap: Heap, shape: Any, dtype: Any = "f8") -> PersistentArray:
    text, itemsize, more = _type_of(dtype)
    sizes = (index(shape),) if hasattr(shape, "__index__") else tuple(index(size) for size in shape)
    return _array_new(heap, text, itemsize, sizes + more, None)


# ---- the class ----


def _nested(values: Any, shape: tuple[int, ...]) -> Iterator[Any]:
    """The items of nested sequences that have such a shape."""
    if not shape:
        yield values
        return
    if len(values) != shape[0]:
        raise ValueError(f"a row of {len(values)} where there are {shape[0]}")
    for value in values:
        yield from _nested(value, shape[1:])


class PersistentArray(ArrayTwin):
    """An array that lives in a heap: items of one type, of fixed size, in C order.

    numpy.asarray(a) is a view of it, not a copy, and so is any buffer of it: what is stored through
    one is stored in the heap, and in mode atomic is in the next commit. A view keeps the array, and
    the heap attached. The first dimension grows and shrinks: append(), extend(), resize() and
    reserve() are one operation each; while there are views they raise BufferError rather than move
    or cut the rows. == is True or False: the same shape and equal items.
    """

    __slots__ = ()

    # ---- what it is ----

    @property
    def dtype(self) -> Any:
        """The type of its items: a numpy.dtype, or where numpy is not installed a str."""
        return self._type if _numpy() is None else _dtype_of(self._type, self.itemsize)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        """How many items it has."""
        items = 1
        for length in self.shape:
            items *= length
        return items

    @property
    def nbytes(self) -> int:
        return self.size * self.itemsize

    @property
    def strides(self) -> tuple[int, ...]:
        strides = [self.itemsize]
        for length in self.shape[:0:-1]:
            strides.append(strides[-1] * length)
        return tuple(strides[::-1]) if self.shape else ()

    # ---- views ----

    def _out(self) -> tuple[memoryview, tuple[int, ...]]:
        """Its bytes, and the shape of what is in them: another thread may append meanwhile."""
        data = self._bytes()  # first: from here on all is of one commit, and no row goes
        shape = self.shape
        row = self.strides[0] if shape else 0
        return data, (len(data) // row, *shape[1:]) if row > 0 else shape

    def _view(self) -> Any:
        """A numpy array of it, or where numpy is not installed a memoryview."""
        numpy = _numpy()
        if numpy is None:
            return memoryview(self)
        dtype = self.dtype  # first: a view in a traceback keeps the heap
        data, shape = self._out()
        return numpy.frombuffer(data, dtype).reshape(shape)  # ndarray() would give the buffer back

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        if dtype is not None and _numpy().dtype(dtype) != self.dtype:
            if copy is False:
                raise ValueError(f"no view of an array of {self.dtype} has items of {dtype}")
            return self._view().astype(dtype)
        return self._view().copy() if copy else self._view()

    @property
    def __array_interface__(self) -> dict[str, Any]:
        if _simple(self._type) is None:  # numpy goes on to the buffer, or __array__
            raise AttributeError("__array_interface__")
        _ = self.dtype  # which is looked at
        data, shape = self._out()
        return {"version": 3, "shape": shape, "typestr": self._type, "data": data, "strides": None}

    # ---- items ----

    def _row(self, at: int) -> Any:
        """Without numpy: an item, or a memoryview of a row."""
        shape = self.shape
        if len(shape) == 1:
            return memoryview(self)[at]
        if not -shape[0] <= at < shape[0]:
            raise IndexError("index out of range")
        stride, at = self.strides[0], at % shape[0]
        row: Any = self._bytes()[at * stride : (at + 1) * stride]
        return row.cast(memoryview(self).format, shape[1:])

    def __getitem__(self, key: Any) -> Any:
        if _numpy() is None and hasattr(key, "__index__") and self.shape:
            return self._row(index(key))
        return self._view()[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._view()[key] = value

    def __iter__(self) -> Iterator[Any]:
        if not self.shape:
            raise TypeError("iteration over an array without dimensions")
        if _numpy() is not None:
            return iter(self._view())
        return map(self._row, range(len(self)))

    def __contains__(self, value: object) -> bool:
        return value in self._view()

    # ---- growing ----

    def _pack(self, rows: Any) -> bytearray:
        """Without numpy: rows, in nested sequences, as bytes."""
        shape = self.shape[1:]
        item: Any = memoryview(bytearray(self.itemsize))
        item = item.cast(memoryview(self).format)
        packed = bytearray()
        for row in rows:
            for value in _nested(row, shape):
                item[0] = value
                packed += item
        return packed

    def _append(self, row: Any) -> None:
        """append() of what the C half does not know."""
        numpy = _numpy()
        if numpy is None:
            self.extend([row])
            return
        row = numpy.asarray(row, self.dtype, order="C")
        if row.shape != self.shape[1:] or self.ndim == 0:
            raise ValueError(f"a row of this array has the shape {self.shape[1:]}, not {row.shape}")
        self._extend_with(row, 1)

    def _extend_with(self, rows: Any, count: int) -> None:
        if rows.nbytes == 0:
            self.resize(len(self) + count)
        else:
            self._extend(rows.reshape(-1).view("u1"))

    def extend(self, rows: Any, /) -> None:
        """Stores copies of rows behind the last one."""
        numpy = _numpy()
        if numpy is None:
            self._extend(bytes(rows._bytes()) if type(rows) is PersistentArray else self._pack(rows))
            return
        if type(rows) is PersistentArray:
            rows = rows.to_python()  # it may be this one, of which there must be no view
        rows = numpy.asarray(rows, self.dtype, order="C")
        if rows.shape[1:] != self.shape[1:] or rows.ndim != self.ndim:
            if rows.size == 0 and rows.ndim == 1:  # of an empty list
                return
            raise ValueError(f"rows of this array have the shape {('n', *self.shape[1:])}, not {rows.shape}")
        self._extend_with(rows, len(rows))

    # ---- copies ----

    def tolist(self) -> Any:
        """Its items as plain Python objects, in lists of lists."""
        return self._view().tolist()

    def to_python(self) -> Any:
        """A plain copy: a numpy array; where numpy is not installed an array.array, or lists of lists."""
        if _numpy() is not None:
            return self._view().copy()
        code = memoryview(self).format
        if self.ndim != 1 or code not in "bBhHiIlLqQfd":
            return self.tolist()
        from array import array

        return array(code, bytes(self._bytes()))

    copy = __copy__ = to_python

    def __deepcopy__(self, memo: object) -> Any:
        return self.to_python()

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        plain = self.to_python()
        return (list, (plain,)) if type(plain) is list else plain.__reduce_ex__(protocol)

    def __reduce__(self) -> Any:
        return self.__reduce_ex__(2)

    # ---- comparing, printing ----

    def __eq__(self, other: object) -> bool:
        numpy = _numpy()
        if numpy is None:
            is_array = isinstance(other, PersistentArray) or type(other).__name__ in ("array", "memoryview")
        else:
            is_array = isinstance(other, (PersistentArray, numpy.ndarray))
        if not is_array:
            return NotImplemented
        plain: Any = other
        if numpy is None:
            return bool(memoryview(self) == memoryview(plain))
        return bool(numpy.array_equal(self._view(), plain.__array__()))

    __hash__ = None

    def __repr__(self) -> str:
        if _numpy() is not None:
            return repr(self._view())
        shape = "" if len(self.shape) == 1 else f", shape={self.shape}"
        items = [repr(item) for _, item in zip(range(_SHOWN), self._flat(), strict=False)]
        if self.size > _SHOWN:
            items.append("...")
        return f"array([{', '.join(items)}]{shape}, dtype={self._type!r})"

    def _flat(self) -> Iterator[Any]:
        """Without numpy: its items, one behind the other."""
        data: Any = self._bytes()
        if self.size > 0:
            yield from data.cast(memoryview(self).format)
