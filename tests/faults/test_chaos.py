"""A short chaos play, and that its judges see what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.timeline import Gap
from tests.faults.chaos.__main__ import play
from tests.faults.chaos.audience import SideLevels, Sighting, packed
from tests.faults.chaos.judgement import (
    Truth,
    Verdict,
    judge_codes,
    judge_gaps,
    judge_memory,
    judge_sightings,
    judge_texts,
    read_truth,
)
from tests.faults.chaos.plan import Fault, Happened, Kind, planned

# Those that take no root, and no long patience.
_QUICK = (
    *(Kind.KILL_RECORDER, Kind.KILL_DATABASE, Kind.STOP_RECORDER, Kind.KILL_VIEWER),
    *(Kind.SUSPEND_DATABASE, Kind.STEP_CLOCK, Kind.DISCONNECT, Kind.DROP, Kind.DUPLICATE),
    *(Kind.MALFORMED, Kind.STALE, Kind.HTTP),
)
# `python -m tests.faults.chaos` plays half an hour, with all there is.
_SHORT_S, _EVERY_S, _SEED = 24.0, 1.5, 5


# The probe's own client says so when it can't close a cursor of the database that was killed.
@pytest.mark.allows_log("MongoClient background task encountered an error")
@pytest.mark.timeout(600)
async def test_nothing_is_lost_and_nothing_false_is_shown(tmp_path: Path) -> None:
    verdict = await play(tmp_path, _SHORT_S, _SEED, 2, _QUICK, every_s=_EVERY_S)
    assert not verdict.faults
    assert verdict.counts["faults done"] >= 8
    assert verdict.counts["events acknowledged"] > 0
    assert verdict.counts["trades acknowledged"] > 0
    assert verdict.counts["books seen"] > 0


def test_a_seed_makes_the_whole_play() -> None:
    markets = ["BTCUSDT", "ETHUSDT"]
    faults = planned(7, 1800, markets, list(Kind))
    assert faults == planned(7, 1800, markets, list(Kind))
    assert faults != planned(8, 1800, markets, list(Kind))
    assert {fault.kind for fault in faults} == set(Kind)
    assert [fault.at_s for fault in faults] == sorted(fault.at_s for fault in faults)
    assert faults[-1].at_s < 1800


def event(first_id: int, final_id: int, event_ms: int, bid: str) -> bytes:
    fields = {"e": "depthUpdate", "E": event_ms, "U": first_id, "u": final_id}
    return json.dumps({**fields, "b": [[bid, "2"]], "a": []}).encode()


@pytest.fixture
def truth(tmp_path: Path) -> Truth:
    book = {"lastUpdateId": 10, "bids": [["100", "1"]], "asks": [["101", "1"]]}
    lines = [
        json.dumps({"market": "BTCUSDT", "book": book}).encode(),
        b"BTCUSDT 12 5000 " + event(11, 12, 5000, "99"),
        b"BTCUSDT 14 5100 " + event(13, 14, 5100, "98"),
        b"!BTCUSDT 14 5100 " + event(13, 14, 5100, "102"),
    ]
    (tmp_path / "truth").write_bytes(b"\n".join(lines) + b"\n")
    return read_truth(tmp_path / "truth")["BTCUSDT"]


def sighting(update_id: int, bids: SideLevels, asked_ms: int = 5200) -> Sighting:
    sides = (bids, [("101.0", "1.00")])
    return Sighting("BTCUSDT", update_id, asked_ms, "/api/book", packed(sides))


@pytest.mark.parametrize(
    ("seen", "problem"),
    [
        (sighting(10, [("100", "1")]), ""),
        (sighting(12, [("100.00", "1"), ("99", "2.0")]), ""),
        # Only the best levels, and after one that came later.
        (sighting(14, [("100", "1")]), ""),
        (sighting(14, [("100", "1"), ("98", "2")]), "its bids are not the true ones"),
        (sighting(12, [("100", "1"), ("99", "3")]), "its bids are not the true ones"),
        (sighting(13, [("100", "1")]), "no event ends there"),
        (sighting(14, [("102", "2"), ("100", "1")]), "its bids are not the true ones"),
        (sighting(12, [("100", "1")], asked_ms=60_000), "it was 55 s old"),
    ],
)
def test_a_false_book_is_seen(truth: Truth, seen: Sighting, problem: str) -> None:
    verdict = Verdict()
    judge_sightings(verdict, {"BTCUSDT": truth}, [seen])
    assert verdict.counts["books seen"] == 1
    assert [one.partition(": ")[2] for one in verdict.faults] == ([problem] if problem else [])


def test_a_recorder_may_have_been_sent_what_is_hostile(truth: Truth) -> None:
    hostile = truth.instead[14]
    assert truth.wire({}).payloads[14] == truth.payloads[14]
    deceived = truth.wire({14: hostile})
    assert deceived.payloads[14] == hostile
    # What it makes of that is held against the true book all the same.
    assert max(deceived.book_at(14).bids) == 100
    # Anything else is told as not what was sent.
    assert truth.wire({14: b"else"}).payloads[14] == truth.payloads[14]


def gap(cause: GapCause, from_ms: int = 100_000, to_ms: int = 101_000) -> Gap:
    return Gap(from_ms, to_ms, 1, 2, cause, "")


def happened(kind: Kind, begin_ms: int, market: str = "") -> Happened:
    return Happened(Fault(0.0, kind, market=market), begin_ms, begin_ms + 500)


@pytest.mark.parametrize(
    ("told", "faults", "is_true"),
    [
        (gap(GapCause.CRASH), [happened(Kind.KILL_RECORDER, 100_500)], True),
        (gap(GapCause.CRASH), [happened(Kind.KILL_VIEWER, 100_500)], False),
        (gap(GapCause.CRASH), [], False),
        (gap(GapCause.CRASH), [happened(Kind.KILL_RECORDER, 200_000)], False),
        (gap(GapCause.DISCONNECT), [happened(Kind.KILL_RECORDER, 100_500)], False),
        (gap(GapCause.FEED_GAP), [happened(Kind.DROP, 100_500, "BTCUSDT")], True),
        (gap(GapCause.FEED_GAP), [happened(Kind.DROP, 100_500, "ETHUSDT")], False),
        (gap(GapCause.MALFORMED), [happened(Kind.MALFORMED, 100_500, "ETHUSDT")], True),
        (gap(GapCause.SILENCE), [happened(Kind.SUSPEND_RECORDER, 100_500)], False),
        (gap(GapCause.USER), [happened(Kind.STEP_CLOCK, 100_500)], False),
    ],
)
def test_a_false_cause_is_seen(told: Gap, faults: list[Happened], is_true: bool) -> None:
    verdict = Verdict()
    judge_gaps(verdict, "BTCUSDT", [told], faults)
    assert verdict.gaps == {told.cause.value: 1}
    assert bool(verdict.faults) is not is_true


def test_a_bug_in_a_log_is_seen(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    log = tmp_path / "logs" / "production.log"
    verdict = Verdict()
    log.write_text("2026-11-29 22:38:25,032 88 WARNING a.b: full; its log:\nTraceback (of it)\n")
    judge_texts(verdict, tmp_path, ["Recording."])
    assert not verdict.faults
    log.write_text("2026-11-29 22:38:25,032 88 ERROR a.b: unexpected\nTraceback (ours)\n")
    judge_texts(verdict, tmp_path, ["Traceback (told)"])
    assert [one.partition(":")[0] for one in verdict.faults] == ["it said", "production.log has"]


def test_an_end_by_a_bug_is_seen() -> None:
    verdict = Verdict()
    judge_codes(verdict, "recorder", [0, -9, 1, 70, -11])
    assert verdict.faults == ["a recorder ended with 70", "a recorder ended with -11"]


def test_memory_that_grows_is_seen() -> None:
    verdict = Verdict()
    judge_memory(verdict, {"recorder": [100.0 + 0.2 * second for second in range(900)]})
    judge_memory(verdict, {"viewer": [100.0 + second % 20 for second in range(900)]})
    assert [fault.partition(" grew")[0] for fault in verdict.faults] == ["recorder"]
