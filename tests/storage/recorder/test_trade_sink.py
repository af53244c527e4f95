"""What a feed of trades receives becomes runs without a hole, and what is lost is counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.streams import Stream
from orderbook_desktop.core.trades import TRADE
from orderbook_desktop.storage.recorder.pending import PendingWrites
from orderbook_desktop.storage.recorder.trade_sink import OpenRun, TradeStreamSink, weight_of
from orderbook_desktop.storage.store.trade_batches import TradeConflict
from tests.storage.made_trades import asked, received, sent

GAP = pytest.mark.expects_log("BTCUSDT: gap in the recording of trades")


class _Begun:
    """A sink, and the runs that it has begun."""

    def __init__(self, limit_bytes: int = 10**6, wake: Callable[[], None] = lambda: None) -> None:
        self.runs: list[OpenRun] = []
        self.pending = PendingWrites(limit_bytes, lambda: None)
        stream = Stream("BTCUSDT", TRADE)
        self.sink = TradeStreamSink(stream, self.pending, self.runs.append, wake)

    def take(self, *ids: int) -> None:
        for trade in sent(ids):
            self.sink.received(trade)

    @property
    def spans(self) -> list[tuple[int, int, str]]:
        """First and last id of each run, and why it ended."""
        return [
            (run.state.first_id, run.waiting[-1].trade_id, run.end[0].value if run.end else "")
            for run in self.runs
        ]


def test_trades_in_a_row_are_one_run() -> None:
    woken: list[int] = []
    begun = _Begun(wake=lambda: woken.append(1))
    begun.take(5, 6, 7)
    assert begun.spans == [(5, 7, "")]
    assert begun.sink.counts.first_id == 5
    assert len(woken) == 3
    assert begun.pending.used_bytes == sum(map(weight_of, sent([5, 6, 7])))


def test_a_trade_that_is_known_is_not_taken_again() -> None:
    begun = _Begun()
    begun.take(5, 6, 7, 6, 5, 7, 8)
    assert [trade.trade_id for trade in begun.runs[0].waiting] == [5, 6, 7, 8]


def test_a_hole_ends_the_run_and_is_a_gap() -> None:
    begun = _Begun()
    begun.take(5, 6, 9, 10)
    assert begun.spans == [(5, 6, "feed gap"), (9, 10, "")]
    assert (begun.sink.counts.gaps, begun.sink.counts.last_gap) == (
        1,
        GapCause.FEED_GAP.sentence,
    )


def test_a_break_is_a_gap_only_if_trades_are_missing_after_it() -> None:
    begun = _Begun()
    begun.take(5, 6)
    begun.sink.broken(GapCause.DISCONNECT, "gone \ud800")
    begun.sink.broken(GapCause.SILENCE, "nothing runs any more")
    begun.take(7)
    assert begun.spans == [(5, 6, "disconnect"), (7, 7, "")]
    assert begun.runs[0].end == (GapCause.DISCONNECT, "gone ?")
    assert begun.sink.counts.gaps == 0
    begun.sink.broken(GapCause.DISCONNECT, "")
    begun.take(9)
    assert begun.sink.counts.gaps == 1
    begun.sink.broken(GapCause.USER, "")
    begun.take(20)
    assert begun.sink.counts.gaps == 1


def test_ids_that_begin_anew_are_another_run() -> None:
    begun = _Begun()
    begun.take(500, 501, 3, 4)
    assert begun.spans == [(500, 501, "feed gap"), (3, 4, "")]


@GAP
@pytest.mark.expects_log("BTCUSDT: room to record trades again")
def test_trades_that_do_not_fit_into_memory_are_a_gap() -> None:
    begun = _Begun(limit_bytes=3 * weight_of(received(1)))
    begun.take(1, 2, 3, 4, 5)
    sink = begun.sink
    assert begun.spans == [(1, 3, "overflow")]
    assert (sink.counts.dropped, sink.counts.gaps, sink.overflowing) == (2, 1, True)
    begun.pending.hold(-begun.pending.used_bytes)
    begun.take(6)
    assert begun.spans == [(1, 3, "overflow"), (6, 6, "")]
    assert (sink.counts.dropped, sink.counts.gaps, sink.overflowing) == (2, 1, False)


@GAP
@pytest.mark.parametrize("fault", [{"p": "9" * 30}, {"q": "0.0000000000000000001"}])
def test_a_trade_that_no_scale_holds_is_left_out_and_a_gap(fault: dict[str, Any]) -> None:
    begun = _Begun()
    begun.take(1)
    begun.sink.received(received(2, None, **fault))
    begun.take(3)
    assert begun.spans == [(1, 1, "value too wide"), (3, 3, "")]
    assert (begun.sink.counts.dropped, begun.sink.counts.gaps) == (1, 1)


@pytest.mark.allows_log("gap in the recording of trades")
def test_a_trade_without_a_time_of_receipt_is_none_of_a_stream() -> None:
    begun = _Begun()
    begun.sink.received(asked(1))
    begun.sink.received(msgspec.structs.replace(received(2), received_ns=2**63))
    assert begun.runs == []
    begun.sink.received(received(3, p="61837.6300000000000"))
    assert begun.spans == [(3, 3, "")]


@GAP
def test_a_refused_stream_takes_nothing_more() -> None:
    begun = _Begun()
    begun.take(1)
    begun.sink.refuse(TradeConflict("BTCUSDT", 2))
    begun.take(2, 3)
    assert begun.spans == [(1, 1, "database")]
    assert begun.sink.counts.gaps == 1
