"""A market that is on some screen, at the engine of the moment."""

from __future__ import annotations

from collections.abc import Callable

from orderbook_desktop.core.book import Book
from orderbook_desktop.core.recording_status import RecordingState, RecordingStatus
from orderbook_desktop.core.sources import BookLook
from orderbook_desktop.core.status import FeedState, FeedStatus, SourceKind
from orderbook_desktop.core.symbols import split_symbol
from orderbook_desktop.engine.engine import Engine
from orderbook_desktop.engine.market_session import MarketLease, MarketSession


class FollowedMarket:
    """The book of `symbol` from the source that `kind` says; is a `LentBook`.

    It stays the same object while its program goes over to another engine: in between there is
    no book. `closed` is told when it is closed.
    """

    def __init__(
        self,
        symbol: str,
        kind: Callable[[], SourceKind],
        closed: Callable[[FollowedMarket], None],
    ) -> None:
        self.symbol = symbol
        self.market = split_symbol(symbol)[1]
        self._kind = kind
        self._closed = closed
        self._lease: MarketLease | None = None
        self._nothing = Book()
        self._last_recording = RecordingStatus(symbol, RecordingState.STOPPED, wanted=False)

    @property
    def session(self) -> MarketSession | None:
        """What follows it; None while the program has no engine."""
        return self._lease.session if self._lease is not None else None

    @property
    def recording(self) -> RecordingStatus:
        """How its recording is doing; while there is no engine, how it did last."""
        session = self.session
        return session.recording_status if session is not None else self._last_recording

    def take(self, engine: Engine) -> None:
        """Open it at `engine`; nothing happens before `start()`."""
        self._lease = engine.open_market(self.symbol, viewed=True)

    def start(self) -> None:
        """Begin to follow it."""
        if self._lease is not None:
            self._lease.session.start()

    def leave(self) -> None:
        """Leave the engine, which ends."""
        lease, self._lease = self._lease, None
        if lease is not None:
            self._last_recording = lease.session.recording_status
            lease.close()

    def look(self) -> BookLook:
        """Return the book as it is now, with its status."""
        kind = self._kind()
        if self._lease is None:
            return BookLook(self._nothing, FeedStatus(FeedState.SYNCING, kind, 0, "Starting."))
        return self._lease.session.view.look(kind)

    def close(self) -> None:
        """End it; to do so again does nothing. What was seen last stays to be seen."""
        if self._lease is not None:
            self._lease.close()
        self._closed(self)
