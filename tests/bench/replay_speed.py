"""How fast and how exactly a long recording is played while a window paints it.

- as fast as it goes: the speed that it reaches, the time from paint to paint, and how memory grows
  while the whole recording is played;
- at 1x: how late an event is in the first picture that has it;
- the drift of the clock over an hour, by a wound clock, if the recording is long enough;
- `SYMBOLS` symbols recorded meanwhile, by the real program from a local exchange: whether `verify`
  finds all that was sent, in one segment a symbol.

    HOURS=24 SYMBOLS=10 python -m tests.bench.replay_speed
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import psutil
from PySide6.QtWidgets import QApplication

from orderbook_desktop.core.replay import UNLIMITED
from orderbook_desktop.replay.player import Player
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.database_store import store_of
from tests.bench.record_many import measure
from tests.bench.replay_window import (
    SYMBOL,
    Now,
    ReplayWindow,
    Truth,
    opened,
    p99,
    player_of,
    run,
    shown_window,
    told,
    verdict,
)
from tests.bench.targets import Targets
from tests.bench.tiled_recording import LongRecording, make_tile, store

_HOURS: Final = float(os.environ.get("HOURS", "24"))
_SYMBOLS: Final = int(os.environ.get("SYMBOLS", "10"))
_SPEED: Final = 2_000
_FRAME_MS: Final = 20
_LATE_MS: Final = 20
_DRIFT_MS: Final = 5
_GROWTH_MB: Final = 30
_REAL_TIME_S: Final = 20
_RECORDED_S: Final = 60
_HOUR_S: Final = 3_600
_NS_A_S: Final = 1_000_000_000


async def _as_fast_as_it_goes(
    window: ReplayWindow, database: Database, long: LongRecording, targets: Targets
) -> None:
    """Play the whole recording; report speed, frames and memory."""
    process = psutil.Process()
    megabytes: list[float] = []
    begin_ns, _ = Truth.of(long.tile).moment(0.0, 0)
    async with player_of(database, long.tile.market, begin_ns) as player:
        window.show(player)
        await asyncio.sleep(0.5)
        player.set_speed(UNLIMITED)
        window.ladder.paints.clear()
        at_ns, begun, busy = player.status.at_ns, time.perf_counter(), _busy_s(process)
        player.play()
        while not (status := player.status).is_at_end and not status.problem:
            await asyncio.sleep(1)
            megabytes.append(process.memory_info().rss / 2**20)
        passed = time.perf_counter() - begun
        own_s, database_s = (
            now - before for now, before in zip(_busy_s(process), busy, strict=True)
        )
        speed = (player.status.at_ns - at_ns) / _NS_A_S / passed
    paints = [paint.ended for paint in window.ladder.paints]
    frames = [after.since_ms(before) for before, after in pairwise(paints)]
    growth = np.median(megabytes[-5:]) - np.median(megabytes[len(megabytes) // 4 :][:5])
    print(
        f"  as fast as it goes: {speed:,.0f}x {targets.at_least(speed, _SPEED)}, "
        f"{long.events / passed:,.0f} events/s, {len(frames) / passed:.0f} paints/s\n"
        f"  from paint to paint {told(frames)} {verdict(targets, frames, _FRAME_MS)}\n"
        f"  processor time of {passed:.0f} s: the window's process {own_s:.1f} s, the database's "
        f"{database_s:.1f} s\n"
        f"  memory {megabytes[-1]:.0f} MB, grown by {growth:.1f} MB in the last three quarters "
        f"{targets.at_most(float(growth), _GROWTH_MB)}",
        flush=True,
    )
    if player.status.problem:
        raise AssertionError(player.status.problem)


def _busy_s(process: psutil.Process) -> tuple[float, float]:
    """Return the processor time of this process, and that of its children: the database."""
    children = process.children(recursive=True)
    own, others = process.cpu_times(), [child.cpu_times() for child in children]
    return own.user + own.system, sum(one.user + one.system for one in others)


async def _in_real_time(
    window: ReplayWindow, database: Database, long: LongRecording, targets: Targets
) -> None:
    """Report how late each event is in the first picture that has it."""
    truth = Truth.of(long.tile)
    at_ns, update_id = truth.moment(0.05, long.rounds // 2)
    late_ms: list[float] = []
    async with player_of(database, long.tile.market, at_ns) as player:
        window.show(player)
        await window.painted(update_id)
        await asyncio.sleep(1)
        window.ladder.paints.clear()
        player.play()
        begun = Now.read()
        await asyncio.sleep(_REAL_TIME_S)
        player.pause()
        for paint in window.ladder.paints:
            if paint.update_id <= update_id:
                continue
            wall_ms, _ = paint.ended.since_ms(begun)
            due = truth.due_between(update_id, paint.update_id)
            late_ms += [wall_ms - (due_ns - at_ns) / 1e6 for due_ns in due]
            update_id = paint.update_id
    print(
        f"  at 1x {len(late_ms)} events are late by {np.median(late_ms):.1f} ms, p99 "
        f"{p99(late_ms):.1f} ms {targets.at_most(p99(late_ms), _LATE_MS)}",
        flush=True,
    )


async def _drift(database: Database, long: LongRecording, targets: Targets) -> None:
    """Report how far the clock is from a wound one after an hour, looked at 60 times a second."""
    now_ns = 0
    player = Player(store_of(database), long.tile.market, SYMBOL, now_ns=lambda: now_ns)
    try:
        at_ns, _ = Truth.of(long.tile).moment(0.5, 0)
        await player.start(at_ns)
        player.play()
        for frame in range(_HOUR_S * 60 + 1):
            now_ns = frame * _NS_A_S // 60
            at_now_ns = player.status.at_ns
            if frame % 60 == 0:
                await player.idle()
        drift_ms = abs(at_now_ns - at_ns - now_ns) / 1e6
    finally:
        await player.close()
    print(f"  drift after an hour {drift_ms:.6f} ms {targets.at_most(drift_ms, _DRIFT_MS)}")


async def _recorded_meanwhile(
    window: ReplayWindow, database: Database, long: LongRecording, targets: Targets
) -> None:
    """Record while the recording is played as fast as it goes, again and again."""
    begin_ns, _ = Truth.of(long.tile).moment(0.0, 0)
    with tempfile.TemporaryDirectory() as name:
        recording = asyncio.create_task(
            asyncio.to_thread(measure, Path(name), _SYMBOLS, 10, _RECORDED_S, 20)
        )
        async with player_of(database, long.tile.market, begin_ns) as player:
            window.show(player)
            player.set_speed(UNLIMITED)
            player.set_loop(begin_ns, begin_ns + int(_HOURS * 3_500) * _NS_A_S)
            player.play()
            await recording
    found = recording.result()
    faults = [one.fault for one in found.verified.values() if one.fault]
    split = sum(one.segments != 1 for one in found.verified.values())
    print(
        f"  {_SYMBOLS} symbols recorded meanwhile: {sum(found.sent.values()):,} events and "
        f"{sum(found.trades_sent.values()):,} trades sent, missing "
        f"{found.missing + found.missing_trades} "
        f"{targets.at_most(found.missing + found.missing_trades, 0)}, split {split} "
        f"{targets.at_most(split, 0)}, faults {len(faults)} {targets.at_most(len(faults), 0)}"
    )


async def _work(application: QApplication) -> int:
    targets, tile = Targets(), make_tile()
    with tempfile.TemporaryDirectory() as name, shown_window(application) as window:
        async with opened(Path(name)) as database:
            long = await store(database, tile, _HOURS)
            print(
                f"{tile.name} x {long.rounds}: {long.events:,} events, "
                f"load {os.getloadavg()[0]:.1f}",
                flush=True,
            )
            await _in_real_time(window, database, long, targets)
            await _as_fast_as_it_goes(window, database, long, targets)
            if _HOURS > 2:
                await _drift(database, long, targets)
            if _SYMBOLS:
                await _recorded_meanwhile(window, database, long, targets)
    print(f"  load {os.getloadavg()[0]:.1f}")
    return targets.exit_code


if __name__ == "__main__":
    sys.exit(run(_work))
