"""Snapshots are taken when they are due, and only of a segment that is certainly recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from pymongo.errors import AutoReconnect

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.events import DepthSnapshot
from orderbook_desktop.core.horizon import Horizon
from orderbook_desktop.engine.market_session import MarketSession
from orderbook_desktop.engine.witness_taker import WitnessTaker
from orderbook_desktop.exchange.errors import Paced
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.witnesses import Witnesses
from tests.storage.recording_fixtures import Tape


@dataclass
class Part:
    """The members of a session's sink, feed and book that a witness taker reads."""

    segment_id: str | None = "one"
    base_id: int = 1
    horizon: Horizon = field(default_factory=lambda: Horizon(500, None))

    @property
    def book(self) -> Part:
        return self


class Session:
    """A session with the members that a witness taker reads."""

    def __init__(self, market: str = "BTCUSDT") -> None:
        self.market = market
        self.sink = self.live = Part()


class Books:
    """An exchange whose book moves on with every request."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int | None]] = []
        self.fails: KnownError | None = None
        self.meanwhile: Callable[[], None] = lambda: None
        self._tapes: dict[str, Tape] = {}

    async def snapshot(self, market: str, limit: int | None = None) -> DepthSnapshot:
        self.asked.append((market, limit))
        if self.fails is not None:
            raise self.fails
        self.meanwhile()
        tape = self._tapes.setdefault(market, Tape(market))
        tape.diff()
        return tape.snapshot()


class Scene:
    """A witness taker, its exchange, and a clock that the test moves."""

    def __init__(self, database: Database) -> None:
        self.books, self.now = Books(), 1_000.0
        self.witnesses = Witnesses(database)
        self._taker = WitnessTaker(self.books.snapshot, database, now=lambda: self.now)

    async def look(self, *sessions: Session, after_s: float = 0.0) -> int:
        """Let time pass, and look; return how many snapshots are stored of BTCUSDT."""
        self.now += after_s
        await self._taker.look(cast("list[MarketSession]", list(sessions)))
        return len(await self.witnesses.keys("BTCUSDT"))


async def test_after_a_minute_and_then_every_ten(database: Database) -> None:
    scene, session = Scene(database), Session()
    assert await scene.look(session) == 0
    assert await scene.look(session, after_s=59) == 0
    assert await scene.look(session, after_s=1) == 1
    assert await scene.look(session, after_s=599) == 1
    assert await scene.look(session, after_s=1) == 2
    assert scene.books.asked == [("BTCUSDT", 100)] * 2
    ((_, first), _) = await scene.witnesses.keys("BTCUSDT")
    witness = (await scene.witnesses.some([first]))[first].unpack()
    snapshot = witness.snapshot
    assert witness.segment_id == "one"
    assert witness.depth == max(len(snapshot.bids), len(snapshot.asks))
    assert witness.horizon == Horizon(500, None)


async def test_a_new_segment_is_new(database: Database) -> None:
    scene, session = Scene(database), Session()
    await scene.look(session)
    assert await scene.look(session, after_s=60) == 1
    session.sink.segment_id = "two"
    assert await scene.look(session, after_s=10) == 1
    assert await scene.look(session, after_s=60) == 2
    session.sink.segment_id = None
    assert await scene.look(session, after_s=6_000) == 2
    session.sink.segment_id = "three"
    assert await scene.look(session, after_s=6_000) == 2
    assert await scene.look(after_s=6_000) == 2


async def test_what_fails_is_tried_again(database: Database) -> None:
    scene, session = Scene(database), Session()
    await scene.look(session)
    scene.books.fails = Paced(3.0)
    assert await scene.look(session, after_s=60) == 0
    scene.books.fails = None
    assert await scene.look(session, after_s=5) == 1


async def test_others_are_taken_though_one_fails(database: Database) -> None:
    scene, one, other = Scene(database), Session("ETHUSDT"), Session()
    await scene.look(one, other)
    scene.books.fails = Paced(3.0)
    await scene.look(one, other, after_s=60)
    assert [market for market, _ in scene.books.asked] == ["ETHUSDT", "BTCUSDT"]


@pytest.mark.parametrize("change", [{"segment_id": "two"}, {"base_id": 2}])
async def test_a_book_that_was_loaded_anew_meanwhile(
    database: Database, change: dict[str, Any]
) -> None:
    scene, session = Scene(database), Session()
    await scene.look(session)

    def meanwhile() -> None:
        for name, value in change.items():
            setattr(session.live, name, value)

    scene.books.meanwhile = meanwhile
    assert await scene.look(session, after_s=60) == 0


@pytest.mark.expects_log("WARNING .*the database failed")
@pytest.mark.expects_log("WARNING .*no snapshot to verify the recording by: The database failed")
async def test_a_database_that_is_away(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_arguments: object) -> None:
        raise AutoReconnect("away")

    scene, session = Scene(database), Session()
    await scene.look(session)
    monkeypatch.setattr(Witnesses, "put", fail)
    assert await scene.look(session, after_s=60) == 0
    monkeypatch.undo()
    assert await scene.look(session, after_s=5) == 1
