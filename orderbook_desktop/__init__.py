"""See the exchange's order book live, and own an honest recording of it.

For programs there are `open_recording`, which reads what was recorded, and `decimals` and
`floats`, which turn its whole numbers into decimals and doubles. Importing this loads nothing
else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orderbook_desktop.core.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable
    from decimal import Decimal
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from orderbook_desktop.app.python_api import RecordingReader

__all__ = ["__version__", "decimals", "floats", "open_recording"]


def open_recording(
    symbol: str,
    *,
    dsn: str | None = None,
    db_name: str | None = None,
    data_dir: Path | str | None = None,
) -> RecordingReader:
    """Open the recording of `symbol` (`BTC/USDT` or `BTCUSDT`) for reading; use it in a `with`.

    `dsn` is the address of its MongoDB server, `db_name` the database on it, and `data_dir`
    the folder of the program's own database, which is started where it doesn't run. What is
    left out is taken from `MONGO_DSN`, `DB_NAME` and `ORDERBOOK_DATA_DIR`, else it is what the
    program itself uses. Raises `orderbook_desktop.core.errors.KnownError`, whose `str()` is a
    sentence, where there is no such recording or no database.

    Books have `bids` and `asks`, each with `prices` and `quantities`: arrays of whole numbers
    (int64) in units of 10^-`scale.price` and 10^-`scale.quantity`. A sum or product of these
    may leave int64, and numpy lets it wrap in silence: `bids.total(10)` and `bids.notional(10)`
    are exact whatever the market (Python integers, of 10^-`scale.quantity` and
    10^-`scale.notional`); for everything else `floats` makes arrays of doubles.
    """
    from pathlib import Path  # noqa: PLC0415 (importing this package is instant)

    from orderbook_desktop.app.python_api import RecordingReader  # noqa: PLC0415

    return RecordingReader(symbol, dsn, db_name, None if data_dir is None else Path(data_dir))


def decimals(units: Iterable[int], exponent: int) -> list[Decimal]:
    """Return `units` of 10^-`exponent`, such as prices and their `scale.price`, as decimals.

    They are exact.
    """
    from decimal import Decimal  # noqa: PLC0415

    return [Decimal(int(one)).scaleb(-exponent) for one in units]


def floats(units: Iterable[int], exponent: int) -> npt.NDArray[np.float64]:
    """Return `units` of 10^-`exponent`, such as quantities and their `scale.quantity`, as doubles.

    Each is the nearest double: about 16 digits, and nothing wraps.
    """
    import numpy as np  # noqa: PLC0415 (importing this package is instant)

    from orderbook_desktop.core.levels import doubles_of  # noqa: PLC0415

    # What leaves int64, such as a sum, stays a Python integer on the way.
    return doubles_of(np.asarray(units if hasattr(units, "__len__") else list(units)), exponent)
