"""The command `verify`: proves a recording, or names the first fault and its place."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from pathlib import Path
from typing import Any

import typer
from msgspec import to_builtins
from msgspec.structs import replace
from rich.console import Console

from orderbook_desktop.app.commands.database_session import open_database
from orderbook_desktop.app.commands.heatmap import tiles_of
from orderbook_desktop.app.commands.long_work import WorkProgress, run_interruptibly
from orderbook_desktop.app.commands.times import check_span
from orderbook_desktop.app.settings import Settings, symbol_and_market
from orderbook_desktop.core.disk import bytes_text
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.symbols import split_symbol
from orderbook_desktop.core.time_text import duration_text, time_text
from orderbook_desktop.core.timeline import Gap, Timeline
from orderbook_desktop.core.trade_coverage import TradeGap
from orderbook_desktop.core.trade_witness import TradesHeld
from orderbook_desktop.core.wording import counted
from orderbook_desktop.storage.store.database_store import store_of
from orderbook_desktop.storage.store.packed_store import open_packed
from orderbook_desktop.storage.store.recorder_states import RecorderState, recorder_states
from orderbook_desktop.storage.store.recording_store import RecordingStore
from orderbook_desktop.storage.tiles.cache import TileCache
from orderbook_desktop.storage.tiles.proof import CheckedTiles, check_tiles
from orderbook_desktop.storage.verification.trade_proof import ProvenTrades
from orderbook_desktop.storage.verification.verification import Verified, verify


class NotRecordedThere(KnownError):
    """There is no recording of `symbol`, or none within the given times."""

    symbol: str
    at_that_time: bool

    def __str__(self) -> str:
        when = " at that time" if self.at_that_time else ""
        return f"{self.symbol} is not recorded{when}; see `orderbook-desktop recordings`."


def run_verify(
    settings: Settings,
    typed: str,
    from_ms: int | None,
    to_ms: int | None,
    *,
    as_json: bool,
) -> int:
    """Prove the recording of the symbol `typed`; return 1 if it doesn't hold.

    Raises `KnownError` if there is no such recording, or no database.
    """
    symbol, market = symbol_and_market(typed)
    check_span(from_ms, to_ms)
    work = _verify(settings, symbol, market, from_ms, to_ms)

    def report(result: tuple[Verified, CheckedTiles]) -> int:
        found, tiles = result
        if _is_empty(found) and found.holds:
            raise NotRecordedThere(symbol, at_that_time=(from_ms, to_ms) != (None, None))
        if as_json:
            typer.echo(json.dumps(as_fields(symbol, found, tiles), indent=2))
        else:
            _print_result(symbol, found, tiles)
        return 0 if found.holds else 1

    return run_interruptibly(work, "nothing was proven", report)


def run_verify_file(
    settings: Settings, path: Path, from_ms: int | None, to_ms: int | None, *, as_json: bool
) -> int:
    """Prove the recordings in a packed file, every byte of it; return 1 if one doesn't hold.

    Raises `KnownError` if it is no such file, or is not as it was written.
    """
    check_span(from_ms, to_ms)

    def report(checked: list[tuple[Verified, CheckedTiles]]) -> int:
        found = [one for one, _ in checked]
        if not any(one.segments or not one.holds for one in found) and all(map(_is_empty, found)):
            raise NotRecordedThere(str(path), at_that_time=(from_ms, to_ms) != (None, None))
        if as_json:
            recordings = [as_fields(symbol_of(one.market), one, tiles) for one, tiles in checked]
            holds = all(one.holds for one in found)
            fields = {"file": str(path), "holds": holds, "recordings": recordings}
            typer.echo(json.dumps(fields, indent=2))
        else:
            for one, tiles in checked:
                _print_result(symbol_of(one.market), one, tiles)
        return 0 if all(one.holds for one in found) else 1

    return run_interruptibly(
        _verify_file(settings, path, from_ms, to_ms), "nothing was proven", report
    )


def symbol_of(market: str) -> str:
    """Return the symbol of `market`, which can be that of a file."""
    return split_symbol(market)[0]


def _is_empty(found: Verified) -> bool:
    return not (found.segments or found.loose_events or found.unlisted_events or found.trades.runs)


async def _verify_file(
    settings: Settings, path: Path, from_ms: int | None, to_ms: int | None
) -> list[tuple[Verified, CheckedTiles]]:
    async with open_packed(path) as store:
        with WorkProgress(f"Reading {path.name}") as progress:
            await asyncio.to_thread(store.file.prove, partial(_show, progress))
        checked: list[tuple[Verified, CheckedTiles]] = []
        for market in store.file.markets:
            with WorkProgress(f"Verifying {symbol_of(market)}") as shown:
                show = partial(_show, shown)
                found = await verify(store, market, from_ms, to_ms, show)
            checked.append((found, await _tiles_checked(store, found, tiles_of(settings, path))))
    return checked


async def _tiles_checked(store: RecordingStore, found: Verified, cache: TileCache) -> CheckedTiles:
    """Check a sample of the tiles, of a recording that holds."""
    if not found.holds:
        return CheckedTiles()
    return await check_tiles(store, found.market, cache)


def _show(progress: WorkProgress, done: int, total: int) -> None:
    progress.show(done / max(1, total))


async def _verify(
    settings: Settings, symbol: str, market: str, from_ms: int | None, to_ms: int | None
) -> tuple[Verified, CheckedTiles]:
    async with open_database(settings) as database:
        with WorkProgress(f"Verifying {symbol}") as progress:
            show = partial(_show, progress)
            found = await verify(database, market, from_ms, to_ms, show)
        states = await recorder_states(database)
        found = replace(found, recorder=states.get(market, RecorderState.NONE))
        return found, await _tiles_checked(store_of(database), found, tiles_of(settings))


def as_fields(symbol: str, found: Verified, tiles: CheckedTiles | None = None) -> dict[str, Any]:
    """Return the fields of `found` for JSON; times are the exchange's."""
    timeline, fault = found.timeline, found.fault
    return {
        "symbol": symbol,
        "market": found.market,
        "holds": found.holds,
        "fault": fault
        and {
            "text": str(fault),
            "reason": fault.reason,
            "segment": fault.segment_id,
            "update_id": fault.update_id,
            **({} if fault.trade_id is None else {"trade": fault.trade_id}),
        },
        **_span(timeline),
        "covered_s": timeline.covered_ms / 1000,
        "gap_s": timeline.gap_ms / 1000,
        "gaps": [
            {
                **_span(gap),
                "cause": gap.cause.value,
                "detail": gap.detail,
                "first_missing": gap.first_missing,
                "last_missing": gap.last_missing,
            }
            for gap in timeline.gaps
        ],
        "segments": found.segments,
        "events": found.events,
        "archived_events": found.archived_events,
        "loose_events": found.loose_events,
        "unlisted_events": found.unlisted_events,
        "bytes": found.stored_bytes,
        "bytes_per_event": round(found.stored_bytes / found.events, 2) if found.events else None,
        "witnesses": found.witnesses,
        "running": found.recorder.is_live,
        "recorder": found.recorder.value or None,
        **({"trades": _trade_fields(found.trades)} if found.trades.runs else {}),
        **({"bookmarks": found.bookmarks} if found.bookmarks else {}),
        **({"tiles": to_builtins(tiles)} if tiles is not None and tiles.kept else {}),
    }


