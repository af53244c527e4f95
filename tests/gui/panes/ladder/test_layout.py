from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbook_desktop.gui.panes.ladder.layout import (
    Column,
    ColumnChoice,
    Grid,
    grows_leftward,
    lay_out_columns,
    lay_out_lines,
)

PRICE, SIZE, TOTAL, BOUGHT, SOLD, _, _ = Column
grids = st.builds(lay_out_lines, st.integers(0, 60), st.integers(100, 2_200), st.integers(12, 40))
choices = st.builds(
    ColumnChoice,
    st.permutations(list(Column)).map(tuple),
    st.frozensets(st.sampled_from([SIZE, TOTAL, BOUGHT, SOLD])),
)


@given(grids)
def test_lines_fill_the_room_in_pairs(grid: Grid) -> None:
    assert grid.lines % 2 == 0
    spans = [grid.span(line) for line in range(grid.lines)]
    assert all(span.end == after.start for span, after in pairwise(spans))
    assert not spans or spans[0].start == grid.top
    assert all(span.length >= int(grid.line_height) for span in spans)


@given(grids, st.integers(0, 90))
def test_a_strip_at_the_bottom_moves_no_line(grid: Grid, height: int) -> None:
    left = grid.without(height)
    assert left.lines % 2 == 0
    assert not left.lines or left.bottom + height <= grid.bottom
    assert [left.span(line) for line in range(left.lines)] == [
        grid.span(line) for line in range(left.lines)
    ]


def test_without_room_there_is_no_line() -> None:
    assert lay_out_lines(40, 30, 18).lines == 0


@given(choices, st.integers(100, 2_000), st.integers(0, 400))
def test_columns_fill_the_width(choice: ColumnChoice, width: int, price_width: int) -> None:
    columns = lay_out_columns(choice, width, price_width)
    assert tuple(columns) == choice.shown
    spans = list(columns.values())
    assert spans[0].start == 0
    assert spans[-1].end == width
    assert all(span.end == after.start for span, after in pairwise(spans))
    others = [span.length for column, span in columns.items() if column is not PRICE]
    assert not others or max(others) - min(others) <= 1
    if others:
        assert columns[PRICE].length == min(price_width, width // 2)


def test_the_usual_columns() -> None:
    choice = ColumnChoice()
    assert choice.shown == (PRICE, SIZE, TOTAL)
    assert not choice.has_price_in_middle
    columns = lay_out_columns(choice, 400, 100)
    assert [span.start for span in columns.values()] == [0, 100, 250]
    assert not grows_leftward(columns, SIZE)


def test_the_price_goes_between_the_others_and_back() -> None:
    middle = ColumnChoice().with_price_in_middle(wanted=True)
    assert middle.shown == (SIZE, PRICE, TOTAL)
    assert middle.has_price_in_middle
    columns = lay_out_columns(middle, 500, 100)
    assert columns[PRICE].start == 500 - columns[PRICE].end
    assert grows_leftward(columns, SIZE)
    assert not grows_leftward(columns, TOTAL)
    assert middle.with_price_in_middle(wanted=False) == ColumnChoice()
    # A hidden column doesn't count.
    one = ColumnChoice((PRICE, SIZE, TOTAL), frozenset({SIZE}))
    assert one.with_price_in_middle(wanted=True).shown == (TOTAL, PRICE)


def test_columns_are_hidden_and_moved_but_the_price_stays() -> None:
    choice = ColumnChoice()
    assert choice.with_shown(PRICE, shown=False) == choice
    hidden = choice.with_shown(SIZE, shown=False)
    assert hidden.shown == (PRICE, TOTAL)
    assert hidden.with_shown(SIZE, shown=True) == choice
    assert choice.moved(TOTAL, -1).shown == (PRICE, TOTAL, SIZE)
    assert choice.moved(TOTAL, 1) == choice
    assert choice.moved(PRICE, -1) == choice
    # It changes places with the next column on screen.
    assert hidden.moved(TOTAL, -1).shown == (TOTAL, PRICE)
    assert hidden.moved(SIZE, -1) == hidden


@given(choices)
def test_a_choice_survives_as_text(choice: ColumnChoice) -> None:
    assert ColumnChoice.of_text(choice.text) == choice


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", (PRICE, SIZE, TOTAL)),
        ("total price", (TOTAL, PRICE, SIZE)),
        ("-price size -total", (PRICE, SIZE)),
        # Columns of another version of the program.
        ("depth total -orders price size", (TOTAL, PRICE, SIZE)),
        ("sold total -bought price size", (SOLD, TOTAL, PRICE, SIZE)),
        ("total total -- - \x00", (TOTAL, PRICE, SIZE)),
    ],
)
def test_any_text_gives_columns(text: str, shown: tuple[Column, ...]) -> None:
    assert ColumnChoice.of_text(text).shown == shown
