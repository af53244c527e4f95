from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orderbook_desktop.core.book import Book
from orderbook_desktop.core.errors import InexactValue, MalformedMessage, OtherMarket
from orderbook_desktop.core.event_times import in_ms
from orderbook_desktop.core.events import (
    WIDEST_EVENT,
    DepthDiff,
    answered,
    decode_diff,
    decode_snapshot,
    decode_spot_snapshot,
    level_texts,
    refuse_futures,
)
from orderbook_desktop.core.frames import decode_frame
from orderbook_desktop.core.units import INT64_MAX
from tests.core.messages import DIFF, FRAME, SNAPSHOT, book_of, changed, refused
from tests.core.reference_book import ReferenceBook, diff_payload, shown, snapshot_payload
from tests.examples import examples


def test_a_snapshot() -> None:
    snapshot = decode_snapshot(SNAPSHOT, "BNBBTC", event_ms=5)
    assert (snapshot.market, snapshot.last_update_id, snapshot.event_ms) == ("BNBBTC", 1027024, 5)
    assert snapshot.payload == SNAPSHOT
    assert snapshot.plain
    assert level_texts(SNAPSHOT) == (
        [("4.00000000", "431.00000000")],
        [("4.00000200", "12.00000000")],
    )


@pytest.mark.parametrize(
    "payload",
    [
        changed(E="1", extra='{"nested":[1,"two",null]}'),
        changed(s='"币安人生USDT"'),
        changed(s='"\\u5e01USDT"'),
        changed(s='"1000SATS,[:]{}USDT"'),
        changed(b="[]", a="[]"),
        changed(b='[["1","2"]]'),
        changed(b='[["1.000000000","2.0000000000"]]'),
        changed(b='[["1.00000000","2.00000000"],["1.0","3.0"]]'),
        changed(b='[["\\u0031.0","2.5"]]'),
        changed(U=str(INT64_MAX - WIDEST_EVENT), u=str(INT64_MAX)),
        DIFF[:-1] + b',"b":[["0.00000007","8"]],"U":3}',
        DIFF.replace(b'"E"', b'"\\u0045"'),
    ],
)
def test_unusual_spellings_are_accepted_and_mean_the_same(payload: bytes) -> None:
    diff = decode_diff(payload)
    plain = json.loads(payload)
    assert (diff.market, diff.first_id, diff.final_id) == (plain["s"], plain["U"], plain["u"])
    assert book_of(diff) == ReferenceBook().take(payload).levels


WRONG_LEVELS = [
    *('["1.5"]', '["1.5","2.5","3.5"]', '"1.5"', "1.5", "null", "{}", "[]", '[["1","2"]]'),
    *('[1.5,"2.5"]', '["1.5",2]', '["1.5",2.5]', "[1,2]", '[true,"1.5"]', '[null,"1.5"]'),
    *('["-1.5","1.5"]', '["1.5","-1.5"]', '["+1.5","1.5"]', '["-0.0","1.5"]', '["1e5","1.5"]'),
    *('["1.5E-5","1.5"]', '["NaN","1.5"]', '["1.5","nan"]', '["Infinity","1.5"]'),
    *('["1.5","-inf"]', '[" 1.5","1.5"]', '["1.5 ","1.5"]', '["1.5\\n","1.5"]', '["1_0","1"]'),
    *('["","1.5"]', '["1.5",""]', '["1.","1.5"]', '[".5","1.5"]', '[".","1.5"]', '["1,5","1"]'),
    *(
        '["1.2.3","1.5"]',
        '["0x1p3","1.5"]',
        '["\u0661","1.5"]',
        '["\uff11","1.5"]',
        '["1.5","2"',
        '["\xb2","1"]',
    ),
    *('["' + "9" * 5000 + '","1.5"]', '["true","1.5"]', '["null","1.5"]', '["1\\u0000","1.5"]'),
]


@pytest.mark.parametrize("level", WRONG_LEVELS)
def test_wrong_levels_are_refused(level: str) -> None:
    for payload in (
        changed(b=f"[{level}]"),
        changed(a=f'[["1.50000000","2.50000000"],{level}]'),
        # What hides a letter from one who only counts them.
        changed(s='"\\u2028"', b=f"[{level}]"),
        changed(U='"157"', b=f"[{level}]"),
    ):
        refused(lambda payload=payload: decode_diff(payload), "depth event")
    payload = changed(SNAPSHOT, asks=f"[{level}]")
    refused(lambda: decode_snapshot(payload, "X"), "depth snapshot")