def _trade_fields(proven: ProvenTrades) -> dict[str, Any]:
    """Return the fields of a recording's trades for JSON."""
    held, first = proven.held, proven.held.first_not_held
    return {
        "trades": proven.trades,
        "archived": proven.archived,
        "repaired": proven.repaired,
        "runs": proven.runs,
        "bytes": proven.stored_bytes,
        "bytes_per_trade": round(proven.stored_bytes / proven.trades, 2) if proven.trades else None,
        "gaps": [
            {
                **_span(gap),
                "cause": gap.cause.value,
                "detail": gap.detail,
                "first_missing": gap.after_id + 1,
                "last_missing": gap.before_id - 1,
            }
            for gap in proven.gaps
        ],
        "left_out_by_exchange": {
            "trades": proven.hole_parts,
            "places": proven.hole_count,
            "first": [
                {"after": hole.after_id, "trades": hole.parts, "time_ms": hole.event_ms}
                for hole in proven.holes
            ],
        },
        "held": held.held,
        "not_held": held.not_held,
        "not_judged": held.not_judged,
        "first_not_held": first
        and {
            "trade": first.trade_id,
            "price": first.price,
            "time": time_text(first.event_ms),
            "time_ms": first.event_ms,
        },
    }


def _span(span: Timeline | Gap | TradeGap) -> dict[str, Any]:
    begin, end = span.from_ms, span.to_ms
    return {"from": time_text(begin), "to": time_text(end), "from_ms": begin, "to_ms": end}


