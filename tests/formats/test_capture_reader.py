"""Depth messages of captures: in order, at one speed, of the right market."""

from __future__ import annotations

import functools
import gzip
import json
from pathlib import Path

import pytest

from orderbook_desktop.core.events import DepthDiff, DepthSnapshot, decode_diff
from orderbook_desktop.core.received import Broken, FileNotes, Received, UnusableFile
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.exchange.local.synthetic import write_capture
from orderbook_desktop.formats import capture_lines
from orderbook_desktop.formats.capture_reader import captured_messages, is_captured
from orderbook_desktop.formats.lines import FileLines


def collected(paths: list[Path]) -> list[Received]:
    """What is in files that are not broken."""
    return [one for one in captured_messages(paths) if isinstance(one, Received)]


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
    *messages, broken = captured_messages([path], notes)
    assert messages == whole[: len(messages)]
    assert len(messages) > len(whole) // 2
    assert isinstance(broken, Broken)
    assert broken.markets == {"BTCUSDT"}
    assert "the gzip data are cut off" in broken.detail
    assert notes.breaks[path] == [broken.detail]


def test_its_first_line_tells_the_format() -> None:
    assert is_captured(b'1700000000000000000 {"stream":"x"}')
    assert not is_captured(b"exchange,symbol,timestamp")
    assert not is_captured(b'{"stream":"x"}')
