"""What retention has to know of a chunk, and what it tells of having cut some."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple


class ChainLink(NamedTuple):
    """A chunk of a segment: its ids and event times, how many events, and its bytes."""

    start_id: int
    first_id: int
    last_id: int
    from_ms: int
    to_ms: int
    events: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Cut:
    """What was cut: how many events, and the bytes of their chunks.

    `is_last` says that nothing more can be cut there for now.
    """

    events: int = 0
    bytes: int = 0
    is_last: bool = False


# Decides whether a chunk is to go.
Wanted = Callable[[ChainLink], bool]
