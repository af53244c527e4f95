"""With absurd documents verify ends and names a fault, and no other reader fails unexpectedly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from typing import Any

import pytest

from orderbook_desktop.core.disk import RecordingSize, Retention
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.event_times import in_ms
from orderbook_desktop.core.events import decode_diff
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.streams import DEPTH, Stream
from orderbook_desktop.storage.archive.archiver import Archiver
from orderbook_desktop.storage.reading.recording import CrossedRecording, Recording
from orderbook_desktop.storage.reading.summaries import summaries
from orderbook_desktop.storage.recorder.recovery import CrashWatch
from orderbook_desktop.storage.retention.retention import Pruner
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.event_documents import Insert, event_document, payload_of
from orderbook_desktop.storage.store.sealing import sealed
from orderbook_desktop.storage.verification.verification import verify
from tests.examples import some_of
from tests.storage.recording_fixtures import Tape, all_of
from tests.storage.shelf import Shelf, resealed
from tests.storage.verification.test_verification import put_back, recorded

pytestmark = pytest.mark.allows_log(
    "can't be archived|can't be understood|retention skips a segment|can't be closed|damaged"
    "|could not be read|archived as it was sent"
)

_MARKET = "BTCUSDT"
_NUMBERS: list[object] = [
    *(-1, 2**40, 2**53 + 1, 2**63 - 1, -(2**63), 1.5, 1e300, float("nan")),
    *(True, None, "7", "x" * 5_000, [], {}),
]
# Far more than any of these reads takes, and less than for ever.
_SECONDS = 60


async def others_meet_it(database: Database) -> None:
    """Let all other readers, the archiver and retention meet the stored documents."""

    async def read() -> None:
        async with aclosing(Recording(database, _MARKET).slices()) as slices:
            async for part in slices:
                part.chunk.payloads()

    async def measure() -> RecordingSize:
        return RecordingSize()

    async def known(work: Any) -> None:
        with suppress(KnownError):
            await work

    await known(read())
    await known(summaries(database))
    await known(Recording(database, _MARKET).book_at(1_700_000_030_000))
    await known(CrashWatch(database).close_crashed())
    await Archiver(database, pace=0).catch_up()
    await Pruner(database).prune(Retention(days=365), 1_700_000_100_000, measure)


async def check(database: Database, collection: str, document: dict[str, Any], field: str) -> None:
    original = document.get(field)
    # Half of them for one field, the other half for the next.
    for other in some_of(_NUMBERS, 2, phase=len(field)):
        if type(other) is type(original) and other == original:
            continue
        await put_back(database, collection, document | {field: other})
        async with asyncio.timeout(_SECONDS):
            found = await verify(database, _MARKET)
        assert found.fault is not None, (collection, field, other)
        text = str(found.fault)
        assert text.startswith(_MARKET), (collection, field, other)
        assert "\n" not in text
    await put_back(database, collection, document)


async def holds(database: Database) -> bool:
    return (await verify(database, _MARKET)).holds


@pytest.mark.sweep
@pytest.mark.parametrize(
    "field",
    [
        *("snapshot_id", "first_id", "last_id", "first_time", "last_time", "event_count"),
        *("cut_events", "price_exponent", "quantity_exponent", "archived_id", "archived_events"),
        *("archived_bytes",),
    ],
)
async def test_numbers_of_a_segment(database: Database, field: str) -> None:
    await recorded(database, 90, 60)
    (segment,) = await all_of(database, "segments")
    await check(database, "segments", segment, field)
    assert await holds(database)


@pytest.mark.sweep
@pytest.mark.parametrize("field", ["U", "u", "time", "received_ns"])
async def test_numbers_of_an_event(database: Database, field: str) -> None:
    await recorded(database, 40, 20)
    events = sorted(await all_of(database, "depth_events"), key=lambda one: int(one["u"]))
    await check(database, "depth_events", events[5], field)
    assert await holds(database)


@pytest.mark.sweep
@pytest.mark.parametrize("field", ["update_id", "time"])
async def test_numbers_of_a_checkpoint(database: Database, field: str) -> None:
    await recorded(database, 40, 20)
    (checkpoint,) = await all_of(database, "checkpoints")
    await check(database, "checkpoints", checkpoint, field)
    assert await holds(database)


@pytest.mark.sweep
@pytest.mark.parametrize(
    "field",
    [
        *("start_id", "first_id", "last_id", "minute", "from_time", "to_time"),
        *("event_count", "schema_version", "epoch", "sum"),
    ],
)
async def test_numbers_of_a_chunk(database: Database, field: str) -> None:
    await recorded(database, 40, 20)
    (chunk,) = await all_of(database, "depth_chunks")
    await check(database, "depth_chunks", chunk, field)
    assert await holds(database)


@pytest.mark.sweep
@pytest.mark.parametrize("field", ["update_id", "taken_ms", "depth", "sum"])
async def test_numbers_of_a_witness(database: Database, field: str) -> None:
    await recorded(database, 40, 20)
    witnesses = await all_of(database, "witnesses")
    await check(database, "witnesses", witnesses[0], field)
    assert await holds(database)


@pytest.mark.sweep
@pytest.mark.parametrize("field", ["first_id", "last_id", "event_count", "snapshot_id", "ids"])
async def test_numbers_of_a_run_without_a_book(database: Database, field: str) -> None:
    shelf, tape = Shelf(database), Tape()
    await shelf.put(tape, 20, GapCause.DISCONNECT)
    tape.diffs(3)
    loose = tape.diffs(4)
    await shelf.write(loose)
    await shelf.put_loose(loose)
    assert await holds(database)
    (document,) = await all_of(database, "segments", book=False)
    await check(database, "segments", document, field)


@pytest.mark.sweep
@pytest.mark.parametrize(
    ("collection", "field"),
    [
        *(("segments", name) for name in ("market", "snapshot_id", "last_id", "event_count")),
        *(("segments", name) for name in ("first_time", "last_time", "archived_id")),
        *(("depth_events", name) for name in ("u", "time", "payload")),
        *(("depth_chunks", name) for name in ("start_id", "last_id", "minute")),
        *(("checkpoints", name) for name in ("update_id", "base", "payload")),
    ],
)
async def test_no_other_reader_stumbles(database: Database, collection: str, field: str) -> None:
    await recorded(database, 90, 60)
    document = (await all_of(database, collection))[0]
    for other in some_of((2**63 - 1, -1, 1e300, "x", None), 2, phase=len(field)):
        await put_back(database, collection, document | {field: other})
        async with asyncio.timeout(_SECONDS):
            await others_meet_it(database)


async def test_an_event_that_an_older_program_stored_with_an_absurd_id(database: Database) -> None:
    """If it looked for each id up to 2^63-1, verify would not end."""
    shelf, tape = Shelf(database), Tape()
    shelved = await shelf.put(tape, 160, GapCause.USER)
    first_id = tape.last_id + 1
    absurd = 2**63 - 1
    payload = (
        f'{{"e":"depthUpdate","E":{tape.now_ms},"s":"{_MARKET}","U":{first_id},"u":{absurd},'
        '"b":[],"a":[]}'
    )
    event = Insert(
        Stream(_MARKET, DEPTH), first_id, absurd, tape.now_ms, tape.now_ms * 10**6, payload.encode()
    )
    await database.collection("depth_events").insert_one(event_document(event))
    (segment,) = await all_of(database, "segments")
    changed = segment | {"last_id": absurd, "event_count": 161}
    await put_back(database, "segments", resealed(changed))
    async with asyncio.timeout(_SECONDS):
        found = await verify(database, _MARKET)
    assert f"update ids {first_id}..{absurd}" in str(found.fault)
    assert found.events == 160
    async with asyncio.timeout(_SECONDS):
        await others_meet_it(database)
    assert shelved.id == segment["_id"]


async def _times_of(database: Database) -> AsyncIterator[int]:
    async with aclosing(Recording(database, _MARKET).slices()) as slices:
        async for part in slices:
            for one in part.chunk.numbers.event_ms.tolist():
                yield one


@pytest.mark.parametrize("archived", [0, 40])
async def test_a_recording_in_microseconds_of_an_older_program(
    database: Database, archived: int
) -> None:
    shelf, tape = Shelf(database), Tape()
    shelved = await shelf.put(tape, 40, GapCause.USER)
    await in_microseconds(database, range(40))
    if archived:
        await Archiver(database, pace=0).catch_up()
        assert await all_of(database, "depth_events") == []
    found = await verify(database, _MARKET)
    assert found.fault is None
    assert found.timeline.covered_ms == 39 * 100
    times = [one async for one in _times_of(database)]
    assert times == [one.event_ms for one in shelved.events]


async def in_microseconds(database: Database, which: range) -> None:
    """Change events to what an older program stored if they had such times."""
    events = sorted(await all_of(database, "depth_events"), key=lambda one: int(one["u"]))
    for one in (events[index] for index in which):
        sent = one["time"] * 1000
        text = payload_of(one).decode().replace(f'"E":{one["time"]}', f'"E":{sent}')
        changed = sealed(one | {"time": sent, "encoding": "text", "payload": text})
        await put_back(database, "depth_events", changed)
    (segment,) = await all_of(database, "segments")
    if len(which) == len(events):
        latest = {name: segment[name] * 1000 for name in ("first_time", "last_time")}
    else:
        latest = {"last_time": max(events[index]["time"] for index in which) * 1000}
        latest["back"] = latest["last_time"] - events[-1]["time"]
    await put_back(database, "segments", resealed(segment | latest))


async def test_one_event_in_microseconds_makes_no_centuries(database: Database) -> None:
    shelf, tape = Shelf(database), Tape()
    await shelf.put(tape, 40, GapCause.USER)
    await in_microseconds(database, range(20, 21))
    found = await verify(database, _MARKET)
    assert not found.holds
    assert found.timeline.covered_ms == 20 * 100
    (segment,) = await all_of(database, "segments")
    assert in_ms(segment["last_time"]) == found.timeline.to_ms


@pytest.mark.parametrize(
    ("ms", "reason"),
    [(5, "is impossible"), (5_000_000_000_000, "is in the future")],
)
async def test_impossible_times_are_a_fault(database: Database, ms: int, reason: str) -> None:
    shelf, tape = Shelf(database), Tape()
    tape.now_ms = ms - 100 * 41
    if ms < 100_000:
        tape.now_ms = 5
    await shelf.put(tape, 40, GapCause.USER)
    assert reason in str((await verify(database, _MARKET)).fault)


async def test_a_gap_that_another_segment_s_times_hide_is_not_proven(database: Database) -> None:
    shelf, tape = Shelf(database), Tape()
    tape.now_ms += 3 * 86_400_000
    await shelf.put(tape, 20, GapCause.DISCONNECT)
    tape.diffs(5)
    tape.now_ms -= 2 * 86_400_000
    await shelf.put(tape, 20, GapCause.USER)
    assert "though update ids between the two are missing" in str(
        (await verify(database, _MARKET)).fault
    )


@pytest.mark.parametrize("archived", [False, True])
async def test_readers_report_a_crossed_stretch_of_an_older_program(
    database: Database, *, archived: bool
) -> None:
    shelf, tape = Shelf(database), Tape()
    events = tape.diffs(20)
    tape.last_id += 1
    sides = f'"U":{tape.last_id},"u":{tape.last_id},"b":[["1000.00000000","1.00000000"]],"a":[]}}'
    text = f'{{"e":"depthUpdate","E":{tape.now_ms},"s":"{_MARKET}",{sides}'
    crossing = decode_diff(text.encode(), tape.now_ms * 10**6)
    begins = Tape()
    await shelf.put(begins, [*events, crossing, *tape.diffs(20)], GapCause.USER)
    if archived:
        await Archiver(database, pace=0).catch_up()
    assert "the best bid reaches the best ask" in str((await verify(database, _MARKET)).fault)
    recording = Recording(database, _MARKET)
    with pytest.raises(CrossedRecording, match=f"is crossed at .*, update id {crossing.final_id}"):
        [one async for one in _times_of(database)]
    with pytest.raises(CrossedRecording):
        await recording.book_at(crossing.event_ms)
    # The events before it can be read.
    before = [part async for part in recording.slices(None, events[-1].event_ms)]
    assert sum(part.end - part.begin for part in before) == 19
    assert (await recording.book_at(events[-2].event_ms)).last_update_id == events[-2].final_id
