"""Reading the exchange's public files of aggregated trades: one zip for each day or month.

The file in a zip is CSV with the columns a, p, q, f, l, T, m, M of `GET /api/v3/aggTrades`, with a
header or without. T is in milliseconds, from 2025 on in microseconds. Its name, or that of the zip,
names the market: `BTCUSDT-aggTrades-2025-01-31.csv`. Such a file may be unzipped, too. Beside a zip
may be a file of the same name with `.CHECKSUM` behind it, which has the SHA-256 of the zip. Source:
Binance, "Binance Public Data".

The trades have no time of receipt: each is a repaired one, spelt as an answer of the exchange is.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Final

from orderbook_desktop.core.errors import MalformedMessage
from orderbook_desktop.core.event_times import EARLIEST_MS, in_ms
from orderbook_desktop.core.received import FileNotes, Received, UnusableFile
from orderbook_desktop.core.symbols import is_market
from orderbook_desktop.core.trades import TradeFields, made_trade
from orderbook_desktop.core.units import INT64_MAX
from orderbook_desktop.formats.lines import LONGEST_LINE, check_file
from orderbook_desktop.formats.tardis_fields import decimal_text, shown, unquoted

CHECKSUM_SUFFIX: Final = ".CHECKSUM"
_ZIP: Final = b"PK\x03\x04"
_COLUMNS: Final = "a,p,q,f,l,T,m,M"
# The columns, and how a header may name them.
_HEADERS: Final = (
    tuple(_COLUMNS.split(",")),
    (
        *("agg_trade_id", "price", "quantity", "first_trade_id", "last_trade_id"),
        *("transact_time", "is_buyer_maker", "is_best_match"),
    ),
)
_FLAGS: Final = {b"true": True, b"false": False}
_names_market: Final = re.compile(r"([^/\\]+)-aggTrades-\d{4}-\d\d(-\d\d)?\.csv").fullmatch
_is_checksum: Final = re.compile(rb"([0-9a-fA-F]{64})(\s.*)?", re.DOTALL).fullmatch
_LONGEST_CHECKSUM: Final = 4096
_HASHED_AT_ONCE: Final = 1 << 20


def is_aggtrades(path: Path) -> bool:
    """Whether the file at `path` is such a zip, or the file in one, or its checksum."""
    check_file(path)
    if path.name.endswith(CHECKSUM_SUFFIX) or _names_market(path.name):
        return True
    try:
        with path.open("rb") as file:
            return file.read(len(_ZIP)) == _ZIP
    except OSError:
        # What reads the file says why it can't.
        return False


def aggtrades(paths: Sequence[Path], notes: FileNotes | None = None) -> Iterator[Received]:
    """Iterate over the trades of the zips at `paths`, as they stand there.

    Checksums are held against the zips that they are of, also where only the zip is among `paths`.
    `notes` gets the unit of times that are not in milliseconds. Raises `UnusableFile`, with the
    number of the line in the zip's file.
    """
    notes = FileNotes() if notes is None else notes
    zips = [path for path in paths if not path.name.endswith(CHECKSUM_SUFFIX)]
    for path in paths:
        if path.name.endswith(CHECKSUM_SUFFIX):
            checked = path.with_name(path.name.removesuffix(CHECKSUM_SUFFIX))
            if not checked.is_file():
                raise UnusableFile(path, f"is the checksum of {checked.name}, which is not there")
            if checked not in zips:
                zips.append(checked)
    for path in zips:
        _hold_against_checksum(path)
    for path in zips:
        yield from _trades(path, notes)


def _hold_against_checksum(path: Path) -> None:
    """Raise `UnusableFile` if there is a checksum beside a zip, and it is another one's."""
    beside = path.with_name(path.name + CHECKSUM_SUFFIX)
    if not beside.is_file():
        return
    try:
        with beside.open("rb") as file:
            found = _is_checksum(file.read(_LONGEST_CHECKSUM).strip())
        with path.open("rb") as file:
            digest = hashlib.sha256()
            while block := file.read(_HASHED_AT_ONCE):
                digest.update(block)
    except OSError as error:
        raise UnusableFile(path, f"cannot be read ({error.strerror or error})") from error
    if found is None:
        raise UnusableFile(beside, "has no SHA-256; download it again")
    if found[1].decode().lower() != digest.hexdigest():
        reason = f"does not match its checksum in {beside.name}; download both again"
        raise UnusableFile(path, reason)


def _trades(path: Path, notes: FileNotes) -> Iterator[Received]:
    with _opened(path) as (market, file):
        for number, line in enumerate(_lines(path, file), start=1):
            if number == 1 and _is_header(path, line):
                continue
            try:
                fields = _fields(line)
                trade = made_trade(market, fields)
            except (ValueError, MalformedMessage) as error:
                reason = error.reason if isinstance(error, MalformedMessage) else str(error)
                raise UnusableFile(path, reason, number) from error
            if trade.event_ms != fields.T:
                notes.units[path] = "microseconds"
            yield Received(0, trade)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Open the file in a zip, or the file itself; give its market, too."""
    try:
        if _names_market(path.name):
            with path.open("rb") as file:
                yield _market_of(path, path.name), file
            return
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(".csv")]
            if len(names) != 1:
                raise UnusableFile(path, "has not one CSV file in it")
            market = _market_of(path, PurePosixPath(names[0]).name, f"{path.stem}.csv")
            with archive.open(names[0]) as file:
                yield market, file
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        reason = str(error) or type(error).__name__
        raise UnusableFile(path, f"is damaged ({reason}); download it again") from error
    except OSError as error:
        raise UnusableFile(path, f"cannot be read ({error.strerror or error})") from error


def _market_of(path: Path, *names: str) -> str:
    for name in names:
        found = _names_market(name)
        if found is not None and is_market(found[1]):
            return found[1]
    reason = "names no spot market, as BTCUSDT-aggTrades-2025-01-31.csv does"
    raise UnusableFile(path, reason)


def _lines(path: Path, file: IO[bytes]) -> Iterator[bytes]:
    number = 0
    while line := file.readline(LONGEST_LINE):
        number += 1
        if len(line) == LONGEST_LINE:
            raise UnusableFile(path, "is longer than any row", number)
        yield line.strip()


def _is_header(path: Path, line: bytes) -> bool:
    names = tuple(name.strip() for name in unquoted(line).decode("utf-8", "replace").split(","))
    if names == _HEADERS[1][:-1]:
        raise UnusableFile(path, "is of the futures market; only the spot market is recorded here")
    return names in _HEADERS


def _fields(line: bytes) -> TradeFields:
    fields = unquoted(line).split(b",")
    if len(fields) != len(_HEADERS[0]):
        raise ValueError(f"has not the fields {_COLUMNS} of the spot market's files")
    a, p, q, f, l, T, m, _ = fields  # noqa: E741, N806 (the exchange's names)
    is_sold = _FLAGS.get(m.lower())
    if is_sold is None:
        raise ValueError(f"has {shown(m)} for m, which is true or false")
    time = _number(T)
    if in_ms(time) < EARLIEST_MS:
        raise ValueError(f"has {shown(T)} for a time in milliseconds or microseconds")
    return TradeFields(
        a=_number(a),
        p=decimal_text(p),
        q=decimal_text(q),
        f=_number(f),
        l=_number(l),
        T=time,
        m=is_sold,
    )


def _number(text: bytes) -> int:
    if not text.isdigit() or len(text) > len(str(INT64_MAX)):
        raise ValueError(f"has {shown(text)} for a whole number")
    return int(text)
