from __future__ import annotations

import pytest

from orderbook_desktop.core.status import FeedState
from orderbook_desktop.gui.panes.book_frame import message_of
from tests.gui.fake_desk import PEPE, FakeDesk, frame_of, symbol_info


def test_a_book_has_no_message(desk: FakeDesk) -> None:
    desk.source.load([("100.00", "1.5")], [("100.01", "2")])
    frame = frame_of(desk)
    assert message_of(frame) is None
    assert frame.format.price(int(frame.bids.prices[0])) == "100.00"
    assert frame.format.quantity(int(frame.bids.quantities[0])) == "1.50000"
    assert frame.update_id == 1_000


@pytest.mark.parametrize("state", list(FeedState))
def test_every_state_of_an_empty_book_has_a_message(desk: FakeDesk, state: FeedState) -> None:
    desk.source.be_unknown(state, "A sentence about it.")
    message = message_of(frame_of(desk))
    assert message is not None
    assert message.title
    assert message.detail == "A sentence about it."


def test_the_first_connection_is_not_a_reconnection(desk: FakeDesk) -> None:
    titles = []
    for _ in range(2):
        desk.source.be_unknown(FeedState.RECONNECTING, "No network.")
        message = message_of(frame_of(desk))
        assert message is not None
        titles.append(message.title)
        desk.source.load([("100.00", "1.5")], [("100.01", "2")])
    assert titles == ["Connecting to BTC/USDT", "Reconnecting to BTC/USDT"]


def test_an_unreadable_book_becomes_a_sentence(desk: FakeDesk) -> None:
    desk.source.load([("0.0000000000000000001", "1")], [])
    frame = frame_of(desk)
    message = message_of(frame)
    assert message is not None
    assert not frame.has_levels
    assert "0.0000000000000000001" in message.detail


def test_an_unknown_tick_and_step_are_found_in_the_book() -> None:
    desk = FakeDesk(symbol_info("NEW/USDT", "0", "0"))
    desk.source.load([("1.2500", "10.50")], [("1.2525", "3.00")])
    text = frame_of(desk).format
    assert (text.tick, text.price_places, text.quantity_places) == (250_000, 4, 1)


def test_a_finer_scale_than_the_ticks_is_followed() -> None:
    desk = FakeDesk(PEPE.info)
    desk.source.load([("0.0000081212", "5")], [("0.0000081300", "5")])
    frame = frame_of(desk)
    assert frame.format.scale.price == 10
    assert frame.format.tick == 100
    assert frame.format.price(int(frame.bids.prices[0])) == "0.0000081212"


def test_half_a_tick_is_exact_in_the_mid(desk: FakeDesk) -> None:
    desk.source.load([("100.00", "1")], [("100.01", "1")])
    frame = frame_of(desk)
    twice = int(frame.bids.prices[0]) + int(frame.asks.prices[0])
    assert frame.format.half_price(twice) == "100.005"
