"""The command line: `orderbook-desktop` and its subcommands.

A command imports its modules when it runs, so that the window does not wait for the recorder.
Exit codes: 0 success, 1 a known failure (one sentence on standard error), 2 a wrong command
line, 70 a bug of the program (its traceback is in the log).
"""

from __future__ import annotations

import io
import logging
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.core import TyperArgument, TyperGroup

from orderbook_desktop.app import command_options as options
from orderbook_desktop.app.commands.times import FromTime, ReplayTime, ToTime
from orderbook_desktop.app.options import with_settings
from orderbook_desktop.app.process.log_files import begin_log, current_log
from orderbook_desktop.app.process.stopping import leave
from orderbook_desktop.app.secrets_given import BadSecret
from orderbook_desktop.app.settings import Settings, listening_address
from orderbook_desktop.core.errors import KnownError, SystemLack, SystemRefusal
from orderbook_desktop.core.file_formats import ExportFormat, ImportFormat
from orderbook_desktop.core.foreign_text import plain_text
from orderbook_desktop.core.heatmap.choices import ColourMap, Side, Statistic
from orderbook_desktop.core.version import __version__

if TYPE_CHECKING:
    from orderbook_desktop.app.process.stopping import ProgramTimes

_log = logging.getLogger(__name__)

_LONGEST_SENTENCE: Final = 10_000
# A shorter beginning of an import's id is likelier a slip.
_ID_AT_LEAST: Final = 4
_FAILED: Final = 1
_MISUSED: Final = 2
_BUG: Final = 70
_UNEXPECTED: Final = "unexpected exception"
# As `formats.packed_file` has it, which takes long to load.
_PACKED_SUFFIX: Final = ".obd"
_PACKED_OPTION: Final = "--packed-file"


class _Commands(TyperGroup):
    """The commands; their help and errors do not show the names of Python's types and errors."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take a packed file in the place of a command as what the window is to show."""
        for at, text in enumerate(args):
            if text in self.commands:
                break
            if text.lower().endswith(_PACKED_SUFFIX) and not text.startswith("-"):
                args = [*args[:at], f"{_PACKED_OPTION}={text}", *args[at + 1 :]]
                break
        return list(super().parse_args(ctx, args))

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options of the program without a command."""
        return _in_plain_words(super().get_params(ctx))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command of that name, or None."""
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            _in_plain_words(command.get_params(ctx))
        return command

    def invoke(self, ctx: Any) -> Any:
        """Run the command; raise `BadParameter` without pydantic's "Value error, "."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix("Value error, ")
            raise


def _in_plain_words(parameters: list[Any]) -> list[Any]:
    """Return `parameters` as the help shows them: flags without a value, arguments not at all.

    The usage line names the arguments; the table would add only their Python types.
    """
    for parameter in parameters:
        if isinstance(parameter, TyperArgument):
            parameter.hidden = True
        elif parameter.is_flag and parameter.metavar is None:
            parameter.metavar = ""
    return parameters


cli = typer.Typer(
    name="orderbook-desktop",
    cls=_Commands,
    help="See the exchange's order book live, and own an honest recording of it.",
    add_completion=False,
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(times: ProgramTimes | None = None) -> None:
    """Run the command line and end the process; no traceback ever reaches the terminal.

    `times` are how long the program and its parts wait; None: the usual times.
    """
    code = _FAILED
    _escape_unwritable_text()
    threading.excepthook = _log_failed_thread
    try:
        cli(obj=times)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    except KnownError as error:
        code = _MISUSED if isinstance(error, BadSecret) else _FAILED
        # Before there is a log file, the record would go to the terminal, beside the sentence.
        _log.log(logging.WARNING if current_log() else logging.DEBUG, "ending: %s", error)
        # The sentence may name a file, and a file name may hold control characters.
        _tell(plain_text(str(error), _LONGEST_SENTENCE))
    except Exception as error:  # noqa: BLE001 (the last resort: it is logged and reported)
        # Without a log file the traceback would go to the terminal, beside the sentence.
        _log.log(logging.ERROR if current_log() else logging.DEBUG, _UNEXPECTED, exc_info=True)
        denied = SystemLack.of(error) or SystemRefusal.of(error)
        if denied is not None:
            _tell(plain_text(str(denied), _LONGEST_SENTENCE))
            leave(_FAILED)
        code = _BUG
        where = f"the details are in {current_log()}" if current_log() else "there is no log file"
        _tell(f"this should not have happened ({type(error).__name__}: {error}); {where}.")
    leave(code)


def _log_failed_thread(failure: threading.ExceptHookArgs) -> None:
    """Log the exception that ended a thread, such as one of the driver's that lacked memory."""
    if current_log():
        error = failure.exc_value
        _log.error("unexpected exception in thread %s", failure.thread, exc_info=error)


