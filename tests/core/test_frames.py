from __future__ import annotations

import pytest

from orderbook_desktop.core.errors import MalformedMessage
from orderbook_desktop.core.events import DepthDiff, decode_diff, level_texts
from orderbook_desktop.core.frames import ControlReply, ServerShutdown, Unrelated, decode_frame
from orderbook_desktop.core.streams import DEPTH
from tests.core.messages import AGG_TRADE, BOOK_TICKER, DIFF, FRAME, book_of, changed, refused
from tests.core.prints import PRINTS


def test_a_combined_frame() -> None:
    diff = decode_frame(FRAME, received_ns=99)
    assert isinstance(diff, DepthDiff)
    assert diff == decode_diff(DIFF, 99)
    assert (diff.market, diff.first_id, diff.final_id) == ("BNBBTC", 157, 160)
    assert (diff.event_ms, diff.received_ns) == (1672515782136, 99)
    assert diff.payload == DIFF
    assert diff.plain
    assert level_texts(diff.payload) == (
        [("0.00240000", "10.00000000"), ("0.00230000", "0.00000000")],
        [("0.00260000", "100.00000000")],
    )


def test_a_raw_frame() -> None:
    assert decode_frame(DIFF) == decode_diff(DIFF)


def test_the_payload_is_what_was_sent_with_anything_around_it() -> None:
    spaced = DIFF.replace(b":", b" : ").replace(b",", b" ,\n")
    frame = b' { "stream" : "x" , "data" : ' + spaced + b' , "more" : [ { } ] } \r\n'
    diff = decode_frame(frame)
    assert isinstance(diff, DepthDiff)
    assert diff.payload == spaced
    assert diff == decode_diff(spaced)
    assert not diff.plain
    assert book_of(diff) == book_of(decode_diff(DIFF))


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (b'{"result":null,"id":1}', ControlReply(1)),
        (b'{"result":null,"id":"a-b"}', ControlReply("a-b")),
        (
            b'{"result":["btcusdt@depth@100ms"],"id":3}',
            ControlReply(3, ["btcusdt@depth@100ms"]),
        ),
        (
            b'{"code":2,"msg":"Invalid request: request ID must be an integer","id":1}',
            ControlReply(1, None, "Invalid request: request ID must be an integer"),
        ),
        (
            b'{"error":{"code":3,"msg":"Invalid JSON: expected value at line 1 column 1"}}',
            ControlReply(None, None, "Invalid JSON: expected value at line 1 column 1"),
        ),
        (
            b'{"error":{"code":0},"id":null}',
            ControlReply(None, None, "the exchange refused the command"),
        ),
        (b'{"e":"serverShutdown","E":1770123456789}', ServerShutdown(1770123456789)),
        (
            b'{"stream":"!system","data":{"e":"serverShutdown","E":1770123456789}}',
            ServerShutdown(1770123456789),
        ),
        (AGG_TRADE, Unrelated("aggTrade")),
        (b'{"stream":"bnbbtc@aggTrade","data":' + AGG_TRADE + b"}", Unrelated("aggTrade")),
        (
            b'{"stream":"bnbusdt@bookTicker","data":' + BOOK_TICKER + b"}",
            Unrelated("bnbusdt@bookTicker"),
        ),
        (b'{"stream":"!ticker@arr","data":[{"e":"24hrTicker"}]}', Unrelated("!ticker@arr")),
        (b'{"stream":"renamed","data":' + DIFF + b"}", decode_diff(DIFF)),
        (b'{"data":' + DIFF + b"}", decode_diff(DIFF)),
    ],
)
def test_other_messages(frame: bytes, message: object) -> None:
    assert decode_frame(frame) == message


@pytest.mark.parametrize(
    "frame",
    [
        *(b"", b" ", b"{", b"{}", b"[]", b"null", b"7", b'"text"', b"\x00", b"\xff\xfe", b"pong"),
        *(b'{"stream":"x@depth"}', b'{"stream":"x@depth","data":null}', b'{"stream":7,"data":{}}'),
        *(b'{"stream":"x@trade","data":"text"}', b'{"stream":"x@trade","data":{"e":7}}'),
        *(b'{"id":1.5}', b'{"id":null,"result":null}', b'{"result":7,"id":1}', b'{"error":"x"}'),
        *(b'{"e":"serverShutdown","E":"soon"}', b'{"e":"serverShutdown","E":-1}', BOOK_TICKER),
        FRAME + b"}",
        FRAME + FRAME,
        b"\xef\xbb\xbf" + FRAME,
        FRAME.decode().encode("utf-16"),
        changed(s='"\udcff"'.replace("\udcff", "?")).replace(b"?", b"\xff"),
        changed(z='"?"').replace(b"?", b"\xff"),
        FRAME.replace(b"BNBBTC", b"\xc3"),
    ],
)
def test_malformed_frames(frame: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode_frame(frame)


@pytest.mark.parametrize("length", range(0, len(FRAME), 3))
def test_truncated_frames(length: int) -> None:
    refused(lambda: decode_frame(FRAME[:length]), "stream message")


@pytest.mark.parametrize("around", [b"%b", b'{"data":%b}', b'{"x":%b,"e":"depthUpdate"}'])
@pytest.mark.parametrize("nest", [(b"[", b"]"), (b'{"x":', b"}"), (b'{"data":', b"}")])
@pytest.mark.parametrize("closed", [True, False])
def test_deep_nesting(around: bytes, nest: tuple[bytes, bytes], closed: bool) -> None:
    depth = 100_000
    deep = nest[0] * depth + (b"1" + nest[1] * depth if closed else b"")
    with pytest.raises(MalformedMessage):
        decode_frame(around % deep)
    with pytest.raises(MalformedMessage):
        decode_diff(changed().replace(b"}", b',"x":%b}' % deep))


@pytest.mark.parametrize("frame", [b"%b", b'{"data":%b}', b'{"stream":"x@trade","data":%b}'])
def test_events_of_the_kinds_that_are_asked_for(frame: bytes) -> None:
    sent = b'{"e":"trade","E":5,"s":"BTCUSDT","t":7,"p":"1.5"}'
    assert isinstance(decode_frame(frame % sent), Unrelated)
    assert decode_frame(frame % sent, 9, [DEPTH, PRINTS]) == PRINTS.decode(sent, 9)
    assert decode_frame(FRAME, 9, [PRINTS, DEPTH]) == decode_diff(DIFF, 9)
    assert decode_frame(FRAME, 9, [PRINTS]) == Unrelated("depthUpdate")
