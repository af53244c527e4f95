"""When recorded events are due in a replay, by `core.replay_status.ReplayOrder`."""

from __future__ import annotations

from typing import Final

import numpy as np

from orderbook_desktop.core.levels import Int64Array
from orderbook_desktop.core.replay_status import ReplayOrder

# A receipt that far from the event's own time shows that the recorder's clock was wrong.
_CLOCK_WRONG_NS: Final = 60_000_000_000


def due_times(
    event_ns: Int64Array, received_ns: Int64Array, order: ReplayOrder, not_before: int = 0
) -> Int64Array:
    """Return when events are due that happened at `event_ns`, in their order.

    `received_ns` is 0 where an event was never received. No event is due before the one before it,
    and none before `not_before`.
    """
    due = due_alone(event_ns, received_ns, order)
    return np.maximum.accumulate(np.maximum(due, not_before))


def due_alone(event_ns: Int64Array, received_ns: Int64Array, order: ReplayOrder) -> Int64Array:
    """Return when events are due, each by its own times alone."""
    if order is ReplayOrder.EXCHANGE:
        return event_ns
    is_wrong = (received_ns == 0) | (np.abs(received_ns - event_ns) > _CLOCK_WRONG_NS)
    return np.where(is_wrong, event_ns, received_ns)
