"""Trades as documents: a batch as it was received, in `trade_events`, and its place in the archive.

A batch is a few hundred trades of one market whose ids go on without a hole. Its document has these
fields:

`_id`                     MARKET:trade:FIRST_ID:LAST_ID, so that a retry can't double a batch
`market`, `first_id`, `last_id`
`from_time`, `to_time`    the earliest and the latest time of its trades (ms)
`encoding`, `payload`     the trades; see below
`sum`                     the seal

The payload is a list of two lists as MessagePack: the receive times, each as the step (ns) from
the one before, and the texts of the trades exactly as they were sent. A receive time of 0 is that
of a repaired trade. `encoding` says whether it is stored as it is (`list1`) or as a zstd frame
without a magic number (`zstd1`), if that is smaller. The number is that of the dictionary, which
every program that reads the encoding needs, byte for byte.

Batches of two recorders may overlap: trades are identified by their own ids.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

import msgspec
import zstandard

from orderbook_desktop.core.archive.trades import DecodedTrades, fitting_runs
from orderbook_desktop.core.errors import BugError, KnownError, MalformedMessage
from orderbook_desktop.core.trades import TRADE, Trade, decode_repaired, decode_trade
from orderbook_desktop.storage.store.packing import DamagedDocument, unpack
from orderbook_desktop.storage.store.schema import Document
from orderbook_desktop.storage.store.sealing import SEAL, checksum, is_sealed
from orderbook_desktop.storage.store.segment_documents import is_whole

TRADES_A_BATCH: Final = 500
"""No batch has more trades, so a query for those that may hold an id is bounded on both sides."""

_LIST: Final = "list1"
_ZSTD: Final = "zstd1"
# What most trades have in common; most batches are too short to have many repetitions.
_DICTIONARY: Final = zstandard.ZstdCompressionDict(
    b'{"a":1,"p":"0.00000000","q":"0.00000000","f":1,"l":1,"T":17,"m":true,"M":true}'
    b'","m":true,"M":true}","m":false,"M":true}00000000","q":"0.000000","f":00000","q":"0.00'
    b'{"e":"aggTrade","E":17,"s":"ETHUSDT","a":1,"p":"00.00000000","q":"1.00000000","f":1,"l":1,'
    b'{"e":"aggTrade","E":17,"s":"BTCUSDT","a":,"p":"0000000","q":"0.000000","f":,"l":,"T":17',
    dict_type=zstandard.DICT_TYPE_RAWCONTENT,
)
_LEVEL: Final = 3
_FORMAT: Final = zstandard.FORMAT_ZSTD1_MAGICLESS
# The document has a checksum of its own.
_PARAMETERS: Final = zstandard.ZstdCompressionParameters.from_level(
    _LEVEL, format=_FORMAT, write_checksum=False, write_content_size=False, write_dict_id=False
)
_FIELDS: Final = frozenset(
    {
        *("_id", "market", "first_id", "last_id", "from_time", "to_time"),
        *("encoding", "payload", SEAL),
    }
)


class _Codec(threading.local):
    """A compressor and a decompressor for each thread: to make one takes longer than to use it."""

    def __init__(self) -> None:
        self.pack = zstandard.ZstdCompressor(
            dict_data=_DICTIONARY, compression_params=_PARAMETERS
        ).compress
        self.unpacker = zstandard.ZstdDecompressor(dict_data=_DICTIONARY, format=_FORMAT)


class _Body(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The payload of a batch: steps of the receive times (ns), and texts."""

    received: list[int]
    texts: list[bytes]


_codec: Final = _Codec()
_decoder: Final = msgspec.msgpack.Decoder(_Body)


def batch_key(market: str, first_id: int, last_id: int) -> str:
    """Return the `_id` of trades in a row."""
    return f"{market}:{TRADE.name}:{first_id}:{last_id}"


