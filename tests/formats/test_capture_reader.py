"""Messages of captures: books in order, at one speed, of the right market, and trades."""

from __future__ import annotations

import functools
import gzip
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orderbook_desktop.core.events import DepthDiff, DepthSnapshot, decode_diff
from orderbook_desktop.core.received import Broken, FileNotes, Received, UnusableFile
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.trades import Trade
from orderbook_desktop.exchange.local.synthetic import write_capture
from orderbook_desktop.formats import capture_lines
from orderbook_desktop.formats.capture_reader import captured_messages, is_captured
from orderbook_desktop.formats.lines import FileLines

_MS = 1_723_161_255_000


def collected(paths: list[Path]) -> list[Received]:
    """The diffs and snapshots in files that are not broken."""
    return list(_books(captured_messages(paths)))


def _books(messages: Iterable[Received | Broken]) -> Iterator[Received]:
    for one in messages:
        if isinstance(one, Received) and not isinstance(one.message, Trade):
            yield one


def traded(*paths: Path, notes: FileNotes | None = None) -> list[Trade]:
    received = (one for one in captured_messages(paths, notes) if isinstance(one, Received))
    return [one.message for one in received if isinstance(one.message, Trade)]


def lines_of(path: Path) -> list[bytes]:
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).splitlines(keepends=True)


def depth_lines(path: Path) -> list[tuple[int, bytes]]:
    """Receive time and payload of each diff, told from the text alone."""
    found = []
    for line in lines_of(path):
        stamp, _, text = line.partition(b" ")
        if b"@depth@100ms" in text:
            found.append((int(stamp), text[text.index(b'"data":') + 7 : -2]))
    return found


@pytest.mark.parametrize("name", ["capture.jsonl", "capture.jsonl.gz"])
def test_diffs_are_those_of_the_file(tmp_path: Path, name: str) -> None:
    path = write_capture(tmp_path / name, seed=3, seconds=5, activity=0.2)
    found = collected([path])
    diffs = [one.message for one in found if isinstance(one.message, DepthDiff)]
    assert diffs == [decode_diff(payload, stamp) for stamp, payload in depth_lines(path)]
    snapshots = [one.message for one in found if isinstance(one.message, DepthSnapshot)]
    assert [one.market for one in snapshots] == ["BTCUSDT"]
    assert not any(one.restarts for one in found)


def test_files_in_any_order_are_one(tmp_path: Path) -> None:
    path = write_capture(tmp_path / "whole", seed=3, seconds=4, activity=0.2)
    lines = lines_of(path)
    parts = [tmp_path / "a", tmp_path / "b", tmp_path / "c"]
    third = len(lines) // 3
    for part, begin, end in zip(
        parts, (0, third, 2 * third), (third, 2 * third, None), strict=True
    ):
        part.write_bytes(b"".join(lines[begin:end]))
    whole = collected([path])
    assert collected([parts[2], parts[0], parts[1]]) == whole
    times = [one.received_ns for one in whole]
    assert times == sorted(times)


def test_snapshots_find_their_markets(tmp_path: Path) -> None:
    symbols = ("BTC/USDT", "ETH/USDT", "BNB/USDT")
    path = write_capture(tmp_path / "c", seed=3, seconds=3, activity=0.2, symbols=symbols)
    found = collected([path])
    for market in ("BTCUSDT", "ETHUSDT", "BNBUSDT"):
        snapshot, *others = [
            one.message
            for one in found
            if isinstance(one.message, DepthSnapshot) and one.message.market == market
        ]
        assert not others
        ids = [
            (one.message.first_id, one.message.final_id)
            for one in found
            if isinstance(one.message, DepthDiff) and one.message.market == market
        ]
        assert any(first <= snapshot.last_update_id + 1 <= final + 1 for first, final in ids)


