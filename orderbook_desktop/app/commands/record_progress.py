"""The progress of a headless recording on standard error."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Final, Self

from rich import box
from rich.console import Console, JustifyMethod
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orderbook_desktop.core.disk import bytes_text
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.recording_status import (
    RecordingCounts,
    RecordingStatus,
    RepairProgress,
)
from orderbook_desktop.core.status import badge_for
from orderbook_desktop.core.time_text import age_text
from orderbook_desktop.core.wording import counted
from orderbook_desktop.engine.market_session import MarketSession
from orderbook_desktop.engine.recording_meter import RecordingMeter, detail_of, problem_of
from orderbook_desktop.system.steady_clock import steady_ns

_PRINT_EVERY_S: Final = 10.0
# With more symbols the line that comes every ten seconds has only their total.
_SYMBOLS_A_LINE: Final = 12
# Lines for title, frame, header and total.
_ROWS_AROUND: Final = 8
_DRAW_EVERY_S: Final = 1.0
_LATE_MS: Final = 1_000


class RecordProgress:
    """Shows the state of `sessions` (by symbol): a live table on a terminal, else lines.

    The table begins with the worst symbol, and has no more rows than fit the terminal. A line
    is printed when a symbol's state changes, and every ten seconds. Use it as a context manager
    and call `show()` a few times a second.
    """

    def __init__(
        self,
        database: str,
        sessions: Mapping[str, MarketSession],
        console: Console | None = None,
        now: Callable[[], float] = time.monotonic,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._database = database
        since_ms = now_ns() // 1_000_000
        self._meters = [RecordingMeter(*item, since_ms) for item in sessions.items()]
        self._console = console or Console(stderr=True, highlight=False)
        self._live = Live(console=self._console, auto_refresh=False)
        self._printed_states: dict[str, str] = {}
        self._repairing: set[str] = set()
        self._now = now
        self._printed_at = now()
        self._drawn_at = -math.inf
        self._most_waiting = 0
        self._printed_sentence = ""

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        else:
            symbols = ", ".join(meter.symbol for meter in self._meters)
            self._print(f"Recording {symbols} into {self._database}.")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def show(self) -> None:
        """Update the table, or print the lines that are due."""
        for meter in self._meters:
            meter.look()
        waiting = sum(meter.session.recording_status.waiting for meter in self._meters)
        self._most_waiting = max(waiting, self._most_waiting)
        if self._console.is_terminal:
            self._show_table()
            return
        for meter in self._meters:
            state = _state(meter)
            if self._printed_states.get(meter.symbol) != state:
                self._printed_states[meter.symbol] = state
                self._print(f"{meter.symbol}: {state}")
            self._show_repair(meter)
        if self._now() - self._printed_at >= _PRINT_EVERY_S:
            self._printed_at = self._now()
            if len(self._meters) > _SYMBOLS_A_LINE:
                total = _total([meter.status(kept=True) for meter in self._meters])
                self._print(f"{total}; at most {self._most_waiting:,} were waiting")
                self._most_waiting = 0
            else:
                self._print("; ".join(_counts(meter) for meter in self._meters))

    def _show_repair(self, meter: RecordingMeter) -> None:
        """Print that a repair of missing trades begins or ends; between these, lines go on."""
        repair = meter.session.recording_status.repair
        if repair is None:
            if meter.symbol in self._repairing:
                self._repairing.discard(meter.symbol)
                self._print(f"{meter.symbol}: no missing trade is left that the exchange serves")
        elif meter.symbol not in self._repairing:
            self._repairing.add(meter.symbol)
            self._print(repair.text(meter.symbol))

    def tell(self, sentence: str) -> None:
        """Print `sentence`, a problem of all symbols, unless it was printed last; empty: none."""
        if sentence and sentence != self._printed_sentence:
            self._print(sentence)
        self._printed_sentence = sentence

    def _show_table(self) -> None:
        # Drawing a large table takes as long as recording a hundred events.
        is_large = len(self._meters) > _SYMBOLS_A_LINE
        if not is_large or self._now() - self._drawn_at >= _DRAW_EVERY_S:
            self._drawn_at = self._now()
            self._live.update(self._table(), refresh=True)

    def _table(self) -> Table:
        statuses = sorted((meter.status(kept=True) for meter in self._meters), key=_badness)
        fitting = max(1, self._console.size.height - _ROWS_AROUND)
        shown = statuses if len(statuses) <= fitting else statuses[: fitting - 1]
        title = f"Recording into {self._database}; Ctrl-C stops."
        caption = _total(statuses) if len(statuses) > 1 else ""
        table = Table(
            title=title,
            title_justify="left",
            caption=caption,
            caption_justify="left",
            box=box.SIMPLE_HEAD,
        )
        for name in ("symbol", "state", "events", "events/s", "lag ms", "gaps", "archived"):
            # In a narrow terminal the state is cut short, not the numbers.
            is_number = name not in ("symbol", "state")
            justify: JustifyMethod = "right" if is_number else "left"
            table.add_column(name, justify=justify, no_wrap=name != "state")
        for status in shown:
            counts, text = status.counts, status.state.value
            if status.problem:
                text = f"{text}. {status.problem}"
            if status.repair is not None:
                text = f"{text}; {status.repair.text(status.symbol)}"
            # One line for each symbol; a single symbol's state may take several lines.
            state = Text(text, overflow="ellipsis", no_wrap=len(statuses) > 1)
            numbers = (counts.events, round(status.rate), status.lag_ms or 0, counts.gaps)
            cells = (*(f"{number:,}" for number in numbers), bytes_text(counts.archived_bytes))
            table.add_row(status.symbol, state, *cells)
        if len(shown) < len(statuses):
            more = f"and {len(statuses) - len(shown):,} more, none of them worse"
            table.add_row("…", Text(more, overflow="ellipsis", no_wrap=True))
        return table

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)


def summary_of(
    sessions: Mapping[str, MarketSession],
    waiting: int,
    took_s: float,
    ended_by: KnownError | None = None,
    console: Console | None = None,
) -> bool:
    """Print the result of each of `sessions`; return whether all received events are recorded.

    `waiting` is how many events could not be written before the end. `ended_by` is the error
    that made going on pointless; the caller prints it.
    """
    console = console or Console(stderr=True, highlight=False)
    took = age_text(int(took_s * 1000))
    all_counts = [session.sink.counts for session in sessions.values()]
    sentences = [_result(symbol, session, took, ended_by) for symbol, session in sessions.items()]
    if len(sessions) > _SYMBOLS_A_LINE:
        events = counted(sum(counts.events for counts in all_counts), "event")
        gaps = counted(sum(counts.gaps for counts in all_counts), "gap")
        sentences.append(f"{counted(len(sessions), 'symbol')}: {events} recorded, {gaps}.")
    if waiting:
        sentences.append(f"{counted(waiting, 'event')} could not be written before the end.")
    for sentence in sentences:
        console.print(sentence, markup=False, soft_wrap=True)
    return bool(sessions) and not waiting and all(map(_is_whole, all_counts))


def _is_whole(counts: RecordingCounts) -> bool:
    return counts.events > 0 and counts.books > 0 and not counts.dropped


def _result(symbol: str, session: MarketSession, took: str, ended_by: KnownError | None) -> str:
    """Return the result of the recording of `symbol` as a sentence."""
    counts = session.sink.counts
    text = f"{symbol}: {counted(counts.events, 'event')} recorded in {took}"
    if counts.events:
        text += f", up to update id {counts.last_id}, {counted(counts.gaps, 'gap')}"
    if counts.events and not counts.books:
        text += ", and no book that they belong to"
    if not counts.events or not counts.books:
        text += _why(symbol, session, ended_by)
    if counts.gaps:
        text += f" (the last one because {counts.last_gap})"
    if counts.ended_by:
        text += f"; it had ended before because {counts.ended_by}"
    if counts.repeated:
        text += f"; {counts.repeated:,} of them were there already"
    if counts.dropped:
        text += f"; {counted(counts.dropped, 'event')} did not fit into memory and are lost"
    trades = session.recording_status.trades
    return (
        f"{text}."
        if not trades
        else f"{text}. {counted(trades, 'trade was', 'trades were')} recorded, too."
    )


def _why(symbol: str, session: MarketSession, ended_by: KnownError | None) -> str:
    """Return why something is missing, in brackets; empty where nothing says so."""
    detail = detail_of(symbol, session)
    if not detail or detail == str(ended_by):
        return ""
    return f" ({detail.removesuffix(' Trying again.').rstrip('.')})"


def _badness(status: RecordingStatus) -> tuple[int, bool, int]:
    """Return the key that sorts the worst recording first."""
    is_late = (status.lag_ms or 0) > _LATE_MS
    return status.state.rank, not is_late, -status.counts.gaps


def _state(meter: RecordingMeter) -> str:
    """Return the state of a recording without the numbers that change all the time."""
    session = meter.session
    status = session.live.status
    problem = problem_of(meter.symbol, session)
    return f"{status.state.value}. {problem}" if problem else status.state.value


def _counts(meter: RecordingMeter, now_ns: Callable[[], int] = steady_ns) -> str:
    counts = meter.session.sink.counts
    badge = badge_for(meter.session.live.status, now_ns())
    status = meter.session.recording_status
    repairing = "" if status.repair is None else f", {status.repair.text(meter.symbol)}"
    trades = "" if status.trades is None else f", {counted(status.trades, 'trade')}"
    return (
        f"{meter.symbol} {badge.text}: {counted(counts.events, 'event')}, "
        f"{counted(counts.gaps, 'gap')}, {bytes_text(counts.archived_bytes)} archived"
        f"{trades}{repairing}"
    )


def _total(statuses: Sequence[RecordingStatus]) -> str:
    """Return the total of `statuses`, in one line."""
    states = Counter(status.state for status in statuses)
    worst_first = sorted(states.items(), key=lambda item: item[0].rank)
    states_text = ", ".join(f"{count:,} {state.value}" for state, count in worst_first)
    rate = sum(status.rate for status in statuses)
    waiting = sum(status.waiting for status in statuses)
    all_counts = [status.counts for status in statuses]
    events = sum(counts.events for counts in all_counts)
    gaps = sum(counts.gaps for counts in all_counts)
    archived = sum(counts.archived_bytes for counts in all_counts)
    trades = [status.trades for status in statuses if status.trades is not None]
    traded = f" and {counted(sum(trades), 'trade')}" if trades else ""
    return (
        f"{counted(len(statuses), 'symbol')}: {states_text}; {counted(events, 'event')}{traded}, "
        f"{rate:,.0f} a second, {waiting:,} waiting for the database; {counted(gaps, 'gap')}; "
        f"{bytes_text(archived)} archived"
        f"{_repairs(statuses)}"
    )


def _repairs(statuses: Sequence[RecordingStatus]) -> str:
    """Return how far all repairs together are, after a semicolon; empty where there is none."""
    repairs = [status.repair for status in statuses if status.repair is not None]
    if not repairs:
        return ""
    missing = sum(repair.missing for repair in repairs)
    total = RepairProgress(missing, sum(repair.repaired for repair in repairs))
    return f"; {total.text(counted(len(repairs), 'symbol'))}"
