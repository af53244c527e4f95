"""The board of notices: one notice for each key, until it is withdrawn or dismissed."""

from __future__ import annotations

from collections.abc import Callable

from orderbook_desktop.core.desk import Notice, NoticeLevel


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
