"""The command `record`: the recorder without a window."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import typer

from orderbook_desktop.app.engine import Engine
from orderbook_desktop.app.market_session import MarketSession
from orderbook_desktop.app.record_progress import RecordProgress, summary_of
from orderbook_desktop.app.settings import BadSetting, Settings
from orderbook_desktop.app.stopping import stop_on_signals
from orderbook_desktop.app.workers import Workers
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.symbols import split_symbol
from orderbook_desktop.exchange.errors import RegionBlocked, UnknownSymbol
from orderbook_desktop.exchange.stream import STREAMS_A_CONNECTION

_LOOK_EVERY_S: Final = 0.25
_WRITE_WITHIN_S: Final = 5.0


def run_record(settings: Settings, symbols: list[str], duration_s: float | None) -> int:
    """Record `symbols` until a signal, or for `duration_s`; return the exit code.

    0: something of every symbol is recorded, and nothing that was received is missing. 1:
    that is not so; the summary on standard error says what happened. Raises `KnownError`
    where going on is pointless.
    """
    return asyncio.run(_record(settings, symbols_of(symbols), duration_s))


def symbols_of(typed: list[str]) -> list[str]:
    """Return the symbols as they are called, each once; raises `BadSetting`."""
    by_market: dict[str, str] = {}
    for text in typed:
        try:
            symbol, market = split_symbol(text)
        except ValueError as error:
            raise BadSetting("SYMBOL", text, "a spot symbol such as BTC/USDT") from error
        by_market.setdefault(market, symbol)
    if len(by_market) > STREAMS_A_CONNECTION:
        accepted = f"at most {STREAMS_A_CONNECTION} symbols; start another recorder for the others"
        raise BadSetting("SYMBOL", f"{len(by_market)} symbols", accepted)
    return list(by_market.values())


async def _record(settings: Settings, symbols: list[str], duration_s: float | None) -> int:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(Workers())
    stop = asyncio.Event()
    bugs: list[BaseException] = []

    def failed(error: BaseException) -> None:
        bugs.append(error)
        stop.set()

    engine = Engine(settings, failed)
    sessions: dict[str, MarketSession] = {}
    began = time.monotonic()
    with stop_on_signals(stop):
        try:
            await engine.start()
            await _until_database(engine, stop)
            for symbol in symbols:
                sessions[symbol] = session = engine.open_market(symbol, viewed=False)
                session.set_recording(wanted=True)
                session.start()
            pointless = await _until_end(settings, sessions, stop, duration_s)
        finally:
            await engine.close(_WRITE_WITHIN_S)
    if bugs:
        raise bugs[0]
    took_s = time.monotonic() - began
    is_complete = summary_of(sessions, engine.recorder.waiting, took_s, pointless)
    if pointless is not None:
        raise pointless
    return 0 if is_complete else 1


async def _until_database(engine: Engine, stop: asyncio.Event) -> None:
    """Wait for the database, or for the end; raises why there is none."""

    def tell() -> None:
        if engine.server_problem:
            typer.echo(f"orderbook-desktop: {engine.server_problem}", err=True)

    unsubscribe = engine.server.subscribe(tell)
    database = asyncio.create_task(engine.until_database())
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({database, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if database.done():
            database.result()
    finally:
        unsubscribe()
        for job in (database, stopped):
            job.cancel()
        await asyncio.gather(database, stopped, return_exceptions=True)


async def _until_end(
    settings: Settings,
    sessions: dict[str, MarketSession],
    stop: asyncio.Event,
    duration_s: float | None,
) -> KnownError | None:
    """Show progress until it is over; return what makes going on pointless."""
    now = asyncio.get_running_loop().time
    deadline = float("inf") if duration_s is None else now() + duration_s
    with RecordProgress(settings.db_name, sessions) as progress:
        while not stop.is_set() and (left := deadline - now()) > 0:
            try:
                async with asyncio.timeout(min(_LOOK_EVERY_S, left)):
                    await stop.wait()
            except TimeoutError:
                hopeless = [_hopeless(*item) for item in sessions.items()]
                if all(hopeless):
                    return hopeless[0]
                progress.show()
    return None


def _hopeless(symbol: str, session: MarketSession) -> KnownError | None:
    """Return why the symbol can't be recorded, if that won't change by waiting."""
    problem = session.live.problem
    if isinstance(problem, UnknownSymbol):
        return UnknownSymbol(symbol)
    if isinstance(problem, RegionBlocked):
        return problem
    return session.sink.refused
