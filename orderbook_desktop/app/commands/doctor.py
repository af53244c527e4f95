"""The command `doctor`: what is reachable, what is missing, and what to do."""

from __future__ import annotations

import asyncio
import json
import logging
import platform
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Final

import typer
from rich.console import Console

from orderbook_desktop.app.commands.database_session import close_within
from orderbook_desktop.app.commands.long_work import run_interruptibly
from orderbook_desktop.app.early_end import EndAtOnce
from orderbook_desktop.app.process.log_files import current_log
from orderbook_desktop.app.process.screen import check_screen
from orderbook_desktop.app.settings import Settings
from orderbook_desktop.core.disk import GB, DiskGauge, DiskLevel, Retention, bytes_text
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.events import DepthDiff
from orderbook_desktop.core.sources import StreamBroken, StreamConnected
from orderbook_desktop.core.streams import DEPTH, Stream
from orderbook_desktop.core.symbols import split_symbol
from orderbook_desktop.core.version import __version__
from orderbook_desktop.exchange.errors import UnknownSymbol
from orderbook_desktop.exchange.rest import BinanceRest
from orderbook_desktop.exchange.stream import BinanceStreams
from orderbook_desktop.storage.server.choice import ServerKind
from orderbook_desktop.storage.server.server import DatabaseServer, redacted_dsn
from orderbook_desktop.system.private_files import private_data_folder

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DoctorTimes:
    """How long the doctor waits, in seconds.

    Each check of the exchange or the database may take `check_s`. A connected stream has
    `event_s` to send its first event. A database server has `close_s` to end. `now` is the
    doctor's clock.
    """

    check_s: float = 15.0
    close_s: float = 0.5
    event_s: float = 5.0
    now: Callable[[], float] = time.monotonic


_TIMES: Final = DoctorTimes()
_RESET_STOPPED: Final = (
    "Stopped; the database may have the new password already, and the program knows it then."
)


class Verdict(StrEnum):
    """How a check ended."""

    GOOD = "ok"
    WARNING = "warning"
    BAD = "failed"