def _begin_log(settings: Settings, command: str, *what: object) -> None:
    """Begin the log, with the command that the user gave, and `what` it is about."""
    begin_log(settings)
    text = " ".join([command, *map(str, what)])
    _log.info("user: %s (version %s)", plain_text(text, _LONGEST_SENTENCE), __version__)


def _tell(sentence: str) -> None:
    """Write `sentence` to standard error; a failure to write is ignored."""
    with suppress(OSError):
        typer.echo(f"orderbook-desktop: {sentence}", err=True)


def _escape_unwritable_text() -> None:
    """Have the standard streams write characters that their encoding lacks as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"orderbook-desktop {__version__}")
        raise typer.Exit


@cli.callback(invoke_without_command=True)
@with_settings()
def window(
    settings: Settings,
    context: typer.Context,
    demo: Annotated[bool, typer.Option("--demo", help="Show a made-up market.")] = False,
    serve: Annotated[bool, typer.Option("--serve", help="Show it to browsers, too.")] = False,
    replay: ReplayTime = None,
    file: Annotated[Path | None, typer.Option(_PACKED_OPTION, hidden=True)] = None,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Open the window, if no command is named; with a FILE (.obd), also show what is in that."""
    del version
    _begin_log(settings, "window", *(() if file is None else (file,)))
    from orderbook_desktop.app.process.screen import check_screen  # noqa: PLC0415

    check_screen()
    # After the check: importing Qt fails where its system libraries are missing.
    from orderbook_desktop.app.window import run_window  # noqa: PLC0415

    shown: dict[str, Any] = {"demo": demo, "serve": serve, "replay": replay, "file": file}
    raise typer.Exit(run_window(settings, **shown, times=context.obj))


@cli.command()
@with_settings(
    *("mongo_dsn", "db_name", "env", "rest_url", "ws_url", "data_dir", "buffer_mb"),
    *("connections", "trades", "retention_days", "retention_gb", "low_disk_gb"),
)
def record(
    settings: Settings,
    context: typer.Context,
    symbols: Annotated[
        list[str] | None, typer.Argument(metavar="SYMBOL", show_default=False)
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Also record the N most traded symbols.",
            show_default=False,
        ),
    ] = None,
    quote: Annotated[
        str, typer.Option(metavar="ASSET", help="The quote asset of the symbols that --top adds.")
    ] = "USDT",
    duration: Annotated[
        float | None,
        typer.Option("--duration", min=0.0, metavar="SECONDS", help="Stop after this time."),
    ] = None,
) -> None:
    """Record symbols without a window, until Ctrl-C or for --duration seconds."""
    from orderbook_desktop.app.commands.record import run_record  # noqa: PLC0415
    from orderbook_desktop.app.commands.symbol_choice import SymbolChoice  # noqa: PLC0415

    if not symbols and not top:
        raise typer.BadParameter("name a SYMBOL, or give --top N")
    _begin_log(settings, "record", *(symbols or ()))
    raise typer.Exit(
        run_record(settings, SymbolChoice.of(symbols or (), top or 0, quote), duration, context.obj)
    )