def test_snapshots_find_their_markets_where_ids_are_alike(tmp_path: Path) -> None:
    symbols = ("BTC/USDT", "ETH/USDT")
    path = write_capture(tmp_path / "c", seed=3, seconds=3, activity=0.2, symbols=symbols)
    lines = lines_of(path)
    for at, line in enumerate(lines):
        stamp, _, text = line.partition(b" ")
        message = json.loads(text)
        if "lastUpdateId" in message:
            message["lastUpdateId"] = 7
            lines[at] = stamp + b" " + json.dumps(message).encode() + b"\n"
    path.write_bytes(b"".join(lines))
    found = {
        one.message.market: one.message.bids[0][0]
        for one in collected([path])
        if isinstance(one.message, DepthSnapshot)
    }
    assert sorted(found) == ["BTCUSDT", "ETHUSDT"]
    assert found["BTCUSDT"] > 10 * found["ETHUSDT"]


def test_of_two_speeds_the_higher_one_is_taken(tmp_path: Path) -> None:
    path = write_capture(
        tmp_path / "c", seed=3, seconds=5, activity=0.2, streams=("depth", "depth@100ms")
    )
    assert b'@depth"' in path.read_bytes()
    diffs = [one for one in collected([path]) if isinstance(one.message, DepthDiff)]
    assert len(diffs) == len(depth_lines(path))


def test_a_file_that_has_only_the_slower_one_is_not_left_out(tmp_path: Path) -> None:
    fast = write_capture(tmp_path / "fast", seed=3, seconds=2, activity=0.2)
    slow = write_capture(tmp_path / "slow", seed=4, seconds=2, activity=0.2, streams=("depth",))
    with pytest.raises(UnusableFile, match="has BTCUSDT only at a slower speed") as caught:
        collected([fast, slow])
    assert caught.value.path == slow


def test_the_slower_one_alone_will_do(tmp_path: Path) -> None:
    path = write_capture(tmp_path / "c", seed=3, seconds=5, activity=0.2, streams=("depth",))
    diffs = [one for one in collected([path]) if isinstance(one.message, DepthDiff)]
    assert len(diffs) >= 4


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"hello\n", "is not a receive time in ns and a JSON object"),
        (b'17 {"stream":"btcusdt@depth@100ms","data":{"e":depth}}\n', "is not a message"),
        (b"9223372036854775808 {}\n", "is not a receive time in ns and a JSON object"),
        (b"9" * 5_000 + b" {}\n", "begins with a number of 5000 digits; a receive time has"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: bytes, reason: str) -> None:
    path = write_capture(tmp_path / "c", seed=3, seconds=2, activity=0.2)
    lines = lines_of(path)
    path.write_bytes(b"".join((*lines[:30], line, *lines[30:])))
    with pytest.raises(UnusableFile, match=reason) as caught:
        collected([path])
    assert (caught.value.path, caught.value.line) == (path, 31)
    assert f"Nothing was imported: line 31 of {path} " in str(caught.value)


def test_a_line_without_an_end_is_not_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_capture(tmp_path / "c", seed=3, seconds=2, activity=0.2)
    longest = max(map(len, lines_of(path)))
    short = functools.partial(FileLines, longest=longest + 1)
    monkeypatch.setattr(capture_lines, "FileLines", short)
    collected([path])
    path.write_bytes(path.read_bytes() + b"17 " + b" " * longest)
    with pytest.raises(UnusableFile, match="is longer than any message") as caught:
        collected([path])
    assert caught.value.line == len(lines_of(path))


def with_level(tmp_path: Path, level: list[str]) -> tuple[Path, int]:
    """A capture whose first event sets this bid, and the number of that line."""
    path = write_capture(tmp_path / "c", seed=3, seconds=2, activity=0.2)
    lines = lines_of(path)
    at = next(index for index, line in enumerate(lines) if b"@depth" in line)
    stamp, _, text = lines[at].partition(b" ")
    message = json.loads(text)
    message["data"]["b"] = [level]
    lines[at] = stamp + b" " + json.dumps(message, separators=(",", ":")).encode() + b"\n"
    path.write_bytes(b"".join(lines))
    return path, at + 1


