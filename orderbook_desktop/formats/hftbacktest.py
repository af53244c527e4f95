"""hftbacktest's event array, as the `.npz` that its data readers load.

Source: hftbacktest, "Data" (the dtype) and "Constants" (the flags). Times are nanoseconds, prices
and quantities doubles, as the format has it. A run begins with an event that clears both sides,
and then has its whole book. Times are adjusted in two ways, as hftbacktest's own converters do. An
event whose time goes back gets the time of the event before it. Where our clock was behind the
exchange's, all local times move forward by the least amount with which no event arrives before it
happened.
"""

from __future__ import annotations

import zipfile
from contextlib import ExitStack
from typing import BinaryIO, Final

import numpy as np
import numpy.typing as npt

from orderbook_desktop.core.archive.rows import LevelRows, Survey
from orderbook_desktop.core.levels import Int64Array, doubles_of

EVENT_DTYPE: Final = np.dtype(
    [
        ("ev", "<u8"),
        ("exch_ts", "<i8"),
        ("local_ts", "<i8"),
        ("px", "<f8"),
        ("qty", "<f8"),
        ("order_id", "<u8"),
        ("ival", "<i8"),
        ("fval", "<f8"),
    ]
)

_DEPTH: Final = 1
_CLEAR: Final = 3
_SNAPSHOT: Final = 4
_EXCHANGE_AND_LOCAL: Final = 1 << 31 | 1 << 30
_BUY: Final = 1 << 29
_SELL: Final = 1 << 28
_NS_A_MS: Final = 1_000_000
_ARRAY: Final = "data"
_ZIP_LEVEL: Final = 5
# A fixed time: the same rows give the same file.
_ZIP_TIME: Final = (1980, 1, 1, 0, 0, 0)

Events = npt.NDArray[np.void]


class HftbacktestWriter:
    """Writes rows into `file` as the compressed array `data`. Call `close()` in the end.

    `survey` is that of all rows, which the writer needs first: an array begins with its length.
    """

    def __init__(self, file: BinaryIO, survey: Survey) -> None:
        self.moved_ns = max(0, -survey.least_delay_ns)
        self._latest_exchange_ns = 0
        self._latest_local_ns = 0
        self._stack = ExitStack()
        archive = self._stack.enter_context(
            zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=_ZIP_LEVEL)
        )
        entry = zipfile.ZipInfo(f"{_ARRAY}.npy", _ZIP_TIME)
        entry.compress_type = zipfile.ZIP_DEFLATED
        self._array = self._stack.enter_context(archive.open(entry, "w", force_zip64=True))
        np.lib.format.write_array_header_1_0(
            self._array,
            {
                "descr": np.lib.format.dtype_to_descr(EVENT_DTYPE),
                "fortran_order": False,
                # Before each book comes an event that clears the book before.
                "shape": (survey.rows + survey.books,),
            },
        )

    def write(self, rows: LevelRows) -> None:
        """Append `rows`."""
        events: Events = np.zeros(len(rows), dtype=EVENT_DTYPE)
        kind = _SNAPSHOT if rows.is_snapshot else _DEPTH
        events["ev"] = _EXCHANGE_AND_LOCAL | kind | np.where(rows.asks, _SELL, _BUY)
        events["px"] = doubles_of(rows.prices, rows.scale.price)
        events["qty"] = doubles_of(rows.quantities, rows.scale.quantity)
        exchange_ns = _never_back(rows.event_ms * _NS_A_MS, self._latest_exchange_ns)
        local_ns = _never_back(rows.received_ns + self.moved_ns, self._latest_local_ns)
        events["exch_ts"], events["local_ts"] = exchange_ns, local_ns
        if len(rows):
            self._latest_exchange_ns = int(exchange_ns[-1])
            self._latest_local_ns = int(local_ns[-1])
        if rows.is_snapshot:
            self._array.write(self._clearing(events).tobytes())
        self._array.write(events.tobytes())

    def close(self) -> None:
        """Write the rest; the file itself stays open."""
        self._stack.close()

    def _clearing(self, book: Events) -> Events:
        """Return the event before `book`; it names no side, and so clears both sides."""
        event: Events = np.zeros(1, dtype=EVENT_DTYPE)
        event["ev"] = _EXCHANGE_AND_LOCAL | _CLEAR
        event["exch_ts"] = book["exch_ts"][:1] if len(book) else self._latest_exchange_ns
        event["local_ts"] = book["local_ts"][:1] if len(book) else self._latest_local_ns
        return event


def _never_back(times: Int64Array, latest: int) -> Int64Array:
    return np.maximum(np.maximum.accumulate(times), latest)
