"""Faults of the diff stream: events dropped, doubled, swapped and mangled on their way out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from orderbook_desktop.exchange.local.faults import Fault, FaultBoard, FaultKind, Shape
from orderbook_desktop.exchange.local.source import StreamEvent

Mangle = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Parcel:
    """An event to send, and what to do to its frame, if anything, right before."""

    event: StreamEvent
    mangle: Mangle | None = None


class DiffFaults:
    """Applies the faults of a `FaultBoard` to the events that pass through."""

    def __init__(self, board: FaultBoard) -> None:
        self._board = board
        self._held: dict[str, StreamEvent] = {}

    def through(self, event: StreamEvent) -> list[Parcel]:
        """Return what to send for `event`, in order."""
        if not event.is_diff:
            return [Parcel(event)]
        earlier = self._held.pop(event.stream, None)
        if earlier is not None:
            return [Parcel(event), Parcel(earlier)]
        fault = self._board.take(
            event.market,
            FaultKind.DROP,
            FaultKind.DUPLICATE,
            FaultKind.SWAP,
            FaultKind.MALFORMED,
        )
        if fault is None:
            return [Parcel(event)]
        self._board.note(fault, event.market, f"update id {event.final_id}")
        return self._faulty(event, fault)

    def _faulty(self, event: StreamEvent, fault: Fault) -> list[Parcel]:
        match fault.kind:
            case FaultKind.DROP:
                return []
            case FaultKind.DUPLICATE:
                return [Parcel(event), Parcel(event)]
            case FaultKind.SWAP:
                self._held[event.stream] = event
                return []
            case _:
                if fault.shape is Shape.TYPES:
                    bad = Parcel(replace(event, payload=_WRONG_TYPES, frame=b""))
                else:
                    bad = Parcel(event, _MANGLERS[fault.shape])
                return [bad] if fault.instead else [bad, Parcel(event)]


def _garbage(_frame: bytes) -> bytes:
    return b"\x07\x13]}this is not JSON\x1b{["


def _truncated(frame: bytes) -> bytes:
    # All frames of the exchange are ASCII, so that half of one is still valid UTF-8.
    return frame[: len(frame) // 2]


_MANGLERS: Final[dict[Shape, Mangle]] = {Shape.GARBAGE: _garbage, Shape.TRUNCATED: _truncated}
_WRONG_TYPES: Final = (
    b'{"e":"depthUpdate","E":"soon","s":12,"U":null,"u":[],"b":{"price":1},"a":"none"}'
)
