"""What the ladder says was traded at each price is what an exported file of the trades adds up to.

The file is read by a few lines that know nothing of this program.
"""

from __future__ import annotations

import asyncio
import csv
from collections import defaultdict
from decimal import Decimal
from functools import partial
from pathlib import Path

from PySide6.QtCore import QSettings
from pytestqt.qtbot import QtBot

from orderbook_desktop.core.file_formats import ExportFormat
from orderbook_desktop.core.trade_coverage import TradeOrigin
from orderbook_desktop.core.traded_volume import Period
from orderbook_desktop.desk.trade_pages import AskedTrades
from orderbook_desktop.engine.trade_history import RecordedTradeHistory
from orderbook_desktop.gui.panes.ladder.layout import FLOW_COLUMNS, ColumnChoice
from orderbook_desktop.gui.panes.ladder.widget import DepthLadder
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.gui.theme import DARK
from orderbook_desktop.storage.exports.exporting import ExportJob, export
from orderbook_desktop.storage.reading.recorded_trades import RecordedTrades
from orderbook_desktop.storage.reading.recording import Recording
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.trade_writer import TradeWriter
from orderbook_desktop.system.tasks import Jobs
from tests.core.trades_made import made_tape, random_trades
from tests.gui.fake_desk import FakeDesk, frame_of

_TICK = 10**6


def _traded(path: Path) -> dict[Decimal, dict[str, Decimal]]:
    """Return what takers bought and sold at each price, of Tardis' CSV of trades."""
    sums: dict[Decimal, dict[str, Decimal]] = defaultdict(
        lambda: {"buy": Decimal(), "sell": Decimal()}
    )
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            sums[Decimal(row["price"])][row["side"]] += Decimal(row["amount"])
    return sums


async def test_the_ladder_agrees_with_the_export(
    database: Database, tmp_path: Path, qtbot: QtBot
) -> None:
    trades = random_trades(2_300)
    await database.prepare()
    await TradeWriter(database).store(trades, TradeOrigin.RECORDER)
    recorded, jobs = RecordedTrades(database, "BTCUSDT"), Jobs()
    period = Period(minutes=1)
    from_ms = period.from_ms(trades[-1].event_ms, 0)
    assert trades[0].event_ms < from_ms < trades[-100].event_ms
    path = tmp_path / "trades.csv"
    slices, rows = Recording(database, "BTCUSDT").slices, partial(recorded.rows, from_ms)
    job = ExportJob("BTCUSDT", slices, ExportFormat.TARDIS_TRADES, path, trades=rows)
    await export(job, lambda _reached: None)
    expected = _traded(path)
    assert len(expected) > 20

    preferences = Preferences(QSettings(str(tmp_path / "w.ini"), QSettings.Format.IniFormat))
    preferences.ladder_columns = ColumnChoice(hidden=FLOW_COLUMNS).text
    preferences.volume_period = period.text
    ladder = DepthLadder(DARK, preferences)
    qtbot.addWidget(ladder)
    ladder.set_step(_TICK)
    # Only the newest trades are on the tape; the ladder reads the others from the recording.
    history = RecordedTradeHistory(database)
    ladder.set_pages(AskedTrades(lambda: history, jobs.start))
    desk = FakeDesk()
    desk.source.tape = made_tape(trades[-40:])
    low, high = min(expected) - 1, max(expected) + 1
    middle = (low + high) / 2
    ticks = [low + Decimal(place) / 100 for place in range(int((high - low) * 100))]
    bids = [(f"{price:.2f}", "1") for price in ticks if price < middle]
    asks = [(f"{price:.2f}", "1") for price in ticks if price >= middle]
    desk.source.load(bids, asks)
    frame = frame_of(desk)
    async with asyncio.timeout(60):
        while not ladder.model.volume.is_whole:
            ladder.set_frame(frame)
            await asyncio.sleep(0.01)
    ladder.resize(600, 40 * len(ticks))
    scene = ladder.scene
    assert scene is not None
    rows_by_price = {Decimal(row.price.replace(",", "")): row for row in scene.rows}
    assert expected.keys() <= rows_by_price.keys()
    for price, row in rows_by_price.items():
        bought, sold = (f"{expected[price][side]:,.5f}" for side in ("buy", "sell"))
        told = ladder.model.describe(row.row).splitlines()[-1]
        assert told.startswith(f"Bought {bought} BTC, sold {sold} BTC, since "), price
        assert bool(row.volume.bought) is (expected[price]["buy"] > 0)
    await jobs.close()
