"""What the quick storage writes, beside what SecantusDB itself writes of the same commands."""

from __future__ import annotations

import itertools
import random
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bson
import pytest
from bson.decimal128 import Decimal128
from secantus import storage as secantus
from secantus.commands import CommandContext, dispatch
from secantus.cursors import CursorRegistry
from secantus.storage import Storage
from wiredtiger.intpacking import pack_int

from orderbook_desktop.storage.server.quick_storage import QuickStorage, spelled

Command = dict[str, Any]
_INDEX = {"key": {"market": 1, "u": 1}, "name": "market_1_u_1"}


@pytest.fixture
def same_uuids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let collections get the same UUIDs in each storage that begins to count anew."""
    monkeypatch.setattr(secantus._uuid, "uuid4", lambda: uuid.UUID(int=7))


class Server:
    """A storage, and commands to it as a client gives them."""

    def __init__(self, kind: type[Storage], folder: Path) -> None:
        never = {"oplog_max_entries": 10**12, "oplog_retention_seconds": 10**12}
        self.storage = kind(str(folder), enable_oplog=True, ttl_sweep_seconds=0, **never)
        self._context = CommandContext(0, self.storage, CursorRegistry(), db_name="book")

    def answers(self, *commands: Command) -> Any:
        answers = [dispatch({**command, "$db": "book"}, self._context) for command in commands]
        self.storage.release_thread_snapshot()
        return answers

    def tables(self) -> Any:
        """Return all rows of all tables; of the op-log's without their times."""
        session = self.storage._conn.open_session()
        names = [key for key, _ in session.open_cursor("metadata:") if key.startswith("table:")]
        tables = {name: _rows(session.open_cursor(name)) for name in names}
        times = []
        for row in tables[secantus._OPLOG_TABLE]:
            entry = bson.decode(row[-1])
            times.append(entry["ts"])
            row[-1] = [(name, entry[name]) for name in entry if name not in ("ts", "wall")]
            assert list(entry)[-2:] == ["ts", "wall"]
        assert times == sorted(set(times))
        session.close()
        return tables


def _rows(cursor: Any) -> list[Any]:
    rows = []
    while cursor.next() == 0:
        rows.append([*cursor.get_keys(), *cursor.get_values()])
    return rows


@pytest.fixture
def servers(tmp_path: Path, same_uuids: None) -> Iterator[list[Server]]:
    """Return a server with SecantusDB's storage, and one with ours."""
    both = [Server(kind, tmp_path / kind.__name__) for kind in (Storage, QuickStorage)]
    yield both
    for server in both:
        server.storage.close()


def _event(number: int, **other: object) -> dict[str, Any]:
    market = f"M{number % 3}USDT"
    event = {"_id": f"{market}:depth:{number}", "market": market, "U": number, "u": number}
    return event | {"payload": random.Random(number).randbytes(50)} | other


def _insert(*documents: dict[str, Any], ordered: bool = False) -> Command:
    return {"insert": "events", "documents": list(documents), "ordered": ordered}


def _remove(*ids: object, **other: object) -> Command:
    query = {"_id": {"$in": list(ids)}}
    return {"delete": "events", "deletes": [{"q": query, "limit": 0} | other]}


def _find(market: object, after: object, through: object, **other: object) -> Command:
    query = {"market": market, "u": {"$gt": after, "$lte": through}}
    return {"find": "events", "filter": query, "batchSize": 1_000} | other


_MADE: Command = {"createIndexes": "events", "indexes": [_INDEX]}
_EVENTS = [_event(number) for number in range(1, 40)]
_IDS = [event["_id"] for event in _EVENTS]
_OTHERS: list[dict[str, Any]] = [
    {"_id": "no market"},
    {"_id": "an array", "market": ["A", "B"], "u": 5},
    {"_id": "a table", "market": {"name": "A"}, "u": 5},
    {"_id": "a dotted one", "market": "A", "u": 5, "b": {"c": [1]}},
    {"_id": "a float", "market": "A", "u": 5.5},
    {"_id": "none", "market": None, "u": Decimal128("5")},
    {"_id": "text\x00with\x00zeros", "market": "A\x00B", "u": -1},
    {"_id": "large", "market": "Ä", "u": 2**62},
    {"_id": 12, "market": "A", "u": 5},
    {"_id": {"a": 1}, "market": "A", "u": 5},
    {"market": "A", "u": 5, "_id": "the id at the end"},
]


