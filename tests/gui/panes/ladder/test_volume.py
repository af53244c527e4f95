"""The ladder's columns of what was bought and sold, against sums by brute force."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest
from msgspec.structs import replace
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QMenu
from pytestqt.qtbot import QtBot

from orderbook_desktop.core.desk import TradePage
from orderbook_desktop.core.ladder import Side
from orderbook_desktop.core.status import FeedState
from orderbook_desktop.core.time_text import clock_text
from orderbook_desktop.core.traded_volume import SINCE_RESET, Period
from orderbook_desktop.core.trades import Trade
from orderbook_desktop.gui.panes.ladder.layout import (
    FLOW_COLUMNS,
    VOLUME_COLUMNS,
    Column,
    ColumnChoice,
)
from orderbook_desktop.gui.panes.ladder.scene import LadderRow
from orderbook_desktop.gui.panes.ladder.widget import DepthLadder
from orderbook_desktop.gui.preferences import Preferences
from orderbook_desktop.gui.theme import DARK
from tests.core.trades_made import made_tape, made_trade, random_trades
from tests.gui.fake_desk import EVENT_MS, FakeDesk, frame_of
from tests.gui.pixels import colours_of

_SHOWN = ColumnChoice(hidden=FLOW_COLUMNS)
_TICK = 10**6
_DAY_MS = 86_400_000


class Pages:
    """Recorded trades, of which a page is answered when `answer` is called."""

    def __init__(self, trades: list[Trade]) -> None:
        self.trades = trades
        self.problem = ""
        self.asked: list[Callable[[], None]] = []

    def before(
        self, market: str, trade_id: int, count: int, answered: Callable[[TradePage], None]
    ) -> None:
        assert market == "BTCUSDT"
        found = [trade for trade in self.trades if trade.trade_id < trade_id][-count:]
        page = TradePage([] if self.problem else found, problem=self.problem)
        self.asked.append(lambda: answered(page))

    def after(
        self, market: str, trade_id: int, count: int, answered: Callable[[TradePage], None]
    ) -> None:
        raise NotImplementedError

    def answer(self) -> None:
        while self.asked:
            self.asked.pop(0)()


@pytest.fixture
def ladder(qtbot: QtBot, preferences: Preferences, desk: FakeDesk) -> DepthLadder:
    """A ladder from 64,095.00 to 64,105.00, with a level at each tick but two."""
    preferences.ladder_columns = _SHOWN.text
    widget = DepthLadder(DARK, preferences)
    qtbot.addWidget(widget)
    widget.resize(600, 4_000)
    widget.show()
    bids = [(f"{Decimal(6_410_000 - tick) / 100}", "1") for tick in range(400)]
    asks = [(f"{Decimal(6_410_003 + tick) / 100}", "1") for tick in range(400)]
    desk.source.load(bids, asks)
    widget.set_step(_TICK)
    return widget


def _at(trade_id: int, price: str, quantity: str, at_ms: int, *, sold: bool = False) -> Trade:
    return made_trade(trade_id, price, quantity, sold=sold, at_ms=at_ms)


def _rows(ladder: DepthLadder) -> list[LadderRow]:
    scene = ladder.scene
    assert scene is not None
    return list(scene.rows)


def _volumes(ladder: DepthLadder) -> dict[str, tuple[str, str]]:
    """Return what the rows with a volume show, by their prices."""
    return {
        row.price: (row.volume.bought, row.volume.sold)
        for row in _rows(ladder)
        if row.volume.bought or row.volume.sold
    }


@pytest.mark.parametrize("stands_still", [False, True])
@pytest.mark.parametrize("ticks", [1, 5, 100])
def test_the_columns_are_what_the_trades_sum_up_to(
    ladder: DepthLadder, desk: FakeDesk, ticks: int, stands_still: bool
) -> None:
    step = ticks * _TICK
    ladder.count_volume_of(Period(is_session=True))
    ladder.set_step(step)
    ladder.stand_still(stands_still)
    trades = random_trades(500)
    desk.source.tape = tape = made_tape(trades[:300])
    ladder.set_frame(frame_of(desk))
    for trade in trades[300:]:
        tape.add(trade)
    ladder.set_frame(frame_of(desk))
    expected: dict[int, dict[bool, Decimal]] = {}
    for trade in trades:
        price = int(Decimal(trade.price) * 10**8)
        # The mid is 64,100.015.
        is_ask = price > 64_100_01500000
        group = -(-price // step) * step if is_ask else price // step * step
        sums = expected.setdefault(group, {True: Decimal(0), False: Decimal(0)})
        sums[trade.is_sold] += Decimal(trade.quantity)
    rows = {(row.row.price, row.row.side): row for row in _rows(ladder)}
    found = 0
    for (price, side), row in rows.items():
        sums = expected.get(price, {True: Decimal(0), False: Decimal(0)})
        is_ask = side is Side.ASK if side is not None else price > 64_100_01500000
        if (price > 64_100_01500000) is not is_ask and ticks > 1:
            continue
        told = ladder.model.describe(row.row).splitlines()[-1]
        # The session began before the tape did.
        bought, sold = (f"at least {sums[one]:,.5f} BTC" for one in (False, True))
        assert told.startswith(f"Bought {bought}, sold {sold}, since "), row.price
        found += bool(sums[True] or sums[False])
    assert found >= 3


def test_by_default_the_columns_are_hidden(qtbot: QtBot, preferences: Preferences) -> None:
    widget = DepthLadder(DARK, preferences)
    qtbot.addWidget(widget)
    assert VOLUME_COLUMNS.isdisjoint(ColumnChoice.of_text(preferences.ladder_columns).shown)
    before = widget.minimumWidth()
    widget.set_columns(_SHOWN)
    assert widget.minimumWidth() > before


def test_since_the_reset_only_new_trades_count(ladder: DepthLadder, desk: FakeDesk) -> None:
    now = EVENT_MS
    desk.source.tape = tape = made_tape([_at(1, "64100.00", "1", now - 5)])
    desk.source.apply([("64100.00", "7")], [])
    ladder.set_frame(frame_of(desk))
    assert _volumes(ladder) == {}
    tape.add(_at(2, "64100.00", "1.5", now + 5_000))
    tape.add(_at(3, "64100.03", "2", now + 5_001, sold=True))
    ladder.set_frame(frame_of(desk))
    assert _volumes(ladder) == {"64,100.00": ("1.50000", ""), "64,100.03": ("", "2.00000")}
    ladder.clear_volume(None)
    assert _volumes(ladder) == {}
    tape.add(_at(4, "64100.00", "1.5", now + 5_002))
    ladder.set_frame(frame_of(desk))
    assert _volumes(ladder) == {"64,100.00": ("1.50000", "")}
    ladder.begin_anew()
    ladder.set_frame(frame_of(desk))
    assert _volumes(ladder) == {"64,100.00": ("1.50000", "")}


def test_above_and_below_the_mid_are_cleared_alone(ladder: DepthLadder, desk: FakeDesk) -> None:
    ladder.count_volume_of(Period(minutes=5))
    trades = [_at(1, "64100.00", "1", EVENT_MS), _at(2, "64100.03", "1", EVENT_MS)]
    desk.source.tape = made_tape(trades)
    ladder.clear_volume(Side.ASK)
    ladder.set_frame(frame_of(desk))
    assert len(_volumes(ladder)) == 2
    ladder.clear_volume(Side.ASK)
    assert [*_volumes(ladder)] == ["64,100.00"]
    ladder.clear_volume(Side.BID)
    assert _volumes(ladder) == {}


def test_the_last_minutes_are_read_back_from_the_recording(
    ladder: DepthLadder, desk: FakeDesk
) -> None:
    ladder.count_volume_of(Period(minutes=5))
    now = EVENT_MS + 1_000_000
    trades = [_at(n, "64100.00", "1", now - 1_000 * (2_000 - n)) for n in range(2_000)]
    pages = Pages(trades[:-10])
    ladder.set_pages(pages)
    desk.source.tape = made_tape(trades[-10:])
    ladder.set_frame(frame_of(desk))
    row = next(row for row in _rows(ladder) if row.price == "64,100.00")
    # Until it is read back, what is known is a lower bound.
    assert row.volume.bought.startswith("≥")
    assert "Bought at least 10.00000 BTC" in ladder.model.describe(row.row)
    for _ in range(3):
        pages.answer()
        ladder.set_frame(frame_of(desk))
    assert not pages.asked
    assert _volumes(ladder) == {"64,100.00": ("300.000", "")}
    assert "Bought 300.00000 BTC, sold 0.00000 BTC, since " in ladder.model.describe(row.row)


def test_what_was_missed_while_the_window_was_hidden_is_read_back(
    ladder: DepthLadder, desk: FakeDesk
) -> None:
    now = EVENT_MS + 1_000
    trades = [_at(number, "64100.00", "1", now + number) for number in range(1, 101)]
    pages = Pages(trades)
    ladder.set_pages(pages)
    desk.source.tape = tape = made_tape(trades[:1], limit=8)
    ladder.count_volume_of(Period(minutes=1))
    ladder.set_frame(frame_of(desk))
    pages.trades = [_at(0, "64100.00", "1", now - 100_000), *trades]
    for trade in trades[1:]:
        tape.add(trade)
    ladder.set_frame(frame_of(desk))
    assert _volumes(ladder)["64,100.00"][0].startswith("≥")
    pages.answer()
    assert _volumes(ladder) == {"64,100.00": ("100.0000", "")}


def test_a_recording_that_fails_is_asked_again_later(ladder: DepthLadder, desk: FakeDesk) -> None:
    ladder.count_volume_of(Period(minutes=60))
    pages = Pages([_at(1, "64100.00", "1", EVENT_MS - 4_000_000)])
    pages.problem = "The database is away."
    ladder.set_pages(pages)
    desk.source.tape = tape = made_tape([_at(2, "64100.00", "1", EVENT_MS)])
    ladder.set_frame(frame_of(desk))
    pages.answer()
    ladder.set_frame(frame_of(desk))
    assert not pages.asked
    pages.problem = ""
    tape.add(_at(3, "64100.00", "1", EVENT_MS + 6_000))
    ladder.set_frame(frame_of(desk))
    assert len(pages.asked) == 1
    pages.answer()
    assert _volumes(ladder)["64,100.00"][0].startswith("2.0")
    # An answer for another period says nothing.
    ladder.count_volume_of(Period(minutes=15))
    ladder.count_volume_of(Period(minutes=60))
    late, pages.asked = pages.asked, []
    ladder.count_volume_of(Period(minutes=5))
    for answer in late:
        answer()
    assert _volumes(ladder)["64,100.00"][0].endswith("2.00000")


def test_missing_trades_make_a_lower_bound(ladder: DepthLadder, desk: FakeDesk) -> None:
    ladder.count_volume_of(Period(is_session=True))
    midnight = EVENT_MS - EVENT_MS % _DAY_MS
    desk.source.tape = tape = made_tape(
        [_at(1, "64100.00", "1", midnight - 1), _at(2, "64100.00", "1", midnight)]
    )
    ladder.set_frame(frame_of(desk))
    assert not _volumes(ladder)["64,100.00"][0].startswith("≥")
    tape.add(_at(9, "64100.00", "1", EVENT_MS))
    ladder.set_frame(frame_of(desk))
    assert _volumes(ladder)["64,100.00"][0].startswith("≥")
    row = next(row for row in _rows(ladder) if row.price == "64,100.00")
    assert ladder.model.describe(row.row).endswith(f"since {clock_text(midnight)}")


def test_in_the_quote_asset_it_is_what_that_cost(ladder: DepthLadder, desk: FakeDesk) -> None:
    ladder.count_volume_of(Period(is_session=True))
    ladder.set_quote_units(wanted=True)
    desk.source.tape = made_tape([_at(1, "64100.00", "2", EVENT_MS, sold=True)])
    ladder.set_frame(frame_of(desk))
    row = next(row for row in _rows(ladder) if row.price == "64,100.00")
    assert "sold at least 128,200.00 USDT" in ladder.model.describe(row.row)
    assert ladder.headings[Column.SOLD] == "Sold, K USDT"
    image = ladder.grab().toImage()
    sold = ladder.scene.columns[Column.SOLD]  # type: ignore[union-attr]
    cell = image.copy(sold.start, row.span.start, sold.length, row.span.length)
    assert DARK.tint(DARK.ask, 0.32).rgb() in colours_of(cell)
    assert ladder.table.model() is not None
    ladder.summary()


def test_without_a_tape_there_is_no_volume(ladder: DepthLadder, desk: FakeDesk) -> None:
    ladder.set_frame(frame_of(desk))
    assert _volumes(ladder) == {}
    assert ladder.headings[Column.BOUGHT] in ("Bought, BTC", "Bought")
    assert len(ladder.model.describe(_rows(ladder)[0].row).splitlines()) == 3


@pytest.mark.qt_log_ignore("This plugin does not support")
def test_the_menu_has_the_periods_and_clears(
    ladder: DepthLadder, desk: FakeDesk, preferences: Preferences
) -> None:
    desk.source.tape = made_tape([_at(1, "64100.00", "2", EVENT_MS)])
    ladder.set_frame(frame_of(desk))
    ladder._open_menu()
    menu = next(one for one in ladder.findChildren(QMenu) if one.isVisible())
    traded = next(one for one in menu.actions() if one.text() == "Bought and sold").menu()
    assert isinstance(traded, QMenu)
    actions: dict[str, QAction] = {one.text(): one for one in traded.actions()}
    assert actions["Since the reset"].isChecked()
    actions["Of the last 15 minutes"].trigger()
    assert preferences.volume_period == "15"
    assert [*_volumes(ladder)] == ["64,100.00"]
    actions["Clear above the mid"].trigger()
    assert [*_volumes(ladder)] == ["64,100.00"]
    actions["Clear all, and begin anew"].trigger()
    assert _volumes(ladder) == {}
    menu.close()


def test_in_a_replay_the_volume_follows_its_clock_and_the_live_one_is_kept(
    ladder: DepthLadder, desk: FakeDesk
) -> None:
    trades = [_at(number, "64100.00", "1", EVENT_MS + number) for number in range(10)]
    live = [_at(50, "64100.00", "5", EVENT_MS + 5_000)]
    volume, shown = ladder.model.volume, desk.source

    def counted(tape: list[Trade], at_ms: int, state: FeedState) -> int:
        shown.tape = made_tape(tape)
        shown.status = replace(shown.status, state=state)
        ladder.set_frame(replace(frame_of(desk), event_ms=at_ms))
        counts = volume._volume
        return 0 if counts is None else counts.at_price(6_410_000_000_000).bought // 10**8

    volume.period = SINCE_RESET
    assert counted(live, EVENT_MS + 4_990, FeedState.SYNCED) == 5
    ladder.set_pages(None)
    # From the first moment of the replay on; then its clock goes back.
    assert counted(trades[:6], EVENT_MS + 5, FeedState.REPLAY) == 1
    assert counted(trades[:9], EVENT_MS + 8, FeedState.REPLAY) == 4
    volume.reset()
    assert counted(trades[:9], EVENT_MS + 8, FeedState.REPLAY) == 0
    assert counted(trades[:3], EVENT_MS + 2, FeedState.REPLAY) == 1
    assert counted(trades[:9], EVENT_MS + 8, FeedState.REPLAY) == 7
    ladder.set_pages(None)
    assert counted(live, EVENT_MS + 4_990, FeedState.SYNCED) == 5
