"""What the jobs of the library do, and the sentence that each of them ends with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

from msgspec import Struct

from orderbook_desktop.core.disk import bytes_text
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.file_formats import ExportFormat, ImportFormat
from orderbook_desktop.core.library_jobs import EntryKey, LibraryEntry, LibraryFile, Span
from orderbook_desktop.core.received import FileNotes
from orderbook_desktop.core.recorded_gaps import RecordedGaps
from orderbook_desktop.core.symbols import split_symbol
from orderbook_desktop.core.wording import counted, listed
from orderbook_desktop.formats.collected_files import messages_of
from orderbook_desktop.storage.exports.exporting import NothingRecorded, TargetExists
from orderbook_desktop.storage.exports.packed_file import PackJob, pack
from orderbook_desktop.storage.exports.recording_export import RecordingExport, export_recording
from orderbook_desktop.storage.imports.importing import (
    ImportedMarket,
    ImportTimes,
    Step,
    import_messages,
)
from orderbook_desktop.storage.imports.report import file_remarks, remarks, results
from orderbook_desktop.storage.imports.unpacking import unpack
from orderbook_desktop.storage.reading.summaries import RecordingSummary, summaries
from orderbook_desktop.storage.retention.removal import Span as RemovalSpan
from orderbook_desktop.storage.retention.removal import StillRecorded, find_removal, remove
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.database_store import store_of
from orderbook_desktop.storage.store.packed_store import PackedStore, open_packed
from orderbook_desktop.storage.store.patient_database import PatientDatabase
from orderbook_desktop.storage.tiles.cache import TileCache
from orderbook_desktop.storage.tiles.proof import CheckedTiles, check_tiles
from orderbook_desktop.storage.verification.verification import Verified, verify

# Long enough to undo what a stopped import has written: later imports of this process can't.
_UNDO_S: Final = 30.0
_TIMES: Final = ImportTimes(undo_s=_UNDO_S)

# Called, in any thread, with the part that is done (None: not known) and what is being done.
Show = Callable[[float | None, str], None]


class JobResult(Struct, frozen=True):
    """How a job ended: a sentence, and `remarks`. `is_good` is false where a recording fails."""

    sentence: str
    remarks: tuple[str, ...] = ()
    is_good: bool = True


TilesOf = Callable[[Path | None], TileCache | None]
"""Returns the heatmap's tiles of a packed file, or of the database; None: none are kept."""


def no_tiles(_file: Path | None) -> None:
    """Keep no tiles."""


class Place(Struct, frozen=True):
    """Where jobs find recordings: `reading` waits where the server moves, `writing` does not.

    Both are the same database. Temporary files are made in `folder`. `tiles` are what is kept of
    recordings for the heatmap.
    """

    reading: PatientDatabase
    writing: Database
    folder: Path
    tiles: TilesOf = no_tiles

    async def until_connected(self) -> None:
        """Wait until the database is there; a job may be wished for before."""
        await self.reading.until_connected()
        await self.writing.until_connected()


Work = Callable[[Place, Show], Awaitable[JobResult]]


def sentence_of(error: KnownError) -> str:
    """Return why a job failed, as a person reads it in the window."""
    match error:
        case TargetExists(path=path):
            return f"{path} is there already; choose another file, or let it be replaced."
        case NothingRecorded(what=what):
            return f"Nothing is recorded of {what}."
        case StillRecorded(market=market):
            return (
                f"Nothing was removed: a part of {symbol_of(market)} in that time is being "
                "recorded, or not archived yet; stop its recording, and try again some minutes "
                "later, or choose an earlier end."
            )
    return str(error)


def symbol_of(market: str) -> str:
    """Return the symbol of a recorded market."""
    return split_symbol(market)[0]


def entry_of(summary: RecordingSummary, file: str = "") -> LibraryEntry:
    """Return the entry of a recording, in the packed `file` or in the database."""
    trades = summary.trades
    gaps = RecordedGaps.of(summary.timeline.gaps, 0, summary.healed, trades.gaps)
    return LibraryEntry(
        EntryKey(summary.market, file),
        symbol_of(summary.market),
        summary.timeline,
        summary.segments,
        summary.events,
        summary.stored_bytes + trades.size.stored_bytes,
        gaps,
        trades.size.trades,
        trades.repaired,
        trades.span_ms,
        is_recorded=summary.running,
    )


