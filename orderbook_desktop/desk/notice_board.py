"""The notices of a window: one for each reason, gone when the reason is, or when dismissed."""

from __future__ import annotations

from collections.abc import Callable

from orderbook_desktop.core.desk import Notice, NoticeLevel


class NoticeBoard:
    """Keeps the notices that hold just now; calls `changed` when they are others.

    A notice that was dismissed does not come back as long as its reason lasts; another one
    of its key does.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._notices: dict[str, Notice] = {}
        self._dismissed: set[Notice] = set()

    @property
    def notices(self) -> list[Notice]:
        """The notices, warnings first, else in the order in which they came up."""
        return sorted(self._notices.values(), key=lambda one: one.level is not NoticeLevel.WARNING)

    def put(self, notice: Notice) -> None:
        """Show `notice`, in the place of an earlier one of its key."""
        if self._notices.get(notice.key) == notice or notice in self._dismissed:
            return
        self._notices[notice.key] = notice
        self._changed()

    def tell(self, notice: Notice) -> None:
        """Show `notice` of something that just happened, though the same was dismissed before."""
        self._dismissed.discard(notice)
        self.put(notice)

    def withdraw(self, *keys: str) -> None:
        """Forget the notices `keys`: their reason is gone."""
        for key in keys:
            self._dismissed = {notice for notice in self._dismissed if notice.key != key}
            if self._notices.pop(key, None) is not None:
                self._changed()

    def dismiss(self, key: str) -> None:
        """Take the notice `key` away: it was read."""
        notice = self._notices.pop(key, None)
        if notice is not None:
            self._dismissed.add(notice)
            self._changed()

    def clear(self) -> None:
        """Forget everything."""
        self._dismissed.clear()
        self.withdraw(*list(self._notices))
