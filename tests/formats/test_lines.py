"""Lines of files that are whole, and of files that are broken in the ways of this world."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from orderbook_desktop.core.received import UnusableFile
from orderbook_desktop.formats.lines import FileLines, UnreadablePart, first_line

_LINES = [b'17672256001%08d {"a":%d}' % (number, number * 7919) for number in range(3000)]
_TEXT = b"".join(line + b"\n" for line in _LINES)
_PACKED = gzip.compress(_TEXT, mtime=0)
_MORE = [b"more %d" % number for number in range(50)]
_MORE_PACKED = gzip.compress(b"".join(line + b"\n" for line in _MORE), mtime=0)


def _read(path: Path, data: bytes) -> tuple[list[bytes], list[UnreadablePart]]:
    path.write_bytes(data)
    with FileLines(path) as lines:
        found = [line for _, line in lines]
    return (
        [one for one in found if isinstance(one, bytes)],
        [one for one in found if isinstance(one, UnreadablePart)],
    )


@pytest.mark.parametrize("data", [_TEXT, _PACKED, _TEXT[:-1], _PACKED + bytes(100_000)])
def test_a_whole_file(tmp_path: Path, data: bytes) -> None:
    assert _read(tmp_path / "f", data) == (_LINES, [])


def test_line_numbers_count_empty_lines(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"\xef\xbb\xbf\n\na\r\n" + 100_000 * b"\n" + b"b")
    with FileLines(path) as lines:
        assert list(lines) == [(3, b"a"), (100_004, b"b")]


def test_members_behind_each_other(tmp_path: Path) -> None:
    assert _read(tmp_path / "f", _PACKED + _MORE_PACKED) == (_LINES + _MORE, [])


@pytest.mark.parametrize("left", [20, 3_000, len(_PACKED) // 2, len(_PACKED) - 9])
def test_gzip_data_without_their_end(tmp_path: Path, left: int) -> None:
    lines, cuts = _read(tmp_path / "f", _PACKED[:left])
    assert lines == _LINES[: len(lines)]
    (cut,) = cuts
    assert (cut.line, cut.reason) == (len(lines) + 1, "the gzip data are cut off")


@pytest.mark.parametrize("left", [20, 3_000, len(_PACKED) - 2_000])
def test_a_collector_that_appends_to_what_was_cut_off(tmp_path: Path, left: int) -> None:
    lines, cuts = _read(tmp_path / "f", _PACKED[:left] + _MORE_PACKED)
    count = len(lines) - len(_MORE)
    assert lines == _LINES[:count] + _MORE
    assert [one.line for one in cuts] == [count + 1]


def test_garbage_between_members(tmp_path: Path) -> None:
    garbage = 30_000 * b"garbage \x1f\x8b\x08"
    lines, cuts = _read(tmp_path / "f", _PACKED + garbage + _MORE_PACKED)
    assert lines == _LINES + _MORE
    assert [one.reason for one in cuts] == ["what follows is not gzip data"]


def test_a_shorter_stream_over_a_longer_one(tmp_path: Path) -> None:
    lines, cuts = _read(tmp_path / "f", _MORE_PACKED + _PACKED[len(_MORE_PACKED) :])
    assert lines == _MORE
    assert [one.line for one in cuts] == [51]


def test_a_line_that_makes_no_sense_tells_where_gzip_data_were_written_over(tmp_path: Path) -> None:
    shorter = gzip.compress(b"".join(b"%d\n" % (n * 7919**3) for n in range(9_000)))[:-2_000]
    path = tmp_path / "f"
    path.write_bytes(shorter + _PACKED[len(shorter) :] + 99 * b"\xff")
    good: list[bytes] = []
    with FileLines(path) as lines:
        for _, line in lines:
            if isinstance(line, UnreadablePart):
                assert line.line == len(good) + 1
                break
            if line.isdigit() and int(line) % 7919**3 == 0:
                good.append(line)
            else:
                assert lines.is_broken_here()
    assert len(good) > 1_000


def test_a_wrong_checksum_is_no_cut(tmp_path: Path) -> None:
    damaged = bytearray(_PACKED)
    damaged[-6] ^= 1
    with pytest.raises(UnusableFile, match="is damaged: the checksum"):
        _read(tmp_path / "f", bytes(damaged))


def test_zero_bytes_after_a_loss_of_power(tmp_path: Path) -> None:
    lines, cuts = _read(tmp_path / "f", _TEXT[:-5] + bytes(300_000))
    assert lines == [*_LINES[:-1], _LINES[-1][:-4]]
    assert [(one.line, one.reason) for one in cuts] == [(3000, "zero bytes follow")]
    lines, cuts = _read(tmp_path / "f", _TEXT[:-5] + bytes(300_000) + _TEXT)
    assert lines[3000:] == _LINES
    assert len(cuts) == 1


@pytest.mark.parametrize("packed", [False, True])
def test_a_line_without_an_end(tmp_path: Path, packed: bool) -> None:
    data = b"a\n" + (5 << 20) * b"["
    path = tmp_path / "f"
    path.write_bytes(gzip.compress(data) if packed else data)
    with FileLines(path) as lines, pytest.raises(UnusableFile, match="is longer than") as caught:
        list(lines)
    assert caught.value.line == 2


def test_half_a_line_at_the_end_is_in_doubt(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"a\nhalf")
    with FileLines(path) as lines:
        found = []
        for number, line in lines:
            found.append((number, line))
            assert line != b"a" or not lines.is_broken_here()
            assert line != b"half" or lines.is_broken_here()
    assert found[1:] == [(2, b"half"), (2, UnreadablePart(2, "the file is cut off", b"half"))]


def test_the_following_line_is_yielded_after_a_look_at_it(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"a\nb\n\nc\nhalf")
    with FileLines(path) as lines:
        found = []
        for number, line in lines:
            following = lines.following()
            assert following == lines.following()
            found.append((number, line, following))
            assert lines.is_in_doubt == (line == b"half")
    assert found == [(1, b"a", b"b"), (2, b"b", b"c"), (4, b"c", b"half"), (5, b"half", None)]


def test_a_look_at_the_following_line_hides_no_break(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(_PACKED[:-9] + _MORE_PACKED)
    with FileLines(path) as lines:
        found = []
        for _, line in lines:
            lines.following()
            found.append(line)
    assert [line for line in found if isinstance(line, bytes)][-50:] == _MORE
    assert [line.reason for line in found if isinstance(line, UnreadablePart)] == [
        "the gzip data are cut off"
    ]


def test_a_line_before_one_that_was_looked_at_may_be_the_broken_one(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(_PACKED[: len(_PACKED) // 2])
    with FileLines(path) as lines:
        for _, line in lines:
            if line == _LINES[100]:
                assert lines.following() == _LINES[101]
                assert lines.is_broken_here()
            elif isinstance(line, UnreadablePart):
                break
    assert line == UnreadablePart(101, "the gzip data are cut off", _LINES[100])


@pytest.mark.parametrize("left", [3, 14, 30])
def test_gzip_data_that_end_before_the_first_whole_line_are_cut_off(
    tmp_path: Path, left: int
) -> None:
    path = tmp_path / "f"
    path.write_bytes(gzip.compress(b"a" * 10_000 + b"\n")[:left])
    with pytest.raises(UnusableFile, match=r"f has no whole line: the gzip data are cut off\."):
        first_line(path)


def test_nothing_at_all(tmp_path: Path) -> None:
    path = tmp_path / "f"
    with pytest.raises(UnusableFile, match="does not exist"):
        first_line(path)
    for data in (b"", b"\n\r\n", bytes(10), gzip.compress(b"")):
        path.write_bytes(data)
        with pytest.raises(UnusableFile, match="is empty"):
            first_line(path)