async def read_file(path: Path) -> LibraryFile:
    """Return what is in the packed file at `path`. Raises `PackedFileError`."""
    async with open_packed(path) as store:
        entries = tuple(entry_of(found, str(path)) for found in await summaries(store))
        return LibraryFile(str(path), store.file.size, entries)


async def verify_entry(key: EntryKey, span: Span, place: Place, show: Show) -> JobResult:
    """Prove a recording, and the file that it is in."""

    def shown(step: str, done: int, total: int) -> None:
        show(done / max(1, total), step)

    async with _opened(place, key) as store:
        if isinstance(store, PackedStore):
            await asyncio.to_thread(store.file.prove, partial(shown, "reading the file"))
        found = await verify(store, key.market, span.from_ms, span.to_ms, partial(shown, ""))
        cache = place.tiles(Path(key.file) if key.file else None)
        tiles = CheckedTiles()
        if cache is not None and found.holds:
            tiles = await check_tiles(store_of(store), key.market, cache)
    return _verdict(symbol_of(key.market), found, span, tiles)


def _verdict(symbol: str, found: Verified, span: Span, tiles: CheckedTiles) -> JobResult:
    if found.fault is not None:
        return JobResult(f"{symbol} does not hold: {found.fault}", is_good=False)
    trades, parts = found.trades, list[str]()
    if found.segments:
        parts.append(f"{counted(found.events, 'event')} in {counted(found.segments, 'segment')}")
    if trades.runs:
        parts.append(counted(trades.trades, "trade"))
    if not parts:
        return JobResult(f"{symbol}: nothing is recorded{'' if span.is_all else ' at that time'}.")
    what = "The recording" if span.is_all else "That part of the recording"
    gaps = counted(len(found.timeline.gaps) + len(trades.gaps), "gap") if _has_gaps(found) else ""
    with_gaps = f", with {gaps}" if gaps else ""
    return JobResult(
        f"{what} of {symbol} holds: {listed(parts)}{with_gaps}.",
        (*_proof_remarks(found), *_tile_remarks(tiles)),
    )


def _has_gaps(found: Verified) -> bool:
    return bool(found.timeline.gaps or found.trades.gaps)


def _tile_remarks(tiles: CheckedTiles) -> Iterable[str]:
    if tiles.kept:
        wrong = counted(tiles.wrong, "wrong one was", "wrong ones were")
        removed = f"; {wrong} removed, and will be built again" if tiles.wrong else ""
        yield (
            f"Of the heatmap's tiles, a cache, {tiles.compared:,} of {tiles.kept:,} were "
            f"compared{removed}."
        )


def _proof_remarks(found: Verified) -> Iterable[str]:
    trades = found.trades
    if found.segments:
        snapshots = counted(found.witnesses, "snapshot")
        yield (
            f"The book is equal to {snapshots} that the exchange gave meanwhile."
            if found.witnesses
            else "There was no snapshot of the exchange to compare the book with."
        )
    if trades.repaired:
        many = counted(trades.repaired, "trade was", "trades were")
        yield f"{many} asked for later, without a time of receipt."
    if trades.held.not_held:
        many = counted(trades.held.not_held, "trade")
        yield f"{many} did not change the book at their price."
    if found.loose_events:
        many = counted(found.loose_events, "event belongs", "events belong")
        yield f"{many} to no known book."
    if found.unlisted_events:
        many = counted(found.unlisted_events, "event is", "events are")
        yield f"{many} in no segment yet."


async def export_entry(
    key: EntryKey,
    form: ExportFormat,
    path: Path,
    span: Span,
    replace: bool,
    place: Place,
    show: Show,
) -> JobResult:
    """Write a recording to a file."""
    symbol = symbol_of(key.market)
    job = RecordingExport(
        *(symbol, key.market, form, path, span.from_ms, span.to_ms, replace), in_window=True
    )
    async with _opened(place, key) as where:
        done = await export_recording(where, job, lambda fraction: show(fraction, ""))
    return JobResult(f"{symbol} was exported to {path}: {done.text}.", _sentences(done.remarks()))


