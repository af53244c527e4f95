"""The command `exchange`: runs a local exchange until it is stopped."""

from __future__ import annotations

import asyncio

import typer

from orderbook_desktop.app.process.stopping import stop_on_signals
from orderbook_desktop.exchange.local import CaptureSource, LocalExchange, SyntheticSource
from orderbook_desktop.system.tasks import ending


def run_exchange(
    source: CaptureSource | SyntheticSource,
    *,
    host: str,
    port: int,
    faults: bool,
    port_is_held: bool = False,
) -> int:
    """Serve `source` until Ctrl-C; return the exit code. Raises the exchange's `KnownError`s."""
    exchange = LocalExchange(source, host=host, port=port, port_is_held=port_is_held, faults=faults)
    return asyncio.run(_serve(exchange))


async def _serve(local: LocalExchange) -> int:
    stop = asyncio.Event()
    with stop_on_signals(stop):
        async with local as exchange:
            typer.echo(
                f"Exchange ready; use it with\n  ORDERBOOK_REST_URL={exchange.rest_url} "
                f"ORDERBOOK_WS_URL={exchange.ws_url}\nCtrl-C stops it."
            )
            waiting = asyncio.create_task(stop.wait())
            playing = asyncio.create_task(exchange.finished())
            async with ending(waiting, playing):
                await asyncio.wait({waiting, playing}, return_when=asyncio.FIRST_COMPLETED)
                if playing.done():
                    playing.result()
                    typer.echo("Played to the end; the last book stays. Ctrl-C stops it.")
                    await waiting
    return 0
