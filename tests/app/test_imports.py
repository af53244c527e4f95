"""Slow imports happen when they are needed, and in a thread."""

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


_SERVER = "fastapi starlette uvicorn h11 jinja2"
_DATABASE = "motor pymongo bson"
_EXCHANGE = "ccxt aiohttp websockets"
_ELSEWHERE = "arro3 cryptography filelock hftbacktest psutil rich secantus segno"
_NO_WINDOW = "PySide6 shiboken6 qasync"


@pytest.mark.parametrize(
    ("module", "later"),
    [
        ("cli", f"{_SERVER} {_DATABASE} {_EXCHANGE} {_ELSEWHERE} {_NO_WINDOW} numpy zstandard"),
        ("window", f"{_SERVER} {_DATABASE} {_EXCHANGE} {_ELSEWHERE}"),
        ("commands.record", f"{_SERVER} {_DATABASE} {_EXCHANGE} {_NO_WINDOW} arro3 segno"),
        ("commands.serve", f"{_SERVER} {_DATABASE} {_EXCHANGE} {_NO_WINDOW} arro3 segno"),
    ],
)
def test_no_start_waits_for_imports_that_it_may_never_need(module: str, later: str) -> None:
    program = f"import sys, orderbook_desktop.app.{module}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    )
    assert "orderbook_desktop.app.settings" in done.stdout.split()
    assert set(later.split()).isdisjoint(done.stdout.split())


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
        timeout=120,
    )
    assert done.stdout.split() == ["False"], done.stderr
