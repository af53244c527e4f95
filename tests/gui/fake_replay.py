"""A replay without a recording: a book changed by hand, commands noted in `commands`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from orderbook_desktop.core.book import Book
from orderbook_desktop.core.replay import (
    Bookmark,
    Coverage,
    LargeTrades,
    ReplayOrder,
    ReplayStatus,
    Step,
    Target,
)
from orderbook_desktop.core.sources import BookLook
from orderbook_desktop.core.status import FeedState, FeedStatus, SourceKind
from tests.gui.fake_desk import BTC, EVENT_MS, FakeSource


class FakeReplay:
    """A `core.replay.Replay` that obeys no command: the test sets its `status`.

    The book is that of `source`, which the test changes; at a gap it is empty.
    """

    def __init__(self, symbol: str = BTC.info.symbol, *, at_ns: int = EVENT_MS * 1_000_000) -> None:
        self.market = symbol.replace("/", "")
        self.source = _ReplayedSource(self)
        self.status = ReplayStatus(symbol=symbol, market=self.market, at_ns=at_ns)
        self.coverage = Coverage()
        self.bookmarks: Sequence[Bookmark] = ()
        self.bookmarks_problem = ""
        self.commands: list[tuple[object, ...]] = []
        self.changed: Callable[[], None] | None = None

    def look(self) -> BookLook:
        return self.source.look()

    def call_on_change(self, changed: Callable[[], None] | None) -> None:
        self.changed = changed

    def play(self) -> None:
        self.commands.append(("play",))

    def pause(self) -> None:
        self.commands.append(("pause",))

    def set_speed(self, speed: int) -> None:
        self.commands.append(("set_speed", speed))

    def set_order(self, order: ReplayOrder) -> None:
        self.commands.append(("set_order", order))

    def set_loop(self, begin_ns: int | None, end_ns: int | None) -> None:
        self.commands.append(("set_loop", begin_ns, end_ns))

    def set_skips(self, *, quiet: bool | None = None, gaps: bool | None = None) -> None:
        self.commands.append(("set_skips", quiet, gaps))

    def seek(self, at_ns: int) -> None:
        self.commands.append(("seek", at_ns))

    def seek_id(self, update_id: int) -> None:
        self.commands.append(("seek_id", update_id))

    def seek_end(self) -> None:
        self.commands.append(("seek_end",))

    def step(self, step: Step, *, back: bool = False) -> None:
        self.commands.append(("step", step, back))

    def jump(self, target: Target, *, back: bool = False) -> None:
        self.commands.append(("jump", target, back))

    def set_large(self, large: LargeTrades) -> None:
        self.commands.append(("set_large", large))

    def add_bookmark(self, note: str = "") -> None:
        self.commands.append(("add_bookmark", note))

    def change_bookmark(self, key: str, note: str) -> None:
        self.commands.append(("change_bookmark", key, note))

    def remove_bookmark(self, key: str) -> None:
        self.commands.append(("remove_bookmark", key))


class _ReplayedSource(FakeSource):
    """The book of a replay, with its status."""

    def __init__(self, replay: FakeReplay) -> None:
        super().__init__(replay.market)
        self._replay = replay
        self.status = FeedStatus(FeedState.REPLAY, SourceKind.MONGO)

    def look(self) -> BookLook:
        status = replace(self.status, state=FeedState.REPLAY)
        book = self.book if self._replay.status.gap is None else Book()
        return BookLook(book, status, None, self.tape, self._replay.status)
