"""Messages as the exchange spells them, and what a test asks of what they are decoded to."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orderbook_desktop.core.book import Book
from orderbook_desktop.core.errors import MalformedMessage
from orderbook_desktop.core.events import DepthDiff
from tests.core.reference_book import shown

DIFF = (
    b'{"e":"depthUpdate","E":1672515782136,"s":"BNBBTC","U":157,"u":160,'
    b'"b":[["0.00240000","10.00000000"],["0.00230000","0.00000000"]],'
    b'"a":[["0.00260000","100.00000000"]]}'
)
FRAME = b'{"stream":"bnbbtc@depth@100ms","data":' + DIFF + b"}"
SNAPSHOT = (
    b'{"lastUpdateId":1027024,"bids":[["4.00000000","431.00000000"]],'
    b'"asks":[["4.00000200","12.00000000"]]}'
)
AGG_TRADE = (
    b'{"e":"aggTrade","E":1672515782136,"s":"BNBBTC","a":12345,"p":"0.001","q":"100",'
    b'"f":100,"l":105,"T":1672515782136,"m":true,"M":true}'
)
BOOK_TICKER = (
    b'{"u":400900217,"s":"BNBUSDT","b":"25.35190000","B":"31.21000000",'
    b'"a":"25.36520000","A":"40.66000000"}'
)


def changed(payload: bytes = DIFF, /, **fields: str) -> bytes:
    """Return `payload` with other JSON for some fields."""
    message = {key: json.dumps(value) for key, value in json.loads(payload).items()}
    message.update(fields)
    return ("{" + ",".join(f'"{key}":{value}' for key, value in message.items()) + "}").encode()


def book_of(diff: DepthDiff) -> object:
    """Return the book that `diff` makes of an empty one."""
    book = Book()
    book.apply(diff)
    return shown(book)


def refused(call: Any, what: str) -> None:
    """Check that `call` finds a malformed message, which it calls `what`."""
    with pytest.raises(MalformedMessage) as caught:
        call()
    assert caught.value.what == what
