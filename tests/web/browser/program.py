"""The program's own commands as child processes, on free ports."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

_READY_S = 100.0
_END_S = 60.0
# No system gives one of these ports to a program that asks for any free port. So a port stays free
# until a server listens on it, and while that server is away.
_OWN_PORTS = range(20_000, 32_000)


def free_port() -> int:
    """Return a port that no program listens on."""
    chooser = random.SystemRandom()
    while True:
        port = chooser.choice(_OWN_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Command:
    """One command of the program; `start()` and `stop()` may be called repeatedly.

    `process` is its process, or None while it does not run.
    """

    def __init__(self, log: Path, ready: str, *arguments: str, **variables: str) -> None:
        self._log = log
        self._ready = ready
        self._arguments = arguments
        self._variables = variables
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the command, and return when it answers."""
        with self._log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "orderbook_desktop", *self._arguments],
                env={**os.environ, **self._variables},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + _READY_S
        opener = build_opener(ProxyHandler({}))
        while True:
            try:
                opener.open(self._ready, timeout=5).close()
            except (OSError, HTTPException):
                assert self.process.poll() is None, self._log.read_text()
                assert time.monotonic() < deadline, self._log.read_text()
                time.sleep(0.05)
            else:
                return

    def stop(self) -> int:
        """End the command by a signal, like a person; return its exit code."""
        process, self.process = self.process, None
        if process is None:
            return 0
        process.send_signal(signal.SIGINT)
        try:
            return process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


@contextmanager
def running(command: Command) -> Iterator[Command]:
    """Run a command while the context lasts."""
    command.start()
    try:
        yield command
    finally:
        assert command.stop() == 0


def exchange(folder: Path, *arguments: str) -> tuple[Command, dict[str, str]]:
    """Return a local exchange, and the variables with its addresses."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    command = Command(
        folder / "exchange.txt",
        f"http://{address}/api/v3/ping",
        "exchange",
        "--port",
        str(port),
        *arguments,
        ORDERBOOK_DATA_DIR=str(folder / "exchange"),
    )
    return command, {
        "ORDERBOOK_REST_URL": f"http://{address}",
        "ORDERBOOK_WS_URL": f"ws://{address}",
        "ORDERBOOK_DATA_DIR": str(folder / "data"),
    }


def server(folder: Path, variables: dict[str, str]) -> tuple[Command, str]:
    """Return the browser view over that exchange, and its address."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = Command(
        folder / "serve.txt", f"{address}/healthz", "serve", "--port", str(port), **variables
    )
    return command, address
