from __future__ import annotations

import pytest

from orderbook_desktop.core.events import answered
from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.core.witness import Witness
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.packing import DamagedDocument
from orderbook_desktop.storage.store.witnesses import Witnesses
from tests.storage.recording_fixtures import Tape, all_of

_MS = 1_700_000_000_000


def witness(market: str = "BTCUSDT", taken_ms: int = _MS) -> Witness:
    horizon = Horizon(1_000 * 10**8, None)
    return Witness(answered(Tape(market).snapshot(), 100), 100, taken_ms, "s", horizon)


async def test_what_is_put_there_comes_back(database: Database) -> None:
    witnesses, one = Witnesses(database), witness()
    update_id = one.snapshot.last_update_id
    await witnesses.put(one)
    await witnesses.put(witness("BTCUSDTX"))
    assert await witnesses.keys("BTCUSDT") == [(update_id, f"BTCUSDT:{update_id}")]
    found = await witnesses.some([f"BTCUSDT:{update_id}", "BTCUSDT:1"])
    assert {key: stored.unpack() for key, stored in found.items()} == {f"BTCUSDT:{update_id}": one}


async def test_the_first_of_an_update_id_stays(database: Database) -> None:
    witnesses, one = Witnesses(database), witness()
    await witnesses.put(one)
    await witnesses.put(witness(taken_ms=_MS + 1))
    ((_, key),) = await witnesses.keys("BTCUSDT")
    assert (await witnesses.some([key]))[key].unpack() == one


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("market", "ETHUSDT"), ("update_id", 7), ("taken_ms", 1), ("depth", 99)),
        ("segment", "t"),
        *(("horizon", None), ("known", None), ("joined_id", 1), ("received_ns", 1)),
        *(("payload", b"?"), ("sum", 1), ("more", 1)),
    ],
)
async def test_damage_is_found(database: Database, field: str, value: object) -> None:
    witnesses = Witnesses(database)
    await witnesses.put(witness())
    (document,) = await all_of(database, "witnesses")
    await database.collection("witnesses").update_one({}, {"$set": {field: value}})
    ((update_id, key),) = await witnesses.keys("BTCUSDT")
    assert (update_id, key) == (document["update_id"], document["_id"])
    stored = (await witnesses.some([key]))[key]
    with pytest.raises(DamagedDocument):
        stored.unpack()
