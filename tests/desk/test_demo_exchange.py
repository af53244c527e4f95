"""The demo's exchange is a child process, and never outlives the process that started it."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from orderbook_desktop.app.settings import Settings, load_settings
from orderbook_desktop.desk.demo_exchange import DemoExchange, DemoFailed
from orderbook_desktop.exchange.rest import BinanceRest
from tests.unhurried import DESK_TIMES

_KILLED = """
import asyncio, os, signal, sys
from orderbook_desktop.desk.demo_exchange import DemoExchange
from orderbook_desktop.app.settings import load_settings

async def main():
    await DemoExchange(load_settings(data_dir=sys.argv[1])).start()
    print("started", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


def _run_killed(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _KILLED, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _serving(folder: Path) -> list[psutil.Process]:
    """Return the processes that have `folder` on their command line."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        # The process may end meanwhile.
        with suppress(psutil.NoSuchProcess):
            if str(folder) in command and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


async def test_it_serves_a_market_in_a_database_of_its_own(stranded: Settings) -> None:
    demo = DemoExchange(stranded, DESK_TIMES.demo)
    await demo.start()
    try:
        settings = demo.settings()
        assert settings.db_name == "book_demo"
        assert settings.data_dir == stranded.data_dir
        rest = BinanceRest(settings.rest_url, limit=100)
        try:
            assert (await rest.snapshot("BTCUSDT")).last_update_id
        finally:
            await rest.close()
    finally:
        await demo.close()


async def test_its_unexpected_end_is_noticed(stranded: Settings) -> None:
    demo = DemoExchange(stranded, DESK_TIMES.demo)
    await demo.start()
    (process,) = _serving(stranded.data_dir)
    ended = asyncio.create_task(demo.ended())
    process.kill()
    async with asyncio.timeout(60):
        assert "ended unexpectedly" in str(await ended)
    await demo.close()


@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="ports can't be held")
async def test_its_port_is_no_others_while_the_demo_is_there(stranded: Settings) -> None:
    demo = DemoExchange(stranded, DESK_TIMES.demo)
    await demo.start()
    port = int(demo.settings().rest_url.rpartition(":")[2])
    (process,) = _serving(stranded.data_dir)
    assert [one.laddr for one in process.net_connections()] == [("127.0.0.1", port)]
    process.kill()
    await demo.ended()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
    await demo.close()
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))


async def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(DemoFailed, match="Not a directory"):
        await DemoExchange(load_settings(data_dir=str(blocked))).start()


async def test_its_last_words_are_told(stranded: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENV", "nonsense")
    with pytest.raises(DemoFailed, match="production or development"):
        await DemoExchange(stranded.model_copy(update={"env": _Nonsense})).start()


class _Nonsense:
    value = "nonsense"


async def test_cancelling_its_start_leaves_nothing(stranded: Settings) -> None:
    starting = asyncio.create_task(DemoExchange(stranded, DESK_TIMES.demo).start())
    async with asyncio.timeout(60):
        while not _serving(stranded.data_dir):
            await asyncio.sleep(0.01)
    starting.cancel()
    await asyncio.wait({starting})
    assert _serving(stranded.data_dir) == []


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
async def test_it_dies_with_the_program_that_is_killed(tmp_path: Path) -> None:
    done = await asyncio.to_thread(_run_killed, tmp_path)
    assert done.stdout == "started\n", done.stderr
    async with asyncio.timeout(60):
        while _serving(tmp_path):
            await asyncio.sleep(0.01)
