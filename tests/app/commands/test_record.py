"""Headless recording: its output, its end, and its exit code."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

import pytest

from orderbook_desktop.app.commands.record import _BEGINS_WITHIN_S, run_record
from orderbook_desktop.app.commands.symbol_choice import SymbolChoice
from orderbook_desktop.app.settings import Settings
from orderbook_desktop.engine.market_session import MarketLease, MarketSession
from orderbook_desktop.storage.server.folder_claim import FolderClaim


async def _record(
    settings: Settings,
    *arguments: str,
    until: Sequence[str] = (),
    variables: Sequence[str] = (),
    later_s: float = 0.0,
) -> tuple[int, str]:
    """Run `record`; return its exit code and stderr.

    It gets SIGTERM `later_s` after it has printed all of `until`.
    """
    given = {
        "ORDERBOOK_REST_URL": settings.rest_url,
        "ORDERBOOK_WS_URL": settings.ws_url,
        "ORDERBOOK_DATA_DIR": str(settings.data_dir),
        **dict(one.split("=", 1) for one in variables),
    }
    process = await asyncio.to_thread(
        subprocess.Popen,
        [sys.executable, "-m", "orderbook_desktop", "record", *arguments],
        env={**os.environ, **given},
        stderr=subprocess.PIPE,
        text=True,
    )

    def follow() -> str:
        assert process.stderr is not None
        output, awaited = "", set(until)
        for line in process.stderr:
            output += line
            if awaited and (awaited := {text for text in awaited if text not in line}) == set():
                time.sleep(later_s)
                process.send_signal(signal.SIGTERM)
        process.wait()
        process.stderr.close()
        return output

    output = await asyncio.to_thread(follow)
    assert "Traceback" not in output
    return process.returncode, output


@pytest.mark.cold_start
async def test_several_symbols_for_a_while(settings: Settings) -> None:
    code, output = await _record(settings, "BTC/USDT", "ETH/USDT", "--duration", "15")
    assert code == 0, output
    assert output.startswith("Recording BTC/USDT, ETH/USDT into book.\n")
    for symbol in ("BTC/USDT", "ETH/USDT"):
        assert f"{symbol}: synced\n" in output
        assert f"\n{symbol}: " in output.partition("synced")[2]
    assert "events recorded in" in output
    assert "0 gaps." in output
    assert " trades were recorded, too.\n" in output


async def test_the_most_traded_symbols_beside_named_ones(settings: Settings) -> None:
    until = [f"{symbol}: synced" for symbol in ("BNB/BTC", "BTC/USDT", "ETH/USDT")]
    # A market may be synced before its first event has come, and nothing is recorded of it then.
    code, output = await _record(
        settings, "BNB/BTC", "--top", "2", until=until, later_s=_BEGINS_WITHIN_S
    )
    assert code == 0, output
    assert output.startswith("Recording BNB/BTC, BTC/USDT, ETH/USDT into book.\n")


async def test_the_most_traded_symbols_in_another_asset(settings: Settings) -> None:
    until = ["BTC/EUR: synced"]
    code, output = await _record(
        settings, "--top", "1", "--quote", "eur", until=until, later_s=_BEGINS_WITHIN_S
    )
    assert code == 0, output
    assert output.startswith("Recording BTC/EUR into book.\n")


async def test_fewer_symbols_than_were_asked_for(settings: Settings) -> None:
    symbols = ("BTC/EUR", "--top", "1000", "--quote", "EUR")
    _, output = await _record(settings, *symbols, until=["into book."])
    sentence, recording = output.splitlines()[:2]
    count = recording.count("/EUR")
    assert sentence == (
        "orderbook-desktop: --top 1000 takes all that the exchange trades in EUR: no more than "
        f"{count} symbol{'s' if count > 1 else ''}."
    )


async def test_an_asset_that_nothing_is_traded_in(settings: Settings) -> None:
    code, output = await _record(settings, "--top", "1", "--quote", "NONE")
    assert code == 1
    assert output.splitlines()[-1] == (
        "orderbook-desktop: The exchange trades no symbol in NONE; name another asset with --quote."
    )


async def test_the_most_traded_of_an_exchange_out_of_reach(stranded: Settings) -> None:
    # Stopped within its first second, it has not failed.
    code, output = await _record(
        stranded, "--top", "5", until=["can't be reached"], later_s=_BEGINS_WITHIN_S
    )
    first, last = output.splitlines()
    assert "Trying again." in first
    assert last == "orderbook-desktop: Nothing was recorded: it was stopped before it could begin."
    assert code == 1


async def test_the_time_passes_while_the_exchange_is_out_of_reach(stranded: Settings) -> None:
    code, output = await _record(stranded, "--top", "5", "--duration", "2")
    last = output.splitlines()[-1]
    assert last == "orderbook-desktop: Nothing was recorded: it was stopped before it could begin."
    assert code == 1


@pytest.mark.allows_log(r"WARNING .*")
def test_a_bug_at_the_end_of_a_market_leaves_no_server_behind(
    stranded: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_session: MarketSession, _lease: MarketLease) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(MarketSession, "take_back", fail)
    with pytest.raises(ZeroDivisionError):
        run_record(stranded, SymbolChoice.of(["BTC/USDT"]), 0.2)
    claim = FolderClaim(stranded.data_dir / "database")
    assert claim.acquire()
    claim.release()


async def test_no_symbol_at_all_is_a_wrong_command_line(settings: Settings) -> None:
    code, output = await _record(settings)
    assert code == 2
    assert "name a SYMBOL, or give --top N" in output


async def test_a_request_to_end_is_a_clean_end(settings: Settings) -> None:
    until = ["BTC/USDT: synced", "NO/NE: not traded"]
    code, output = await _record(
        settings, "BTC/USDT", "NO/NE", until=until, later_s=_BEGINS_WITHIN_S
    )
    assert "BTC/USDT: " in output.splitlines()[-2]
    assert "0 gaps." in output.splitlines()[-2]
    # One of the two symbols was not recorded, and the output says so.
    assert output.splitlines()[-1].startswith("NO/NE: 0 events recorded")
    assert "The exchange doesn't trade NO/NE" in output.splitlines()[-1]
    assert code == 1


async def test_only_an_unknown_symbol(settings: Settings) -> None:
    code, output = await _record(settings, "NO/NE")
    assert code == 1
    assert output.count("The exchange doesn't trade NO/NE") == 1
    assert output.splitlines()[-1].startswith("orderbook-desktop: The exchange doesn't trade")


async def test_an_exchange_out_of_reach_is_tried_again(stranded: Settings) -> None:
    code, output = await _record(
        stranded, "BTC/USDT", until=["Trying again."], later_s=_BEGINS_WITHIN_S
    )
    assert "BTC/USDT: reconnecting. The exchange at ws://127.0.0.1:1 can't be reached" in output
    assert "Trying again." in output
    assert "Trying again" not in output.splitlines()[-1]
    assert code == 1


async def test_waiting_for_another_copy_s_database_is_reported(settings: Settings) -> None:
    folder = settings.data_dir / "database"
    folder.mkdir(parents=True)
    claim = FolderClaim(folder)
    assert claim.acquire()
    try:
        code, output = await _record(
            settings, "BTC/USDT", until=["Another copy of the program is starting the"]
        )
    finally:
        claim.release()
    # Within its first second a request to end is no failure.
    assert code in (0, 1)
    assert "waiting for it." in output


async def test_a_database_out_of_reach(settings: Settings) -> None:
    dsn = "MONGO_DSN=mongodb://me:s3cret@127.0.0.1:1/"
    code, output = await _record(settings, "BTC/USDT", variables=[dsn])
    assert code == 1
    assert output.startswith(
        "orderbook-desktop: The database at mongodb://***@127.0.0.1:1/ does not"
    )
    assert "s3cret" not in output


async def test_a_data_folder_that_is_a_file(settings: Settings) -> None:
    settings.data_dir.write_text("not a folder")
    code, output = await _record(settings, "BTC/USDT")
    assert code == 1
    assert "cannot be written (Not a directory)" in output or "File exists" in output
    assert "ORDERBOOK_DATA_DIR" in output


async def test_a_full_disk_pauses_recording_and_is_reported(settings: Settings) -> None:
    full = "ORDERBOOK_LOW_DISK_GB=1000000"
    until = ["Recording is paused"]
    code, output = await _record(
        settings, "BTC/USDT", variables=[full], until=until, later_s=_BEGINS_WITHIN_S
    )
    assert code == 1
    assert (
        output.count("\nRecording is paused, because less than 250.0 TB is free on its disk") == 1
    )
    assert "BTC/USDT: 0 events recorded in" in output
    assert "Not everything is recorded: there was a pause" in output.splitlines()[-1]
