"""A pickle reader that builds plain values and arrays of numbers, and calls nothing of what the file names.

``pickle.load`` runs whatever a file names, and numpy's own ``__setstate__`` trusts what it is given: a hostile state
makes it read and write memory of the file's choosing. So every global is a stand-in from this file, only the opcodes
that image files use are read, and arrays are made here from bytes, a checked shape and one of the types in `_TYPES`.
"""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from interplay.errors import DataError

_TYPES = {"b1", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"}
_AXES = 32


class _Refused(pickle.UnpicklingError):
    """The file asks for what no image file needs."""


def _text(value: object) -> str:
    """A string of Python 3, or the bytes that a string of Python 2 has become."""
    if isinstance(value, bytes):
        return value.decode("latin1")
    if isinstance(value, str):
        return value
    raise _Refused(f"a {type(value).__name__} where text belongs")


def _shape(value: object) -> tuple[int, ...]:
    if not isinstance(value, tuple) or len(value) > _AXES:
        raise _Refused("the shape of an array is not a short tuple")
    if not all(type(size) is int and 0 <= size < 2**63 for size in value):
        raise _Refused(f"an array has the shape {value!r:.80}")
    return value


class _Dtype:
    """What stands for ``numpy.dtype``: a name of `_TYPES` and a byte order."""

    __slots__ = ("name", "order")

    def __init__(self, name: object, *flags: object) -> None:
        self.name = _text(name).lstrip("<>|=")
        self.order = "<"
        if self.name not in _TYPES or len(flags) > 2 or not all(type(flag) in (bool, int) for flag in flags):
            raise _Refused(f"an array is of type {_text(name)!r:.80}")

    def set_state(self, state: object) -> None:
        """(version, byte order, no subarray, no names, no fields, size, alignment, flags)."""
        if not isinstance(state, tuple) or len(state) != 8 or state[2:5] != (None, None, None):
            raise _Refused("an array has a type with fields, or one in an unknown form")
        if type(state[0]) is not int or state[5:] != (-1, -1, 0):
            raise _Refused("an array has a type of its own size")
        self.order = _text(state[1])
        if self.order not in ("|", "<", ">", "="):
            raise _Refused(f"an array has the byte order {_text(state[1])!r:.80}")

    def numpy(self) -> np.dtype[Any]:
        """The type itself, made from its name."""
        return np.dtype(("<" if self.order == "|" else self.order) + self.name)


class _Array:
    """What stands for an array until the whole file is read."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: NDArray[Any] | None = None

    def set_state(self, state: object) -> None:
        """(1, shape, type, whether the first axis varies fastest, bytes)."""
        if not isinstance(state, tuple) or len(state) != 5 or type(state[0]) is not int or state[0] != 1:
            raise _Refused("an array has a state in an unknown form")
        self.fill(state[4], state[2], state[1], "F" if state[3] else "C", fortran=state[3])

    def fill(self, data: object, dtype: object, shape: object, order: str, fortran: object = False) -> None:
        """Take the numbers from ``data``; nothing is copied, so that a file that names them often costs no memory."""
        if not isinstance(data, bytes | bytearray) or type(dtype) is not _Dtype or type(fortran) not in (bool, int):
            raise _Refused("an array is not made of bytes and a type of numbers")
        kind, sizes = dtype.numpy(), _shape(shape)
        if math.prod(sizes) * kind.itemsize != len(data):
            raise _Refused(f"an array of shape {sizes} and type {kind} cannot have {len(data)} bytes")
        self.values = np.frombuffer(data, kind).reshape(sizes, order="F" if order == "F" else "C")


class _Callable:
    """A function that a file may call. Without attributes: a pickle could change those of a function or a class."""

    __slots__ = ()

    def __call__(self, *given: object) -> object:
        raise _Refused(f"{type(self).__name__.strip('_')} is called with {len(given)} values")


class _NdarrayName(_Callable):
    """``numpy.ndarray``, which files only name."""

    __slots__ = ()


class _DtypeName(_Callable):
    __slots__ = ()

    def __call__(self, *given: object) -> _Dtype:
        if not given:
            raise _Refused("a type without a name")
        return _Dtype(*given)


class _Reconstruct(_Callable):
    """``_reconstruct(ndarray, (0,), b"b")``: an empty array, whose state follows."""

    __slots__ = ()

    def __call__(self, *given: object) -> _Array:
        if len(given) != 3 or type(given[0]) is not _NdarrayName:
            raise _Refused("it asks for an object other than an array of numpy")
        return _Array()


class _FromBuffer(_Callable):
    """``_frombuffer(data, dtype, shape, order)``: arrays of protocol 5."""

    __slots__ = ()

    def __call__(self, *given: object) -> _Array:
        if len(given) != 4 or given[3] not in ("C", "F"):
            raise _Refused("an array is made in an unknown way")
        array = _Array()
        array.fill(given[0], given[1], given[2], str(given[3]))
        return array


class _Encode(_Callable):
    """Python 3 writes the bytes of old pickles as ``_codecs.encode(text, "latin1")``; no other codec is let through."""

    __slots__ = ()

    def __call__(self, *given: object) -> bytes:
        if len(given) != 2 or not isinstance(given[0], str) or _text(given[1]) not in ("latin1", "latin-1"):
            raise _Refused("it asks for another encoding than latin1")
        return given[0].encode("latin1")


_ALLOWED: dict[tuple[str, str], _Callable] = {
    ("numpy.core.multiarray", "_reconstruct"): _Reconstruct(),
    ("numpy._core.multiarray", "_reconstruct"): _Reconstruct(),
    ("numpy.core.numeric", "_frombuffer"): _FromBuffer(),
    ("numpy._core.numeric", "_frombuffer"): _FromBuffer(),
    ("numpy", "ndarray"): _NdarrayName(),
    ("numpy", "dtype"): _DtypeName(),
    ("_codecs", "encode"): _Encode(),
}

# Left out: objects and persistent references, sets, extensions, buffers of other files.
_OPCODES = (
    "PROTO FRAME STOP MARK POP POP_MARK DUP NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT "
    "BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES "
    "BINBYTES8 BYTEARRAY8 EMPTY_LIST LIST APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_DICT DICT "
    "SETITEM SETITEMS PUT BINPUT LONG_BINPUT GET BINGET LONG_BINGET MEMOIZE GLOBAL STACK_GLOBAL REDUCE BUILD"
).split()


class _PlainUnpickler(pickle._Unpickler):
    """The reader in Python: that in C fills a table as long as the largest number that a file gives to an object."""

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        opcode: pickle._Unpickler.dispatch[opcode] for opcode in (getattr(pickle, name)[0] for name in _OPCODES)
    }
    # Attributes of the base class that the stubs of the standard library do not know.
    stack: list[Any]
    read: Callable[[int], bytes]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data), encoding="bytes")
        # Each text in a file is encoded once. A file that does it again and again wants memory.
        self._left = self._size = len(data)

    def find_class(self, module: str, name: str) -> Any:
        """A stand-in for what image files need; raises `pickle.UnpicklingError` for everything else."""
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise _Refused(f"it asks for {module}.{name}, which no image file needs") from None

    def load_bytearray8(self) -> None:
        """Bytes that may be changed, of a length that is checked before there is memory for them."""
        size = int.from_bytes(self.read(8), "little")
        if size > self._size:
            raise _Refused(f"it announces {size} bytes and has {self._size}")
        self.append(bytearray(self.read(size)))

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8

    def load_reduce(self) -> None:
        """Call a stand-in."""
        given = self.stack.pop()
        function = self.stack[-1]
        if not isinstance(function, _Callable) or type(given) is not tuple:
            raise _Refused("it calls what is no function")
        self.stack[-1] = made = function(*given)
        if isinstance(made, bytes):
            self._left -= len(made)
            if self._left < 0:
                raise _Refused("it makes more bytes than it has")

    dispatch[pickle.REDUCE[0]] = load_reduce

    def load_build(self) -> None:
        """Give a stand-in its state."""
        state = self.stack.pop()
        thing = self.stack[-1]
        if not isinstance(thing, _Array | _Dtype):
            raise _Refused(f"it changes a {type(thing).__name__.strip('_')}")
        thing.set_state(state)

    dispatch[pickle.BUILD[0]] = load_build

    def load_setitem(self) -> None:
        """One entry of a dictionary."""
        key, value = self.stack[-2:]
        del self.stack[-2:]
        self._enter([key, value])

    dispatch[pickle.SETITEM[0]] = load_setitem

    def load_setitems(self) -> None:
        """Entries of a dictionary."""
        self._enter(self.pop_mark())

    dispatch[pickle.SETITEMS[0]] = load_setitems

    def load_dict(self) -> None:
        """A dictionary with its entries."""
        items = self.pop_mark()
        self.stack.append({})
        self._enter(items)

    dispatch[pickle.DICT[0]] = load_dict

    def load_append(self) -> None:
        """One entry of a list."""
        self._extend([self.stack.pop()])

    dispatch[pickle.APPEND[0]] = load_append

    def load_appends(self) -> None:
        """Entries of a list."""
        self._extend(self.pop_mark())

    dispatch[pickle.APPENDS[0]] = load_appends

    def _enter(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise _Refused("it has entries without a dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            # A tuple in tuples in tuples as a key overflows the stack of the process when it is hashed.
            if not isinstance(key, bytes | str | int):
                raise _Refused(f"a dictionary has a {type(key).__name__.strip('_')} as a key")
            target[key] = value

    def _extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise _Refused("it has entries without a list")
        target.extend(items)


def read_plain_pickle(data: bytes, name: str) -> dict[bytes, Any]:
    """The dictionary pickled in ``data`` (Python 2 strings as bytes); arrays that it holds are read-only.

    Args:
        data: the file's bytes, already checked against a checksum.
        name: the file's name, for the error.

    Raises:
        DataError: the pickle names anything but arrays and containers, is damaged, or holds no dictionary.
    """
    try:
        found = _PlainUnpickler(data).load()
    except _Refused as error:
        raise DataError(f"{name} was refused: {error}") from None
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise DataError(
            f"{name} was refused: it is not a whole pickle of plain values ({type(error).__name__})"
        ) from None
    if not isinstance(found, dict):
        raise DataError(f"{name} was refused: it holds a {type(found).__name__}, not a dictionary")
    return {key: value.values if isinstance(value, _Array) else value for key, value in found.items()}
