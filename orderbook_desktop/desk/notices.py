"""The notices of a window, and the watches that turn present problems into notices."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from orderbook_desktop.core.desk import Notice, NoticeAction, NoticeLevel
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.status import FeedState, SourceKind
from orderbook_desktop.core.wording import counted
from orderbook_desktop.engine.engine import Engine
from orderbook_desktop.engine.market_session import MarketSession
from orderbook_desktop.exchange.errors import (
    NoBook,
    Paced,
    RateLimited,
    RegionBlocked,
    UnknownSymbol,
)

# A first connection takes about a second; after this time the exchange counts as unreachable.
UNREACHABLE_AFTER_S: Final = 3.0


class NoticeBoard:
    """Keeps the present notices, and calls `changed` when they change.

    A dismissed notice stays away until it is withdrawn; another notice of its key is shown.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._notices: dict[str, Notice] = {}
        self._dismissed: set[Notice] = set()

    @property
    def notices(self) -> list[Notice]:
        """The notices, warnings first, else in the order in which they came up."""
        return sorted(
            self._notices.values(), key=lambda notice: notice.level is not NoticeLevel.WARNING
        )

    def put(self, notice: Notice) -> None:
        """Show `notice`, in place of an earlier notice of its key."""
        if self._notices.get(notice.key) == notice or notice in self._dismissed:
            return
        self._notices[notice.key] = notice
        self._changed()

    def tell(self, notice: Notice) -> None:
        """Show `notice` of a new event, even if the same notice was dismissed before."""
        self._dismissed.discard(notice)
        self.put(notice)

    def withdraw(self, *keys: str) -> None:
        """Remove the notices of `keys`, because their reason is gone."""
        for key in keys:
            self._dismissed = {notice for notice in self._dismissed if notice.key != key}
            if self._notices.pop(key, None) is not None:
                self._changed()

    def dismiss(self, key: str) -> None:
        """Remove the notice of `key`, because the person has read it."""
        notice = self._notices.pop(key, None)
        if notice is not None:
            self._dismissed.add(notice)
            self._changed()

    def clear(self) -> None:
        """Remove all notices, and forget which were dismissed."""
        self._dismissed.clear()
        self.withdraw(*list(self._notices))


class ProgramWatch:
    """Keeps the notices about `engine` up to date; call `look()` a few times a second."""

    def __init__(self, engine: Engine, board: NoticeBoard) -> None:
        self._engine = engine
        self._board = board

    def look(self) -> None:
        """Put and withdraw the notices that concern all windows."""
        self._look_at_disk()
        self._look_at_archive()
        if note := self._engine.server_note:
            self._board.put(Notice("elsewhere", NoticeLevel.INFORMATION, note))

    def _look_at_disk(self) -> None:
        problem = self._engine.disk.problem if self._engine.is_recording else ""
        if problem:
            self._board.put(Notice("disk", NoticeLevel.WARNING, problem))
        else:
            self._board.withdraw("disk")

    def _look_at_archive(self) -> None:
        # The problem lasts until the next start, so the notice is never withdrawn.
        if problem := self._engine.archiver.problem:
            text = f"A part of what is recorded can't be archived: {problem}"
            self._board.put(Notice("archive", NoticeLevel.WARNING, text))


class DeskWatch:
    """Keeps the notices about the market on screen up to date.

    Call `look()` a few times a second. `now` is a clock in seconds that never goes back.
    """

    def __init__(self, board: NoticeBoard, now: Callable[[], float] = time.monotonic) -> None:
        self._board = board
        self._now = now
        # None before the first look: before that, the engine may be starting.
        self._reached_at: float | None = None
        # By market, how many dropped events the last notice named.
        self._notified_losses: dict[str, int] = {}

    def look(self, engine: Engine, session: MarketSession, kind: SourceKind, *, demo: bool) -> None:
        """Put and withdraw notices by the state of `session`, shown from the source `kind`."""
        self._look_at_database(engine, session, kind)
        self._look_at_losses(session)
        self._look_at_exchange(engine.settings.rest_url, session, demo=demo)

    def _look_at_database(self, engine: Engine, session: MarketSession, kind: SourceKind) -> None:
        problem = engine.database_problem(session.market)
        is_recorded = kind is SourceKind.MONGO
        # Recordings that are not on screen need the database, too.
        if problem and (is_recorded or engine.is_recording):
            is_lasting = is_recorded and engine.server_error is not None
            action = NoticeAction.USE_DIRECT if is_lasting else NoticeAction.NONE
            self._board.put(Notice("database", NoticeLevel.WARNING, problem, action))
        else:
            self._board.withdraw("database")

    def _look_at_losses(self, session: MarketSession) -> None:
        dropped = session.sink.counts.dropped
        # The count goes on from the start of the program; only further losses are news.
        if dropped <= self._notified_losses.get(session.market, 0):
            return
        self._notified_losses[session.market] = dropped
        text = (
            f"{counted(dropped, 'event')} of this symbol could not be recorded, because "
            f"{GapCause.OVERFLOW.sentence}. The recording has a gap there."
        )
        self._board.tell(Notice("gap", NoticeLevel.WARNING, text))

    def _look_at_exchange(self, rest_url: str, session: MarketSession, *, demo: bool) -> None:
        status, problem = session.live.status, session.live.problem
        # While the program waits to keep to the exchange's limit, only the badge says so.
        is_paced = status.state is FeedState.SYNCING and isinstance(problem, Paced)
        now = self._now()
        if self._reached_at is None or status.state is FeedState.SYNCED or is_paced:
            self._reached_at = now
        is_lasting = now - self._reached_at > UNREACHABLE_AFTER_S
        if not is_lasting or isinstance(problem, UnknownSymbol | NoBook):
            self._board.withdraw("exchange")
            return
        text = status.detail
        if problem is None and status.state is not FeedState.RECONNECTING:
            text = f"The exchange at {rest_url} does not answer yet."
        can_help = not demo and not isinstance(problem, RateLimited)
        action = NoticeAction.START_DEMO if can_help else NoticeAction.NONE
        if isinstance(problem, RegionBlocked):
            text = str(problem)
        elif isinstance(problem, RateLimited):
            # The badge shows the seconds: with them, each attempt would make another notice.
            reason = str(problem).partition(";")[0]
            text = f"{reason}; the program waits for as long as the exchange asked."
        self._board.put(Notice("exchange", NoticeLevel.WARNING, text, action))
