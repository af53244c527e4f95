"""A second kind of stream, made up for tests: the exchange's single trades, called prints."""

from __future__ import annotations

import msgspec

from orderbook_desktop.core.events import WireInt, decoded
from orderbook_desktop.core.streams import Continuity, StreamKind


class Print(msgspec.Struct, frozen=True):
    """One trade."""

    market: str
    first_id: int
    event_ms: int
    received_ns: int
    payload: bytes
    price: str

    @property
    def final_id(self) -> int:
        return self.first_id


class WirePrint(msgspec.Struct):
    s: str
    t: WireInt
    E: WireInt
    p: str


def decode_print(payload: bytes, received_ns: int) -> Print:
    wire = decoded(msgspec.json.Decoder(WirePrint), payload, "print")
    return Print(wire.s, wire.t, wire.E, received_ns, payload, wire.p)


def print_continuity(known: Print, event: Print) -> Continuity:
    if event.first_id <= known.first_id:
        return Continuity.OLD
    return Continuity.NEXT if event.first_id == known.first_id + 1 else Continuity.HOLE


PRINTS = StreamKind(
    name="print",
    channel="@trade",
    event_name="trade",
    id_name="trade id",
    event=Print,
    decode=decode_print,
    continuity=print_continuity,
)
