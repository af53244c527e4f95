"""The book as the templates show it: exact text, widths of bars, all values escaped."""

from __future__ import annotations

import re
from decimal import Decimal
from itertools import accumulate

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from orderbook_desktop.core.symbols import SymbolInfo
from orderbook_desktop.core.units import INT64_MAX, MAX_EXPONENT, format_units
from orderbook_desktop.web.book_view import ROWS, BookView, step_of, steps_for, view_of
from orderbook_desktop.web.channel import Channel
from orderbook_desktop.web.templates import PageView, Templates
from tests.examples import examples
from tests.web.hand_library import BTC, NOW_NS, SCRIPT, HandLibrary


def _view(library: HandLibrary, step: str = "0.01", info: SymbolInfo = BTC) -> BookView:
    channel = Channel(info, library.lend(info), lambda: NOW_NS)
    return view_of(info, channel.moment, channel.badge(), step_of(step))


async def test_the_rows_next_to_the_spread_meet(library: HandLibrary) -> None:
    view = _view(library)
    assert (view.asks[-1].price, view.asks[-1].size) == ("100.03", "0.50000")
    assert (view.bids[0].price, view.bids[0].size) == ("100.01", "1.50000")
    assert [row.total for row in view.bids[:3]] == ["1.50000", "3.50000", "3.75000"]
    assert len(view.asks) == len(view.bids) == ROWS
    assert view.asks[0].price == view.bids[-1].price == ""


async def test_grouping_rounds_bids_down_and_asks_up(library: HandLibrary) -> None:
    view = _view(library, "0.1")
    assert [(row.price, row.size) for row in view.bids[:2]] == [
        ("100.0", "3.50000"),
        ("99.5", "0.25000"),
    ]
    assert [(row.price, row.size) for row in view.asks[:-3:-1]] == [
        ("100.1", "1.50000"),
        ("101.0", "4.00000"),
    ]


async def test_mid_and_spread_are_exact(library: HandLibrary) -> None:
    library.btc.load([("100.01", "1")], [("100.02", "1")])
    view = _view(library)
    assert (view.mid, view.spread) == ("100.015", "0.01")
    assert view.spread_percent == "0.01000 %"
    assert (view.imbalance, view.imbalance_text) == (25, "50 % bids")


async def test_thousands_are_set_apart_as_in_the_window(library: HandLibrary) -> None:
    library.btc.load([("61824.35", "1234.5")], [("61826.35", "1")])
    view = _view(library)
    assert (view.bids[0].price, view.bids[0].size) == ("61,824.35", "1,234.50000")
    assert view.mid == "61,825.35"
    assert "," in view.chart.low


async def test_a_tiny_spread_is_no_zero(library: HandLibrary) -> None:
    library.btc.load([("61824.35", "1")], [("61824.36", "1")])
    assert _view(library).spread_percent == "0.00002 %"


async def test_bars_have_one_scale_which_one_order_does_not_set(library: HandLibrary) -> None:
    sizes = [f"{1 + at / 20}" for at in range(20)]
    library.btc.load(
        [(f"{100 - at}", size) for at, size in enumerate(sizes)], [("101", "500"), ("102", "0.19")]
    )
    view = _view(library)
    bars = {row.size: row.bar for row in view.asks + view.bids if row.size}
    # Nineteen of twenty sizes fit.
    assert (bars["1.90000"], bars["1.95000"], bars["500.00000"]) == (50, 50, 50)
    assert bars["1.00000"] == int(50 / Decimal("1.9"))
    assert bars["0.19000"] == 5


async def test_rows_are_marked_as_in_the_window(library: HandLibrary) -> None:
    library.btc.load(
        [("100.01", "1"), ("100.00", "1"), ("99.95", "11")], [("100.02", "1"), ("100.04", "1")]
    )
    view = _view(library)
    assert [row.classes for row in view.bids[:4]] == ["", "", " skip large", ""]
    assert [row.classes for row in view.asks[-2:]] == [" skip", ""]


async def test_headings_name_the_unit_of_their_column(library: HandLibrary) -> None:
    library.btc.load([(f"{100 - at}", "3500000") for at in range(9)], [("101", "2000.25")])
    view = _view(library)
    assert (view.size_heading, view.total_heading) == ("Size, K BTC", "Total, M BTC")
    assert (view.bids[0].size, view.bids[-17].total) == ("3,500.0", "31.50")
    assert (view.bids[0].exact_size, view.asks[-1].exact_size) == ("3,500,000.00000", "2,000.25000")