# By name: commands that are given one after the other.
_CASES: dict[str, list[Command]] = {
    "plain": [_MADE, _insert(*_EVENTS), _remove(*_IDS[5:30])],
    "no index": [_insert(*_EVENTS), _insert(_event(90)), _remove(*_IDS)],
    "stored already": [
        _MADE,
        _insert(*_EVENTS[:9]),
        _insert(*_EVENTS[5:15]),
        _insert(*_EVENTS[20:22] * 2),
    ],
    "stored already, ordered": [
        _MADE,
        _insert(*_EVENTS[:9]),
        _insert(*_EVENTS[7:15], ordered=True),
    ],
    **{
        str(one["_id"]): [_MADE, _insert(_EVENTS[0], one), _insert(one), _remove(one["_id"], "A")]
        for one in _OTHERS
    },
    "removed twice, or unknown": [
        _MADE,
        _insert(*_EVENTS),
        _remove(*_IDS[:3] * 2, "unknown", *_IDS[2:5]),
    ],
    "removed by other queries": [
        _MADE,
        _insert(*_EVENTS),
        _remove(_IDS[0], limit=1),
        {"delete": "events", "deletes": [{"q": {"market": "M1USDT"}, "limit": 0}]},
        {"delete": "events", "deletes": [{"q": {"_id": _IDS[1]}, "limit": 0}]},
        _remove(_IDS[2], collation={"locale": "en"}),
        _remove(_IDS[4], 17),
    ],
    **{
        f"index {options}": [
            {"createIndexes": "events", "indexes": [{**_INDEX, **options}]},
            _insert(*_EVENTS, _event(50, market="M1USDT", u=4), {"_id": "none"}),
            _remove(*_IDS[:20]),
        ]
        for options in (
            {"unique": True},
            {"sparse": True},
            {"partialFilterExpression": {"u": {"$gt": 9}}},
            {"collation": {"locale": "en", "strength": 2}},
            {"key": {"market": -1, "u": 1}},
            {"key": {"market": "hashed"}},
            {"key": {"payload.size": 1}},
        )
    },
    "found": [
        _MADE,
        _find("M1USDT", 0, 99),
        _insert(*_EVENTS, _event(50, u=3.5), _event(53, u=bson.Int64(4)), _event(56, u="4")),
        _insert(_event(59, _id="same ids", u=4), _event(62, u=Decimal128("4")), *_OTHERS[3:8]),
        *(
            _find(market, after, through, **other)
            for market in ("M1USDT", "M2USDT", "A\x00B", "unknown", None, 5)
            for after, through in ((0, 99), (4, 19), (4, 4), (19, 4), (-(2**62), 2**62), (3.5, 10))
            for other in ({}, {"sort": {"u": 1}})
        ),
        *(
            _find("M1USDT", 3, 30, **other)
            for other in (
                {"sort": {"u": -1}},
                {"sort": {"market": 1, "u": 1}},
                {"sort": {"u": 1}, "limit": 3},
                {"sort": {"u": 1}, "skip": 2},
                {"projection": {"u": 1, "payload": 1}},
                {"projection": {"_id": 0, "payload": 0}, "sort": {"u": 1}, "limit": 4},
                {"hint": "market_1_u_1"},
                {"collation": {"locale": "en"}},
            )
        ),
        {"find": "events", "filter": {"market": "M1USDT", "u": {"$gt": 3}}},
        {"find": "events", "filter": {"market": "M1USDT", "u": {"$gte": 4, "$lte": 19}}},
        {"find": "events", "filter": {"market": {"$gt": "M"}, "u": {"$gt": 4, "$lte": 19}}},
        {"find": "events", "filter": {"U": 4, "u": {"$gt": 3, "$lte": 19}}},
    ],
    "capped": [
        {"create": "events", "capped": True, "size": 4_096, "max": 10},
        _insert(*_EVENTS),
        _remove(*_IDS),
    ],
    "images": [
        {"create": "events", "changeStreamPreAndPostImages": {"enabled": True}},
        _insert(*_EVENTS),
        _remove(*_IDS[:9]),
    ],
}


