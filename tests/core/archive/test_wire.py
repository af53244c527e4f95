"""Which events are spelt canonically, and that their numbers give the text back."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderbook_desktop.core.archive.numbers import numbers_of
from orderbook_desktop.core.archive.wire import read_changes, spell
from orderbook_desktop.core.errors import InexactValue, MalformedMessage
from orderbook_desktop.core.events import decode_diff
from orderbook_desktop.core.units import Scale
from tests.core.archive.runs import Run, runs, spelt
from tests.examples import examples

PAYLOAD = spelt(
    10, 12, 1000, [("1.50000000", "0.00000000")], [("20.00000000", "3.25000000")] * 2, "1INCHUSDT"
)


@given(runs("real"))
def test_what_is_told_canonical_is_spelt_so(run: Run) -> None:
    changes, odd = read_changes(run.events, Scale())
    assert not odd
    texts = spell(numbers_of(run.events), changes, Scale(), run.events[0].market)
    assert texts == [event.payload for event in run.events]


@examples(500)
@given(st.data())
def test_no_change_of_a_text_is_overlooked(data: st.DataObject) -> None:
    """A changed text is no event any more, or counts as odd, or is spelt as it is."""
    text = PAYLOAD
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        to = data.draw(st.integers(at, min(at + 2, len(text))))
        text = text[:at] + data.draw(st.sampled_from(PIECES)) + text[to:]
    try:
        events = [decode_diff(PAYLOAD), decode_diff(text), decode_diff(PAYLOAD)]
        changes, odd = read_changes(events, Scale())
    except (MalformedMessage, InexactValue):
        return
    if {event.market for event in events} != {"1INCHUSDT"}:
        return
    texts = spell(numbers_of(events), changes, Scale(), "1INCHUSDT")
    assert (1 in odd) == (texts[1] != text)
    assert not {0, 2} & set(odd)


PIECES = [b"", b"0", b"1", b"00", b".", b",", b'"', b" ", b"-", b"e1", b"9" * 12, b'["1","1"],']


@pytest.mark.parametrize(
    ("found", "instead"),
    [
        (rb"50000000", b"5000000"),
        (rb"20\.00000000", b"20.0000000"),
        (rb"0\.00000000", b"0.0000000"),
        (rb'"b":', b'"b": '),
        (rb"}$", b"} "),
        (rb'"s":"1INCHUSDT"', rb'"s":"\\u0031INCHUSDT"'),
        (rb'"e":"depthUpdate","E":1000', b'"E":1000,"e":"depthUpdate"'),
        (rb"3\.25000000", b"3.2500000000"),
        (rb"3\.25000000", b"3"),
    ],
)
def test_other_spellings_are_told(found: bytes, instead: bytes) -> None:
    text = re.sub(found, instead, PAYLOAD, count=1)
    assert text != PAYLOAD
    assert read_changes([decode_diff(text)], Scale())[1] == [0]


def test_the_largest_number_is_read_and_a_larger_one_refused() -> None:
    largest = spelt(1, 1, 1, [("92233720368.54775807", "1.00000000")], [])
    changes, odd = read_changes([decode_diff(largest)], Scale())
    assert changes.prices.tolist() == [2**63 - 1]
    assert not odd
    larger = largest.replace(b"807", b"808")
    with pytest.raises(InexactValue):
        read_changes([decode_diff(larger)], Scale())


@pytest.mark.parametrize("price", [b"01.50000000", b".50000000", b"5.", b"00.50000000"])
def test_the_decoder_refuses_what_the_proof_says_it_does(price: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode_diff(PAYLOAD.replace(b"1.50000000", price))
    with pytest.raises(MalformedMessage):
        decode_diff(PAYLOAD.replace(b'"E":1000', b'"E":01000'))
