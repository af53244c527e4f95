"""Raw events are read before a reader that reads on needs them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest

from orderbook_desktop.core.events import DepthDiff
from orderbook_desktop.storage.reading.ahead import RawAhead
from tests.storage.recording_fixtures import Tape

if TYPE_CHECKING:
    from orderbook_desktop.storage.store.recording_store import SegmentStore


class Shop:
    """Gives out three events at a time, and lists after which ids it was asked."""

    def __init__(self, count: int) -> None:
        self.events = Tape().diffs(count)
        self.asked: list[int] = []
        self.fails = False

    async def events_after(self, market: str, after_id: int, last_id: int) -> list[DepthDiff]:
        assert market == "BTCUSDT"
        self.asked.append(after_id)
        await asyncio.sleep(0)
        if self.fails:
            raise OSError("away")
        return [event for event in self.events if after_id < event.final_id <= last_id][:3]


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def ahead_of(shop: Shop) -> RawAhead:
    return RawAhead(cast("SegmentStore", shop), "BTCUSDT", shop.events[-1].final_id)


async def test_the_next_events_are_read_from_the_second_time_on() -> None:
    shop = Shop(11)
    ahead, ends = ahead_of(shop), [event.final_id for event in shop.events]
    found = await ahead.after(ends[0] - 9)
    await turns()
    # A reader that looks for one moment needs no more.
    assert len(shop.asked) == 1
    while found[-1].final_id < ends[-1]:
        found += await ahead.after(found[-1].final_id)
        await turns()
    assert found == shop.events
    assert shop.asked == [ends[0] - 9, ends[2], ends[5], ends[8]]
    await ahead.close()


async def test_what_was_read_ahead_in_vain_is_dropped() -> None:
    shop = Shop(20)
    ahead, ends = ahead_of(shop), [event.final_id for event in shop.events]
    await ahead.after(ends[0])
    await ahead.after(ends[3])
    await turns()
    assert shop.asked[-1] == ends[6]
    assert [event.final_id for event in await ahead.after(ends[10])] == ends[11:14]
    assert [event.final_id for event in await ahead.after(ends[10])] == ends[11:14]
    await ahead.close()


async def test_a_failure_of_reading_ahead_is_raised_when_it_is_needed() -> None:
    shop = Shop(20)
    ahead, ends = ahead_of(shop), [event.final_id for event in shop.events]
    await ahead.after(ends[0])
    await ahead.after(ends[3])
    shop.fails = True
    await turns()
    with pytest.raises(OSError, match="away"):
        await ahead.after(ends[6])
    await ahead.close()
