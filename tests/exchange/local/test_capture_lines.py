"""Lines of captures as different collectors write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from orderbook_desktop.exchange.local.capture_lines import CaptureLine, read_lines
from orderbook_desktop.exchange.local.capture_survey import survey_capture
from orderbook_desktop.exchange.local.errors import CaptureUnreadable

_DIFF = (
    b'{"e":"depthUpdate","E":7,"s":"ETHBTC","U":1,"u":2,"b":[["0.04350000","1.00000000"]],"a":[]}'
)
_BOOK = b'"lastUpdateId":9,"bids":[["0.1","1"]],"asks":[]'


def _only(tmp_path: Path, text: bytes) -> CaptureLine:
    path = tmp_path / "one.jsonl"
    path.write_bytes(b"\n5 " + text + b"\r\n")
    (line,) = read_lines(path)
    assert (line.number, line.recv_ns) == (2, 5)
    return line


def test_a_combined_frame(tmp_path: Path) -> None:
    frame = b'{"stream":"ethbtc@depth","data":%s}' % _DIFF
    line = _only(tmp_path, frame)
    assert (line.stream, line.market, line.update_id) == ("ethbtc@depth", "ETHBTC", 2)
    assert (line.payload, line.frame) == (_DIFF, frame)
    assert line.diff is not None
    assert line.diff.bids == [("0.04350000", "1.00000000")]


@pytest.mark.parametrize(
    ("payload", "stream"),
    [
        (_DIFF, "ethbtc@depth@100ms"),
        (b'{"e":"trade","s":"ETHBTC","t":1}', "ethbtc@trade"),
        (b'{"u":5,"s":"ETHBTC","b":"1","B":"1","a":"2","A":"1"}', "ethbtc@bookTicker"),
    ],
)
def test_a_bare_event_tells_its_stream(tmp_path: Path, payload: bytes, stream: str) -> None:
    line = _only(tmp_path, payload)
    assert (line.stream, line.payload, line.frame) == (stream, payload, b"")


@pytest.mark.parametrize(
    ("text", "market"),
    [
        (b"{%s}" % _BOOK, ""),
        (b'{"symbol":"ETHBTC",%s}' % _BOOK, "ETHBTC"),
        (b'{"stream":"ethbtc@depthSnapshot","data":{%s}}' % _BOOK, "ETHBTC"),
    ],
)
def test_a_snapshot(tmp_path: Path, text: bytes, market: str) -> None:
    line = _only(tmp_path, text)
    assert line.snapshot is not None
    assert (line.snapshot.last_update_id, line.market, line.stream) == (9, market, "")


def test_partial_depth_is_an_event_and_no_snapshot(tmp_path: Path) -> None:
    line = _only(tmp_path, b'{"stream":"ethbtc@depth20@100ms","data":{%s}}' % _BOOK)
    assert (line.snapshot, line.stream) == (None, "ethbtc@depth20@100ms")


@pytest.mark.parametrize(
    "text",
    [
        b'{"result":null,"id":1}',
        b'{"error":{"code":2,"msg":"Invalid request"},"id":1}',
        b'{"e":"serverShutdown","E":1}',
        b'{"stream":"!miniTicker@arr","data":[{"e":"24hrMiniTicker","E":1,"s":"ETHBTC"}]}',
        b'[{"e":"24hrMiniTicker","E":1,"s":"ETHBTC"}]',
    ],
)
def test_what_is_of_no_market_is_passed_over(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "one.jsonl"
    path.write_bytes(b"5 %s\n6 %s\n" % (text, _DIFF))
    (line,) = read_lines(path)
    assert line.number == 2
    path.write_bytes(b"5 %s\n" % text[:-1])
    with pytest.raises(CaptureUnreadable, match="line 1 "):
        list(read_lines(path))


def test_the_survey_finds_filters_and_names(tmp_path: Path) -> None:
    path = tmp_path / "diffs.jsonl"
    path.write_bytes(b"5 %s\n6 {%s}\n" % (_DIFF, _BOOK))
    survey = survey_capture(path)["ETHBTC"]
    listing = survey.listing()
    assert (listing.base, listing.quote) == ("ETH", "BTC")
    assert (listing.tick_size, listing.step_size) == ("0.00010000", "1.00000000")
    assert survey.has_snapshot
    assert survey.also("ethbtc@depth@100ms") == ("ethbtc@depth",)
    survey.streams.add("ethbtc@depth")
    assert survey.also("ethbtc@depth@100ms") == ()
