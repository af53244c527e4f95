"""Events as bytes, and streams of separately compressed events."""

from __future__ import annotations

import gzip
import zlib

import pytest

from orderbook_desktop.web.frames import Encoding, accepts_gzip, event_frame, opening_frame


def test_an_event_has_data_and_id_and_no_name() -> None:
    assert event_frame("a\nb", "run-1").plain == b"data: a\ndata: b\nid: run-1\n\n"


def test_the_first_event_says_when_to_connect_again() -> None:
    assert b"retry: 1500\n" in opening_frame(1500).plain


def test_a_packed_stream_is_one_gzip_file() -> None:
    frames = [event_frame("x" * 5000, "1"), event_frame("y", "2"), event_frame("z" * 200_000, "3")]
    encoding = Encoding(gzip=True)
    stream = encoding.start() + b"".join(map(encoding.take, frames)) + encoding.end()
    assert gzip.decompress(stream) == b"".join(frame.plain for frame in frames)
    assert len(stream) < 2000


def test_each_packed_event_can_be_read_as_soon_as_it_arrives() -> None:
    frames = [event_frame(f"event {number}") for number in range(5)]
    encoding, reader = Encoding(gzip=True), zlib.decompressobj(16 + zlib.MAX_WBITS)
    reader.decompress(encoding.start())
    for frame in frames:
        assert reader.decompress(encoding.take(frame)) == frame.plain


def test_a_packed_event_fits_into_any_stream() -> None:
    shared, early, late = event_frame("shared"), Encoding(gzip=True), Encoding(gzip=True)
    first = early.start() + early.take(event_frame("before")) + early.take(shared) + early.end()
    second = late.start() + late.take(shared) + late.end()
    assert gzip.decompress(first) == b"data: before\n\ndata: shared\n\n"
    assert gzip.decompress(second) == b"data: shared\n\n"


def test_a_plain_stream_is_its_events() -> None:
    encoding = Encoding(gzip=False)
    assert encoding.start() + encoding.take(event_frame("a")) + encoding.end() == b"data: a\n\n"
    assert not encoding.headers


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("", False),
        ("gzip, deflate, br", True),
        ("br;q=1, GZIP;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip;q=0.000", False),
        ("identity", False),
    ],
)
def test_gzip_is_used_where_it_is_accepted(header: str, accepted: bool) -> None:
    assert accepts_gzip(header) is accepted
