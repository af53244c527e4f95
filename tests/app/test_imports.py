"""What is slow to import is imported by a thread, wherever the need for it comes up first."""

from __future__ import annotations

import subprocess
import sys

import pytest

_PROGRAM = """
import asyncio, sys, threading
from contextlib import suppress
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.exchange.link import StreamTimes, open_socket
from orderbook_desktop.exchange.rest import BinanceRest
from orderbook_desktop.storage.dsn import check_dsn

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            print(threading.current_thread() is threading.main_thread())

sys.meta_path.insert(0, Watch())

async def main():
    with suppress(KnownError):
        await {call}

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("module", "call"),
    [
        ("aiohttp", "BinanceRest('http://').snapshot('BTCUSDT')"),
        ("websockets.asyncio.client", "open_socket('ws://127.0.0.1:1', [], StreamTimes())"),
        ("motor", "check_dsn('nonsense')"),
    ],
)
def test_the_loop_imports_nothing_slow_itself(module: str, call: str) -> None:
    program = _PROGRAM.replace("{call}", call)
    done = subprocess.run(
        [sys.executable, "-c", program, module],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stdout.split() == ["False"], done.stderr
