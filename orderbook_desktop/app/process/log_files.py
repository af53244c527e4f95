"""The program's log: a limited file in the data folder, and the terminal."""

from __future__ import annotations

import copy
import logging
import os
import re
import sys
import warnings
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final

from orderbook_desktop.app.settings import Environment, Settings
from orderbook_desktop.system.private_files import private_data_folder, private_folder

_FILE_BYTES: Final = 2_000_000
_OLD_FILES: Final = 3
_FORMAT: Final = "%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"
# C0 and C1 without tab and line feed, and the characters that change the writing direction.
_controls: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_NOISY: Final = ("pymongo", "asyncio", "qasync", "websockets", "ccxt", "aiohttp", "filelock")


class PlainLines(logging.Formatter):
    """Writes records without control characters, which could move a terminal's cursor.

    A record may hold text from a server or a file name.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the record; each control character but line feed and tab becomes `?`.

        A trace belongs to a fault: one below WARNING, such as of a library, is left out.
        """
        if logging.DEBUG < record.levelno < logging.WARNING:
            record = _without_trace(record)
        return _controls.sub("?", super().format(record))


class PlainSentences(PlainLines):
    """Writes records without the trace of an error, which tells a person nothing."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line."""
        return super().format(_without_trace(record))


def _without_trace(record: logging.LogRecord) -> logging.LogRecord:
    bare = copy.copy(record)
    bare.exc_info = bare.exc_text = bare.stack_info = None
    return bare


class SharedLogFile(RotatingFileHandler):
    """A limited log file that several copies of the program write to.

    A copy whose file was renamed by another copy opens the new file.
    """

    def __init__(self, path: Path) -> None:
        """Begin to write to `path`; raises `OSError` if that is impossible."""
        private_folder(path.parent)
        super().__init__(
            path,
            maxBytes=_FILE_BYTES,
            backupCount=_OLD_FILES,
            encoding="utf-8",
            errors="backslashreplace",
        )

    def shouldRollover(self, record: logging.LogRecord) -> bool | int:  # noqa: N802 (logging's name)
        """Reopen the file if it was renamed, then return whether it is full."""
        if not self._is_current():
            if self.stream is not None:
                self.stream.close()
            self.stream = self._open()
        return super().shouldRollover(record)

    def _is_current(self) -> bool:
        if self.stream is None:
            return False
        try:
            there = Path(self.baseFilename).stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(self.stream.fileno()))


def log_path(settings: Settings) -> Path:
    """Return the path of the log."""
    return settings.data_dir / "logs" / f"{settings.env.value}.log"


def current_log() -> str:
    """Return the path of the log in use, or an empty string."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, SharedLogFile):
            return handler.baseFilename
    return ""


def begin_log(settings: Settings) -> None:
    """Send log records to the file, and in development also to the terminal.

    If the file can't be written, the terminal gets the errors instead.
    """
    root = logging.getLogger()
    development = settings.env is Environment.DEVELOPMENT
    root.setLevel(logging.DEBUG if development else logging.INFO)
    for noisy in _NOISY:
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # SOCKS proxies aren't used. The filter is set here, before threads that also change filters.
    warnings.filterwarnings("ignore", message="SOCKS support in urllib3")
    # A full disk must not fill the terminal with tracebacks about the log.
    logging.raiseExceptions = development
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setFormatter(PlainLines(_FORMAT) if development else PlainSentences(_FORMAT))
    terminal.setLevel(logging.DEBUG if development else logging.CRITICAL)
    root.addHandler(terminal)
    try:
        private_data_folder(settings.data_dir)
        file = SharedLogFile(log_path(settings))
    except OSError as error:
        terminal.setLevel(min(terminal.level, logging.ERROR))
        logging.getLogger(__name__).warning("no log file: %s", error)
        return
    file.setFormatter(PlainLines(_FORMAT))
    root.addHandler(file)
