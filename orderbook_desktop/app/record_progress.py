"""What a headless recording tells on standard error."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from orderbook_desktop.app.market_session import MarketSession
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.status import Badge, age_text, badge_for
from orderbook_desktop.exchange.errors import UnknownSymbol

_TELL_EVERY_S: Final = 10.0


class RecordProgress:
    """Shows how `sessions` (by symbol) are doing: a live table on a terminal, else lines.

    Lines come when a symbol's state changes, and every ten seconds. Use it as a context
    manager and call `show()` a few times a second.
    """

    def __init__(
        self, database: str, sessions: Mapping[str, MarketSession], console: Console | None = None
    ) -> None:
        self._database = database
        self._sessions = sessions
        self._console = console or Console(stderr=True, highlight=False)
        self._live = Live(console=self._console, auto_refresh=False)
        self._told: dict[str, str] = {}
        self._told_at = time.monotonic()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        else:
            self._print(f"Recording {', '.join(self._sessions)} into {self._database}.")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def show(self) -> None:
        """Tell what is new."""
        if self._console.is_terminal:
            self._live.update(self._table(), refresh=True)
            return
        for symbol, session in self._sessions.items():
            state = _state(symbol, session)
            if self._told.get(symbol) != state:
                self._told[symbol] = state
                self._print(f"{symbol}: {state}")
        if time.monotonic() - self._told_at >= _TELL_EVERY_S:
            self._told_at = time.monotonic()
            self._print("; ".join(_counts(*item) for item in self._sessions.items()))

    def _table(self) -> Table:
        title = f"Recording into {self._database}; Ctrl-C stops."
        table = Table(title=title, title_justify="left")
        for name in ("symbol", "state", "events", "waiting", "gaps", "last update id"):
            table.add_column(name, justify="left" if name in ("symbol", "state") else "right")
        for symbol, session in self._sessions.items():
            counts, status = session.sink.counts, session.recording_status
            state = status.problem or detail_of(symbol, session) or _badge(session).text
            numbers = (counts.events, status.waiting, counts.gaps, counts.last_id)
            table.add_row(symbol, state, *(f"{number:,}" for number in numbers))
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
    """Print what became of `sessions`; return whether all of it is recorded.

    `waiting` is how many events could not be written before the end. `ended_by`, which made
    going on pointless, is told by the caller.
    """
    console = console or Console(stderr=True, highlight=False)
    is_complete = not waiting
    for symbol, session in sessions.items():
        counts = session.sink.counts
        is_complete = is_complete and counts.events > 0 and not counts.dropped
        text = (
            f"{symbol}: {_many(counts.events, 'event')} recorded in {age_text(int(took_s * 1000))}"
        )
        if counts.events:
            text += f", up to update id {counts.last_id}, {_many(counts.gaps, 'gap')}"
        elif (detail := detail_of(symbol, session)) and detail != str(ended_by):
            text += f" ({detail.removesuffix(' Trying again.').rstrip('.')})"
        if counts.gaps:
            text += f" (the last one because {counts.last_gap})"
        if counts.repeated:
            text += f"; {counts.repeated:,} of them were there already"
        if counts.dropped:
            text += f"; {_many(counts.dropped, 'event')} did not fit into memory and are lost"
        console.print(f"{text}.", markup=False, soft_wrap=True)
    if waiting:
        text = f"{_many(waiting, 'event')} could not be written before the end."
        console.print(text, markup=False, soft_wrap=True)
    return is_complete


def detail_of(symbol: str, session: MarketSession) -> str:
    """Return what is to say of the feed, naming an unknown symbol as it was asked for."""
    if isinstance(session.live.problem, UnknownSymbol):
        return str(UnknownSymbol(symbol))
    return session.live.status.detail


def _state(symbol: str, session: MarketSession) -> str:
    """Return the state of a recording without what changes all the time."""
    status = session.live.status
    problem = session.recording_status.problem or detail_of(symbol, session)
    return f"{status.state.value}. {problem}" if problem else status.state.value


def _counts(symbol: str, session: MarketSession) -> str:
    counts = session.sink.counts
    return (
        f"{symbol} {_badge(session).text}: {_many(counts.events, 'event')}, "
        f"{_many(counts.gaps, 'gap')}"
    )


def _badge(session: MarketSession) -> Badge:
    return badge_for(session.live.status, time.time_ns())


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