@cli.command()
@with_settings(
    *("mongo_dsn", "db_name", "env", "rest_url", "ws_url", "data_dir", "source"),
    *("trades", "web_host", "web_port", "web_token", "web_proxy"),
)
def serve(
    settings: Settings,
    context: typer.Context,
    symbols: Annotated[
        list[str] | None, typer.Argument(metavar="SYMBOL", show_default=False)
    ] = None,
) -> None:
    """Show the order book to browsers, without a window.

    The named symbols are followed from the start, and no others are shown.

    Without a SYMBOL, viewers choose among all symbols that are traded.
    """
    from orderbook_desktop.app.commands.serve import run_serve  # noqa: PLC0415

    _begin_log(settings, "serve", *(symbols or ()))
    raise typer.Exit(run_serve(settings, symbols or [], context.obj))


@cli.command()
@with_settings("mongo_dsn", "db_name", "env", "data_dir")
def recordings(
    settings: Settings,
    file: Annotated[Path | None, typer.Argument(metavar="FILE", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the recordings, or those in a packed FILE (.obd)."""
    from orderbook_desktop.app.commands.recordings import run_recordings, run_recordings_of  # noqa: PLC0415

    _begin_log(settings, "recordings", *(() if file is None else (file,)))
    if file is not None:
        raise typer.Exit(run_recordings_of(file, as_json=as_json))
    raise typer.Exit(run_recordings(settings, as_json=as_json))


@cli.command()
@with_settings("mongo_dsn", "db_name", "env", "data_dir")
def verify(
    settings: Settings,
    symbol: Annotated[str, typer.Argument(metavar="SYMBOL|FILE", show_default=False)],
    from_ms: FromTime = None,
    to_ms: ToTime = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Prove a recording from its stored bytes, or those in a packed FILE (.obd)."""
    from orderbook_desktop.app.commands.packed import named_file  # noqa: PLC0415
    from orderbook_desktop.app.commands.verify import run_verify, run_verify_file  # noqa: PLC0415

    _begin_log(settings, "verify", symbol)
    path = named_file(symbol)
    if path is not None:
        raise typer.Exit(run_verify_file(settings, path, from_ms, to_ms, as_json=as_json))
    raise typer.Exit(run_verify(settings, symbol, from_ms, to_ms, as_json=as_json))


@cli.command()
@with_settings("mongo_dsn", "db_name", "env", "data_dir")
def remove(
    settings: Settings,
    symbol: Annotated[str, typer.Argument(metavar="SYMBOL", show_default=False)],
    from_ms: FromTime = None,
    to_ms: ToTime = None,
    import_id: Annotated[
        str | None,
        typer.Option(
            "--import",
            metavar="ID",
            help="Only the import with this id, or the beginning of it (recordings --json).",
            show_default=False,
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Remove a recording, a span of it, or an import, after asking."""
    from orderbook_desktop.app.commands.remove import run_remove  # noqa: PLC0415
    from orderbook_desktop.app.settings import symbol_and_market  # noqa: PLC0415
    from orderbook_desktop.storage.retention.removal import Span  # noqa: PLC0415

    key = "" if import_id is None else _id_of_import(import_id)
    _begin_log(settings, "remove", symbol)
    span = Span(symbol_and_market(symbol)[1], from_ms, to_ms, key)
    raise typer.Exit(run_remove(settings, symbol, span, yes=yes, as_json=as_json))


def _id_of_import(given: str) -> str:
    """Return the id, or its beginning, in `given`. Raises `typer.BadParameter`."""
    key = given.strip()
    if not key:
        # As where a script's variable is not set: without an import all would be removed.
        raise typer.BadParameter("it is empty; name the id of an import", param_hint="'--import'")
    if len(key) < _ID_AT_LEAST:
        reason = f"give at least {_ID_AT_LEAST} characters of the id"
        raise typer.BadParameter(reason, param_hint="'--import'")
    return key


def _named(symbol: str | None, file: Path | None) -> tuple[str | None, Path | None]:
    """Return the symbol and the packed file to read; a packed file may stand in SYMBOL's place."""
    from orderbook_desktop.app.commands.packed import named_file  # noqa: PLC0415

    if symbol is None and file is None:
        raise typer.BadParameter("name a SYMBOL, or a packed file (.obd)")
    path = None if symbol is None or file is not None else named_file(symbol)
    return (symbol, file) if path is None else (None, path)


@cli.command(name="export")
@with_settings("mongo_dsn", "db_name", "env", "data_dir")
def export_recording(
    settings: Settings,
    form: Annotated[ExportFormat, typer.Option("--format", help="The format of the file.")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="PATH", help="The file; *.csv.gz is gzipped."),
    ],
    symbol: options.OptionalSymbol = None,
    file: options.PackedFile = None,
    from_ms: FromTime = None,
    to_ms: ToTime = None,
    force: options.Force = False,
) -> None:
    """Write a recording to a file for other tools."""
    from orderbook_desktop.app.commands.export import run_export  # noqa: PLC0415

    symbol, file = _named(symbol, file)
    _begin_log(settings, "export", symbol or "", file or "")
    span = {"from_ms": from_ms, "to_ms": to_ms}
    raise typer.Exit(run_export(settings, symbol, form, output, **span, force=force, file=file))


@cli.command()
@with_settings("mongo_dsn", "db_name", "env", "data_dir", "tiles_gb")
def heatmap(
    settings: Settings,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="PATH", help="A picture (.png), or exact cells (.csv, .npz)."
        ),
    ],
    symbol: options.OptionalSymbol = None,
    file: options.PackedFile = None,
    from_ms: FromTime = None,
    to_ms: ToTime = None,
    statistic: Annotated[
        Statistic,
        typer.Option(help="Of each cell the largest size, the last one, or size times ms."),
    ] = Statistic.MAX,
    bin_ms: options.BinMs = None,
    step: options.PriceStep = None,
    price_from: options.LowestPrice = None,
    price_to: options.HighestPrice = None,
    side: Annotated[Side, typer.Option(help="Whose sizes count.")] = Side.BOTH,
    colours: Annotated[ColourMap, typer.Option(help="The colours of a picture.")] = ColourMap.FIRE,
    width: options.Width = 1600,
    height: options.Height = 900,
    force: options.Force = False,
) -> None:
    """Draw how much stood at which price and when, without a window."""
    from orderbook_desktop.app.commands.heatmap import HeatmapWish, run_heatmap  # noqa: PLC0415

    symbol, file = _named(symbol, file)
    if (price_from is None) != (price_to is None):
        raise typer.BadParameter("give --price-from and --price-to together, or neither of them")
    _begin_log(settings, "heatmap", symbol or "", file or "")
    wish = HeatmapWish(
        path=output,
        from_ms=from_ms,
        to_ms=to_ms,
        step=step,
        bin_ms=bin_ms,
        prices=None if price_from is None or price_to is None else (price_from, price_to),
        statistic=statistic,
        side=side,
        colours=colours,
        size=(width, height),
        force=force,
    )
    raise typer.Exit(run_heatmap(settings, symbol, wish, file))


@cli.command(name="pack")
@with_settings("mongo_dsn", "db_name", "env", "data_dir")
def pack_recordings(
    settings: Settings,
    symbols: Annotated[list[str], typer.Argument(metavar="SYMBOL", show_default=False)],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The file, such as btc.obd.")
    ],
    from_ms: FromTime = None,
    to_ms: ToTime = None,
    force: options.Force = False,
) -> None:
    """Pack recordings into one file (.obd), exactly as they are stored."""
    from orderbook_desktop.app.commands.packed import run_pack  # noqa: PLC0415

    _begin_log(settings, "pack", *symbols)
    raise typer.Exit(run_pack(settings, symbols, output, from_ms=from_ms, to_ms=to_ms, force=force))


@cli.command(name="unpack")
@with_settings("mongo_dsn", "db_name", "env", "data_dir")
def unpack_recordings(
    settings: Settings,
    file: Annotated[Path, typer.Argument(metavar="FILE", show_default=False)],
) -> None:
    """Merge the recordings of a packed FILE (.obd) into the database."""
    from orderbook_desktop.app.commands.packed import run_unpack  # noqa: PLC0415

    _begin_log(settings, "unpack", file)
    raise typer.Exit(run_unpack(settings, file))


@cli.command(name="import")
@with_settings("mongo_dsn", "db_name", "env", "data_dir")
def import_files(
    settings: Settings,
    files: Annotated[list[Path], typer.Argument(metavar="FILE", show_default=False)],
    form: Annotated[
        ImportFormat | None,
        typer.Option(
            "--format",
            help="The format of the files; by default it is detected.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Make a recording of other files: collector lines or Tardis CSV, or zips of trades."""
    from orderbook_desktop.app.commands.import_files import run_import  # noqa: PLC0415

    _begin_log(settings, "import", *files)
    raise typer.Exit(run_import(settings, files, form))


@cli.command()
@with_settings("env", "data_dir")
def exchange(
    settings: Settings,
    port: options.Port = 8900,
    host: options.Host = "127.0.0.1",
    play: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Play a capture (raw lines, also .gz).")
    ] = None,
    speed: Annotated[
        float,
        typer.Option(
            min=0.01, max=10_000, metavar="N", help="Play the capture N times as fast as it was."
        ),
    ] = 1.0,
    loop: Annotated[bool, typer.Option("--loop", help="Repeat the capture.")] = False,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the made-up market.")] = 1,
    faults: Annotated[
        bool, typer.Option("--faults", help="Take orders for faults at /control/fault.")
    ] = False,
    port_is_held: Annotated[bool, typer.Option("--port-is-held", hidden=True)] = False,
) -> None:
    """Run a local exchange with Binance's interface."""
    from orderbook_desktop.app.commands.exchange import run_exchange  # noqa: PLC0415
    from orderbook_desktop.exchange.local import CaptureSource, SyntheticSource  # noqa: PLC0415

    _begin_log(settings, "exchange")
    host = listening_address(host, "--host")
    source = (
        SyntheticSource(seed=seed) if play is None else CaptureSource(play, speed=speed, loop=loop)
    )
    raise typer.Exit(
        run_exchange(source, host=host, port=port, faults=faults, port_is_held=port_is_held)
    )


@cli.command()
@with_settings("mongo_dsn", "db_name", "env", "data_dir")
def replay(
    settings: Settings,
    symbol: options.OptionalSymbol = None,
    from_ms: FromTime = None,
    to_ms: ToTime = None,
    speed: options.Speed = "1",
    order: options.Order = "received",
    port: options.Port = 8900,
    host: options.Host = "127.0.0.1",
    file: options.PackedFile = None,
    at_once: options.AtOnce = False,
    delay: options.Delay = 1.0,
    skip_gaps: options.SkipGaps = False,
    stay: options.Stay = False,
) -> None:
    """Serve a recording with Binance's interface, so that other programs run against that time."""
    from orderbook_desktop.app.commands.replay import Served, order_of, run_replay, speed_of  # noqa: PLC0415
    from orderbook_desktop.replay.served import Play  # noqa: PLC0415

    symbol, file = _named(symbol, file)
    _begin_log(settings, "replay", symbol or "", file or "")
    play = Play(
        from_ms=from_ms,
        to_ms=to_ms,
        speed=speed_of(speed),
        order=order_of(order),
        waits=not at_once,
        delay_s=delay,
        skips_gaps=skip_gaps,
    )
    host = listening_address(host, "--host")
    served = Served(symbol=symbol, file=file, play=play, host=host, port=port, stays=stay)
    raise typer.Exit(run_replay(settings, served))


@cli.command()
@with_settings(
    *("symbol", "mongo_dsn", "db_name", "env", "rest_url", "ws_url", "data_dir"),
    *("retention_days", "retention_gb", "low_disk_gb"),
)
def doctor(
    settings: Settings,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    reset_password: Annotated[
        bool,
        typer.Option(
            "--reset-database-password",
            help="First give the program's own database a new password.",
        ),
    ] = False,
) -> None:
    """Say what is reachable, what is missing, and what to do."""
    from orderbook_desktop.app.commands.doctor import reset_database_password, run_doctor  # noqa: PLC0415

    _begin_log(settings, "doctor")
    if reset_password:
        reset_database_password(settings)
    raise typer.Exit(run_doctor(settings, as_json=as_json))
