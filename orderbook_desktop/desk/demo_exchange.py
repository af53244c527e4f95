"""The demo's exchange: a made-up market, which a child process serves."""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
import sys

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.desk.settings import DEMO_TIMES, DemoTimes, DeskSettings
from orderbook_desktop.system.bundle import is_frozen
from orderbook_desktop.system.child import ChildProcess

_find_port = re.compile(r"ORDERBOOK_REST_URL=http://127\.0\.0\.1:(\d+)").search


class DemoFailed(KnownError):
    """The demo's exchange did not start, or has ended; `reason` says why."""

    reason: str

    def __str__(self) -> str:
        return f"The demo's exchange does not run ({self.reason})."


class DemoExchange:
    """A local exchange as a child process. `await start()`, then `await close()`.

    This object holds the port until `close()`, even if the process ends before. What the port
    serves is recorded, so no other user may take the port and serve other events.
    """

    def __init__(self, settings: DeskSettings, times: DemoTimes = DEMO_TIMES) -> None:
        self._settings = settings
        self._times = times
        self._port = 0
        self._child: ChildProcess | None = None
        self._holder: socket.socket | None = None

    async def start(self) -> None:
        """Start the process and wait until it serves; after `DemoFailed` no process runs."""
        log = self._settings.data_dir / "logs" / "demo.log"
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            self._holder = _held_port()
            self._child = ChildProcess([*program(), *self._arguments()], log)
        except OSError as error:
            await self.close()
            raise DemoFailed(error.strerror or str(error)) from error
        try:
            async with asyncio.timeout(self._times.ready_s):
                self._port = await _announced_port(self._child, self._times.poll_s)
        except TimeoutError:
            await self.close()
            raise DemoFailed(f"not ready after {self._times.ready_s:.0f} s") from None
        except BaseException:
            await self.close()
            raise

    async def ended(self) -> DemoFailed:
        """Wait until the process ends by itself; return the error that says so."""
        if self._child is None:
            return DemoFailed("it was not started")
        code = await self._child.wait()
        return DemoFailed(f"it ended unexpectedly, with exit code {code}")

    def settings(self) -> DeskSettings:
        """Return the settings with the demo's exchange, and a database of its own."""
        address = f"127.0.0.1:{self._port}"
        return self._settings.with_exchange(
            f"http://{address}", f"ws://{address}", f"{self._settings.db_name}_demo"
        )

    async def close(self) -> None:
        """End the process."""
        child, self._child = self._child, None
        holder, self._holder = self._holder, None
        try:
            if child is not None:
                await child.stop(self._times.stop_s)
        finally:
            if holder is not None:
                holder.close()

    def _arguments(self) -> list[str]:
        # The seed differs each time, because the same update ids may be recorded already.
        held = self._holder
        port = ["0"] if held is None else [str(held.getsockname()[1]), "--port-is-held"]
        return [
            *("exchange", "--port", *port, "--seed", str(secrets.randbelow(2**31))),
            *("--data-dir", str(self._settings.data_dir), "--env", self._settings.env.value),
        ]


def _held_port() -> socket.socket | None:
    """Return a socket that holds a port without listening; only this user's processes can share it.

    Return None on a system without such sharing. Raises `OSError`.
    """
    if not hasattr(socket, "SO_REUSEPORT"):
        return None
    holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    holder.bind(("127.0.0.1", 0))
    return holder


async def _announced_port(child: ChildProcess, poll_s: float) -> int:
    """Wait until the exchange names its port, and return it; raises `DemoFailed`."""
    while True:
        running = child.running  # Read first: the last lines come before the end.
        for line in child.last_lines:
            if found := _find_port(line):
                return int(found[1])
        if not running:
            raise DemoFailed((child.last_lines or ["it ended at once"])[-1].rstrip("."))
        await asyncio.sleep(poll_s)


def program() -> list[str]:
    """Return the command that starts another process of this program."""
    if is_frozen():
        return [sys.executable]
    return [sys.executable, "-m", "orderbook_desktop"]
