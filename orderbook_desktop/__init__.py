"""See the exchange's order book live, and own an honest recording of it.

This is the interface for programs. `open_recording` opens a recording for reading. `decimals`
and `floats` turn its whole numbers into decimals and doubles. Importing this package loads
neither numpy nor the rest of the program.
"""

from __future__ import annotations

# The program begins here, too. Until the next two modules are loaded, a request to end it ends in a
# traceback, so nothing else is loaded here, not even `typing`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from decimal import Decimal
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from orderbook_desktop.app.python_api import RecordingReader
    from orderbook_desktop.core.version import __version__

__all__ = ["__version__", "decimals", "floats", "open_recording"]


if not TYPE_CHECKING:

    def __getattr__(name: str) -> str:
        """Return the version, which is loaded when it is asked for."""
        if name != "__version__":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from orderbook_desktop.core.version import __version__  # noqa: PLC0415

        return __version__


def open_recording(
    symbol: str | None = None,
    *,
    dsn: str | None = None,
    db_name: str | None = None,
    data_dir: Path | str | None = None,
    file: Path | str | None = None,
) -> RecordingReader:
    """Open the recording of `symbol` (`BTC/USDT` or `BTCUSDT`) for reading; use it in a `with`.

    `dsn` is the address of its MongoDB server, and `db_name` the database on it. `data_dir` is
    the folder of the program's own database, which is started unless it runs already. An
    argument that is None is taken from the variable `MONGO_DSN`, `DB_NAME` or
    `ORDERBOOK_DATA_DIR`, and without that variable from the program's defaults. Raises
    `orderbook_desktop.core.errors.KnownError`, whose `str()` is a sentence, where there is no
    such recording or no database.

    With `file`, the path of a packed recording (`.obd`), it reads that, without a database. Where
    the file has one recording, `symbol` may be left out.

    Books have `bids` and `asks`, each with `prices` and `quantities`: arrays of whole numbers
    (int64) in units of 10^-`scale.price` and 10^-`scale.quantity`. A sum or product of these
    may leave int64, and numpy lets it wrap in silence. `bids.total(10)` and `bids.notional(10)`
    are Python integers, in units of 10^-`scale.quantity` and 10^-`scale.notional`, and are exact
    in every market. For other calculations `floats` makes arrays of doubles.
    """
    from pathlib import Path  # noqa: PLC0415 (importing this package is instant)

    from orderbook_desktop.app.python_api import RecordingReader  # noqa: PLC0415

    folder, packed = (None if place is None else Path(place) for place in (data_dir, file))
    return RecordingReader(symbol, dsn, db_name, folder, packed)


def decimals(units: Iterable[int], exponent: int) -> list[Decimal]:
    """Return `units` of 10^-`exponent`, such as prices and `scale.price`, as exact decimals."""
    from decimal import Decimal  # noqa: PLC0415

    return [Decimal(int(unit)).scaleb(-exponent) for unit in units]


def floats(units: Iterable[int], exponent: int) -> npt.NDArray[np.float64]:
    """Return `units` of 10^-`exponent`, such as quantities and their `scale.quantity`, as doubles.

    Each is the nearest double, with about 16 digits. No number wraps.
    """
    import numpy as np  # noqa: PLC0415 (importing this package is instant)

    from orderbook_desktop.core.levels import doubles_of  # noqa: PLC0415

    # A number that does not fit into int64, such as a sum, stays a Python integer until then.
    return doubles_of(np.asarray(units if hasattr(units, "__len__") else list(units)), exponent)