async def test_in_the_quote_asset_all_amounts_are_costs(library: HandLibrary) -> None:
    library.btc.load([("100.50", "1"), ("100.00", "3")], [("101.00", "2"), ("102.00", "4.123456")])
    channel = Channel(BTC, library.lend(BTC), lambda: NOW_NS)
    view = view_of(BTC, channel.moment, channel.badge(), step_of("1"), in_quote=True)
    assert (view.asset, view.size_heading, view.total_heading) == (
        *("USDT", "Size, USDT", "Total, USDT"),
    )
    assert [(row.price, row.size, row.total) for row in view.bids if row.price] == [
        ("100", "400.50", "400.50")
    ]
    assert [(row.price, row.exact_size, row.exact_total) for row in view.asks if row.price] == [
        ("102", "420.592512", "622.592512"),
        ("101", "202.00", "202.00"),
    ]
    assert view.chart.most == "622.59"
    # Bars, marks and shares are those of the sizes.
    in_base = view_of(BTC, channel.moment, channel.badge(), step_of("1"))
    for row, other in zip(view.asks + view.bids, in_base.asks + in_base.bids, strict=True):
        assert (row.price, row.bar, row.classes) == (other.price, other.bar, other.classes)
    assert view.imbalance_text == in_base.imbalance_text


async def test_what_the_ladder_remembers_is_shared_by_its_viewers(library: HandLibrary) -> None:
    channel = Channel(BTC, library.lend(BTC), lambda: NOW_NS)
    assert channel.ladder_memory(5) is channel.ladder_memory(5)
    assert channel.ladder_memory(5) is not channel.ladder_memory(10)
    assert channel.ladder_memory(5) is not channel.ladder_memory(5, in_quote=True)


async def test_an_unknown_book_has_empty_rows_and_no_chart(library: HandLibrary) -> None:
    library.btc.be_unknown("The connection was lost.")
    view = _view(library)
    assert {row.price for row in view.asks + view.bids} == {""}
    assert (view.mid, view.spread, view.imbalance, view.chart.bids) == ("", "", None, "")
    assert view.state_class == "reconnecting"


async def test_a_book_at_another_scale_is_grouped_by_the_same_step(library: HandLibrary) -> None:
    library.btc.load([("100.01", "1.0000000001")], [("100.020000000001", "1")])
    view = _view(library, "0.1")
    assert view.bids[0].price == "100.0"
    assert (view.bids[0].size, view.bids[0].exact_size) == ("1.00000", "1.0000000001")
    assert view.asks[-1].price == "100.1"


@pytest.mark.parametrize(
    ("sizes", "shown"), [(("1.5", "0.25"), ("1.50", "0.25")), (("1500", "2"), ("1,500", "2"))]
)
async def test_sizes_have_equal_places_before_the_lot_is_known(
    library: HandLibrary, sizes: tuple[str, str], shown: tuple[str, str]
) -> None:
    library.btc.load([("100.01", sizes[0])], [("100.03", sizes[1])])
    view = _view(library, info=replace(BTC, step_size=0))
    assert (view.bids[0].size, view.asks[-1].size) == shown
    library.btc.be_unknown("The connection was lost.")
    assert _view(library, info=replace(BTC, step_size=0)).size_places == 0


async def test_the_chart_is_two_closed_outlines(library: HandLibrary) -> None:
    chart = _view(library).chart
    for path in (chart.bids, chart.asks):
        assert re.fullmatch(r"M\d+ 240(V\d+H\d+)+V240Z", path)
    # The range is ± 1.05 times the distance of nine tenths of the levels. The bids end with their
    # last level.
    assert (chart.low, chart.high) == ("98.99", "101.05")
    assert chart.bids.startswith("M245 240V87H")
    assert chart.asks.endswith("V0H980V240Z")


async def test_steps_begin_with_the_tick(library: HandLibrary) -> None:
    channel = Channel(BTC, library.lend(BTC), lambda: NOW_NS)
    steps = steps_for(BTC, channel.moment.image)
    assert steps[0] == BTC.tick_size * 10 ** (MAX_EXPONENT - 8)
    assert steps == sorted(steps)
    without_tick = replace(BTC, tick_size=0)
    assert steps_for(without_tick, channel.moment.image)[0] > 0


@pytest.mark.parametrize("live", ["changes", "fragments"])
async def test_all_text_from_outside_is_escaped(library: HandLibrary, live: str) -> None:
    library.books[SCRIPT.market].lose("<script>alert(2)</script>")
    book = _view(library, "0.01", SCRIPT)
    page = PageView(book, ["0.01"], live, "/events?symbol=%3C", library.symbols, False, "1")
    html = Templates().page(page)
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "&lt;script&gt;alert(2)&lt;/script&gt;" in html
    assert 'value="&lt;SCRIPT&gt;/USDT"' in html