@pytest.mark.parametrize(
    "fields",
    [
        *({name: value} for name in ("E", "U", "u") for value in ("-1", '"159"', "1.5", "159.0")),
        *({name: value} for name in ("E", "U", "u") for value in ("null", "true", "[]", "1e3")),
        *({name: str(INT64_MAX + 1)} for name in ("E", "U", "u")),
        *({name: "9" * 5000} for name in ("E", "U", "u")),
        {"U": "161"},
        {"e": '"depthupdate"'},
        {"e": "null"},
        {"s": "null"},
        {"s": "7"},
        {"s": '"\\ud800"'},
        {"b": "null"},
        {"a": "{}"},
        {"a": '"[]"'},
        {"extra": '"\\q"'},
        {"extra": '"\\ud800"'},
        {"bids": "[]", "asks": "[]"},
        {"b": "[]", "bids": '[["1","1"]]'},
    ],
    ids=lambda fields: str(fields)[:40],
)
def test_wrong_fields_are_refused(fields: dict[str, str]) -> None:
    payload = changed(**fields)
    refused(lambda: decode_diff(payload), "depth event")
    with pytest.raises(MalformedMessage):
        decode_frame(b'{"stream":"bnbbtc@depth","data":' + payload + b"}")


@pytest.mark.parametrize("name", ["e", "E", "s", "U", "u", "b", "a"])
def test_missing_fields_are_refused(name: str) -> None:
    message = json.loads(DIFF)
    del message[name]
    refused(lambda: decode_diff(json.dumps(message).encode()), "depth event")


@pytest.mark.parametrize("text", ["-1", '"5"', "5.0", "null", str(INT64_MAX + 1), "9" * 5000])
def test_a_snapshot_needs_a_true_update_id(text: str) -> None:
    payload = changed(SNAPSHOT, lastUpdateId=text)
    refused(lambda: decode_snapshot(payload, "X"), "depth snapshot")


def test_a_refusal_tells_what_and_shows_the_start() -> None:
    with pytest.raises(MalformedMessage) as caught:
        decode_diff(changed(b='[["-1","2"]]'))
    assert caught.value.what == "depth event"
    assert "'-1' is not an unsigned decimal" in str(caught.value)
    assert caught.value.excerpt.startswith('{"e":')


@pytest.mark.parametrize("payload", [b"{}", b'{"b":[]}', b'{"bids":[],"a":[]}', b"[]", b"\xff"])
def test_texts_of_something_else(payload: bytes) -> None:
    with pytest.raises(MalformedMessage):
        level_texts(payload)


decimal_texts = st.from_regex(r"\A(0|[1-9][0-9]{0,12})(\.[0-9]{1,10})?\Z")
level_lists = st.lists(st.tuples(decimal_texts, decimal_texts), max_size=4)


@given(level_lists, level_lists)
def test_every_decimal_gives_the_book_that_decimal_gives(
    bids: list[tuple[str, str]], asks: list[tuple[str, str]]
) -> None:
    payload = diff_payload(bids, asks)
    assert same_book(decode_diff(payload))
    snapshot = decode_snapshot(snapshot_payload(bids, asks), "X")
    assert snapshot.bids == [(float(price), float(quantity)) for price, quantity in bids]
    assert snapshot.plain == all(
        "." in text and len(text.partition(".")[2]) <= 8
        for level in (*bids, *asks)
        for text in level
    )


ALPHABET = b'0123456789.-+eE",:[]{}\\ \n_uUbasNnt/\x00\x7f\xc3\xff'


@st.composite
def mutated(draw: st.DrawFn, original: bytes) -> bytes:
    """The bytes after a few accidents."""
    frame = bytearray(original)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(frame)))
        until = draw(st.integers(at, min(at + 12, len(frame))))
        inserted = draw(
            st.one_of(
                st.just(b""),
                st.lists(st.sampled_from(ALPHABET), min_size=1, max_size=3).map(bytes),
                st.sampled_from([bytes(frame[at:until]) * 2, b'"":1,', b"1e5", b'"\\u2028"']),
            )
        )
        frame[at:until] = inserted
    return bytes(frame)


