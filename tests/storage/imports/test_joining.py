"""Files that are imported one at a time: in every order they end in the same recording."""

from __future__ import annotations

import gzip
from itertools import pairwise, permutations
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from orderbook_desktop.core.events import DepthDiff, DepthSnapshot, decode_diff, decode_snapshot
from orderbook_desktop.core.received import Received
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.formats.capture_reader import captured_messages
from orderbook_desktop.storage.imports import importing
from orderbook_desktop.storage.imports.importing import ImportedMarket
from orderbook_desktop.storage.reading.recording import Recording
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.verification.verification import verify
from tests.bench.capture_data import capture_path
from tests.examples import some_of
from tests.storage.imports.made import Collected, imported, recorded_rows
from tests.storage.recording_fixtures import PATIENT, ServerThread, all_of

ORDERS = list(permutations(range(3)))


def days(kind: str) -> list[list[Received]]:
    """Three files of one collector. Of the later two, each has no book, or one after a while."""
    made, files = Collected().snapshot(), []
    for day in range(3):
        begin = len(made.messages) if day else 0
        made.events(40)
        if day and kind == "books":
            made.events(1).snapshot()
            made.messages[-1] = within_last_event(made.messages[-1])
        made.events(30)
        files.append(made.messages[begin:])
    return files


def within_last_event(received: Received) -> Received:
    """The snapshot as of an id inside the event before it, as it is nearly always.

    It has what that event sets: applying the event to it changes nothing.
    """
    snapshot = received.message
    assert isinstance(snapshot, DepthSnapshot)
    known, earlier = (b'"lastUpdateId":%d' % (snapshot.last_update_id - less) for less in (0, 2))
    assert known in snapshot.payload
    payload = snapshot.payload.replace(known, earlier)
    return replace(received, message=decode_snapshot(payload, snapshot.market))


async def rows_of(database: Database) -> list[tuple[object, ...]]:
    """What an export writes: every row in its order."""
    return [
        (rows.is_snapshot, *row)
        async for rows in recorded_rows(database)
        for row in zip(
            *(rows.first_ids, rows.final_ids, rows.event_ms, rows.received_ns, rows.asks),
            *(rows.prices, rows.quantities),
            strict=True,
        )
    ]


async def stored_in(database: Database) -> dict[str, list[dict[str, Any]]]:
    """All documents of a recording, by collection."""
    return {
        name: sorted(await all_of(database, name), key=lambda document: str(document["_id"]))
        for name in ("segments", "depth_chunks", "depth_events", "checkpoints", "witnesses")
    }


async def import_in(
    database: Database, folder: Path, files: list[list[Received]]
) -> list[ImportedMarket]:
    return [(await imported(database, messages, folder))[0] for messages in files]


@pytest.mark.parametrize("kind", ["no books", "books"])
@pytest.mark.parametrize("order", ORDERS)
async def test_files_join_in_any_order(
    database: Database, server: ServerThread, tmp_path: Path, kind: str, order: tuple[int, ...]
) -> None:
    files = days(kind)
    await import_in(database, tmp_path, [files[at] for at in order])
    found = await rows_of(database)
    verified = await verify(database, "BTCUSDT")
    assert (verified.fault, verified.loose_events, verified.timeline.gaps) == (None, 0, ())
    assert verified.events == sum(
        isinstance(one.message, DepthDiff) for messages in files for one in messages
    )
    together = Database(f"{database.name}_together", PATIENT)
    together.connect(server.dsn)
    messages = [one for messages in files for one in messages]
    await imported(together, messages, tmp_path)
    assert await rows_of(together) == found
    # Not only what is read, also what is stored: each document, byte for byte.
    assert await stored_in(together) == await stored_in(database)
    together.close()
    # To import them again, together, adds nothing.
    (again,) = await imported(database, messages, tmp_path)
    assert (again.events, again.loose) == (0, 0)
    assert await rows_of(database) == found


@pytest.mark.sweep
async def test_the_files_of_a_capture_join_in_any_order(
    server: ServerThread, database: Database, tmp_path: Path
) -> None:
    capture = capture_path(tmp_path)
    with gzip.open(capture) as file:
        lines = file.readlines()
    cuts = (0, len(lines) * 2 // 5, len(lines) * 3 // 4, len(lines))
    files = [tmp_path / f"{day}.jsonl" for day in range(3)]
    for path, (begin, end) in zip(files, pairwise(cuts), strict=True):
        path.write_bytes(b"".join(lines[begin:end]))
    await imported(database, captured_messages([capture]), tmp_path)
    together = await stored_in(database)
    assert together["depth_chunks"]
    for number, order in enumerate(some_of(ORDERS, 3, phase=2)):
        other = Database(f"{database.name}_{number}", PATIENT)
        other.connect(server.dsn)
        for at in order:
            await imported(other, captured_messages([files[at]]), tmp_path)
        assert await stored_in(other) == together, order
        other.close()


async def test_without_what_comes_before_they_wait(database: Database, tmp_path: Path) -> None:
    first, _, third = days("no books")
    done = await import_in(database, tmp_path, [first, third, first, third])
    assert [(one.events, one.loose) for one in done] == [(70, 0), (0, 70), (0, 0), (0, 0)]
    (gap,) = (await verify(database, "BTCUSDT")).timeline.gaps
    assert (gap.cause, gap.detail) == (GapCause.USER, "The imported file ends here.")


async def test_a_book_that_does_not_follow_is_not_taken_in(
    database: Database, tmp_path: Path
) -> None:
    """The second file's events cross the book of the first one, but not their own."""
    first, second = days("books")[:2]
    event = next(one for one in second if isinstance(one.message, DepthSnapshot))
    at = second.index(event)
    crossing = second[at + 1].message
    assert isinstance(crossing, DepthDiff)
    payload = crossing.payload.replace(b'"b":[', b'"b":[["9000.00000000","1.00000000"],', 1)
    assert payload != crossing.payload
    second[at + 1] = replace(second[at + 1], message=decode_diff(payload, crossing.received_ns))
    await import_in(database, tmp_path, [first, second])
    verified = await verify(database, "BTCUSDT")
    assert verified.fault is None
    assert GapCause.CROSSED in {
        one.segment.end_cause for one in await Recording(database, "BTCUSDT").segments()
    }


@pytest.mark.parametrize("kind", ["no books", "books"])
async def test_what_a_kill_left_twice_is_removed_by_the_next_import(
    database: Database, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = days(kind)
    await import_in(database, tmp_path, [second, third])
    with monkeypatch.context() as killed:

        async def nothing(*_: object) -> None:
            """What is replaced stays, as after a kill."""

        killed.setattr(importing, "drop_segments", nothing)
        killed.setattr(importing, "drop_repeated", nothing)
        await import_in(database, tmp_path, [first])
    verified = await verify(database, "BTCUSDT")
    assert (verified.fault, verified.timeline.gaps) == (None, ())
    before = await rows_of(database)
    await import_in(database, tmp_path, [first])
    verified = await verify(database, "BTCUSDT")
    events = sum(isinstance(one.message, DepthDiff) for one in (*first, *second, *third))
    assert (verified.fault, verified.events, verified.loose_events) == (None, events, 0)
    assert await rows_of(database) == before