def batches_of(trades: Sequence[Trade]) -> Iterator[Sequence[Trade]]:
    """Cut `trades` of one market, in order of ids, into batches; a hole begins another one."""
    begin = 0
    for end in range(1, len(trades) + 1):
        is_full = end - begin == TRADES_A_BATCH
        if is_full or end == len(trades) or trades[end].trade_id != trades[end - 1].trade_id + 1:
            yield trades[begin:end]
            begin = end


def batch_document(trades: Sequence[Trade]) -> Document:
    """Return the document of a batch."""
    is_run = all(after.trade_id == before.trade_id + 1 for before, after in pairwise(trades))
    if not 0 < len(trades) <= TRADES_A_BATCH or not is_run:
        raise BugError(f"{len(trades)} trades are no batch")
    market, first_id, last_id = trades[0].market, trades[0].trade_id, trades[-1].trade_id
    times = [trade.received_ns for trade in trades]
    steps = [time - before for before, time in pairwise([0, *times])]
    plain = msgspec.msgpack.encode(_Body(steps, [trade.payload for trade in trades]))
    packed = _codec.pack(plain)
    is_smaller = len(packed) < len(plain)
    fields: Document = {
        "_id": batch_key(market, first_id, last_id),
        "market": market,
        "first_id": first_id,
        "last_id": last_id,
        "from_time": min(trade.event_ms for trade in trades),
        "to_time": max(trade.event_ms for trade in trades),
        "encoding": _ZSTD if is_smaller else _LIST,
        "payload": packed if is_smaller else plain,
    }
    fields[SEAL] = checksum(fields)
    return fields


def trades_of(document: Document) -> list[Trade]:
    """Return the trades of a batch. Raises `DamagedDocument` if any field differs."""
    key = document.get("_id")
    if not is_sealed(document):
        raise DamagedDocument(f"trades {key}: the checksum does not match")
    if document.keys() != _FIELDS:
        raise DamagedDocument(f"trades {key}: a field is missing, or unknown")
    try:
        trades = _unpacked(document)
    except (KnownError, msgspec.DecodeError) as error:
        raise DamagedDocument(f"trades {key}: {_reason(error)}") from error
    ids = [trade.trade_id for trade in trades]
    first_id, last_id = document["first_id"], document["last_id"]
    is_run = is_whole(first_id) and is_whole(last_id) and ids == [*range(first_id, last_id + 1)]
    if not is_run or {trade.market for trade in trades} != {document["market"]}:
        raise DamagedDocument(f"trades {key}: its ids or its market are not those of its trades")
    times = [trade.event_ms for trade in trades]
    is_dated = [document["from_time"], document["to_time"]] == [min(times), max(times)]
    if key != batch_key(document["market"], first_id, last_id) or not is_dated:
        raise DamagedDocument(f"trades {key}: its id or its times are not those of its trades")
    return trades


def decoded_batch(document: Document) -> list[DecodedTrades]:
    """Return the trades of a batch, in more than one piece if no scale holds them all.

    Raises `DamagedDocument`.
    """
    return [DecodedTrades.of(piece) for piece in fitting_runs(trades_of(document))]


def _unpacked(document: Document) -> list[Trade]:
    encoding, payload = document["encoding"], document["payload"]
    if encoding not in (_LIST, _ZSTD) or type(payload) is not bytes:
        raise DamagedDocument(f"its encoding {encoding} is not known to this version")
    if encoding == _ZSTD:
        payload = unpack(payload, decompressor=_codec.unpacker)
    body = _decoder.decode(payload)
    if len(body.received) != len(body.texts):
        raise DamagedDocument("it has more receive times than trades, or fewer")
    trades: list[Trade] = []
    received_ns = 0
    for step, text in zip(body.received, body.texts, strict=True):
        received_ns += step
        is_repaired = not received_ns
        trades.append(
            decode_repaired(text, document["market"])
            if is_repaired
            else decode_trade(text, received_ns)
        )
    return trades


def _reason(error: Exception) -> str:
    return error.reason if isinstance(error, DamagedDocument | MalformedMessage) else str(error)
