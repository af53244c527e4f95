"""A sink in place of a recorder's, which notes its calls."""

from __future__ import annotations

from orderbook_desktop.core.book import Book
from orderbook_desktop.core.checkpoint import BookImage
from orderbook_desktop.core.events import DepthDiff, DepthSnapshot
from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.core.segments import GapCause


class NotedSink:
    """Notes the calls that a recorder gets; refuses calls in the wrong order."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, object]] = []
        self._received: list[DepthDiff] = []
        self._is_open = False

    def received(self, diff: DepthDiff) -> None:
        self._received.append(diff)
        self.calls.append(("received", diff.final_id))

    def opened(self, base: DepthSnapshot | BookImage) -> None:
        self._is_open = True
        self.calls.append((f"opened {type(base).__name__}", base.last_update_id))

    def applied(self, diff: DepthDiff, book: Book) -> None:
        assert self._is_open, "no segment to extend"
        assert diff in self._received, "applied without having been received"
        assert book.last_update_id >= diff.final_id
        self.calls.append(("applied", diff.final_id))

    def answered(
        self, answer: DepthSnapshot, joined_id: int | None, known: Horizon | None, book: Book
    ) -> None:
        assert joined_id is None or book.last_update_id >= joined_id
        ends = None if known is None else known.texts(0)
        self.calls.append(("answered", (answer.last_update_id, joined_id, ends)))

    def broken(self, cause: GapCause, detail: str) -> None:
        assert detail, "a break says what happened"
        self._is_open = False
        self.calls.append(("broken", cause))
