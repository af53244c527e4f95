from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbook_desktop.core.ladder import Side
from orderbook_desktop.gui.panes.ladder.layout import LadderLayout, Row, lay_out, lay_out_columns
from orderbook_desktop.gui.panes.ladder.painter import headings

layouts = st.builds(
    lay_out,
    st.integers(200, 2_200),
    st.integers(12, 30),
    st.integers(-300, 300),
    st.integers(0, 400),
    st.integers(0, 400),
)


def spans(layout: LadderLayout) -> list[tuple[int, int]]:
    rows = [layout.row_span(Row(side, index)) for side in Side for index in layout.visible(side)]
    return sorted((span.start, span.end) for span in rows)


@given(layouts)
def test_visible_rows_are_inside_and_never_overlap(layout: LadderLayout) -> None:
    placed = spans(layout)
    spread = (layout.spread_top, layout.spread_top + layout.spread)
    assert all(layout.header <= start < end <= layout.height + 1 for start, end in placed)
    for (_, end), (start, _) in pairwise(placed):
        assert end <= start
    assert all(end <= spread[0] or start >= spread[1] for start, end in placed)


@given(layouts)
def test_every_visible_row_is_found_under_its_pixels(layout: LadderLayout) -> None:
    for side in Side:
        for index in layout.visible(side):
            span = layout.row_span(Row(side, index))
            assert layout.row_at(span.start) == Row(side, index)
            assert layout.row_at(span.end - 1) == Row(side, index)
    assert layout.row_at(layout.spread_top + 1) is None


@given(layouts, st.sampled_from(list(Side)), st.integers(0, 399))
def test_the_offset_for_a_row_brings_it_into_view(
    layout: LadderLayout, side: Side, index: int
) -> None:
    count = layout.ask_count if side is Side.ASK else layout.bid_count
    if index >= count or not layout.rows_per_side:
        return
    offset = layout.offset_showing(Row(side, index))
    assert index in replace(layout, offset=offset).visible(side)


def test_centred_the_best_rows_touch_the_spread_in_the_middle() -> None:
    layout = lay_out(900, 18, 0, 100, 100)
    ask, bid = layout.row_span(Row(Side.ASK, 0)), layout.row_span(Row(Side.BID, 0))
    assert ask.end == layout.spread_top
    assert bid.start == layout.spread_top + layout.spread
    middle = (layout.header + layout.height) / 2
    assert layout.spread_top < middle < layout.spread_top + layout.spread


@pytest.mark.parametrize(("wanted", "got"), [(1_000, 80), (-1_000, -60)])
def test_scrolling_ends_with_the_last_row(wanted: int, got: int) -> None:
    rows = lay_out(900, 18, 0, 0, 0).rows_per_side
    assert lay_out(900, 18, wanted, rows + 80, rows + 60).offset == got


def test_a_short_book_does_not_scroll() -> None:
    assert lay_out(900, 18, 5, 3, 3).offset == 0


@given(st.integers(100, 2_000), st.integers(0, 400))
def test_columns_fill_the_width_about_the_middle(width: int, price_width: int) -> None:
    columns = lay_out_columns(width, price_width)
    order = (
        columns.bid_total,
        columns.bid_size,
        columns.price,
        columns.ask_size,
        columns.ask_total,
    )
    assert order[0].start == 0
    assert all(left.end == right.start for left, right in pairwise(order))
    assert order[-1].end == width
    assert columns.price.start == width - columns.price.end
    assert columns.price.length >= min(price_width, width // 2)


@pytest.mark.parametrize("width", range(300, 700, 10))
def test_headings_are_of_one_kind(width: int) -> None:
    columns = lay_out_columns(width)
    texts = [text for _, text in headings(columns, ("BTC", "USDT"), lambda text: 7 * len(text))]
    plain = ["Total", "Bids", "Price", "Asks", "Total"]
    full = ["Total BTC", "Bids BTC", "Price USDT", "Asks BTC", "Total BTC"]
    assert texts == (full if width >= 420 else plain)
