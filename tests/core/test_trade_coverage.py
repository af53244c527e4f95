"""Coverage by runs of trades: their union, and the gaps that it leaves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.trade_coverage import (
    Covered,
    TradeGap,
    TradeOrigin,
    TradeRun,
    counted_ids,
    covered,
    gaps_between,
)


def _run(first_id: int, last_id: int, cause: GapCause | None = GapCause.USER) -> TradeRun:
    return TradeRun("x", "BTCUSDT", first_id, last_id, first_id * 10, last_id * 10, end_cause=cause)


def test_runs_that_touch_or_overlap_are_one_stretch() -> None:
    runs = [_run(8, 12), _run(1, 4), _run(5, 6), _run(9, 10), _run(30, 29)]
    assert covered(runs) == [Covered(1, 6, 10, 60), Covered(8, 12, 80, 120)]
    assert counted_ids(runs) == 11


def test_a_gap_has_the_cause_of_the_run_that_ends_there() -> None:
    runs = [
        _run(1, 4, GapCause.DISCONNECT),
        _run(2, 3, GapCause.DISK),
        TradeRun("y", "BTCUSDT", 9, 9, 90, 90, TradeOrigin.REPAIR, GapCause.NOT_SERVED, "too old"),
        _run(11, 12),
    ]
    first, second = gaps_between(runs)
    assert first == TradeGap(4, 9, 40, 90, GapCause.DISCONNECT)
    assert first.missing == 4
    assert second == TradeGap(9, 11, 90, 110, GapCause.NOT_SERVED, "too old")
    assert second.missing == 1


def test_a_gap_gives_an_account_of_what_is_missing() -> None:
    lost = TradeGap(9_999, 12_001, 90, 110, GapCause.DISCONNECT)
    assert lost.account == (
        "the connection to the exchange was lost; 2,001 trades are missing, 10000 to 12000"
    )
    left_out = TradeGap(9, 11, 90, 110, GapCause.FEED_GAP, "after 9.")
    assert left_out.account == (
        "the exchange's stream left out trades (after 9); the trade 10 is missing"
    )


def test_a_run_that_ended_without_a_cause_crashed_unless_another_one_knows_better() -> None:
    assert [gap.cause for gap in gaps_between([_run(1, 2, None), _run(5, 6)])] == [GapCause.CRASH]
    runs = [_run(1, 4, None), _run(2, 4, GapCause.SILENCE), _run(3, 4, None), _run(6, 6)]
    assert [gap.cause for gap in gaps_between(runs)] == [GapCause.SILENCE]


def test_no_trade_is_no_gap() -> None:
    quiet = [_run(1, 2), TradeRun("x", "BTCUSDT", 3, 4, 9_000_000, 9_000_000)]
    assert gaps_between(quiet) == gaps_between([]) == []


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 12))))
def test_coverage_and_gaps_are_all_ids_between_the_ends(spans: list[tuple[int, int]]) -> None:
    runs = [_run(first, first + length - 1) for first, length in spans]
    ids = {trade_id for run in runs for trade_id in range(run.first_id, run.last_id + 1)}
    found = {trade_id for part in covered(runs) for trade_id in range(part[0], part[1] + 1)}
    assert found == ids
    missing = {i for gap in gaps_between(runs) for i in range(gap.after_id + 1, gap.before_id)}
    every = set(range(min(ids), max(ids) + 1)) if ids else set()
    assert missing == every - ids
    assert sum(gap.missing for gap in gaps_between(runs)) == len(missing)