_COLOURS: Final = {Verdict.GOOD: "green", Verdict.WARNING: "yellow", Verdict.BAD: "red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check; if something is wrong, `text` says what to do."""

    check: str
    verdict: Verdict
    text: str


Check = Callable[[Settings, DoctorTimes], Awaitable[Finding]]


def run_doctor(settings: Settings, *, as_json: bool) -> int:
    """Run all checks and print the findings; return 1 if a check failed."""

    def report(findings: list[Finding]) -> int:
        if as_json:
            typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
        else:
            console = Console(highlight=False)
            for finding in findings:
                mark = f"[{_COLOURS[finding.verdict]}]{finding.verdict:>7}[/]"
                console.print(f"{mark}  [bold]{finding.check}[/]: ", end="")
                console.print(finding.text, markup=False, soft_wrap=True)
        return 1 if any(finding.verdict is Verdict.BAD for finding in findings) else 0

    return run_interruptibly(examine(settings), "not everything was examined", report)


def reset_database_password(settings: Settings) -> None:
    """Give the program's own database a new password, and print that.

    Raises the `KnownError` why that is impossible.
    """
    if settings.mongo_dsn:
        raise typer.BadParameter(
            "the database of MONGO_DSN is not the program's own; its password is changed there"
        )
    with EndAtOnce(1, _RESET_STOPPED):
        asyncio.run(DatabaseServer(settings.data_dir).reset_password())
    typer.echo("The database has a new password.", err=True)


async def examine(settings: Settings, times: DoctorTimes = _TIMES) -> list[Finding]:
    """Return the findings about this computer, the exchange and the database.

    The checks of the exchange and the database run at the same time.
    """
    checks: dict[str, Check] = {
        "exchange, REST": _rest,
        "exchange, streams": _streams,
        "database": _database,
    }
    found = await asyncio.gather(
        *(_bounded(name, check, settings, times) for name, check in checks.items())
    )
    return [_program(), _screen(), _data_folder(settings), _retention(settings), *found]


async def _bounded(name: str, check: Check, settings: Settings, times: DoctorTimes) -> Finding:
    try:
        async with asyncio.timeout(times.check_s):
            return await check(settings, times)
    except TimeoutError:
        return Finding(name, Verdict.BAD, f"no answer within {times.check_s:.0f} s")
    except KnownError as error:
        return Finding(name, Verdict.BAD, str(error).removesuffix(" Trying again."))
    except Exception as error:  # noqa: BLE001 (the doctor reports every failure)
        _log.exception("the check of %s failed", name)
        text = f"the check itself failed ({type(error).__name__}: {error}); see {current_log()}"
        return Finding(name, Verdict.BAD, text)


def _program() -> Finding:
    text = (
        f"orderbook-desktop {__version__}, Python {platform.python_version()}, "
        f"{platform.system()} {platform.machine()}"
    )
    return Finding("program", Verdict.GOOD, text)


def _screen() -> Finding:
    try:
        check_screen()
    except KnownError as error:
        return Finding("screen", Verdict.WARNING, str(error))
    return Finding("screen", Verdict.GOOD, "a window can be opened")


def _data_folder(settings: Settings) -> Finding:
    name, folder = "data folder", settings.data_dir
    try:
        private_data_folder(folder)
        with tempfile.TemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free
    except OSError as error:
        text = f"{folder} can't be written ({error.strerror}); choose another: ORDERBOOK_DATA_DIR"
        return Finding(name, Verdict.BAD, text)
    text = f"{folder}, {bytes_text(free)} free"
    gauge = DiskGauge(round(settings.low_disk_gb * GB))
    match gauge.look(free):
        case DiskLevel.FULL:
            text = f"{text}; nothing is recorded below {bytes_text(gauge.stop_bytes)}: make room"
            return Finding(name, Verdict.BAD, text)
        case DiskLevel.LOW:
            text = f"{text}; recording pauses below {bytes_text(gauge.stop_bytes)}: make room"
            return Finding(name, Verdict.WARNING, text)
        case DiskLevel.GOOD:
            return Finding(name, Verdict.GOOD, text)


def _retention(settings: Settings) -> Finding:
    sentence = Retention(settings.retention_days, settings.retention_gb).sentence
    text = sentence[0].lower() + sentence[1:].rstrip(".")
    if not (settings.given("retention_days") or settings.given("retention_gb")):
        text += ", unless the window's own choice says otherwise"
    return Finding("retention", Verdict.GOOD, text)


async def _rest(settings: Settings, times: DoctorTimes) -> Finding:
    rest = BinanceRest(settings.rest_url, limit=100)
    began = times.now()
    try:
        snapshot = await rest.snapshot(split_symbol(settings.symbol)[1])
    except UnknownSymbol:
        # The exchange's own name of it isn't what was typed.
        raise UnknownSymbol(settings.symbol) from None
    finally:
        await rest.close()
    took = (times.now() - began) * 1000
    text = (
        f"{settings.rest_url} answers in {took:.0f} ms; {settings.symbol} is at update id "
        f"{snapshot.last_update_id}"
    )
    return Finding("exchange, REST", Verdict.GOOD, text)


async def _streams(settings: Settings, times: DoctorTimes) -> Finding:
    streams = BinanceStreams(settings.ws_url)
    try:
        return await _first_event(settings, streams, times.event_s)
    finally:
        await streams.close()


async def _first_event(settings: Settings, streams: BinanceStreams, within_s: float) -> Finding:
    name = "exchange, streams"
    is_connected = False
    stream = Stream(split_symbol(settings.symbol)[1], DEPTH)
    try:
        async with aclosing(streams.items(stream)) as items:
            while True:
                async with asyncio.timeout(within_s if is_connected else None):
                    item = await anext(items)
                match item:
                    case StreamBroken(detail=detail):
                        return Finding(name, Verdict.BAD, detail.removesuffix(" Trying again."))
                    case StreamConnected():
                        is_connected = True
                    case DepthDiff():
                        text = f"{settings.ws_url} streams {settings.symbol}"
                        return Finding(name, Verdict.GOOD, text)
    except TimeoutError:
        if not is_connected:
            raise
        text = (
            f"{settings.ws_url} is connected, but sent nothing on {settings.symbol} within "
            f"{within_s:.0f} s; the symbol may be quiet, or may not exist"
        )
        return Finding(name, Verdict.WARNING, text)


def _who_answers(server: DatabaseServer) -> str:
    if server.kind is ServerKind.DSN:
        return "the server that MONGO_DSN names answers"
    name = "SecantusDB" if server.kind is ServerKind.SECANTUS else server.kind.value
    if server.owned:
        return f"{name} can be started and answers"
    return f"{name}, which another copy of this program runs, answers"


async def _database(settings: Settings, times: DoctorTimes) -> Finding:
    server = DatabaseServer(settings.data_dir, settings.mongo_dsn)
    try:
        await server.start()
        text = f"{_who_answers(server)} at {redacted_dsn(server.dsn)}"
        return Finding("database", Verdict.GOOD, f"{text}. {server.state_detail}".strip(". "))
    finally:
        # A slow end of the server is no finding, and must not replace one.
        await close_within(server, times.close_s)
