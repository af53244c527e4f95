"""Columns of numbers as an Arrow stream, which arro3 reads without a copy.

Source: Apache Arrow, "The Arrow C data interface", "The Arrow C stream interface". The stream
carries the types of its columns. So whole numbers become exact decimals: 128 bits hold the number,
and only the schema says how many places it has. Each structure has a release function of ours,
which the maker of a structure has to provide. A structure made by another library must not be
changed.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from msgspec import Struct

# One batch: the buffers of each column, in Arrow's order, without the buffer of nulls.
Buffers = Sequence[npt.NDArray[Any]]
Batch = tuple[int, Sequence[Buffers]]

_STREAM_NAME: Final = b"arrow_array_stream"
_FAILED: Final = 5
_LOW_BITS: Final = (1 << 64) - 1


class Column(Struct, frozen=True):
    """A column without nulls: its name, and its type as an Arrow format string."""

    name: str
    format: str


def int128s(values: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """Return whole numbers that are not negative as little-endian numbers of 128 bits.

    `values` are int64, or Python's integers below 2^127 in an array of objects.
    """
    halves = np.zeros((len(values), 2), dtype="<u8")
    if values.dtype == object:
        halves[:, 0] = values & _LOW_BITS
        halves[:, 1] = values >> 64
    else:
        halves[:, 0] = values
    return halves


def bits(values: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Return truth values as bits, the first one in the lowest bit."""
    return np.packbits(values, bitorder="little")


def words(values: npt.NDArray[np.bool_], choice: tuple[str, str]) -> Buffers:
    """Return the buffers of a column of texts: of two, the first where false."""
    lengths = np.array([len(word.encode()) for word in choice], dtype=np.int32)
    ends = np.zeros(len(values) + 1, dtype=np.int32)
    np.cumsum(lengths[values.astype(np.int8)], out=ends[1:])
    letters = np.zeros((2, int(lengths.max())), dtype=np.uint8)
    for row, word in zip(letters, choice, strict=True):
        row[: len(word.encode())] = np.frombuffer(word.encode(), dtype=np.uint8)
    chosen = values.astype(np.int8)
    is_letter = np.arange(letters.shape[1]) < lengths[chosen][:, np.newaxis]
    return ends, letters[chosen][is_letter]


class _Schema(ctypes.Structure):
    """`struct ArrowSchema`."""


class _Array(ctypes.Structure):
    """`struct ArrowArray`."""


class _Stream(ctypes.Structure):
    """`struct ArrowArrayStream`."""


_ReleaseSchema = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Schema))
_ReleaseArray = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Array))
_ReleaseStream = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Stream))
_GetSchema = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Stream), ctypes.POINTER(_Schema))
_GetNext = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Stream), ctypes.POINTER(_Array))
_GetLastError = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.POINTER(_Stream))

_Schema._fields_ = [
    ("format", ctypes.c_char_p),
    ("name", ctypes.c_char_p),
    ("metadata", ctypes.c_char_p),
    ("flags", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("children", ctypes.POINTER(ctypes.POINTER(_Schema))),
    ("dictionary", ctypes.POINTER(_Schema)),
    ("release", _ReleaseSchema),
    ("private_data", ctypes.c_void_p),
]
_Array._fields_ = [
    ("length", ctypes.c_int64),
    ("null_count", ctypes.c_int64),
    ("offset", ctypes.c_int64),
    ("n_buffers", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("buffers", ctypes.POINTER(ctypes.c_void_p)),
    ("children", ctypes.POINTER(ctypes.POINTER(_Array))),
    ("dictionary", ctypes.POINTER(_Array)),
    ("release", _ReleaseArray),
    ("private_data", ctypes.c_void_p),
]
_Stream._fields_ = [
    ("get_schema", _GetSchema),
    ("get_next", _GetNext),
    ("get_last_error", _GetLastError),
    ("release", _ReleaseStream),
    ("private_data", ctypes.c_void_p),
]


class ArrowStream:
    """`batches` of `columns`, to be read once, by one reader.

    Keep the stream until the reader has ended and has released all structures. An exception of
    `batches` ends the stream and is kept in `failure`.
    """

    def __init__(self, columns: Sequence[Column], batches: Iterator[Batch]) -> None:
        self._columns = columns
        self._batches = batches
        self.failure: BaseException | None = None
        # The structures that the reader holds, by number.
        self._lent: dict[int, object] = {}
        self._numbers = count(1)
        self._release_schema = _ReleaseSchema(self._released)
        self._release_array = _ReleaseArray(self._released)
        self._error = ctypes.create_string_buffer(b"no more of it can be had")
        self._stream = _Stream(
            _GetSchema(self._get_schema),
            _GetNext(self._get_next),
            _GetLastError(lambda _: ctypes.addressof(self._error)),
            _ReleaseStream(_mark_released),
        )

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Return the stream as a capsule of Arrow's PyCapsule interface."""
        make = ctypes.pythonapi.PyCapsule_New
        make.restype, make.argtypes = (
            ctypes.py_object,
            (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p),
        )
        return make(ctypes.addressof(self._stream), _STREAM_NAME, None)

    @property
    def lent(self) -> int:
        """The number of structures that the reader has not released yet."""
        return len(self._lent)

    def _get_schema(self, _: Any, out: Any) -> int:
        fields = [
            _Schema(column.format.encode(), column.name.encode(), release=self._release_schema)
            for column in self._columns
        ]
        pointers = _pointers(_Schema, fields)
        number = self._lend(fields, pointers)
        out[0] = _Schema(
            b"+s", b"", None, 0, len(fields), pointers, None, self._release_schema, number
        )
        return 0

    def _get_next(self, _: Any, out: Any) -> int:
        try:
            batch = next(self._batches, None)
        except BaseException as error:  # noqa: BLE001 (none may pass through the reader)
            self.failure = error
            return _FAILED
        out[0] = _Array() if batch is None else self._array(*batch)
        return 0

    def _array(self, length: int, columns: Sequence[Buffers]) -> _Array:
        fields, kept = [], []
        for buffers in columns:
            whole = [np.ascontiguousarray(buffer) for buffer in buffers]
            # The first buffer would be that of nulls.
            addresses = (ctypes.c_void_p * (len(whole) + 1))(
                None, *(buffer.ctypes.data for buffer in whole)
            )
            fields.append(
                _Array(length, 0, 0, len(addresses), 0, addresses, release=self._release_array)
            )
            kept.append((whole, addresses))
        pointers, no_nulls = _pointers(_Array, fields), (ctypes.c_void_p * 1)(None)
        number = self._lend(fields, pointers, no_nulls, kept)
        return _Array(
            length, 0, 0, 1, len(fields), no_nulls, pointers, None, self._release_array, number
        )

    def _lend(self, *parts: object) -> int:
        number = next(self._numbers)
        self._lent[number] = parts
        return number

    def _released(self, pointer: Any) -> None:
        # A column has no number: it is released with its table.
        self._lent.pop(pointer[0].private_data or 0, None)
        _mark_released(pointer)


def _pointers(kind: type[Any], structures: Sequence[Any]) -> Any:
    return (ctypes.POINTER(kind) * len(structures))(*map(ctypes.pointer, structures))


def _mark_released(pointer: Any) -> None:
    pointer[0].release = type(pointer[0].release)()