def _in(collection: str, command: Command) -> Command:
    """Return `command` for another collection than `events`."""
    return {name: collection if value == "events" else value for name, value in command.items()}


def test_tables_and_answers_are_the_same(servers: list[Server]) -> None:
    for number, (case, commands) in enumerate(_CASES.items()):
        given = [_in(f"events{number}", command) for command in commands]
        theirs, ours = (server.answers(*given) for server in servers)
        assert theirs == ours, case
    theirs, ours = (server.tables() for server in servers)
    for name, rows in theirs.items():
        assert rows == ours[name], name


def test_random_commands_leave_the_same_tables(servers: list[Server]) -> None:
    made = random.Random(3)
    commands: list[Command] = [_MADE]
    for _ in range(60):
        some = made.sample(_EVENTS, made.randrange(1, 12))
        if made.random() < 0.6:
            commands.append(_insert(*some, ordered=made.random() < 0.3))
        else:
            commands.append(_remove(*(event["_id"] for event in some)))
        after = made.randrange(40)
        commands.append(_find("M1USDT", after, after + made.randrange(20), sort={"u": 1}))
    theirs, ours = (server.answers(*commands) for server in servers)
    assert theirs == ours
    theirs, ours = (server.tables() for server in servers)
    assert theirs == ours


def test_the_indexes_are_looked_up_once_for_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(QuickStorage, tmp_path)
    server.answers(_MADE)
    looks = itertools.count()
    look = Storage._iter_indexes

    def counted(*arguments: Any) -> Any:
        next(looks)
        return look(*arguments)

    monkeypatch.setattr(Storage, "_iter_indexes", counted)
    answers = server.answers(_insert(*_EVENTS))
    assert answers[0]["n"] == len(_EVENTS)
    assert next(looks) == 1
    assert server.answers(_remove(*_IDS))[0]["n"] == len(_EVENTS)
    server.storage.close()


@pytest.mark.parametrize("name", ["depth_events", "trade_events"])
def test_a_removed_event_is_not_told_to_change_streams(tmp_path: Path, name: str) -> None:
    server = Server(QuickStorage, tmp_path)
    server.answers(*(_in(name, one) for one in (_MADE, _insert(*_EVENTS), _remove(*_IDS[1:]))))
    tables = server.tables()
    operations = [dict(row[-1])["op"] for row in tables[secantus._OPLOG_TABLE]]
    assert operations == ["c", "c", *"i" * len(_EVENTS)]
    assert len(tables[secantus._NAT_SEQ_TABLE]) == 1
    assert len(tables[secantus._IDX_ENTRIES_TABLE]) == 1
    assert len(tables[secantus._doc_table_for("book", name)]) == 1
    server.storage.close()


def test_a_storage_that_was_written_quickly_opens_as_any_other(tmp_path: Path) -> None:
    server = Server(QuickStorage, tmp_path)
    server.answers(_MADE, _insert(*_EVENTS), _remove(*_IDS[:10]))
    server.storage.close()
    again = Server(Storage, tmp_path)
    query = {"market": "M1USDT", "u": {"$gt": 0, "$lte": 100}}
    found = again.answers({"find": "events", "filter": query, "sort": {"u": 1}})[0]
    expected = [event for event in _EVENTS[10:] if event["market"] == "M1USDT"]
    assert found["cursor"]["firstBatch"] == expected
    assert again.answers(_insert(_event(100)))[0]["n"] == 1
    again.storage.close()


@pytest.mark.parametrize(
    "number", [0, 1, 63, 64, 8_255, 8_256, 8_257, 8_511, 8_512, 10**6, 2**32, 2**62]
)
def test_numbers_are_spelled_as_the_engine_spells_them(number: int) -> None:
    assert spelled(number) == pack_int(number)
