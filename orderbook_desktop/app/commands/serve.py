"""The command `serve`: shows the browser view without a window."""

from __future__ import annotations

import asyncio
from typing import Final

import typer

from orderbook_desktop.app.browser_view import BrowserView, web_options
from orderbook_desktop.app.commands.symbol_choice import symbols_of
from orderbook_desktop.app.process.stopping import PROGRAM_TIMES, ProgramTimes, stop_on_signals
from orderbook_desktop.app.settings import Settings
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.desk.library import library_of_engine
from orderbook_desktop.desk.symbol_list import SymbolList
from orderbook_desktop.engine.engine import Engine
from orderbook_desktop.engine.settings import EngineTimes
from orderbook_desktop.exchange.errors import UnknownSymbol
from orderbook_desktop.storage.errors import (
    BadCredentials,
    BadDsn,
    DataFolderUnusable,
    StandaloneServer,
    UninitiatedReplicaSet,
)
from orderbook_desktop.system.tasks import Workers, ending

# Errors that waiting doesn't mend. While a database is away, the exchange's own book is shown.
_MISTAKES: Final = (
    BadDsn,
    BadCredentials,
    StandaloneServer,
    UninitiatedReplicaSet,
    DataFolderUnusable,
)


def run_serve(settings: Settings, symbols: list[str], times: ProgramTimes | None = None) -> int:
    """Serve `symbols` (none: all traded symbols) until a signal; return the exit code.

    Raises the `KnownError` why serving is impossible.
    """
    return asyncio.run(_serve(settings, symbols_of(symbols), (times or PROGRAM_TIMES).desk.engine))


async def _serve(settings: Settings, symbols: list[str], times: EngineTimes) -> int:
    asyncio.get_running_loop().set_default_executor(Workers())
    stop = asyncio.Event()
    bugs: list[BaseException] = []

    def failed(error: BaseException) -> None:
        bugs.append(error)
        stop.set()

    engine = Engine(settings, failed, times, builds_tiles=True)
    offer, first = SymbolList(symbols), symbols[0] if symbols else settings.symbol
    library = library_of_engine(engine, offer, first, settings.source)
    view = BrowserView(library, web_options(settings))
    with stop_on_signals(stop):
        try:
            # The port comes first: if it is taken, no other part may have begun.
            await view.switch_on()
            await engine.start()
            # Now, so that the book is known when the first viewer asks for it.
            view.follow(symbols)
            engine.jobs.start(_load_symbols(engine, offer), "list of symbols")
            # The link may hold the token, so the terminal shows it and the log does not.
            typer.echo(f"The order book is at {view.link}\nCtrl-C stops it.")
            looking = asyncio.create_task(_look_for_database(engine))
            waiting = asyncio.create_task(stop.wait())
            async with ending(looking, waiting):
                await asyncio.wait({looking, waiting}, return_when=asyncio.FIRST_COMPLETED)
                if looking.done():
                    looking.result()
                await waiting
        finally:
            try:
                await view.switch_off()
            finally:
                await engine.close()
    if bugs:
        raise bugs[0]
    return 0


async def _load_symbols(engine: Engine, offer: SymbolList) -> None:
    """Load the list of symbols; print which named symbols are not in it."""
    for symbol in await offer.load(engine.symbols):
        typer.echo(f"orderbook-desktop: {UnknownSymbol(symbol)}", err=True)


async def _look_for_database(engine: Engine) -> None:
    """Print why there is no database; raise the error if the settings have to be changed."""
    try:
        await engine.until_database()
    except _MISTAKES:
        raise
    except KnownError as error:
        typer.echo(f"orderbook-desktop: {error}", err=True)
