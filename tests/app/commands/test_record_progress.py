"""The output of a headless recording of many symbols: the worst first, and no more than fits."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

import pytest
from msgspec.structs import replace
from rich.console import Console

from orderbook_desktop.app.commands import record_progress
from orderbook_desktop.app.commands.record_progress import RecordProgress, summary_of
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.recording_status import (
    RecordingCounts,
    RecordingState,
    RecordingStatus,
    RepairProgress,
)
from orderbook_desktop.core.status import FeedState, FeedStatus, SourceKind
from orderbook_desktop.engine.market_session import MarketSession, state_of
from orderbook_desktop.engine.recording_meter import RecordingMeter
from orderbook_desktop.exchange.errors import Paced, UnknownSymbol


@dataclass
class Session:
    """The parts of a market's session that the progress reads, set by hand."""

    state: FeedState = FeedState.SYNCED
    problem: KnownError | None = None
    database_problem: str = ""
    counts: RecordingCounts = field(
        default_factory=lambda: RecordingCounts(events=10, books=1, last_id=7)
    )
    lag_ms: int | None = 3
    recording: bool = True
    paused: bool = False
    too_wide: str = ""
    recorded_by: str = ""
    repair: RepairProgress | None = None
    trade_counts: RecordingCounts | None = None

    @property
    def live(self) -> SimpleNamespace:
        detail = str(self.problem or "")
        status = FeedStatus(self.state, SourceKind.DIRECT, 0, detail)
        return SimpleNamespace(status=status, problem=self.problem, too_wide=self.too_wide)

    @property
    def sink(self) -> SimpleNamespace:
        return SimpleNamespace(counts=self.counts, refused=None)

    @property
    def recording_status(self) -> RecordingStatus:
        state = state_of(cast("MarketSession", self), self.database_problem)
        counts, problem = replace(self.counts), self.database_problem
        wanted = self.recording
        return RecordingStatus(
            *("", state),
            wanted=wanted,
            counts=counts,
            waiting=2,
            problem=problem,
            kept=False,
            repair=self.repair,
        )


def _sessions(**sessions: Session) -> Mapping[str, MarketSession]:
    return cast("Mapping[str, MarketSession]", sessions)


def _hundred() -> dict[str, Session]:
    sessions = {f"A{number}": Session() for number in range(96)}
    sessions["PACED"] = Session(FeedState.SYNCING, Paced(12.0))
    sessions["LOST"] = Session(FeedState.RECONNECTING)
    sessions["NONE"] = Session(FeedState.SYNCING, UnknownSymbol("NONE"))
    sessions["GAPS"] = Session(counts=RecordingCounts(events=10, gaps=3))
    return sessions


def _console(height: int, *, terminal: bool = True) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=140, height=height)


def _text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_table_has_the_worst_first_and_fits_the_terminal() -> None:
    console = _console(24)
    with RecordProgress("book", _sessions(**_hundred()), console) as progress:
        progress.show()
        shown = _text(console)
    places = [shown.index(name) for name in ("NONE", "LOST", "PACED", "GAPS", "A0 ")]
    assert places == sorted(places)
    assert "and 85 more, none of them worse" in shown
    assert "A20" not in shown
    assert len(shown.splitlines()) <= 24
    assert "100 symbols: 1 not recorded, 1 reconnecting, 1 waiting for its first book" in shown


def test_a_few_symbols_are_all_shown() -> None:
    console = _console(24)
    with RecordProgress("book", _sessions(A=Session(), B=Session()), console) as progress:
        progress.show()
    shown = _text(console)
    assert "A" in shown
    assert "B" in shown
    assert "more" not in shown


def test_a_wait_for_a_book_is_printed_once() -> None:
    console = _console(24, terminal=False)
    session = Session(FeedState.SYNCING, Paced(12.0))
    with RecordProgress("book", _sessions(A=session), console) as progress:
        progress.show()
        session.problem = Paced(11.0)
        progress.show()
    assert _text(console).count("A: syncing. The exchange limits how many whole books") == 1


@pytest.mark.parametrize("of_trades", [False, True])
def test_a_failure_to_archive_is_printed_once(of_trades: bool) -> None:
    console = _console(24, terminal=False)
    session = Session(trade_counts=RecordingCounts())
    counts = session.trade_counts if of_trades else session.counts
    assert counts is not None
    counts.archive_problem = "An event is missing."
    with RecordProgress("book", _sessions(A=session), console) as progress:
        progress.show()
        progress.show()
    text = "A: synced. A part of it can't be archived: An event is missing."
    assert _text(console).count(text) == 1


