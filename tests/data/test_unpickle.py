"""What a hostile pickle may not do. Each of these was accepted, or ended the process, when numpy read the states."""

from __future__ import annotations

import pickle
import tracemalloc

import numpy as np
import pytest

from interplay.data.unpickle import read_plain_pickle
from interplay.errors import DataError

EMPTY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
BYTES = b"cnumpy\ndtype\n(S'u1'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI0\ntb"


def array(
    shape: bytes, dtype: bytes = BYTES, fortran: bytes = b"I00\n", raw: bytes = b"S'ABCDEFGHIJKLMNOP'\n"
) -> bytes:
    """A pickle of a dictionary with one array, in protocol 0."""
    return b"(dS'data'\n" + EMPTY + b"(I1\n" + shape + dtype + fortran + raw + b"tbs."


def dtype(state: object, name: bytes = b"V8") -> bytes:
    """A type with ``state``."""
    return b"cnumpy\ndtype\n(S'" + name + b"'\nI0\nI1\ntR" + pickle.dumps(state, 0)[:-1] + b"b"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", ["u1", "b1", "<i2", ">i4", "<f8", ">u8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_numbers_are_read_as_numpy_reads_them(protocol: int, kind: str, order: str) -> None:
    wanted = np.arange(24).reshape(2, 3, 4).astype(kind, order=order)  # type: ignore[call-overload]
    found = read_plain_pickle(pickle.dumps({b"data": wanted}, protocol), "file")[b"data"]
    assert np.array_equal(found, wanted)
    assert found.dtype == wanted.dtype


HOSTILE = {
    "an object field behind a flag of its own": array(
        b"(I2\nt", dtype((3, "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 1))
    ),
    "a type of another size": array(b"(I2\nt", dtype((3, "|", None, None, None, 8, 1, 0))),
    "a subarray": array(b"(I2\nt", dtype((3, "|", (np.dtype("u1"), (2**40,)), None, None, -1, -1, 0), b"u1")),
    "flags": array(b"(I16\nt", dtype((3, "|", None, None, None, -1, -1, 63), b"u1")),
    "a state that is no tuple": array(b"(I16\nt", dtype([3, "|", None, None, None, -1, -1, 0], b"u1")),
    "a byte order that is none": array(b"(I16\nt", dtype((3, "Z", None, None, None, -1, -1, 0), b"u1")),
    "objects": array(b"(I2\nt", pickle.dumps(np.dtype("O"), 0)[:-1]),
    "objects in a list": pickle.dumps({b"data": np.array([{}, 1], object)}, 2),
    "a name for a type": array(b"(I2\nt", b"S'O'\n"),
    "times": array(b"(I2\nt", pickle.dumps(np.dtype("M8[s]"), 0)[:-1]),
    "negative sizes": array(b"(I-4\nI-4\nt"),
    "sizes that overflow": array(b"(L4294967296L\nL4294967296L\nI16\nt"),
    "a size beyond any integer": array(b"(L99999999999999999999999L\nt"),
    "nothing, in a huge shape": array(b"(I0\nL9223372036854775807L\nL9223372036854775807L\nt", raw=b"S''\n"),
    "more than there is": array(b"(I17\nt"),
    "less than there is": array(b"(I15\nt"),
    "a shape in a list": array(b"(lI16\na"),
    "a shape of truths": array(b"(I01\nI16\nt"),
    "forty axes": array(b"(I16\n" + b"I1\n" * 40 + b"t"),
    "an order that is a number": array(b"(I16\nt", fortran=b"F1.5\n"),
    "a state of four": b"(dS'data'\n" + EMPTY + b"((I16\nt" + BYTES + b"I00\nS'ABCDEFGHIJKLMNOP'\ntbs.",
    "an array in an array": array(b"(I1\nt", raw=EMPTY),
    "attributes of a function": b"(dS'd'\ncnumpy\ndtype\n(dS'x'\nI1\nsbs.",
    "another class for a function": b"(dS'd'\ncnumpy\ndtype\n(N(dS'__class__'\ncnumpy\nndarray\nstbs.",
    "attributes of a dictionary": b"(d(dS'a'\nI1\nsb.",
    "a class made into an object": b"\x80\x02}U\x01acnumpy\nndarray\n)\x81s.",
    "a class that is called": b"(dS'd'\ncnumpy\nndarray\n((I2\nttRs.",
    "a call of what a call gave": b"(dS'd'\n" + EMPTY + b"(tRs.",
    "a key that overflows the stack": b"\x80\x02})" + b"\x85" * 200_000 + b"I1\ns.",
    "a length beyond memory": b"\x80\x05\x96" + (2**40).to_bytes(8, "little") + b".",
    "a set of such keys": b"\x80\x04}\x8c\x01a\x8f(" + b")" + b"\x85" * 1000 + b"\x90s.",
    "a persistent reference": b"(dS'd'\nPabc\ns.",
    "a name inside a class": b"\x80\x04}\x8c\x01a\x8c\x05numpy\x8c\x0dndarray.dumps\x93s.",
}


@pytest.mark.parametrize("payload", HOSTILE.values(), ids=HOSTILE)
def test_states_that_numpy_would_trust_are_refused(payload: bytes) -> None:
    with pytest.raises(DataError, match=r"^file was refused: [^\n]*$"):
        read_plain_pickle(payload, "file")


def test_a_number_given_to_an_object_takes_no_memory() -> None:
    tracemalloc.start()
    try:
        assert read_plain_pickle(b"\x80\x02}r\x00\x00\x00\x08.", "file") == {}  # number 2**27
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_one_text_encoded_again_and_again_takes_no_memory() -> None:
    text = b"X" + (1000).to_bytes(4, "little") + b"a" * 1000
    payload = b"\x80\x02}U\x01a](c_codecs\nencode\nq\x01" + text + b"q\x02X\x06\0\0\0latin1q\x03000"
    payload += b"h\x01h\x02h\x03\x86R" * 1000 + b"es."
    with pytest.raises(DataError, match="it makes more bytes than it has"):
        read_plain_pickle(payload, "file")
