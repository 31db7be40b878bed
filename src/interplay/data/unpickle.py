"""A pickle reader that can build arrays and plain containers, and call nothing else.

``pickle.load`` runs whatever a file names. The CIFAR pickles need exactly three globals of numpy; every other global is
refused before it is imported (https://docs.python.org/3/library/pickle.html#restricting-globals).
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np

from interplay.errors import DataError


class _Latin1:
    """Python 3 writes the bytes of old pickles as ``_codecs.encode(text, "latin1")``; no other codec is let through.

    An instance without slots rather than a function: a pickle could change the attributes of a function.
    """

    __slots__ = ()

    def __call__(self, text: str, encoding: str) -> bytes:
        if encoding not in ("latin1", "latin-1"):
            raise pickle.UnpicklingError(f"refused encoding {encoding!r}")
        return text.encode("latin1")


_RECONSTRUCT = np.ndarray(0).__reduce__()[0]
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _Latin1(),
}


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Only what image files need; raises `pickle.UnpicklingError` for everything else."""
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no image file needs") from None


def read_plain_pickle(data: bytes, name: str) -> dict[bytes, Any]:
    """The dictionary pickled in ``data`` (Python 2 strings as bytes).

    Args:
        data: the file's bytes, already checked against a checksum.
        name: the file's name, for the error.

    Raises:
        DataError: the pickle names anything but arrays and containers, is damaged, or holds no dictionary.
    """
    try:
        found = _PlainUnpickler(io.BytesIO(data), encoding="bytes").load()
    except Exception as error:  # a hostile or cut pickle can raise nearly anything
        raise DataError(f"{name} was refused: {error}") from error
    if not isinstance(found, dict):
        raise DataError(f"{name} was refused: it holds a {type(found).__name__}, not a dictionary")
    return found