def test_many_symbols_are_totalled_in_one_line() -> None:
    console = _console(24, terminal=False)
    sessions = _hundred()
    sessions["A0"].counts.archived_bytes = 2_400
    sessions["A1"].counts.archived_bytes = 100
    with RecordProgress("book", _sessions(**sessions), console) as progress:
        progress._printed_at -= record_progress._PRINT_EVERY_S
        progress.show()
    last = _text(console).splitlines()[-1]
    assert last.startswith("100 symbols: 1 not recorded, 1 reconnecting, 1 waiting for its first")
    assert last.endswith(
        "200 waiting for the database; 3 gaps; 2.5 kB archived; at most 200 were waiting"
    )


def test_events_without_a_book_are_no_recording() -> None:
    console = _console(200, terminal=False)
    waiting = Session(FeedState.SYNCING, Paced(1.0), counts=RecordingCounts(events=10, last_id=7))
    assert not summary_of(_sessions(A=waiting), 0, 5.0, console=console)
    told = _text(console)
    assert told.startswith("A: 10 events recorded in 5.0 s, up to update id 7, 0 gaps, and no")
    assert "no book that they belong to (" in told


def test_the_summary_of_many_has_a_total() -> None:
    console = _console(200, terminal=False)
    sessions = {f"A{number}": Session() for number in range(20)}
    assert summary_of(_sessions(**sessions), 0, 5.0, console=console)
    assert _text(console).splitlines()[-1] == "20 symbols: 200 events recorded, 0 gaps."
    assert not summary_of({}, 0, 5.0, console=console)


def test_the_state_of_a_recording() -> None:
    def state(session: Session) -> RecordingState:
        meter = RecordingMeter("A", cast("MarketSession", session), 0)
        return meter.status(kept=True).state

    assert state(Session()) is RecordingState.RECORDING
    assert state(Session(database_problem="The database is away.")) is RecordingState.DELAYED
    assert state(Session(paused=True)) is RecordingState.PAUSED
    assert state(Session(FeedState.RECONNECTING)) is RecordingState.RECONNECTING
    assert state(Session(FeedState.SYNCING, Paced(1.0))) is RecordingState.WAITING
    assert state(Session(FeedState.SYNCING, too_wide="93.")) is RecordingState.TOO_WIDE
    assert state(Session(recording=False)) is RecordingState.STOPPED
    elsewhere = Session(recording=False, recorded_by="another program")
    assert state(elsewhere) is RecordingState.ELSEWHERE


def test_the_rate_is_that_of_the_last_seconds() -> None:
    now, session = 0.0, Session()
    meter = RecordingMeter("A", cast("MarketSession", session), 0, lambda: now)
    assert meter.rate == 0.0
    for _ in range(40):
        now += 0.25
        session.counts.events += 5
        meter.look()
    assert meter.rate == 20.0
    for _ in range(40):
        now += 0.25
        meter.look()
    assert meter.rate == 0.0


def test_the_repair_of_missing_trades_is_seen_in_the_lines() -> None:
    console, now_s = _console(24, terminal=False), 0.0
    session = Session(repair=RepairProgress(20_000, 0))
    with RecordProgress("book", _sessions(BTC=session), console, lambda: now_s) as progress:
        progress.show()
        progress.show()
        session.repair = RepairProgress(20_000, 7_000)
        now_s = 10.0
        progress.show()
        session.repair = None
        now_s = 20.0
        progress.show()
    lines = _text(console).splitlines()
    assert [line for line in lines if "repairing" in line or "missing" in line] == [
        "repairing 20,000 trades of BTC, 0 %",
        "BTC synced: 10 events, 0 gaps, 0 B archived, repairing 20,000 trades of BTC, 35 %",
        "BTC: no missing trade is left that the exchange serves",
    ]


def test_the_repair_of_many_symbols_has_a_total() -> None:
    console, now_s = _console(24, terminal=False), 0.0
    sessions = _hundred()
    sessions["A1"].repair = RepairProgress(1_000, 500)
    sessions["A2"].repair = RepairProgress(3_000, 500)
    with RecordProgress("book", _sessions(**sessions), console, lambda: now_s) as progress:
        now_s = 10.0
        progress.show()
    assert "; repairing 4,000 trades of 2 symbols, 25 %; at most" in _text(console)


def test_the_repair_of_missing_trades_is_seen_in_the_table() -> None:
    console = _console(24)
    sessions = _sessions(BTC=Session(repair=RepairProgress(20_000, 7_000)))
    with RecordProgress("book", sessions, console) as progress:
        progress.show()
        assert "recording; repairing 20,000 trades of BTC, 35 %" in _text(console)
