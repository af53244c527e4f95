"""What a verification finds: a recording that does not hold, and where."""

from __future__ import annotations

from orderbook_desktop.storage.errors import DatabaseError


class RecordingFault(DatabaseError):
    """Something of the recording of `market` does not hold; `reason` says what.

    `update_id` says where, as nearly as that is known, and `segment_id` in which segment; both
    are None where it is in none.
    """

    def __init__(
        self,
        market: str,
        reason: str,
        *,
        segment_id: str | None = None,
        update_id: int | None = None,
    ) -> None:
        self.market = market
        self.reason = reason
        self.segment_id = segment_id
        self.update_id = update_id
        super().__init__(market, reason, segment_id, update_id)

    def __str__(self) -> str:
        where = self.market
        if self.segment_id is not None:
            where += f", segment {self.segment_id}"
        if self.update_id is not None:
            where += f", update id {self.update_id}"
        return f"{where}: {self.reason.rstrip('.')}."
