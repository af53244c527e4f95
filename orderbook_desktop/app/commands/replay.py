"""The command `replay`: serves a recording as an exchange, for other programs."""

from __future__ import annotations

import asyncio
from math import inf
from pathlib import Path
from typing import Final

import typer
from msgspec import Struct

from orderbook_desktop.app.commands.long_work import WorkProgress
from orderbook_desktop.app.commands.packed import recording_place
from orderbook_desktop.app.commands.times import check_span
from orderbook_desktop.app.process.stopping import stop_on_signals
from orderbook_desktop.app.settings import BadSetting, Settings, symbol_and_market
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.replay_status import ReplayOrder
from orderbook_desktop.core.time_text import time_text
from orderbook_desktop.core.timeline import Gap
from orderbook_desktop.core.wording import counted
from orderbook_desktop.exchange.local import LocalExchange
from orderbook_desktop.replay.served import Play, Played, RecordedSource, serve_recording
from orderbook_desktop.storage.reading.recorded_trades import RecordedTrades
from orderbook_desktop.storage.store.database_store import store_of
from orderbook_desktop.storage.store.recording_store import RecordingStore
from orderbook_desktop.system.tasks import Workers, ending

_FASTEST: Final = 10_000.0
_SLOWEST: Final = 0.01
_UNLIMITED: Final = "max"
_SHOWN_EVERY_S: Final = 0.5


class Served(Struct, frozen=True, kw_only=True):
    """What to serve, and where: the recording of `symbol`, in the packed `file` if that is given.

    At the end of the recording the command ends, unless it `stays`.
    """

    symbol: str | None
    file: Path | None
    play: Play
    host: str
    port: int
    stays: bool = False


def speed_of(typed: str) -> float:
    """Return the speed in `typed`, infinity for `max`. Raises `BadSetting`."""
    if typed.strip().lower() == _UNLIMITED:
        return inf
    try:
        speed = float(typed)
    except ValueError:
        speed = 0.0
    if not _SLOWEST <= speed <= _FASTEST:
        accepted = f"{_SLOWEST:g} to {_FASTEST:.0f} times the pace of the recording, or max"
        raise BadSetting("--speed", typed, accepted)
    return speed


def order_of(typed: str) -> ReplayOrder:
    """Return the order that `typed` names. Raises `BadSetting`."""
    try:
        return ReplayOrder(typed.strip().lower())
    except ValueError as error:
        accepted = " or ".join(order.value for order in ReplayOrder)
        raise BadSetting("--order", typed, accepted) from error


def run_replay(settings: Settings, served: Served) -> int:
    """Serve a recording to its end, or until a signal; return the exit code.

    Raises the `KnownError` why it can't be served, or played on.
    """
    names = None if served.symbol is None else symbol_and_market(served.symbol)
    check_span(served.play.from_ms, served.play.to_ms)
    return asyncio.run(_run(settings, served, names))


async def _run(settings: Settings, served: Served, names: tuple[str, str] | None) -> int:
    asyncio.get_running_loop().set_default_executor(Workers())
    stop = asyncio.Event()
    with stop_on_signals(stop):
        serving = asyncio.create_task(_serve(settings, served, names))
        waiting = asyncio.create_task(stop.wait())
        async with ending(serving, waiting):
            await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not serving.cancelled():
            serving.result()
    return 0


async def _serve(settings: Settings, served: Served, names: tuple[str, str] | None) -> None:
    async with recording_place(settings, served.file, names) as (place, symbol, market):
        store = store_of(place)
        source = RecordedSource(store, market, served.play, _tell_gap)
        local = serve_recording(source, served.host, served.port, stays=served.stays)
        async with local as exchange:
            _announce(exchange, symbol, served.play)
            await _tell_gaps_of_trades(store, market, served.play)
            try:
                await _finished(exchange, source, symbol)
            except KnownError:
                _remark(f"{symbol} was played {_reached(source)}.")
                raise
            typer.echo(f"{symbol} was played {_reached(source)}: {_counted(source.counts)}.")
            if served.stays:
                typer.echo("The last book stays. Ctrl-C stops it.")
                await asyncio.get_running_loop().create_future()


async def _finished(exchange: LocalExchange, source: RecordedSource, symbol: str) -> None:
    """Wait for the end of the play, and show on a terminal how far it is."""
    finished = asyncio.create_task(exchange.finished())
    async with ending(finished):
        with WorkProgress(f"Playing {symbol}") as progress:
            while not finished.done():
                await asyncio.wait({finished}, timeout=_SHOWN_EVERY_S)
                progress.show(source.progress)
        finished.result()


def _announce(exchange: LocalExchange, symbol: str, play: Play) -> None:
    begins = "It begins to play when the first program subscribes. " if play.waits else ""
    typer.echo(
        f"{symbol} is ready to be replayed; use it with\n  ORDERBOOK_REST_URL={exchange.rest_url} "
        f"ORDERBOOK_WS_URL={exchange.ws_url}\n{begins}Ctrl-C stops it."
    )


async def _tell_gaps_of_trades(store: RecordingStore, market: str, play: Play) -> None:
    for gap in await RecordedTrades(store, market).gaps(play.from_ms, play.to_ms):
        span = f"{time_text(gap.from_ms)} to {time_text(gap.to_ms)}"
        _remark(f"gap of trades from {span}: {gap.account}")


def _tell_gap(gap: Gap) -> None:
    span = f"{time_text(gap.from_ms)} to {time_text(gap.to_ms)}"
    _remark(f"gap from {span}: {gap.account}; programs get the book behind it")


def _reached(source: RecordedSource) -> str:
    """Return how far `source` was played, as the end of a sentence."""
    return f"to {time_text(source.reached_ms)}" if source.played else "not at all"


def _counted(counts: Played) -> str:
    parts = [counted(counts.events, "event"), counted(counts.trades, "trade")]
    if counts.gaps:
        parts.append(counted(counts.gaps, "gap"))
    return ", ".join(parts)


def _remark(text: str) -> None:
    typer.echo(f"orderbook-desktop: {text}", err=True)