async def pack_markets(
    markets: Sequence[str], path: Path, span: Span, replace: bool, place: Place, show: Show
) -> JobResult:
    """Write recordings into one packed file."""
    symbols = {market: symbol_of(market) for market in markets}
    job = PackJob(symbols, path, span.from_ms, span.to_ms, replace)

    def shown(market: str, events: int, total: int) -> None:
        show(events / max(1, total), symbols[market] if len(symbols) > 1 else "")

    await place.until_connected()
    done = await pack(place.reading, job, shown)
    texts = tuple(f"{symbols[one.market]}: {one.text}." for one in done)
    what = listed(list(symbols.values()))
    if len(done) == 1:
        return JobResult(f"{what} was packed into {path}: {done[0].text}.")
    return JobResult(f"{what} were packed into {path}.", texts)


async def import_paths(
    paths: Sequence[Path], form: ImportFormat | None, place: Place, show: Show
) -> JobResult:
    """Make a recording of other collectors' files."""
    notes = FileNotes()
    messages = await asyncio.to_thread(messages_of, paths, form, notes)

    def shown(step: Step, done: int, total: int) -> None:
        step_text = step.value.lower()
        if total:
            show(done / total, step_text)
        else:
            show(None, f"{step_text} ({done:,} messages)")

    await place.until_connected()
    done = await import_messages(place.writing, messages, place.folder, shown, _TIMES)
    return _imported(done, notes, place.writing.name)


def _imported(done: Sequence[ImportedMarket], notes: FileNotes, db_name: str) -> JobResult:
    sentences = [
        f"{symbol_of(market.market)}: {text}"
        for market in done
        for text in results(market, db_name)
    ]
    others = [
        f"{symbol_of(market.market)}: {text}" for market in done for text in remarks(market, notes)
    ]
    others += _sentences(file_remarks(notes))
    if len(done) == 1:
        return JobResult(sentences[0], (*sentences[1:], *others))
    return JobResult(f"{counted(len(done), 'market')} were imported.", (*sentences, *others))


async def unpack_file(path: Path, place: Place, show: Show) -> JobResult:
    """Merge the recordings of a packed file into the database."""

    def shown(what: str, events: int, total: int) -> None:
        show(events / max(1, total), what.lower())

    async with open_packed(path) as store:
        await place.until_connected()
        done = await unpack(place.writing, store, shown, _UNDO_S)
    texts = tuple(f"{symbol_of(one.market)}: {one.text}." for one in done)
    if len(texts) == 1:
        return JobResult(texts[0])
    return JobResult(f"{counted(len(done), 'recording')} of {path.name} were unpacked.", texts)


async def find_part(market: str, span: Span, place: Place) -> str:
    """Return what a removal would take, in words; empty: nothing.

    Raises `KnownError`, and PyMongo's errors.
    """
    await place.until_connected()
    removal = await find_removal(place.reading, _to_remove(market, span))
    if removal.is_empty:
        return ""
    return f"{removal.text(symbol_of(market))}, about {bytes_text(removal.stored_bytes)}"


async def remove_part(market: str, span: Span, place: Place, show: Show) -> JobResult:
    """Remove a recording, or a part of it, for ever."""

    def shown(done: int, total: int) -> None:
        show(done / max(1, total), "")

    await place.until_connected()
    removal = await remove(place.writing, _to_remove(market, span), shown)
    if removal.is_empty:
        return JobResult(f"Nothing was removed: nothing of {symbol_of(market)} is there.")
    return JobResult(f"Removed {removal.text(symbol_of(market))}.")


def _to_remove(market: str, span: Span) -> RemovalSpan:
    return RemovalSpan(market, span.from_ms, span.to_ms)


@asynccontextmanager
async def _opened(place: Place, key: EntryKey) -> AsyncIterator[Database | PackedStore]:
    if key.file:
        async with open_packed(Path(key.file)) as store:
            yield store
    else:
        await place.until_connected()
        yield place.reading


def _sentences(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"{text[0].upper()}{text[1:].rstrip('.')}." for text in texts)
