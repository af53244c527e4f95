"""Files of other collectors: which format they are in, and their messages in order of time."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from orderbook_desktop.core.file_formats import ImportFormat
from orderbook_desktop.core.received import Broken, FileNotes, Received, UnusableFile
from orderbook_desktop.formats.aggtrades_files import aggtrades, is_aggtrades
from orderbook_desktop.formats.capture_reader import captured_messages, is_captured
from orderbook_desktop.formats.lines import check_file, first_line
from orderbook_desktop.formats.tardis_reader import is_tardis, tardis_messages
from orderbook_desktop.formats.tardis_trades import is_tardis_trades, tardis_trades

_READERS: Final = {
    ImportFormat.RAW: captured_messages,
    ImportFormat.TARDIS: tardis_messages,
    ImportFormat.TARDIS_TRADES: tardis_trades,
    ImportFormat.AGGTRADES: aggtrades,
}
# Open files and sockets besides the imported files.
_OTHER_FILES: Final = 100
_NAMES: Final = {
    ImportFormat.RAW: "collector lines",
    ImportFormat.TARDIS: "Tardis CSV",
    ImportFormat.TARDIS_TRADES: "Tardis CSV of trades",
    ImportFormat.AGGTRADES: "the exchange's zipped trades",
}


def messages_of(
    paths: Sequence[Path], form: ImportFormat | None, notes: FileNotes
) -> Iterator[Received | Broken]:
    """Return the messages in `paths`, which are in the format `form` (None: detect it).

    `notes` are filled while they are read. Raises `UnusableFile`, and so does the iterator.
    """
    for path in paths:
        check_file(path)
    form = form or detected(paths)
    _raise_file_limit(len(paths))
    return _READERS[form](paths, notes)


def detected(paths: Sequence[Path]) -> ImportFormat:
    """Return the common format of `paths`, detected from their content; raises `UnusableFile`."""
    forms = [_detected(path) for path in paths]
    for path, form in zip(paths, forms, strict=True):
        if form is not forms[0]:
            reason = f"holds {_NAMES[form]}, {paths[0]} {_NAMES[forms[0]]}; import them separately"
            raise UnusableFile(path, reason)
    return forms[0]


def _raise_file_limit(count: int) -> None:
    """Let the process open `count` more files at once, as far as the system permits."""
    if sys.platform == "win32":
        return
    import resource  # noqa: PLC0415 (not on Windows)

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + _OTHER_FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if resource.RLIM_INFINITY != soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _detected(path: Path) -> ImportFormat:
    if is_aggtrades(path):
        return ImportFormat.AGGTRADES
    line = first_line(path)
    if is_tardis(line):
        return ImportFormat.TARDIS
    if is_tardis_trades(line):
        return ImportFormat.TARDIS_TRADES
    if is_captured(line):
        return ImportFormat.RAW
    raise UnusableFile(
        path,
        "is neither collector lines (a receive time in ns, then JSON), nor Tardis' CSV "
        "(incremental_book_L2 or trades), nor the exchange's zip of aggregated trades",
        1,
    )
