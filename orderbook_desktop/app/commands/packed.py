"""The commands `pack` and `unpack`, and packed files (`.obd`) as what other commands read."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import typer

from orderbook_desktop.app.commands.database_session import open_database
from orderbook_desktop.app.commands.long_work import WorkProgress, run_interruptibly
from orderbook_desktop.app.commands.times import check_span
from orderbook_desktop.app.settings import Settings, symbol_and_market
from orderbook_desktop.core.disk import bytes_text
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.formats.packed_file import is_packed
from orderbook_desktop.storage.exports.exporting import NothingRecorded
from orderbook_desktop.storage.exports.packed_file import PackedMarket, PackJob, pack
from orderbook_desktop.storage.imports.unpacking import UnpackedMarket, unpack
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.packed_store import PackedStore, open_packed
from orderbook_desktop.storage.store.recording_store import RecordingStore


class SymbolNeeded(KnownError):
    """The packed file at `path` has recordings of several `markets`, and none was named."""

    path: Path
    markets: Sequence[str]

    def __str__(self) -> str:
        some = ", ".join(self.markets[:20]) + (", …" if len(self.markets) > 20 else "")
        what = f"the recordings of {some}" if self.markets else "no recording"
        return f"{self.path} has {what}; name the symbol of one that is there."


def named_file(text: str) -> Path | None:
    """Return the packed file that an argument names; None if it names a symbol."""
    path = Path(text)
    is_file = is_packed(path) or (path.suffix and os.path.isfile(path))  # noqa: PTH113 (never raises)
    return path if is_file else None


def market_in(store: PackedStore, names: tuple[str, str] | None) -> tuple[str, str]:
    """Return symbol and market of a recording in a file: those of its only one without `names`.

    Raises `NothingRecorded` and `SymbolNeeded`.
    """
    markets = store.file.markets
    if names is not None:
        symbol, market = names
        if market not in markets:
            raise NothingRecorded(f"{symbol} in {store.file.path}")
        return symbol, market
    if len(markets) != 1:
        raise SymbolNeeded(store.file.path, markets)
    return symbol_and_market(markets[0])


@asynccontextmanager
async def recording_place(
    settings: Settings, file: Path | None, names: tuple[str, str] | None
) -> AsyncIterator[tuple[Database | RecordingStore, str, str]]:
    """Give the place of a recording, its symbol and its market.

    It is in the packed `file`, if that is given; there it need not be named if there is one only.
    Raises what opening the file or the database raises.
    """
    if file is not None:
        async with open_packed(file) as store:
            yield store, *market_in(store, names)
    elif names is not None:
        async with open_database(settings) as database:
            yield database, *names


def run_pack(
    settings: Settings,
    symbols: Sequence[str],
    path: Path,
    *,
    from_ms: int | None,
    to_ms: int | None,
    force: bool,
) -> int:
    """Pack the recordings of `symbols` into a file; return the exit code. Raises `KnownError`."""
    names = {market: symbol for symbol, market in map(symbol_and_market, symbols)}
    check_span(from_ms, to_ms)
    job = PackJob(names, path, from_ms, to_ms, force)

    def report(done: list[PackedMarket]) -> int:
        for packed in done:
            typer.echo(f"{packed.market}: {packed.text}.")
        typer.echo(f"{path}: {bytes_text(path.stat().st_size)}.")
        return 0

    work = _pack(settings, job)
    return run_interruptibly(work, "nothing was packed", report, done=f"{path} was written")


def run_unpack(settings: Settings, path: Path) -> int:
    """Merge the recordings of a packed file into the database; return the exit code.

    Raises `KnownError`.
    """

    def report(done: list[UnpackedMarket]) -> int:
        for new in done:
            into = f", into {settings.db_name}" if new.has_any else ""
            typer.echo(f"{new.market}: {new.text}{into}.")
        return 0

    # No deadline after a signal: what has begun to be written is undone, or finished.
    return run_interruptibly(
        _unpack(settings, path),
        "nothing was unpacked",
        report,
        done="everything was unpacked",
        within_s=None,
    )


async def _unpack(settings: Settings, path: Path) -> list[UnpackedMarket]:
    done: list[UnpackedMarket] | None = None
    try:
        async with (
            open_packed(path) as store,
            open_database(settings, existing=False) as database,
        ):
            with WorkProgress("Unpacking") as progress:

                def show(what: str, events: int, total: int) -> None:
                    progress.show(events / max(1, total), what)

                done = await unpack(database, store, show)
    except asyncio.CancelledError:
        # If all is written, the request came too late: only the database had to be closed.
        if done is None:
            raise
    return done


async def _pack(settings: Settings, job: PackJob) -> list[PackedMarket]:
    done: list[PackedMarket] | None = None
    try:
        async with open_database(settings) as database:
            with WorkProgress("Packing") as progress:

                def show(market: str, events: int, total: int) -> None:
                    progress.show(events / max(1, total), f"Packing {job.symbols[market]}")

                done = await pack(database, job, show)
    except asyncio.CancelledError:
        # If the file is complete, the request came too late: only the database had to be closed.
        if done is None:
            raise
    return done