async def test_no_style_and_no_script_is_inline(library: HandLibrary) -> None:
    page = PageView(_view(library), ["0.01"], "changes", "/events", library.symbols, True, "1")
    html = Templates().page(page)
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\bsrc=)|javascript:", html)
    assert "DEMO" in html


_SIZES = st.lists(st.integers(1, INT64_MAX), min_size=1, max_size=20)


@examples(20)
@given(_SIZES, _SIZES)
@example([INT64_MAX], [INT64_MAX])
@example([INT64_MAX], [1])
def test_every_number_of_5000_wide_levels_is_the_true_one(bids: list[int], asks: list[int]) -> None:
    library = HandLibrary()
    units = [(sizes * 5_000)[:5_000] for sizes in (bids, asks)]
    held, offered = ([format_units(size) for size in side] for side in units)
    library.btc.load(
        [(f"0.{1_000_000 - at:08}", size) for at, size in enumerate(held)],
        [(f"0.{1_000_001 + at:08}", size) for at, size in enumerate(offered)],
    )
    view = _view(library, "0.00000001", replace(BTC, tick_size=1, step_size=1))
    totals = list(zip(*(accumulate(side[:ROWS]) for side in units), strict=True))
    assert [_units(row.exact_total) for row in view.bids] == [bid for bid, _ in totals]
    assert [_units(row.exact_total) for row in view.asks[::-1]] == [ask for _, ask in totals]
    bid, ask = totals[-1]
    assert view.imbalance_text == f"{100 * bid // (bid + ask)} % bids"
    # The chart shows 1.05 times the distance of nine tenths of the levels. Its label has two
    # places.
    reached = max(sum(side[:4_726]) for side in units)
    rounding = 10**6 if reached >= 10**8 else 1
    assert abs(_units(view.chart.most) - reached) <= rounding // 2
    grouped = _view(library, "0.00001", replace(BTC, tick_size=1, step_size=1))
    assert _units(grouped.bids[1].exact_size) == sum(units[0][1:1_001])


def _units(text: str) -> int:
    return int(Decimal(text.replace(",", "")).scaleb(8))


FEW = [("100.50", "1"), ("100.00", "3"), ("99.50", "2")], [("101.00", "2"), ("102.00", "4")]


class TestUnknownDepth:
    @pytest.fixture
    def cut(self, library: HandLibrary) -> HandLibrary:
        """A book known from 99.50 to 102; single levels far beyond are larger than the rest."""
        library.btc.load(*FEW, depth=2)
        library.btc.change([("50.25", "700")], [("190.00", "0.5")])
        return library

    async def test_rows_beyond_are_single_and_say_so(self, cut: HandLibrary) -> None:
        view = _view(cut, "10")
        rows = [
            (row.price, row.size, row.total, "beyond" in row.classes)
            for row in view.bids
            if row.price
        ]
        assert rows == [
            ("100", "4.00000", "4.00000", False),
            ("90", "≥ 2.00000", "≥ 6.00000", True),
            ("50.25", "700.00000", "≥ 6.00000", True),
        ]
        assert [row.total for row in view.asks if row.price] == ["≥ 6.00000", "≥ 6.00000"]

    async def test_the_chart_ends_at_the_edges_and_names_them(self, cut: HandLibrary) -> None:
        chart = _view(cut).chart
        assert (chart.low, chart.high) == ("99.50", "102.00")
        assert chart.known == "Bids known to 99.50, asks known to 102.00"
        assert chart.edges == "M0 0V240M1000 0V240"
        assert chart.most == "6"

    async def test_shares_of_lower_bounds_are_not_shown(self, cut: HandLibrary) -> None:
        view = _view(cut, "10")
        assert (view.imbalance, view.imbalance_text) == (None, "")
        cut.btc.load(*FEW)
        view = _view(cut, "10")
        assert view.imbalance_text == "50 % bids"
        assert view.chart.known == "All bids known, all asks known"

    async def test_where_it_is_not_known_how_deep_everything_says_so(
        self, library: HandLibrary
    ) -> None:
        library.btc.load(*FEW, depth=None)
        view = _view(library)
        assert view.chart.known == "Not known how deep the book is known"
        assert all(row.total.startswith("≥ ") for row in view.bids if row.price)
        assert view.chart.most.startswith("≥ ")
        assert view.imbalance is None
