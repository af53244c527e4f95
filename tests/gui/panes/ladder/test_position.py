"""The rows in view: around the spread, or one for each step; at home, or at their prices."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.core.ladder import Ladder, Side, build_ladder
from orderbook_desktop.core.units import Scale
from orderbook_desktop.gui.panes.ladder.position import (
    AroundSpread,
    EveryStep,
    Position,
    Row,
    View,
    find_row,
)
from tests.core.test_ladder import side_of

LINES = 12


def ladder(bids: dict[int, int], asks: dict[int, int], step: int = 1) -> Ladder:
    return build_ladder(side_of(bids, Side.BID), side_of(asks, Side.ASK), Scale(), step, Horizon())


def dense(best_bid: int, count: int = 60, every: int = 1, step: int = 1) -> Ladder:
    """Return a ladder with a level at every `every`th price outward from the spread."""
    bids = {best_bid - at * every: 1 for at in range(count) if best_bid >= at * every}
    return ladder(bids, {best_bid + 1 + at * every: 1 for at in range(count)}, step)


def prices(view: View) -> list[int]:
    return [seen.row.price for seen in view.rows]


def lines_of(view: View) -> dict[int, int]:
    return {seen.row.price: seen.line for seen in view.rows}


ladders = st.builds(
    dense, st.integers(0, 300), st.integers(0, 80), st.integers(1, 4), st.sampled_from([1, 2, 5])
)


@given(ladders, st.integers(0, 40).map(lambda half: 2 * half), st.lists(st.integers(-200, 200)))
def test_rows_in_view_are_rows_of_the_ladder_in_order(
    book: Ladder, lines: int, scrolled: list[int]
) -> None:
    position = AroundSpread()
    for rows in scrolled:
        position.scroll(book, lines, rows)
    view = position.view(book, lines)
    assert [seen.line for seen in view.rows] == sorted({seen.line for seen in view.rows})
    assert all(0 <= seen.line < lines for seen in view.rows)
    assert prices(view) == sorted(prices(view), reverse=True)
    for seen in view.rows:
        found = find_row(book, seen.row.price)
        assert found is not None
        assert (found.row, found.rank) == (seen.row, seen.rank)
    if view.spread_line is not None:
        taken = {view.spread_line, view.spread_line + 1}
        assert not taken & {seen.line for seen in view.rows}
    # Something always stays in view.
    assert view.rows or view.spread_line is not None or not lines


def test_at_home_the_spread_is_in_the_middle() -> None:
    position, book = AroundSpread(), dense(100)
    view = position.view(book, LINES)
    assert view.spread_line == 5
    assert prices(view) == [105, 104, 103, 102, 101, 100, 99, 98, 97, 96]
    assert position.is_home
    position.follow(dense(200), LINES)
    assert prices(position.view(dense(200), LINES))[0] == 205


@pytest.mark.parametrize("rows", [-30, -9, -7, -3, 2, 4, 8, 25])
def test_a_scrolled_ladder_stays_on_its_prices(rows: int) -> None:
    position = AroundSpread()
    position.scroll(dense(100), LINES, rows)
    assert not position.is_home
    before = lines_of(position.view(dense(100), LINES))
    # The market moves up and down, and away from the view altogether.
    for best in (101, 103, 99, 96, 100, 112, 88, 100):
        position.follow(dense(best), LINES)
        position.view(dense(best), LINES)
    assert lines_of(position.view(dense(100), LINES)) == before
    middle = (
        next(price for price, line in before.items() if line == LINES // 2)
        if (LINES // 2 in before.values())
        else None
    )
    if middle is not None:
        assert lines_of(position.view(dense(102), LINES))[middle] in (LINES // 2 - 2, LINES // 2)
    position.centre()
    assert position.is_home


def test_rows_that_come_and_go_elsewhere_do_not_move_the_middle() -> None:
    position = AroundSpread()
    position.scroll(dense(100, every=2), LINES, 20)
    view = position.view(dense(100, every=2), LINES)
    held = next(seen for seen in view.rows if seen.line == LINES // 2)
    denser = dense(100)
    assert lines_of(position.view(denser, LINES))[held.row.price] == held.line


def test_scrolling_ends_with_the_last_row_and_back_is_home() -> None:
    position, book = AroundSpread(), dense(100, count=20)
    position.scroll(book, LINES, 10_000)
    assert prices(position.view(book, LINES))[0] == 120
    position.scroll(book, LINES, -10_000)
    assert prices(position.view(book, LINES))[-1] == 81
    position.scroll(book, LINES, 20)
    first = position.view(book, LINES).spread_line
    assert first is not None
    position.scroll(book, LINES, 5 - first)
    assert position.is_home
    short = dense(100, count=3)
    position.scroll(short, LINES, 5)
    assert position.is_home


def test_a_book_of_one_side_can_be_scrolled() -> None:
    for book in (
        ladder({}, {5 + at: 1 for at in range(40)}),
        ladder({90 - at: 1 for at in range(40)}, {}),
    ):
        for rows in (10, -20, 10):
            position = AroundSpread()
            position.scroll(book, LINES, rows)
            assert position.view(book, LINES).rows
    nothing = ladder({}, {})
    position = AroundSpread()
    position.scroll(nothing, LINES, 3)
    assert position.is_home
    assert position.next_price(nothing, None, 1) is None
    position.show(nothing, LINES, 50)
    assert position.view(nothing, LINES) == View((), 5)


@pytest.mark.parametrize("make", [AroundSpread, lambda: EveryStep(1)])
@given(st.integers(60, 140))
def test_a_shown_price_is_in_view(make: type[AroundSpread], price: int) -> None:
    position: Position = make()
    book = dense(100)
    position.follow(book, LINES)
    position.show(book, LINES, price)
    assert price in prices(position.view(book, LINES))


def test_the_next_row_is_the_next_level_and_stays_within_the_book() -> None:
    position, book = AroundSpread(), dense(100, count=3, every=5)
    assert position.next_price(book, None, 1) == 100
    assert position.next_price(book, None, -1) == 101
    assert [position.next_price(book, price, 1) for price in (106, 101, 100, 90)] == [
        101,
        100,
        95,
        90,
    ]
    assert [position.next_price(book, price, -1) for price in (95, 100, 111)] == [100, 101, 111]
    assert position.next_price(book, 111, 3) == 100
    assert position.next_price(book, 100, 50) == 90
    # A price that has no row any more counts as the next row outward.
    assert position.next_price(book, 103, 1) == 101


class TestEveryStep:
    def test_each_step_has_a_row_also_without_a_level(self) -> None:
        position, book = EveryStep(1), dense(100, every=3)
        position.follow(book, LINES)
        view = position.view(book, LINES)
        assert prices(view) == list(range(106, 94, -1))
        by_price = {seen.row.price: seen for seen in view.rows}
        assert by_price[101].row.side is Side.ASK
        assert by_price[104].rank == 1
        assert by_price[100].row == Row(Side.BID, 100)
        assert by_price[99] == (by_price[99].line, Row(None, 99), -1)
        assert view.spread_line is None

    @given(st.integers(0, 300), st.integers(0, 80), st.sampled_from([1, 2, 5]), st.integers(1, 40))
    def test_no_step_is_skipped(self, best: int, count: int, step: int, pairs: int) -> None:
        book, lines, position = dense(best, count, 3, step), 2 * pairs, EveryStep(step)
        position.follow(book, lines)
        shown = prices(position.view(book, lines))
        assert shown == list(range(shown[0], shown[-1] - 1, -step)) if shown else True
        assert all(price >= 0 for price in shown)

    def test_rows_stand_still_until_a_best_price_leaves_the_middle_third(self) -> None:
        position = EveryStep(1)
        position.follow(dense(100), LINES)
        shown = prices(position.view(dense(100), LINES))
        for best in (101, 100, 99, 98, 100):
            position.follow(dense(best), LINES)
            assert prices(position.view(dense(best), LINES)) == shown
        # The best ask is one row above the best bid.
        position.follow(dense(102), LINES)
        moved = prices(position.view(dense(102), LINES))
        assert moved == [price + 2 for price in shown]
        position.follow(dense(99), LINES)
        assert prices(position.view(dense(99), LINES)) == [price - 1 for price in shown]

    def test_a_spread_of_more_than_a_third_does_not_move_the_rows_by_itself(self) -> None:
        position = EveryStep(1)
        for bid, ask, middle in ((90, 110, 100), (92, 112, 100), (93, 113, 103), (92, 110, 103)):
            book = ladder({bid: 1}, {ask: 1})
            position.follow(book, LINES)
            assert prices(position.view(book, LINES))[LINES // 2] == middle

    def test_scrolled_it_follows_no_market(self) -> None:
        position = EveryStep(1)
        position.follow(dense(100), LINES)
        position.scroll(dense(100), LINES, 4)
        assert not position.is_home
        shown = prices(position.view(dense(100), LINES))
        assert shown[0] == 110
        position.follow(dense(150), LINES)
        assert prices(position.view(dense(150), LINES)) == shown
        position.centre()
        position.follow(dense(150), LINES)
        assert position.is_home
        assert prices(position.view(dense(150), LINES))[0] == 156

    def test_no_price_is_below_zero(self) -> None:
        position, book = EveryStep(1), dense(2)
        position.follow(book, LINES)
        assert prices(position.view(book, LINES))[-1] == 0
        position.scroll(book, LINES, -500)
        assert prices(position.view(book, LINES))[-1] == 0
        assert position.next_price(book, 0, 1) == 0

    def test_without_a_book_there_is_nothing_to_see(self) -> None:
        position, nothing = EveryStep(1), ladder({}, {})
        position.follow(nothing, LINES)
        position.scroll(nothing, LINES, 2)
        position.show(nothing, LINES, 5)
        assert position.view(nothing, LINES) == View(())
        assert position.is_home
        assert position.next_price(nothing, None, -1) is None

    def test_grouped_rows_are_multiples_of_the_step(self) -> None:
        position, book = EveryStep(5), dense(100, count=30, step=5)
        position.follow(book, LINES)
        view = position.view(book, LINES)
        assert prices(view)[:2] == [130, 125]
        assert {seen.row.price for seen in view.rows if seen.row.side is Side.ASK} == set(
            range(105, 131, 5)
        )
        assert position.next_price(book, None, 1) == 100
        assert position.next_price(book, 100, 2) == 90
