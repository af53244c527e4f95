"""The command `record`: records without a window."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from typing import Any, Final, TypeVar

import typer

from orderbook_desktop.app.commands.record_progress import RecordProgress, summary_of
from orderbook_desktop.app.commands.symbol_choice import SymbolChoice, chosen_symbols
from orderbook_desktop.app.process.stopping import PROGRAM_TIMES, ProgramTimes, stop_on_signals
from orderbook_desktop.app.settings import Settings
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.wording import counted
from orderbook_desktop.engine.engine import Engine
from orderbook_desktop.engine.market_session import MarketSession
from orderbook_desktop.exchange.errors import RegionBlocked, UnknownSymbol
from orderbook_desktop.system.tasks import Workers, ending

_LOOK_EVERY_S: Final = 0.25
# A request to end within this time is no failure, although nothing is recorded yet.
_BEGINS_WITHIN_S: Final = 1.0
# Each event of so many symbols comes by two connections, unless the settings say otherwise.
_TWICE_AT_MOST: Final = 200

Result = TypeVar("Result")


def run_record(
    settings: Settings,
    choice: SymbolChoice,
    duration_s: float | None,
    times: ProgramTimes | None = None,
) -> int:
    """Record the symbols of `choice` until a signal, or for `duration_s`; return the exit code.

    The code is 0 if every symbol has a recorded event and no received event is missing, else 1.
    The summary on standard error says what happened. Raises the `KnownError` that makes going
    on pointless.
    """
    return asyncio.run(_record(settings, choice, duration_s, times or PROGRAM_TIMES))


async def _record(
    settings: Settings, choice: SymbolChoice, duration_s: float | None, times: ProgramTimes
) -> int:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(Workers())
    stop = asyncio.Event()
    bugs: list[BaseException] = []

    def failed(error: BaseException) -> None:
        bugs.append(error)
        stop.set()

    engine = Engine(settings, failed, times.desk.engine)
    sessions: dict[str, MarketSession] = {}
    began = times.now()
    with stop_on_signals(stop):
        leases = ExitStack()
        try:
            await engine.start()
            await _until_database(engine, stop)
            symbols = await _chosen(engine, choice, stop, duration_s)
            _begin(engine, symbols, leases, sessions)
            pointless = None
            if sessions:
                pointless = await _until_end(engine, sessions, stop, duration_s, times.now)
        finally:
            # Also if a bug keeps a lease from being closed, received events are to be written.
            try:
                leases.close()
            finally:
                await engine.close(times.write_s)
    if bugs:
        raise bugs[0]
    is_complete = _is_complete(engine, sessions, times.now() - began, stop, pointless)
    if pointless is not None:
        raise pointless
    return 0 if is_complete else 1


def _begin(
    engine: Engine, symbols: list[str], leases: ExitStack, sessions: dict[str, MarketSession]
) -> None:
    """Begin to record `symbols`; `leases` and `sessions` are filled."""
    if not engine.settings.connections and len(symbols) <= _TWICE_AT_MOST:
        engine.streams.set_copies(2)
    for symbol in symbols:
        lease = leases.enter_context(engine.open_market(symbol, viewed=False))
        sessions[symbol] = session = lease.session
        session.set_recording(wanted=True)
        session.start()


def _is_complete(
    engine: Engine,
    sessions: dict[str, MarketSession],
    took_s: float,
    stop: asyncio.Event,
    pointless: KnownError | None,
) -> bool:
    """Print the results after the end; return whether all is recorded that was to be recorded."""
    if not sessions:
        _tell("Nothing was recorded: it was stopped before it could begin.")
    is_complete = summary_of(sessions, engine.recorder.waiting, took_s, pointless)
    counts = [session.sink.counts for session in sessions.values()]
    if stop.is_set() and took_s < _BEGINS_WITHIN_S:
        is_complete = is_complete or not any(count.events or count.dropped for count in counts)
    if engine.disk_watch.pauses:
        _tell("Not everything is recorded: there was a pause because the disk was nearly full.")
        is_complete = False
    return is_complete


def _tell(sentence: str) -> None:
    typer.echo(f"orderbook-desktop: {sentence}", err=True)


async def _until_database(engine: Engine, stop: asyncio.Event) -> None:
    """Wait until there is a database, or until `stop`; raises the error why there is none."""

    def tell() -> None:
        if engine.server_problem:
            _tell(engine.server_problem)

    unsubscribe = engine.server.subscribe(tell)
    try:
        await _unless_stopped(engine.until_database(), stop)
    finally:
        unsubscribe()


async def _chosen(
    engine: Engine, choice: SymbolChoice, stop: asyncio.Event, duration_s: float | None
) -> list[str]:
    """Return the symbols to record; none if the end comes before the exchange's answer."""
    try:
        async with asyncio.timeout(duration_s):
            found = await _unless_stopped(chosen_symbols(engine, choice, _tell), stop) or []
    except TimeoutError:
        return []
    quoted = sum(symbol.endswith(f"/{choice.quote}") for symbol in found)
    if found and quoted < choice.top:
        count = counted(quoted, "symbol")
        all_traded = f"all that the exchange trades in {choice.quote}"
        _tell(f"--top {choice.top} takes {all_traded}: no more than {count}.")
    return found


async def _unless_stopped(work: Coroutine[Any, Any, Result], stop: asyncio.Event) -> Result | None:
    """Return the result of `work`; if `stop` comes first, cancel `work` and return None."""
    working = asyncio.create_task(work)
    stopped = asyncio.create_task(stop.wait())
    async with ending(working, stopped):
        await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None


async def _until_end(
    engine: Engine,
    sessions: dict[str, MarketSession],
    stop: asyncio.Event,
    duration_s: float | None,
    now: Callable[[], float],
) -> KnownError | None:
    """Show progress until the end; return the error that makes going on pointless, or None."""
    deadline = float("inf") if duration_s is None else now() + duration_s
    with RecordProgress(engine.settings.db_name, sessions) as progress:
        while not stop.is_set() and (left := deadline - now()) > 0:
            try:
                async with asyncio.timeout(min(_LOOK_EVERY_S, left)):
                    await stop.wait()
            except TimeoutError:
                hopeless = [_hopeless(*item) for item in sessions.items()]
                if all(hopeless):
                    return hopeless[0]
                progress.tell(engine.disk.problem)
                progress.show()
    return None


def _hopeless(symbol: str, session: MarketSession) -> KnownError | None:
    """Return the error why the symbol can't be recorded, if waiting won't change that."""
    problem = session.live.problem
    if isinstance(problem, UnknownSymbol):
        return UnknownSymbol(symbol)
    if isinstance(problem, RegionBlocked):
        return problem
    return session.sink.refused