def test_an_event_with_a_value_that_is_no_plain_decimal_is_missing(tmp_path: Path) -> None:
    path, line = with_level(tmp_path, ["1e5", "1"])
    (broken,) = (one for one in captured_messages([path]) if isinstance(one, Broken))
    assert (set(broken.markets), broken.cause) == ({"BTCUSDT"}, GapCause.MALFORMED)
    assert f"Line {line} of {path.name} is an event of BTCUSDT that can't be read" in broken.detail
    assert "1e5" in broken.detail


def test_a_file_none_of_whose_events_can_be_read_is_refused(tmp_path: Path) -> None:
    path = write_capture(tmp_path / "c", seed=3, seconds=2, activity=0.2)
    lines = [line.replace(b'"U":', b'"V":') for line in lines_of(path)]
    path.write_bytes(b"".join(lines))
    first = next(number for number, line in enumerate(lines, start=1) if b"@depth" in line)
    with pytest.raises(
        UnusableFile, match=r"is an event of BTCUSDT that can't be read \("
    ) as caught:
        collected([path])
    assert caught.value.line == first


@pytest.mark.parametrize("level", [["1", "0.0000000000000000001"], ["1", "9" * 23]])
def test_a_value_that_64_bits_do_not_hold_is_passed_on(tmp_path: Path, level: list[str]) -> None:
    path, _ = with_level(tmp_path, level)
    assert any(level[1].encode() in one.message.payload for one in collected([path]))


def test_a_mark_of_utf_8_is_passed_over(tmp_path: Path) -> None:
    path = write_capture(tmp_path / "c", seed=3, seconds=2, activity=0.2)
    whole = collected([path])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert collected([path]) == whole


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UnusableFile, match="nowhere does not exist"):
        collected([tmp_path / "nowhere"])


def test_a_file_cut_off_in_its_gzip_data(tmp_path: Path) -> None:
    path = write_capture(tmp_path / "c.gz", seed=3, seconds=5)
    whole = collected([path])
    path.write_bytes(path.read_bytes()[:-2000])
    notes = FileNotes()
    found = list(captured_messages([path], notes))
    messages = list(_books(found))
    (broken,) = (one for one in found if isinstance(one, Broken))
    assert messages == whole[: len(messages)]
    assert len(messages) > len(whole) // 2
    assert isinstance(broken, Broken)
    assert broken.markets == {"BTCUSDT"}
    assert "the gzip data are cut off" in broken.detail
    assert notes.breaks[path] == [broken.detail]


def _line(stream: str, received_ns: int, fields: dict[str, object]) -> str:
    return f"{received_ns} {json.dumps({'stream': stream, 'data': fields})}\n"


def _single(trade_id: int, received_ns: int = 0, **others: object) -> str:
    fields: dict[str, object] = {
        "e": "trade",
        "E": _MS + 1,
        "s": "BTCUSDT",
        "t": trade_id,
        "p": "10.10000000",
    }
    fields |= {"q": "0.10000000", "T": _MS, "m": True, "M": True, **others}
    return _line("btcusdt@trade", received_ns or _MS * 10**6 + trade_id, fields)


def _aggregated(trade_id: int, received_ns: int = 0, **others: object) -> str:
    fields: dict[str, object] = {
        "e": "aggTrade",
        "E": _MS + 1,
        "s": "BTCUSDT",
        "a": trade_id,
        "p": "10.10000000",
    }
    parts = {"f": trade_id * 2, "l": trade_id * 2 + 1, "T": _MS, "m": True, "M": True}
    fields |= {"q": "0.10000000", **parts, **others}
    return _line("btcusdt@aggTrade", received_ns or _MS * 10**6 + trade_id, fields)


def _written(path: Path, *lines: str) -> Path:
    path.write_text("".join(lines))
    return path