def _print_result(symbol: str, found: Verified, tiles: CheckedTiles | None = None) -> None:
    console = Console(highlight=False, soft_wrap=True)
    verdict = "[bold green]holds[/]" if found.holds else "[bold red]does not hold[/]"
    console.print(f"[bold]{symbol}[/]: the recording {verdict}.")
    lines = _coverage(found)
    if tiles is not None and tiles.kept:
        lines.append(("tiles", _tiles_text(tiles)))
    for name, text in lines:
        console.print(f"  [dim]{name:<9}[/] ", end="")
        console.print(text, markup=False)
    if found.fault is not None:
        console.print(str(found.fault), style="red", markup=False)


def _tiles_text(tiles: CheckedTiles) -> str:
    removed = "is removed" if tiles.wrong == 1 else "are removed"
    wrong = f"; {tiles.wrong:,} did not match, and {removed}" if tiles.wrong else ""
    return f"a cache for the heatmap: {tiles.compared:,} of {tiles.kept:,} compared{wrong}"


def _coverage(found: Verified) -> list[tuple[str, str]]:
    """Return the lines of the result, each with its name."""
    timeline = found.timeline
    lines: list[tuple[str, str]] = []
    if timeline.covers:
        whole = timeline.covered_ms + timeline.gap_ms
        covered = f"{duration_text(timeline.covered_ms)} of {duration_text(whole)}"
        lines += [
            ("from", time_text(timeline.from_ms)),
            ("to", time_text(timeline.to_ms)),
            ("covered", covered + (f" ({timeline.covered_ms / whole:.3%})" if whole else "")),
        ]
    lines += [("gap", _gap_text(gap)) for gap in timeline.gaps]
    segments = counted(found.segments, "segment")
    size = f", {found.stored_bytes / found.events:.1f} bytes each" if found.events else ""
    events = f"{found.events:,} in {segments}{size}, {bytes_text(found.stored_bytes)} in all"
    lines.append(("events" if found.holds else "proven", events))
    if found.loose_events:
        loose = counted(found.loose_events, "more event belongs", "more events belong")
        lines.append(("loose", f"{loose} to no known book"))
    if found.unlisted_events:
        unlisted = counted(found.unlisted_events, "more stored event is", "more stored events are")
        lines.append(("unlisted", f"{unlisted} neither in a segment nor listed yet"))
    if found.recorder is not RecorderState.NONE:
        lines.append(("recorder", found.recorder.value))
    snapshots = counted(found.witnesses, "snapshot")
    witnesses = (
        f"equal to {snapshots} that the exchange gave meanwhile"
        if found.witnesses
        else "no snapshot to compare with (a recorder takes one a minute after a segment begins)"
    )
    lines.append(("witnesses", witnesses))
    lines += _of_trades(found.trades)
    if found.bookmarks:
        lines.append(("bookmarks", f"{found.bookmarks:,}, as they were stored"))
    return lines


def _of_trades(proven: ProvenTrades) -> list[tuple[str, str]]:
    """Return the lines about trades; none if there are no trades."""
    if not proven.runs:
        return []
    each = f", {proven.stored_bytes / proven.trades:.1f} bytes each" if proven.trades else ""
    size = f"{each}, {bytes_text(proven.stored_bytes)} in all"
    lines = [("trades", f"{proven.trades:,} in {counted(proven.runs, 'run')}{size}")]
    if proven.repaired:
        lines.append(("repaired", f"{proven.repaired:,} of them, which have no time of receipt"))
    lines += [("trade gap", _gap_text(gap)) for gap in proven.gaps]
    if proven.holes:
        first = proven.holes[0]
        places = counted(proven.hole_count, "place")
        left_out = f"{counted(proven.hole_parts, 'trade')} by the exchange itself, at {places}"
        where = f"the first after trade {first.after_id} ({time_text(first.event_ms)})"
        lines.append(("left out", f"{left_out}, {where}"))
    lines.append(("held", _held_text(proven.held)))
    return lines


def _held_text(held: TradesHeld) -> str:
    """Return how many trades changed the book at their price, and how many did not."""
    text = (
        f"{counted(held.held, 'trade')} changed the book at their price; {held.not_held:,} did not"
    )
    first = held.first_not_held
    if first is not None:
        when = time_text(first.event_ms)
        text += f", the first of them trade {first.trade_id} at {first.price} ({when})"
    return f"{text}; {counted(held.not_judged, 'lies', 'lie')} in gaps of the book, or beside one"


def _gap_text(gap: Gap | TradeGap) -> str:
    span = f"{time_text(gap.from_ms)} to {time_text(gap.to_ms)}"
    return f"{span}, {duration_text(gap.to_ms - gap.from_ms)}: {gap.account}"
