"""A child process: guarded, with a limited log of its output, and its end noticed at once."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence
from io import FileIO, TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final

from orderbook_desktop.system import child_guard
from orderbook_desktop.system.bundle import bundled_database, is_frozen
from orderbook_desktop.system.tasks import set_within

log = logging.getLogger(__name__)

STOP_PATIENCE_S: Final = 5.0
LOG_BYTES: Final = 1_000_000
_TAIL_LINES: Final = 60

# A resident guard waits for its command as long before it kills it, so the guard gets more.
_GUARD_MARGIN_S: Final = 1.0
# The exit codes for SIGKILL, of the process itself or of its resident guard.
_KILLED: Final = (-9, 128 + 9)
_KILLED_WITHIN_S: Final = 1.0

_CREATION_FLAGS = 0
if sys.platform == "win32":
    _CREATION_FLAGS = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP


class LimitedLog(RotatingFileHandler):
    """A log file that can neither fill the disk nor fail its writer.

    It keeps `limit` bytes in `path`, and as many in `path`.1. Where the disk is full or gone, the
    program's own log gets one warning, and the lines are lost. Call `close()` when done.
    """

    def __init__(self, path: Path, limit: int) -> None:
        # In Latin-1 each byte is a character: a line keeps its bytes, and its length counts them.
        super().__init__(path, maxBytes=limit, backupCount=1, encoding="latin-1", delay=True)
        self._has_reported = False

    def keep(self, line: bytes) -> None:
        """Append `line`."""
        text = line.rstrip(b"\r\n").decode("latin-1")
        self.handle(logging.makeLogRecord({"msg": text}))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        """Log the first failure."""
        del record
        if not self._has_reported:
            self._has_reported = True
            log.warning("%s cannot be written: %s", self.baseFilename, sys.exception())

    def _open(self) -> TextIOWrapper:
        # Unbuffered: closing writes nothing, so it can't fail.
        file = FileIO(self.baseFilename, "a")
        return TextIOWrapper(file, self.encoding, write_through=True)


class ChildProcess:
    """A running command that ends with this process, however this process ends.

    Create it on a thread that lives as long as the program, with a running loop (on Linux the
    child ends with the *thread* that created it). The loop may be asyncio's or qasync's. Call
    `stop()` before the loop ends. Raises `OSError` where the command can't be started.

    Its standard output and error go to `log_path`, which holds `LOG_BYTES` at most, plus as much
    in one older file. A process that writes a line matching `fatal` is of no use any more,
    although it may run on: it is ended.
    """

    def __init__(
        self,
        command: Sequence[str],
        log_path: Path,
        *,
        fatal: re.Pattern[bytes] | None = None,
        resident_guard: bool | None = None,
    ) -> None:
        if resident_guard is None:
            resident_guard = not sys.platform.startswith("linux")
        self._resident = resident_guard
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._given_up = False
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._log_path = log_path
        self._fatal = fatal
        self._process = subprocess.Popen(  # noqa: S603 - a list, no shell
            guarded(command, resident=resident_guard),
            stdin=subprocess.PIPE if resident_guard else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # A Ctrl+C in the terminal is for this program, which stops the child itself.
            start_new_session=True,
            creationflags=_CREATION_FLAGS,
        )
        # A daemon: a program that ends without `stop()` must not wait for its child, which waits
        # for the end of the program.
        self._reader = threading.Thread(
            target=self._read_until_end, name=f"child-{self.pid}", daemon=True
        )
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process's id (of the guard, where that is resident)."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process has not ended yet."""
        return not self._ended.is_set()

    @property
    def was_killed(self) -> bool:
        """Whether another process has killed it, where the system reports that."""
        return self._process.returncode in _KILLED and not self._given_up

    @property
    def last_lines(self) -> list[str]:
        """The last lines that the process wrote, oldest first."""
        return list(self._tail)

    async def wait(self) -> int:
        """Wait for the end of the process and return its exit code (negative: the signal)."""
        await self._ended.wait()
        return self._process.returncode

    def ask_to_end(self) -> None:
        """Tell the process to end, without waiting for it; `stop()` does this first."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        else:
            self._process.terminate()

    async def stop(self, patience_s: float = STOP_PATIENCE_S) -> None:
        """Ask the process to end, kill it after `patience_s`, and return when it is gone."""
        try:
            if self.running:
                self.ask_to_end()
                await self._ends_within(patience_s + (_GUARD_MARGIN_S if self._resident else 0))
        finally:
            # Also when this call is cancelled: no other code would end it.
            if self.running:
                self._kill()
            self._reader.join(_KILLED_WITHIN_S)
            if self._process.stdin is not None:
                self._process.stdin.close()

    def _end_at_once(self) -> None:
        self._given_up = True
        if self._resident:
            self.ask_to_end()  # A killed guard could not kill its command.
        else:
            self._kill()

    def _kill(self) -> None:
        self._given_up = True
        self._process.kill()

    async def _ends_within(self, patience_s: float) -> None:
        if await set_within(self._ended, patience_s):
            return
        log.warning("process %d did not end in %.0f s and is killed", self.pid, patience_s)
        self._kill()
        # It takes longer only if the system can't end it, or its own children hold its output.
        await set_within(self._ended, _KILLED_WITHIN_S)

    def _read_until_end(self) -> None:
        """Keep the output of the process until it ends, then set the loop's event."""
        output = self._process.stdout
        assert output is not None  # noqa: S101 - it is a PIPE
        kept = LimitedLog(self._log_path, LOG_BYTES)
        with output:
            for line in output:
                self._tail.append(line.decode("utf-8", "replace").rstrip())
                kept.keep(line)
                if self._fatal is not None and self._fatal.search(line):
                    self._end_at_once()
        kept.close()
        self._process.wait()
        try:
            self._loop.call_soon_threadsafe(self._ended.set)
        except RuntimeError:
            log.debug("process %d outlived the loop", self.pid)


def guarded(command: Sequence[str], *, resident: bool) -> list[str]:
    """Return the command line that runs `command` under `child_guard`."""
    if is_frozen():
        guard = [str(bundled_database()), "guard"]
    else:
        # Isolated and without site, so that the environment can neither break nor slow it.
        guard = [sys.executable, "-I", "-S", child_guard.__file__]
    return [*guard, "resident" if resident else "exec", str(os.getpid()), *command]
