"""What the depth stream declares."""

from __future__ import annotations

import pytest

from orderbook_desktop.core.errors import OtherMarket
from orderbook_desktop.core.events import WIDEST_EVENT, DepthDiff, decode_diff
from orderbook_desktop.core.streams import DEPTH, Continuity, Stream
from tests.core.messages import DIFF, changed
from tests.core.prints import PRINTS, Print

NS_A_MS = 1_000_000


def diff(first_id: int, final_id: int, received_ms: int = 0) -> DepthDiff:
    """Return an event of these update ids."""
    received_ns = received_ms * NS_A_MS
    return DepthDiff("BTCUSDT", first_id, final_id, 0, received_ns, b"", [], [], plain=True)


@pytest.mark.parametrize("market", ["BTCUSDT", "1000SATSUSDT", "币安人生USDT"])
def test_the_exchange_writes_the_market_of_a_stream_in_small_letters(market: str) -> None:
    assert Stream(market, DEPTH).name == f"{market.lower()}@depth@100ms"


def test_a_kind_without_a_speed_or_a_check_declares_none() -> None:
    assert Stream("BTCUSDT", PRINTS).name == "btcusdt@trade"
    sent = b'{"e":"trade","E":5,"s":"BTCUSDT","t":7,"p":"1.5"}'
    assert PRINTS.decode_sent(sent, 9) == Print("BTCUSDT", 7, 5, 9, sent, "1.5")


def test_an_event_is_decoded_as_it_was_sent_and_checked() -> None:
    assert DEPTH.decode_sent(DIFF, 7) == decode_diff(DIFF, 7)
    futures = changed(DIFF, pu="149")
    assert isinstance(DEPTH.decode(futures, 7), DEPTH.event)
    with pytest.raises(OtherMarket):
        DEPTH.decode_sent(futures, 7)


@pytest.mark.parametrize(
    ("first_id", "final_id", "continuity"),
    [
        (11, 11, Continuity.NEXT),
        (11, 15, Continuity.NEXT),
        (3, 12, Continuity.NEXT),
        (8, 10, Continuity.OLD),
        (1, 2, Continuity.OLD),
        (12, 12, Continuity.HOLE),
        (10 + WIDEST_EVENT, 10 + WIDEST_EVENT, Continuity.HOLE),
        (11 + WIDEST_EVENT, 11 + WIDEST_EVENT, Continuity.IMPLAUSIBLE),
    ],
)
def test_update_ids_say_how_an_event_continues(
    first_id: int, final_id: int, continuity: Continuity
) -> None:
    assert DEPTH.continuity(diff(8, 10), diff(first_id, final_id)) is continuity


def test_ids_may_be_further_away_after_a_while() -> None:
    known, far = diff(8, 10, 5_000), 11 + WIDEST_EVENT
    assert DEPTH.continuity(known, diff(far, far, 5_000)) is Continuity.IMPLAUSIBLE
    assert DEPTH.continuity(known, diff(far, far, 5_001)) is Continuity.HOLE


def test_a_misfit_is_told_by_its_ids() -> None:
    assert DEPTH.misfit_of(diff(6, 7), diff(1, 2)) == "Update id 2 can't follow update id 7."
    again = "Update id 7 came again with other contents."
    assert DEPTH.misfit_of(diff(6, 7), diff(7, 7)) == again
