"""`recordings` and `verify` tell what has become of a recorder, however it went."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from orderbook_desktop.exchange.local import LocalExchange, SyntheticSource
from tests.faults.market import SYMBOL, variables_of
from tests.faults.program import running


async def told(data_dir: Path, *command: str) -> Any:
    async with running(data_dir, *command, "--json") as program:
        assert await program.until_ended() == 0, program.said
    return json.loads(program.said)


async def recorder_of(data_dir: Path) -> tuple[bool, str | None]:
    (one,) = await told(data_dir, "recordings")
    return one["running"], one["recorder"]


async def test_a_recorder_is_told_through_its_life(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    async with AsyncExitStack() as stack:
        exchange = await stack.enter_async_context(LocalExchange(SyntheticSource(seed=7)))
        variables = variables_of(exchange)
        async with running(data_dir, "record", SYMBOL, variables=variables) as app:
            await app.until_said(f"{SYMBOL}: synced")
            async with asyncio.timeout(60):
                while await recorder_of(data_dir) != (True, "recording"):
                    pass
            found = await told(data_dir, "verify", SYMBOL)
            assert (found["running"], found["recorder"]) == (True, "recording")
            # The exchange goes; the recorder waits for it.
            await stack.aclose()
            async with asyncio.timeout(60):
                while await recorder_of(data_dir) != (True, "interrupted"):
                    pass
            await app.kill()
    assert await recorder_of(data_dir) == (False, None)


async def test_one_that_is_killed_is_not_running(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    async with LocalExchange(SyntheticSource(seed=7)) as exchange:
        variables = variables_of(exchange)
        async with running(data_dir, "record", SYMBOL, variables=variables) as app:
            await app.until_said(f"{SYMBOL}: synced")
            async with asyncio.timeout(60):
                while await recorder_of(data_dir) != (True, "recording"):
                    pass
            await app.kill()
        assert await recorder_of(data_dir) == (False, "gone without closing")
        found = await told(data_dir, "verify", SYMBOL)
        assert (found["running"], found["recorder"]) == (False, "gone without closing")
        async with running(data_dir, "recordings") as program:
            assert await program.until_ended() == 0
        assert "Ended without being closed; the recorder is gone: BTCUSDT." in program.said
