"""A market that a window or a browser shows, at the program's present engine."""

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
    """The book of `symbol` from the source that `kind` returns; it is a `LentBook`.

    The object stays the same while its program changes to another engine; in between it has an
    empty book. `changed` is called after each change of the book. `close()` calls `closed`.
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
        self.changed: Callable[[], None] = lambda: None
        self._lease: MarketLease | None = None
        self._nothing = Book()
        self._last_recording = RecordingStatus(
            symbol, RecordingState.STOPPED, kept=False, wanted=False
        )

    @property
    def session(self) -> MarketSession | None:
        """The session that follows the market; None while the program has no engine."""
        return self._lease.session if self._lease is not None else None

    @property
    def recording(self) -> RecordingStatus:
        """The status that the session knows; without an engine, the last status."""
        session = self.session
        return session.recording_status if session is not None else self._last_recording

    def take(self, engine: Engine) -> None:
        """Open the market at `engine`; nothing happens before `start()`."""
        self._lease = engine.open_market(self.symbol, viewed=True)
        self._lease.changed = self._tell

    def start(self) -> None:
        """Begin to follow the market."""
        if self._lease is not None:
            self._lease.session.start()

    def leave(self) -> None:
        """Close the lease, because the engine ends; keep the last status."""
        lease, self._lease = self._lease, None
        if lease is not None:
            self._last_recording = lease.session.recording_status
            lease.close()
            self._tell()

    def _tell(self) -> None:
        self.changed()

    def look(self) -> BookLook:
        """Return the present book, with its status."""
        kind = self._kind()
        if self._lease is None:
            return BookLook(self._nothing, FeedStatus(FeedState.SYNCING, kind, 0, "Starting."))
        return self._lease.session.view.look(kind)

    def close(self) -> None:
        """Stop following; a second call does nothing. The last book can still be read."""
        if self._lease is not None:
            self._lease.close()
        self._closed(self)
