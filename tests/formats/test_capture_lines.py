"""Lines of captures as different collectors write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from orderbook_desktop.core.events import decode_diff, decode_snapshot
from orderbook_desktop.core.received import FileNotes
from orderbook_desktop.formats.capture_lines import CaptureUnreadable, read_lines
from orderbook_desktop.formats.capture_messages import CaptureLine
from orderbook_desktop.formats.capture_reader import survey_capture

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
    path.write_bytes(b"5 %s\n" % text.replace(b":", b";"))
    with pytest.raises(CaptureUnreadable, match="line 1 "):
        list(read_lines(path))


@pytest.mark.parametrize(
    ("text", "stream"),
    [
        (_DIFF.replace(b"ETHBTC", b"ethbtc"), "ethbtc@depth@100ms"),
        (_DIFF.replace(b'"1.00000000"]', b'"1.00000000",[]]'), "ethbtc@depth@100ms"),
        (b'{"stream":"ethbtc@depth","data":%s}' % _DIFF.replace(b"ETHBTC", b"ethbtc"), ""),
        (_DIFF.replace(b'"e":', b'"pu":0,"new":{"n":[1]},"e":'), ""),
    ],
)
def test_an_event_of_an_old_or_odd_collector_is_spelt_anew(
    tmp_path: Path, text: bytes, stream: str
) -> None:
    line = _only(tmp_path, text)
    assert line.diff is not None
    assert line.diff.bids == [("0.04350000", "1.00000000")]
    assert line.market == "ETHBTC"
    assert decode_diff(line.payload).market == "ETHBTC"
    assert not line.frame or line.payload in line.frame
    assert not stream or line.stream == stream


def test_a_snapshot_with_a_third_element(tmp_path: Path) -> None:
    line = _only(tmp_path, b'{"lastUpdateId":9,"bids":[["0.1","1",[]]],"asks":[]}')
    assert line.snapshot is not None
    assert line.snapshot.bids == [("0.1", "1")]
    assert decode_snapshot(line.payload, "ETHBTC").last_update_id == 9


@pytest.mark.parametrize(
    ("stamp", "time_ns"),
    [
        (b"1767225600123456789", 1767225600123456789),
        (b"1767225600123456", 1767225600123456000),
        (b"1767225600123", 1767225600123000000),
        (b"1767225600", 1767225600000000000),
        (b"1767225600.5", 1767225600500000000),
        (b"1767225600123.4567891", 1767225600123456789),
        (b"17", 17),
    ],
)
def test_digits_tell_the_unit_of_a_receive_time(tmp_path: Path, stamp: bytes, time_ns: int) -> None:
    path = tmp_path / "one"
    path.write_bytes(stamp + b" " + _DIFF + b"\n")
    notes = FileNotes()
    (line,) = read_lines(path, notes)
    assert line.recv_ns == time_ns
    assert bool(notes.units) == (stamp not in (b"17", b"1767225600123456789"))


@pytest.mark.parametrize(
    "text",
    [
        b'{"e":"eventStreamTerminated","E":1}',
        b'{"id":"x","status":200,"result":{"serverTime":1},"rateLimits":[]}',
        b'{"e":5}',
        b"5",
    ],
)
def test_a_line_of_another_kind_is_left_out_and_counted(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "one"
    path.write_bytes(b"5 %s\n6 %s\n7 %s\n" % (_DIFF, text, text))
    notes = FileNotes()
    (line,) = read_lines(path, notes)
    assert line.number == 1
    assert (notes.left_out[path].count, notes.left_out[path].line) == (2, 2)


_HALF = b'1767225600000000001 {"stream":"ethbtc@depth","data":{"e":"depthUp'
_NEXT = b"1767225600000000002 " + _DIFF


@pytest.mark.parametrize(
    "middle",
    [_HALF + b"\n" + _NEXT, _HALF + _NEXT, b"17672256" + _NEXT, b"17672256\n" + _NEXT],
)
@pytest.mark.parametrize("end", [b"\n", b"\n" + _HALF, b"\n" + _HALF + bytes(99), b"\n" + bytes(9)])
def test_half_a_line_of_a_collector_that_was_killed(
    tmp_path: Path, middle: bytes, end: bytes
) -> None:
    path = tmp_path / "one"
    path.write_bytes(b"1767225600000000000 " + _DIFF + b"\n" + middle + end)
    lines = list(read_lines(path))
    assert [line.recv_ns % 10 for line in lines if line.diff] == [0, 2]
    broken = [line.broken for line in lines if line.broken]
    assert len(broken) == (1 if end == b"\n" else 2)
    assert broken[0].startswith("one is broken in line 2: ")
    assert [bool(line.broken) for line in lines][1] is True


def _collected(begin: int, count: int) -> list[bytes]:
    """Return lines of a collector, a tenth of a second apart."""
    return [
        b"%d " % (begin + place * 10**8) + _DIFF.replace(b'"E":7', b'"E":%d' % place) + b"\n"
        for place in range(count)
    ]


_OLD = _collected(1_767_225_600_000_000_000, 60)
_NEW = _collected(1_767_301_200_000_000_000, 20)


@pytest.mark.parametrize("end", [0, 1, 3, 30, 60, 90, 105])
def test_a_shorter_plain_file_over_a_longer_one(tmp_path: Path, end: int) -> None:
    """Wherever the shorter one ends in a line of the longer one, and in one of its own.

    Where the halves of two lines make one that can be read, it is an event that was never sent.
    """
    path = tmp_path / "one"
    new = b"".join(_NEW)
    new = new[: len(new) - end]
    for shift in range(len(_OLD[0])):
        old = b"".join(_OLD)[len(new) + shift :]
        path.write_bytes(new + old)
        found = list(read_lines(path))
        (broken,) = (line.broken for line in found if line.broken)
        assert broken.startswith(("one is broken in line 20: ", "one is broken in line 21: "))
        times = [line.recv_ns for line in found if line.diff]
        new_times = [int(line.split()[0]) for line in _NEW]
        after = [time for time in times if time not in new_times]
        # Whole lines, but for one at most: that of the place where the longer one begins.
        assert times[: -len(after)] in (new_times[:19], new_times[:20])
        assert after == [int(line.split()[0]) for line in _OLD[-len(after) :]]
        assert len(after) >= old.count(b"\n") - 1


@pytest.mark.parametrize("begin", [0, 5, 60])
def test_a_block_of_zero_bytes_in_place_of_text(tmp_path: Path, begin: int) -> None:
    """A loss of power may take a block of a file whose next block is there."""
    path, text = tmp_path / "one", b"".join(_OLD)
    begin += len(b"".join(_OLD[:20]))
    for length in range(1, 2 * len(_OLD[0])):
        path.write_bytes(text[:begin] + bytes(length) + text[begin + length :])
        found = list(read_lines(path))
        (broken,) = (line for line in found if line.broken)
        assert broken.broken == "one is broken in line 21: zero bytes follow."
        times = [line.recv_ns for line in found if line.diff]
        behind = len(times) - 20
        assert times[:20] + times[20:] == [
            int(line.split()[0]) for line in (*_OLD[:20], *_OLD[-behind:])
        ]
        assert behind >= 37


def test_a_shorter_plain_file_over_one_that_is_longer_by_half_a_line(tmp_path: Path) -> None:
    path = tmp_path / "one"
    path.write_bytes(b"".join(_NEW) + _OLD[0][50:])
    *lines, last = read_lines(path)
    assert len(lines) == 20
    assert "line 21: a shorter file" in last.broken


@pytest.mark.parametrize("after", [[], _NEW[1:], _collected(1_767_301_200_000_000_001, 3)])
def test_a_line_that_makes_no_sense_is_not_taken_for_an_overwritten_one(
    tmp_path: Path, after: list[bytes]
) -> None:
    path = tmp_path / "one"
    path.write_bytes(b"".join([_NEW[0], b"hello\n", *after]))
    with pytest.raises(CaptureUnreadable, match=r"line 2 of .* is not a receive time"):
        list(read_lines(path))


@pytest.mark.parametrize(
    "stamp", [b"17672256000000000020", b"01767225600000000002", b"1" * 25, b"9" * 5_000]
)
@pytest.mark.parametrize("before", [b"", b"1767225600000000000 " + _DIFF + b"\n"])
def test_a_receive_time_of_too_many_digits_is_named(
    tmp_path: Path, stamp: bytes, before: bytes
) -> None:
    path = tmp_path / "one"
    path.write_bytes(before + stamp + b" " + _DIFF + b"\n")
    reason = f"begins with a number of {len(stamp)} digits; a receive time has at most 19, in ns"
    with pytest.raises(CaptureUnreadable, match=reason):
        list(read_lines(path))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"E":7', b'"E":null'),
        (b'"E":7', b'"E":"7"'),
        (b'"U":1', b'"U":5'),
        (b'"u":2', b'"u":null'),
        (b'"u":2', b'"u":9223372036854775808'),
        (b'"0.04350000"', b"0.0435"),
        (b'"0.04350000"', b'"-1"'),
        (b'"0.04350000"', b'"1e5"'),
        (b'"a":[]', b'"a":null'),
        (b',"a":[]', b""),
    ],
)
@pytest.mark.parametrize("frame", [b"%s", b'{"stream":"ethbtc@depth","data":%s}'])
def test_an_event_that_can_t_be_read_is_left_out_and_told(
    tmp_path: Path, old: bytes, new: bytes, frame: bytes
) -> None:
    path, notes = tmp_path / "one", FileNotes()
    odd = frame % _DIFF.replace(old, new)
    path.write_bytes(b"5 %s\n6 %s\n7 %s\n" % (_DIFF, odd, _DIFF))
    first, broken, last = read_lines(path, notes)
    assert (first.number, last.number) == (1, 3)
    assert (broken.market, broken.diff, broken.payload) == ("ETHBTC", None, b"")
    assert broken.broken.startswith("Line 2 of one is an event of ETHBTC that can't be read (")
    left_out = notes.left_out[path]
    assert (left_out.count, left_out.line) == (1, 2)
    assert left_out.what == broken.malformed


@pytest.mark.parametrize("bids", [b"null", b'[["1"]]', b'[["x","1"]]', b"[[1.5,2]]"])
def test_a_book_that_can_t_be_read_is_left_out(tmp_path: Path, bids: bytes) -> None:
    path, notes = tmp_path / "one", FileNotes()
    path.write_bytes(b'5 {"lastUpdateId":9,"bids":%s,"asks":[]}\n6 %s\n' % (bids, _DIFF))
    assert [line.number for line in read_lines(path, notes)] == [2]
    assert notes.left_out[path].what.startswith("is a book that can't be read (")


@pytest.mark.parametrize("text", [b"[" * 100_000, b'{"a":' * 100_000, b'{"data":' + b"[" * 99_999])
def test_nesting_without_end_is_no_bug(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "one"
    path.write_bytes(b"5 %s\n6 %s\n" % (text + b"1 2", _DIFF))
    with pytest.raises(CaptureUnreadable, match="line 1 of ") as caught:
        list(read_lines(path))
    assert len(str(caught.value)) < 500


def test_the_futures_market_is_named(tmp_path: Path) -> None:
    path = tmp_path / "one"
    for text in (
        _DIFF.replace(b'"e":', b'"pu":-5,"e":'),
        b'{"E":1,"T":1,%s}' % _BOOK,
        b'{"E":1,"T":1,"symbol":"BTCUSD_PERP",%s}' % _BOOK,
        _DIFF.replace(b'"e":', b'"ps":"ETHBTC","e":'),
        # A name that is none of the spot market's, and levels of three elements.
        _DIFF.replace(b'ETHBTC"', b'ETHBTC_260327","pu":-5'),
        _DIFF.replace(b'"b":[', b'"pu":-5,"b":[["1.0","2.0",[]],'),
    ):
        path.write_bytes(b"5 " + text)
        with pytest.raises(CaptureUnreadable, match=r"line 1 of .* is of the futures market"):
            list(read_lines(path))


def test_a_book_that_a_listed_symbol_does_not_have_is_left_out(tmp_path: Path) -> None:
    # The exchange answers so for a symbol that isn't traded.
    path, notes = tmp_path / "one", FileNotes()
    path.write_bytes(b'5 {"lastUpdateId":-1,"bids":[],"asks":[]}\n6 %s\n' % _DIFF)
    assert [line.update_id for line in read_lines(path, notes)] == [2]
    assert [(left.count, left.line) for left in notes.left_out.values()] == [(1, 1)]


def test_the_survey_finds_places_and_names(tmp_path: Path) -> None:
    path = tmp_path / "diffs.jsonl"
    path.write_bytes(b"5 %s\n6 {%s}\n" % (_DIFF, _BOOK))
    survey = survey_capture(path)["ETHBTC"]
    assert (survey.market, survey.price_places, survey.quantity_places) == ("ETHBTC", 4, 0)
    assert survey.has_snapshot
    assert survey.also("ethbtc@depth@100ms") == ("ethbtc@depth",)
    survey.streams.add("ethbtc@depth")
    assert survey.also("ethbtc@depth@100ms") == ()
