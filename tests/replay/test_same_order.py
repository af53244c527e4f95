"""A window and a program have a recording in one order: what is seen at a time is what was due."""

from __future__ import annotations

import random
from contextlib import aclosing
from itertools import groupby

import pytest

from orderbook_desktop.core.replay import ReplayOrder
from orderbook_desktop.replay.events import replayed
from orderbook_desktop.replay.playback import PlayedEvent, events_of
from orderbook_desktop.storage.store.database import Database
from tests.replay.recorded import MARKET, ordered, playing, record
from tests.replay.test_trades import made, store


async def played(database: Database, order: ReplayOrder) -> list[PlayedEvent]:
    """All events as a program gets them."""
    async with aclosing(replayed(database, MARKET, order=order)) as parts:
        return [event async for part in parts for event in events_of(part, opens=part.opens)]


@pytest.mark.parametrize("order", ReplayOrder)
async def test_a_seek_shows_what_was_played_by_then(database: Database, order: ReplayOrder) -> None:
    rng = random.Random(1)
    recorded = await record(database, [40, 8, 30], seed=2)
    await store(database, made(recorded, 150, rng))
    events = await played(database, order)
    dues = recorded.dues(order)
    trade_id = update_id = 0
    async with playing(database) as (player, _):
        await ordered(player, order)
        for due_ns, group in groupby(events, lambda event: event.due_ns):
            for event in group:
                if event.is_trade:
                    trade_id = event.final_id
                else:
                    update_id = event.final_id
            if not dues[0][0] <= due_ns <= dues[-1][-1] or rng.random() < 0.5:
                continue
            player.seek(due_ns)
            await player.idle()
            look = player.look()
            assert look.tape is not None
            assert look.tape.newest_id == (trade_id or None)
            sight = recorded.at(due_ns, order)
            assert (look.book.last_update_id == 0) == sight.in_gap
            if not sight.in_gap and sight.index >= 0:
                assert look.book.last_update_id == update_id
