"""The rows in view: new ones on top, or old ones that stand still, read back page by page."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from orderbook_desktop.core.desk import TradePage
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.status import FeedState
from orderbook_desktop.core.tape import Tape
from orderbook_desktop.core.tape_rows import Missing, SizeFilter, Summed, Sweep
from orderbook_desktop.core.trade_coverage import TradeGap
from orderbook_desktop.core.trades import Trade
from orderbook_desktop.gui.panes.time_and_sales.model import TapeModel
from orderbook_desktop.gui.panes.time_and_sales.reading import Reading
from tests.core.trades_made import made_tape, made_trade, random_trades
from tests.gui.fake_desk import FakeDesk, frame_of

_LINES = 10


class Pages:
    """Recorded trades; the answers wait until `answer` is called."""

    def __init__(self, trades: list[Trade], gaps: tuple[TradeGap, ...] = ()) -> None:
        self.trades = trades
        self.gaps = gaps
        self.problem = ""
        self.most = 10_000
        self.asked: list[Callable[[], None]] = []

    def before(
        self, market: str, trade_id: int, count: int, answered: Callable[[TradePage], None]
    ) -> None:
        assert market == "BTCUSDT"
        found = [trade for trade in self.trades if trade.trade_id < trade_id]
        self._ask(found[-min(count, self.most) :], answered)

    def after(
        self, market: str, trade_id: int, count: int, answered: Callable[[TradePage], None]
    ) -> None:
        assert market == "BTCUSDT"
        self._ask([trade for trade in self.trades if trade.trade_id > trade_id][:count], answered)

    def answer(self) -> None:
        """Answer all that was asked."""
        while self.asked:
            self.asked.pop(0)()

    def _ask(self, trades: list[Trade], answered: Callable[[TradePage], None]) -> None:
        page = TradePage([] if self.problem else trades, self.gaps, self.problem)
        self.asked.append(lambda: answered(page))


def _model(
    desk: FakeDesk, tape: Tape | None, pages: Pages | None = None, size: str = ""
) -> TapeModel:
    model = TapeModel(lambda: None)
    model.pages = pages
    desk.source.load([("100.00", "1.5")], [("100.01", "2")])
    desk.source.tape = tape
    model.set_frame(frame_of(desk), size)
    model.follow()
    return model


def _ids(model: TapeModel, lines: int = _LINES) -> list[tuple[int, int]]:
    return [(row.first_id, row.last_id) for row in model.view(lines)]


def _scrolled_to_the_start(model: TapeModel, pages: Pages) -> None:
    for _ in range(1_000):
        scene = model.scene(_LINES)
        if scene is not None and scene.end_text.startswith("No older"):
            return
        model.scroll(100, _LINES)
        pages.answer()
    pytest.fail("the start was not reached")


def test_the_newest_are_on_top(desk: FakeDesk) -> None:
    tape = made_tape(made_trade(number) for number in range(30))
    model = _model(desk, tape)
    assert _ids(model) == [(number, number) for number in range(29, 19, -1)]
    tape.add(made_trade(30))
    assert model.follow()
    assert not model.follow()
    assert _ids(model)[0] == (30, 30)
    assert model.is_home


def test_what_is_read_stands_still(desk: FakeDesk) -> None:
    tape = made_tape(made_trade(number) for number in range(100))
    model = _model(desk, tape)
    model.scroll(3, _LINES)
    before = _ids(model)
    assert before[0] == (96, 96)
    for number in range(100, 900):
        tape.add(made_trade(number))
        model.follow()
    assert _ids(model) == before
    scene = model.scene(_LINES)
    assert scene is not None
    assert scene.place_text.startswith("803 newer trades, ")
    model.scroll(-2, _LINES)
    assert _ids(model)[0] == (98, 98)
    # Scrolling on reaches what has come since, and at the newest one the rows go on.
    for _ in range(200):
        model.scroll(-_LINES, _LINES)
    assert model.is_home
    assert _ids(model)[0] == (899, 899)


def test_one_command_returns_to_the_newest(desk: FakeDesk) -> None:
    model = _model(desk, made_tape(made_trade(number) for number in range(100)))
    model.scroll(50, _LINES)
    model.go_home()
    assert model.is_home
    assert _ids(model)[0] == (99, 99)
    model.scroll(-5, _LINES)
    assert model.is_home


def test_older_trades_come_from_the_tape_and_then_from_the_recording(desk: FakeDesk) -> None:
    trades = random_trades(6_000, first_id=1)
    pages = Pages(trades[:3_500])
    model = _model(desk, made_tape(trades[3_400:]), pages)
    reading: list[tuple[int, int]] = []
    model.scroll(1, _LINES)
    for _ in range(5_000):
        reading += [ids for ids in _ids(model) if ids not in reading[-20:]]
        if model.scene(_LINES).end_text == "No older trades are recorded":  # type: ignore[union-attr]
            break
        model.scroll(_LINES - 1, _LINES)
        pages.answer()
        assert len(model.rows) <= 6_000
    # Every trade was in view, in order, each in one row.
    shown = [number for first, last in reversed(reading) for number in range(first, last + 1)]
    assert shown == list(range(1, shown[-1] + 1))
    assert shown[-1] >= 5_990


def test_far_rows_are_forgotten_and_read_again(desk: FakeDesk) -> None:
    trades = [made_trade(number, "5", "1") for number in range(1, 9_001)]
    pages = Pages(trades)
    model = _model(desk, made_tape(trades[-500:], limit=500), pages)
    _scrolled_to_the_start(model, pages)
    assert _ids(model)[-1] == (1, 1)
    assert len(model.rows) <= 6_000
    for _ in range(10_000):
        if model.is_home:
            break
        top = _ids(model)[0][1]
        model.scroll(-90, _LINES)
        pages.answer()
        assert model.is_home or top <= _ids(model)[0][1] <= top + 90
    assert _ids(model)[0] == (9_000, 9_000)


def test_a_gap_of_the_recording_is_a_row_with_its_cause(desk: FakeDesk) -> None:
    recorded = [made_trade(number) for number in (*range(1, 40), *range(60, 80))]
    gaps = (
        TradeGap(39, 60, 0, 0, GapCause.DISK, "full"),
        TradeGap(79, 100, 0, 0, GapCause.CRASH, "killed"),
    )
    pages = Pages(recorded, gaps)
    model = _model(desk, made_tape(made_trade(number) for number in range(100, 105)), pages)
    model.scroll(1, _LINES)
    pages.answer()
    found = [row for row in model.rows if isinstance(row, Missing)]
    assert [(gap.first_id, gap.last_id) for gap in found] == [(40, 59), (80, 99)]
    assert [gap.why and gap.why.cause for gap in found] == [GapCause.DISK, GapCause.CRASH]
    assert found[1].last_ms - found[1].event_ms == 21


def test_what_the_end_of_the_rows_says(desk: FakeDesk) -> None:
    pages = Pages([made_trade(number) for number in range(3)])
    model = _model(desk, made_tape([made_trade(5)]), pages)
    assert model.scene(_LINES).end_text == ""  # type: ignore[union-attr]
    pages.problem = "The database is away."
    model.scroll(1, _LINES)
    assert model.scene(_LINES).end_text == "Reading older trades…"  # type: ignore[union-attr]
    model.scroll(1, _LINES)
    assert len(pages.asked) == 1
    pages.answer()
    assert model.scene(_LINES).end_text == "The database is away."  # type: ignore[union-attr]
    pages.problem = ""
    model.scroll(1, _LINES)
    pages.answer()
    model.scroll(1, _LINES)
    pages.answer()
    assert model.scene(_LINES).end_text == "No older trades are recorded"  # type: ignore[union-attr]
    assert [type(row) for row in model.view(_LINES)] == [Sweep, Missing, Sweep, Sweep, Sweep]


def test_without_a_recording_the_tape_is_all(desk: FakeDesk) -> None:
    model = _model(desk, made_tape([made_trade(5)]))
    model.scroll(1, _LINES)
    assert model.scene(_LINES).end_text == "No older trades are recorded"  # type: ignore[union-attr]


def test_an_answer_for_rows_that_were_left_is_dropped(desk: FakeDesk) -> None:
    pages = Pages([made_trade(number) for number in range(3)])
    model = _model(desk, made_tape([made_trade(5)]), pages)
    model.scroll(1, _LINES)
    model.go_home()
    pages.answer()
    assert _ids(model) == [(5, 5)]


def test_rare_sizes_are_searched_for_in_a_bounded_number_of_pages(desk: FakeDesk) -> None:
    pages = Pages([made_trade(0, "5", "7"), *(made_trade(one, "5", "1") for one in range(1, 60))])
    pages.most = 1
    model = _model(desk, made_tape([made_trade(60, "5", "9")]), pages, "5")
    assert _ids(model) == [(60, 60)]
    scene = model.scene(_LINES)
    assert scene is not None
    # Older ones may be of that size, and were not looked at.
    assert scene.end_text == "Scroll on for older trades"
    model.scroll(1, _LINES)
    pages.answer()
    scene = model.scene(_LINES)
    assert scene is not None
    assert scene.end_text == "Scroll on for older trades"
    model.scroll(1, _LINES)
    pages.answer()
    assert _ids(model) == [(60, 60), (0, 0)]


def test_sizes_that_are_none_change_nothing(desk: FakeDesk) -> None:
    model = _model(desk, made_tape([made_trade(1, quantity="3")]), size="junk")
    assert model.size == SizeFilter()
    assert model.show_sizes("2.5")
    assert not model.show_sizes("1e3")
    assert model.size.text == "2.5"


def test_a_sum_can_be_expanded(desk: FakeDesk) -> None:
    tape = made_tape([made_trade(0, "5", "1")])
    model = _model(desk, tape)
    for number in range(1, 200):
        tape.add(made_trade(number, "5", "1"))
    model.follow()
    more = model.rows[1]
    assert isinstance(more, Summed)
    top = _ids(model, 20)
    model.expand(model.rows[0])
    assert model.is_home
    model.expand(more)
    assert _ids(model, 20) == top
    assert [row.first_id for row in model.rows] == list(range(200))
    assert not model.is_home


def test_rows_are_picked_by_keys_and_scroll_along(desk: FakeDesk) -> None:
    model = _model(desk, made_tape(made_trade(number) for number in range(100)))
    picked = [row.first_id for _ in range(14) if (row := model.pick_next(1, _LINES))]
    assert picked == list(range(99, 85, -1))
    assert not model.is_home
    assert _ids(model)[-1] == (86, 86)
    picked = [row.first_id for _ in range(12) if (row := model.pick_next(-1, _LINES))]
    assert picked == list(range(87, 99))
    assert model.picked_row is not None
    assert model.summary().startswith("Picked trade: Bought 2.50000 BTC at ")
    model.go_home()
    assert model.picked_row is None
    assert model.summary().startswith("Newest trade: Bought")


def test_large_sizes_are_those_far_above_the_usual_one(desk: FakeDesk) -> None:
    tape = made_tape(made_trade(number, "5", "1") for number in range(9))
    tape.add(made_trade(9, "5", "10"))
    model = _model(desk, tape)
    assert model.scene(_LINES).large_from is None  # type: ignore[union-attr]
    model.large_times = 10
    scene = model.scene(_LINES)
    assert scene is not None
    assert [row.first_id for row in scene.rows if scene.is_large(row)] == [9]
    assert model.describe(scene.rows[0]).endswith("10 times the usual size")
    assert "usual" not in model.describe(scene.rows[1])


def test_an_empty_tape_says_why(desk: FakeDesk) -> None:
    model = TapeModel(lambda: None)
    assert (model.message, model.summary(), model.scene(5)) == (None, "", None)
    model.scroll(5, 5)
    assert model.is_home
    desk.source.be_unknown(FeedState.SYNCING)
    model.set_frame(frame_of(desk), "")
    assert model.summary() == "Syncing BTC/USDT."
    model = _model(desk, None)
    assert model.summary().startswith("The trades of BTC/USDT are not followed. The setting")
    desk.source.status = replace(desk.source.status, state=FeedState.REPLAY)
    model.frame = frame_of(desk)
    assert model.summary() == "No trade of BTC/USDT is recorded. The book was recorded alone."
    desk.source.status = replace(desk.source.status, state=FeedState.SYNCED)
    tape = Tape("BTCUSDT")
    model = _model(desk, tape)
    assert model.summary() == "No trade of BTC/USDT yet. The next one appears here."
    desk.source.lose(FeedState.RECONNECTING)
    model.frame = frame_of(desk)
    assert model.summary().startswith("Reconnecting to BTC/USDT. ")
    tape.add(made_trade(1, quantity="1"))
    model.show_sizes("2")
    model.follow()
    assert (
        model.summary()
        == "No trade of at least 2 BTC among the newest. Scroll on for older trades."
    )


def test_a_market_without_recent_trades_can_be_read_back(desk: FakeDesk) -> None:
    pages = Pages([made_trade(number) for number in range(1, 5)])
    model = _model(desk, Tape("BTCUSDT"), pages)
    model.scroll(1, _LINES)
    pages.answer()
    assert _ids(model) == [(number, number) for number in range(4, 0, -1)]


def test_what_is_not_recorded_is_read_from_the_tape(
    desk: FakeDesk,
) -> None:
    trades = [made_trade(number, "5", "1") for number in range(1, 8_001)]
    pages = Pages(trades[:5_000])
    model = _model(desk, made_tape(trades[-500:], limit=500), pages)
    pages.trades = trades
    _scrolled_to_the_start(model, pages)
    pages.trades = []
    for _ in range(2_000):
        model.scroll(-90, _LINES)
        pages.answer()
        if model.is_home:
            break
    assert model.is_home
    assert _ids(model)[0] == (8_000, 8_000)


def test_a_reading_begins_empty_where_nothing_is_known() -> None:
    reading = Reading("BTCUSDT", [], None, SizeFilter())
    tape = made_tape([made_trade(1)])
    reading.put_newer([], tape.scale, tape)
    assert (reading.rows, reading.newest_id) == ([], -1)
    reading.put_older(tape.since(-1), tape.scale, tape)
    assert reading.newest_id == 1
    reading.put_older([], tape.scale, tape)
    assert reading.is_at_start