def test_aggregated_trades_are_taken_as_they_were_sent(tmp_path: Path) -> None:
    first, odd = _aggregated(5), _aggregated(6, s="btcusdt", T=_MS * 1_000 + 7)
    bare = f"{_MS}000000 " + json.dumps(json.loads(_aggregated(7).partition(" ")[2])["data"]) + "\n"
    notes = FileNotes()
    trades = traded(_written(tmp_path / "c", first, odd, bare), notes=notes)
    assert [trade.trade_id for trade in trades] == [5, 6, 7]
    assert trades[0].payload == json.dumps(json.loads(first.partition(" ")[2])["data"]).encode()
    assert trades[0].received_ns == _MS * 10**6 + 5
    assert (trades[1].market, trades[1].event_us) == ("BTCUSDT", _MS * 1_000 + 7)
    assert (notes.left_out, notes.streams, notes.single_trades) == ({}, {}, {})


def test_single_trades_become_aggregated_ones_of_one_order_each(tmp_path: Path) -> None:
    order = [_single(8), _single(9, q="0.20000000"), _single(10, p="10.20000000")]
    notes = FileNotes()
    # Two collectors received them: twice, and one of them late. The trades 12 and 13 are missing.
    lines = [_single(7, T=_MS - 1), order[1], *order, order[0], _single(14)]
    trades = traded(_written(tmp_path / "c", *lines), notes=notes)
    parts = [(trade.trade_id, trade.first_part, trade.last_part) for trade in trades]
    assert parts == [(7, 7, 7), (8, 8, 9), (9, 10, 10), (13, 14, 14)]
    assert (trades[1].quantity, trades[1].is_sold) == ("0.30000000", True)
    assert trades[1].received_ns == _MS * 10**6 + 9
    assert json.loads(trades[1].payload)["e"] == "aggTrade"
    assert notes.single_trades == {"BTCUSDT": 5}


def test_what_is_neither_book_nor_trade_is_counted_by_its_stream(tmp_path: Path) -> None:
    ticker = _line("btcusdt@bookTicker", _MS * 10**6, {"u": 1, "s": "BTCUSDT", "b": "1", "B": "2"})
    kline = _line("btcusdt@kline_1m", _MS * 10**6, {"e": "kline", "E": _MS, "s": "BTCUSDT"})
    notes = FileNotes()
    lines = [ticker, _single(3), ticker, kline, _aggregated(5), ticker]
    path = _written(tmp_path / "c", *lines)
    assert [trade.trade_id for trade in traded(path, notes=notes)] == [5]
    assert notes.streams == {path: {"bookTicker": 3, "kline_1m": 1, "trade": 1}}
    assert notes.single_trades == {}


@pytest.mark.parametrize("bad", [{"p": "1e5"}, {"q": None}, {"T": "soon"}, {"m": 1}])
def test_a_trade_that_cannot_be_read_is_left_out_by_its_line(
    tmp_path: Path, bad: dict[str, Any]
) -> None:
    for make in (_aggregated, _single):
        notes = FileNotes()
        path = _written(tmp_path / "c", make(5), make(6, **bad), make(7, T=_MS + 9))
        assert [trade.trade_id for trade in traded(path, notes=notes)] in ([5, 7], [5, 6])
        assert (notes.left_out[path].count, notes.left_out[path].line) == (1, 2)
        assert "is a trade of BTCUSDT that can't be read" in notes.left_out[path].what


def test_a_trade_of_the_futures_market_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableFile, match="is of the futures market") as raised:
        traded(_written(tmp_path / "c", _aggregated(5), _single(6, X="MARKET")))
    assert raised.value.line == 2


def test_its_first_line_tells_the_format() -> None:
    assert is_captured(b'1700000000000000000 {"stream":"x"}')
    assert not is_captured(b"exchange,symbol,timestamp")
    assert not is_captured(b'{"stream":"x"}')
