"""The command `remove`: takes a span of a recording, or an import, out again."""

from __future__ import annotations

import json
import sys
from typing import Any

import typer

from orderbook_desktop.app.commands.database_session import open_database
from orderbook_desktop.app.commands.heatmap import tiles_of
from orderbook_desktop.app.commands.long_work import run_interruptibly
from orderbook_desktop.app.commands.times import check_span
from orderbook_desktop.app.commands.verify import NotRecordedThere
from orderbook_desktop.app.settings import Settings, symbol_and_market
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.wording import counted
from orderbook_desktop.storage.retention.removal import Removal, Span, find_removal, remove
from orderbook_desktop.storage.store.database_store import store_of
from orderbook_desktop.storage.tiles.building import forget_stale


class NotAsked(KnownError):
    """There is no terminal to ask on, and `--yes` is not given."""

    def __str__(self) -> str:
        return "Nothing was removed: there is no terminal to ask on; give --yes to remove it."


def run_remove(settings: Settings, typed: str, span: Span, *, yes: bool, as_json: bool) -> int:
    """Remove `span` of the symbol `typed`, after asking; return the exit code.

    Raises `KnownError`.
    """
    symbol, _ = symbol_and_market(typed)
    check_span(span.from_ms, span.to_ms)

    def preview(removal: Removal) -> int:
        if removal.is_empty:
            raise NotRecordedThere(symbol, at_that_time=not span.is_all)
        typer.echo(f"This removes {removal.text(symbol)}, in whole archived minutes.", err=True)
        if span.import_id:
            typer.echo(_imports_text(removal, in_part=not span.is_untimed), err=True)
        return 0

    run_interruptibly(_find(settings, span), "nothing was removed", preview)
    if not yes:
        if not sys.stdin.isatty():
            raise NotAsked
        if not typer.confirm("Remove it? This can't be undone.", err=True):
            typer.echo("Nothing was removed.", err=True)
            return 1

    def report(removal: Removal) -> int:
        if as_json:
            typer.echo(json.dumps(as_fields(symbol, removal), indent=2))
        else:
            typer.echo(f"Removed {removal.text(symbol)}.")
        return 0

    stopped = "a part may be removed already; the same command removes the rest"
    return run_interruptibly(_remove(settings, span), stopped, report)


async def _find(settings: Settings, span: Span) -> Removal:
    async with open_database(settings) as database:
        return await find_removal(database, span)


async def _remove(settings: Settings, span: Span) -> Removal:
    async with open_database(settings, existing=False) as database:
        removal = await remove(database, span)
        await forget_stale(store_of(database), span.market, tiles_of(settings))
        return removal


def as_fields(symbol: str, removal: Removal) -> dict[str, Any]:
    """Return the fields of what was removed, for JSON."""
    begin, end = removal.span_ms or (None, None)
    return {
        "symbol": symbol,
        "events": removal.events,
        "segments": removal.with_book,
        "loose_chunks": len(removal.parts) - removal.with_book,
        "from_ms": begin,
        "to_ms": end,
        **({"trades": removal.trades.trades} if removal.trades.runs else {}),
        **({"bookmarks": removal.bookmarks} if removal.bookmarks else {}),
    }


def _imports_text(removal: Removal, *, in_part: bool) -> str:
    """Return what of which imports goes, as a sentence; files that were joined go together."""
    what = "a part of" if in_part else "the whole of"
    imports = f"{counted(len(removal.imports), 'import')} {', '.join(removal.imports)}"
    return f"That is {what} {imports}, of all files that were joined in it."
