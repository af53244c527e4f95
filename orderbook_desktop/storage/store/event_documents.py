"""An event as a document of `depth_events`: its key, its fields, and what is proven of them.

`encoding` says what `payload` is. It is the JSON text exactly as it was sent (`text`), or that text
as a zstd frame without a magic number, if that is smaller (`zstd1`). The number is that of the
dictionary, which every program that reads the encoding needs, byte for byte. Another dictionary
gets another number.
"""

from __future__ import annotations

import threading
from typing import Any, Final

import zstandard
from msgspec import Struct

from orderbook_desktop.core.errors import MalformedMessage
from orderbook_desktop.core.event_times import in_ms, may_count
from orderbook_desktop.core.events import DepthDiff, decode_diff, timed
from orderbook_desktop.core.streams import DEPTH, MarketEvent, Stream, StreamKind
from orderbook_desktop.storage.store.packing import DamagedDocument, unpack
from orderbook_desktop.storage.store.schema import Document
from orderbook_desktop.storage.store.sealing import SEAL, checksum, is_sealed
from orderbook_desktop.storage.store.segment_documents import is_whole

_TEXT: Final = "text"
_ZSTD: Final = "zstd1"
# What most events have in common. Most events are too short to have repetitions of their own.
_DICTIONARY: Final = zstandard.ZstdCompressionDict(
    b'00000","10000000","5000.00000000"],["1.00000000","0.0000","0.00"],["0","0.00"]],"a":[],"b":[]'
    b'{"stream":"usdt@depth@100ms","data":{"e":"depthUpdate","E":17"},"s":"BTCUSDT","U":1,"u":1'
    b'"}00000000","0.00000000"]],"a":[["0.00000000"],["00000000","0.00000000"],["0.00000000"]]}'
    b'{"e":"depthUpdate","E":17,"s":"USDT","U":,"u":,"b":[["000000","0.00',
    dict_type=zstandard.DICT_TYPE_RAWCONTENT,
)
_LEVEL: Final = 3
# The document has a checksum of its own.
_PARAMETERS: Final = zstandard.ZstdCompressionParameters.from_level(
    _LEVEL,
    format=zstandard.FORMAT_ZSTD1_MAGICLESS,
    write_checksum=False,
    write_content_size=False,
    write_dict_id=False,
)


class _Codec(threading.local):
    """A compressor and a decompressor for each thread: to make one takes longer than to use it."""

    def __init__(self) -> None:
        self.pack = zstandard.ZstdCompressor(
            dict_data=_DICTIONARY, compression_params=_PARAMETERS
        ).compress
        self.unpacker = zstandard.ZstdDecompressor(
            dict_data=_DICTIONARY, format=zstandard.FORMAT_ZSTD1_MAGICLESS
        )


_codec: Final = _Codec()
_FIELDS: Final = frozenset(
    {"_id", "market", "U", "u", "time", "received_ns", "encoding", "payload", SEAL}
)


class Insert(Struct, frozen=True, eq=False):
    """Write the event of `stream`."""

    stream: Stream
    first_id: int
    final_id: int
    event_ms: int
    received_ns: int
    payload: bytes

    @classmethod
    def of(cls, event: MarketEvent, kind: StreamKind[Any] = DEPTH) -> Insert:
        """Take from `event` what is written, without what was decoded from it."""
        return cls(
            Stream(event.market, kind),
            event.first_id,
            event.final_id,
            event.event_ms,
            event.received_ns,
            event.payload,
        )

    @property
    def market(self) -> str:
        """The market of the stream."""
        return self.stream.market


def event_key(market: str, final_id: int) -> str:
    """Return the `_id` of an event: no market can have two events with one final id."""
    return f"{market}:{DEPTH.name}:{final_id}"


def event_document(event: Insert) -> Document:
    """Return the document of `event`. Raises `UnicodeError` if its payload is no text."""
    encoding, payload = packed_payload(event.payload.decode())
    fields = {
        "_id": event_key(event.market, event.final_id),
        "market": event.market,
        "U": event.first_id,
        "u": event.final_id,
        "time": event.event_ms,
        "received_ns": event.received_ns,
        "encoding": encoding,
        "payload": payload,
    }
    fields[SEAL] = checksum(fields)
    return fields


def packed_payload(text: str) -> tuple[str, str | bytes]:
    """Return the encoding in which `text` takes fewer bytes, and `text` in it."""
    plain = text.encode()
    packed = _codec.pack(plain)
    return (_ZSTD, packed) if len(packed) < len(plain) else (_TEXT, text)


def payload_of(document: Document) -> bytes:
    """Return the payload of the event that `document` stores, as it was sent.

    Raises `MalformedMessage` if it is in no known encoding.
    """
    encoding, stored = document["encoding"], document["payload"]
    if encoding == _TEXT and isinstance(stored, str):
        return stored.encode()
    if encoding != _ZSTD or not isinstance(stored, bytes):
        what = f"its payload, {type(stored).__name__}, is encoded as {encoding}"
        raise _damaged(f"{what}, which this version of the program does not know", stored)
    try:
        return unpack(stored, decompressor=_codec.unpacker)
    except DamagedDocument as error:
        raise _damaged(error.reason, stored) from error


def event_of(document: Document) -> DepthDiff:
    """Return the event that `document` stores. Raises `MalformedMessage` if it is damaged."""
    if not is_sealed(document):
        raise _damaged("its checksum does not match", document.get("payload"))
    try:
        payload = payload_of(document)
        received_ns, time = document["received_ns"], document["time"]
        if not (is_whole(received_ns) and is_whole(time)):
            raise _damaged("a time is no whole number", payload)
        return _timed(decode_diff(payload, int(received_ns)), int(time))
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise MalformedMessage("recorded event", f"{type(error).__name__}: {error}") from error


def checked_event(document: Document) -> DepthDiff:
    """Return the event that `document` stores. Raises `MalformedMessage` if a field differs."""
    event = event_of(document)
    copies = {
        "_id": event_key(event.market, event.final_id),
        "market": event.market,
        "U": event.first_id,
        "u": event.final_id,
    }
    for name in document.keys() - _FIELDS:
        raise _damaged(f"it has a field {name}", event.payload)
    for name, value in copies.items():
        if document[name] != value:
            raise _damaged(f"its {name} is not that of its text", event.payload)
    if in_ms(document["time"]) != event.event_ms:
        raise _damaged("its time is not that of its text", event.payload)
    return event


def _timed(event: DepthDiff, stored_ms: int) -> DepthDiff:
    """Return `event` with the stored time, if that may count as its time (`may_count`).

    The time in its text may be impossible. An earlier version stored that time nevertheless.
    """
    stored_ms = in_ms(stored_ms)
    if stored_ms != event.event_ms and may_count(stored_ms, event.event_ms, event.received_ns):
        return timed(event, stored_ms)
    return event


def _damaged(reason: str, payload: object) -> MalformedMessage:
    text = payload.encode("utf-8", "replace") if isinstance(payload, str) else payload
    return MalformedMessage("recorded event", reason, text if isinstance(text, bytes) else b"")