@given(mutated(FRAME))
@examples(1500)
@example(FRAME)
def test_whatever_is_accepted_means_what_json_and_decimal_say(frame: bytes) -> None:
    try:
        message = decode_frame(frame)
    except MalformedMessage:
        return
    if isinstance(message, DepthDiff):
        fields: dict[str, Any] = json.loads(message.payload, strict=False)
        assert fields["e"] == "depthUpdate"
        assert (message.market, message.event_ms) == (fields["s"], in_ms(fields["E"]))
        assert (message.first_id, message.final_id) == (fields["U"], fields["u"])
        assert all(type(fields[name]) is int for name in "EUu")
        assert all(isinstance(text, str) for level in fields["b"] + fields["a"] for text in level)
        assert same_book(message)


@given(mutated(SNAPSHOT))
@examples(500)
@example(SNAPSHOT)
def test_accepted_snapshots_mean_what_json_and_decimal_say(payload: bytes) -> None:
    try:
        snapshot = decode_snapshot(payload, "X")
    except MalformedMessage:
        return
    assert snapshot.last_update_id == json.loads(payload, strict=False)["lastUpdateId"]
    book = Book()
    book.load(snapshot)
    try:
        assert shown(book) == ReferenceBook().take(payload).levels
    except InexactValue:
        assert not fits(payload)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_message_or_malformed(frame: bytes) -> None:
    for decode in (decode_frame, decode_diff, level_texts):
        with pytest.raises(MalformedMessage):
            decode(frame)


def same_book(diff: DepthDiff) -> bool:
    try:
        return book_of(diff) == ReferenceBook().take(diff.payload).levels
    except InexactValue:
        return not fits(diff.payload)


def fits(payload: bytes) -> bool:
    """Whether an exponent holds all prices, and one all quantities, in int64."""
    message = json.loads(payload, strict=False)
    levels = [level for name in ("b", "a", "bids", "asks") for level in message.get(name, [])]
    for column in zip(*levels, strict=True):
        values = [Decimal(text) for text in column]
        places = max(max(0, -int(value.normalize().as_tuple().exponent)) for value in values)
        if places > 18 or max(values) * 10**places > INT64_MAX:
            return False
    return True


@pytest.mark.parametrize(
    "fields",
    [
        {"pu": "149"},
        {"pu": "156", "T": "1672515782130"},
        {"pu": "155", "T": "1", "s": '"ETHUSDT"'},
        {"pu": '"149"'},
        {"pu": "156", "T": "1672515782130000"},
        {"ps": '"BTCUSD"', "T": "1672515782130"},
    ],
)
def test_an_event_of_the_futures_market_is_refused_by_name(fields: dict[str, str]) -> None:
    payload = changed(DIFF, **fields)
    for frame in (payload, b'{"stream":"x@depth@100ms","data":%b}' % payload):
        with pytest.raises(OtherMarket, match="is of the futures market"):
            decode_frame(frame)


@pytest.mark.parametrize(
    "fields",
    [{"pu": "156"}, {"pu": "156", "T": "1"}, {"T": "1672515782130"}, {"pu": '"x"', "T": "null"}],
)
def test_more_fields_do_not_make_it_one_of_the_futures_market(fields: dict[str, str]) -> None:
    assert isinstance(decode_frame(changed(DIFF, **fields)), DepthDiff)


def test_a_snapshot_of_the_futures_market_has_two_times() -> None:
    with pytest.raises(OtherMarket):
        refuse_futures(
            decode_snapshot(changed(SNAPSHOT, E="1672515782136", T="1672515782130"), "X")
        )
    refuse_futures(decode_snapshot(changed(SNAPSHOT, E="1672515782136"), "X"))
    refuse_futures(decode_snapshot(SNAPSHOT, "X"))


def test_a_snapshot_of_the_spot_market_is_told_from_one_of_futures() -> None:
    spot = snapshot_payload([("1.0", "2.0")], [("1.1", "2.0")], 7)
    assert decode_spot_snapshot(spot, "BTCUSDT") == answered(decode_snapshot(spot, "BTCUSDT"))
    futures = spot.replace(b"{", b'{"E":1700000000000,"T":1700000000000,', 1)
    with pytest.raises(OtherMarket):
        decode_spot_snapshot(futures, "BTCUSDT")
