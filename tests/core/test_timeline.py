from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from orderbook_desktop.core.segments import GapCause, Segment
from orderbook_desktop.core.timeline import Cover, Gap, LooseEnd, Timeline, timeline_of
from orderbook_desktop.core.units import Scale


def segment(
    snapshot_id: int,
    last_id: int,
    from_ms: int,
    to_ms: int,
    cause: GapCause | None = GapCause.USER,
    detail: str = "",
) -> Segment:
    count = int(last_id > snapshot_id)
    first = snapshot_id + 1
    return Segment(
        *("BTCUSDT", snapshot_id, first, last_id, from_ms, to_ms, count, Scale(), cause, detail)
    )


def of(*segments: Segment, loose_end: LooseEnd | None = None) -> Timeline:
    return timeline_of(((f"s{number}", one) for number, one in enumerate(segments)), loose_end)


def test_nothing_recorded() -> None:
    nothing = of()
    assert nothing == Timeline((), ())
    assert (nothing.from_ms, nothing.to_ms, nothing.covered_ms, nothing.gap_ms) == (0, 0, 0, 0)
    assert nothing.at(0) is None
    assert nothing.between(None, None) == nothing


def test_a_gap_tells_its_ids_its_time_and_its_cause() -> None:
    found = of(
        segment(100, 200, 1_000, 2_000, GapCause.DISCONNECT, "reset by peer"),
        segment(250, 300, 5_000, 6_000),
    )
    gap = Gap(2_000, 5_000, 201, 250, GapCause.DISCONNECT, "reset by peer")
    assert found.gaps == (gap,)
    assert found.covers == (
        Cover("s0", 100, 200, 1_000, 2_000),
        Cover("s1", 250, 300, 5_000, 6_000),
    )
    assert (found.covered_ms, found.gap_ms) == (2_000, 3_000)
    assert gap.sentence == "the connection to the exchange was lost (reset by peer)"
    assert replace(gap, detail="reset by peer.").sentence == gap.sentence
    assert replace(gap, detail="").sentence == "the connection to the exchange was lost"
    assert gap.account == f"{gap.sentence}; the book is not known at update ids 201 to 250"
    one = replace(gap, last_missing=201)
    assert one.account == f"{gap.sentence}; the book is not known at update id 201"


def test_ids_that_the_stream_left_out_are_said_once() -> None:
    """Up to the next snapshot more ids are missing than the stream left out."""
    noted = "Update ids 201 to 204 are missing."
    gap = Gap(2_000, 5_000, 201, 250, GapCause.FEED_GAP, noted)
    assert gap.account == (
        "the exchange's stream left out update ids; the book is not known at update ids 201 to 250"
    )


def test_what_follows_without_a_missing_id_is_no_gap() -> None:
    """Nothing happened between them: the last book stood until the next event."""
    found = of(segment(100, 200, 1_000, 2_000), segment(200, 300, 5_000, 6_000))
    assert not found.gaps
    assert found.covers[1] == Cover("s1", 200, 300, 2_000, 6_000, continues=True)


def test_a_second_recorder_inside_the_first_adds_nothing() -> None:
    found = of(segment(100, 300, 1_000, 3_000), segment(150, 300, 1_500, 3_000))
    assert found.covers == (Cover("s0", 100, 300, 1_000, 3_000),)


def test_a_second_recorder_goes_on_where_the_first_ends() -> None:
    found = of(
        segment(100, 300, 1_000, 3_000, GapCause.CRASH),
        segment(150, 400, 1_500, 4_000, GapCause.SILENCE),
        segment(450, 500, 4_500, 5_000),
    )
    assert found.covers[1] == Cover("s1", 300, 400, 3_000, 4_000, continues=True)
    assert found.gaps == (Gap(4_000, 4_500, 401, 450, GapCause.SILENCE, ""),)


def test_one_that_nobody_has_closed_left_by_a_crash() -> None:
    found = of(segment(100, 200, 1_000, 2_000, None), segment(250, 300, 5_000, 6_000))
    assert found.gaps[0].cause is GapCause.CRASH
    assert "not been closed" in found.gaps[0].detail


def test_segments_without_events_cover_nothing() -> None:
    found = of(
        segment(100, 200, 1_000, 2_000, GapCause.OVERFLOW),
        segment(220, 220, 3_000, 3_000, GapCause.CRASH),
        segment(250, 300, 5_000, 6_000),
    )
    assert [cover.segment_id for cover in found.covers] == ["s0", "s2"]
    assert found.gaps == (Gap(2_000, 5_000, 201, 250, GapCause.OVERFLOW, ""),)


def test_times_that_go_back_make_gaps_without_length() -> None:
    found = of(
        segment(100, 200, 5_000, 6_000, GapCause.FEED_GAP),
        segment(250, 300, 1_000, 2_000),
        segment(350, 400, 1_500, 7_000),
    )
    assert found.gaps[0] == Gap(6_000, 6_000, 201, 250, GapCause.FEED_GAP, "")
    assert found.covers[1] == Cover("s1", 250, 300, 6_000, 6_000)
    assert found.covers[2] == Cover("s2", 350, 400, 6_000, 7_000)


def test_what_an_instant_falls_into() -> None:
    found = of(
        segment(100, 200, 1_000, 2_000),
        segment(250, 300, 5_000, 6_000),
        segment(300, 301, 1, 7_000),
    )
    assert found.at(999) is None
    assert found.at(1_000) == found.at(2_000) == found.covers[0]
    assert found.at(2_001) == found.at(4_999) == found.gaps[0]
    assert found.at(5_000) == found.at(5_999) == found.covers[1]
    assert found.at(6_000) == found.at(7_000) == found.covers[2]
    assert found.at(7_001) is None


def test_a_part_of_it() -> None:
    found = of(
        segment(100, 200, 1_000, 2_000),
        segment(250, 300, 5_000, 6_000),
        segment(350, 400, 8, 9_000),
    )
    part = found.between(1_500, 5_500)
    assert [(cover.from_ms, cover.to_ms) for cover in part.covers] == [
        (1_500, 2_000),
        (5_000, 5_500),
    ]
    assert [(gap.from_ms, gap.to_ms) for gap in part.gaps] == [(2_000, 5_000)]
    assert found.between(None, 2_000).gaps == ()
    assert found.between(3_000, 4_000).covers == ()
    assert [cover.to_ms for cover in found.between(2_000, 4_000).covers] == [2_000]
    # A gap without length is part of the time that it lies in.
    assert found.between(6_000, None).gaps == found.gaps[1:]
    assert found.between(None, None) == found


def test_what_is_not_covered_lies_between_the_covers() -> None:
    covers = (
        Cover("a", 0, 9, 100, 200),
        Cover("b", 9, 20, 200, 300, True),
        Cover("c", 30, 40, 350, 400),
    )
    timeline = Timeline(covers, ())
    assert timeline.uncovered(100, 401) == [(300, 350)]
    assert timeline.uncovered(50, 500) == [(50, 100), (300, 350), (400, 500)]
    assert Timeline((), ()).uncovered(1, 9) == [(1, 9)]


def test_what_no_segment_follows_is_a_gap() -> None:
    one = segment(100, 200, 1_000, 2_000, GapCause.SILENCE, "so")
    found = of(one, loose_end=LooseEnd(230, 2_500))
    assert found.gaps == (Gap(2_000, 2_500, 201, 230, GapCause.SILENCE, "so"),)
    assert (found.from_ms, found.to_ms) == (1_000, 2_500)
    assert found.at(2_000) == found.covers[0]
    assert found.at(2_001) == found.at(2_500) == found.gaps[0]
    assert found.at(2_501) is None
    part = found.between(2_100, 2_400)
    assert (part.from_ms, part.to_ms, part.gap_ms) == (2_100, 2_400, 300)
    # Where the clock went back it has no length.
    back = of(one, loose_end=LooseEnd(230, 1_500))
    assert (back.gaps[0].from_ms, back.gaps[0].to_ms, back.to_ms) == (2_000, 2_000, 2_000)


def test_what_lies_within_segments_or_before_the_end_of_one_is_no_gap() -> None:
    one = segment(100, 200, 1_000, 2_000)
    assert of(one, loose_end=LooseEnd(200, 9_000)) == of(one)
    running = segment(100, 200, 1_000, 2_000, None)
    assert of(running, loose_end=LooseEnd(230, 2_500)) == of(running)
    assert of(loose_end=LooseEnd(230, 2_500)) == Timeline((), ())


causes = st.one_of(st.none(), st.sampled_from(GapCause))


@st.composite
def segments(draw: st.DrawFn) -> list[Segment]:
    """Any segments: overlapping, nested, empty, with times that go anywhere."""
    found = []
    for _ in range(draw(st.integers(0, 8))):
        snapshot_id, length = draw(st.integers(0, 60)), draw(st.integers(0, 20))
        times = draw(st.integers(0, 1_000)), draw(st.integers(0, 1_000))
        found.append(segment(snapshot_id, snapshot_id + length, *times, draw(causes)))
    return found


loose_ends = st.one_of(
    st.none(), st.builds(LooseEnd, last_id=st.integers(0, 100), to_ms=st.integers(0, 1_200))
)


@given(segments(), loose_ends)
def test_every_millisecond_is_covered_or_a_gap(
    recorded: list[Segment], loose_end: LooseEnd | None
) -> None:
    found = of(*recorded, loose_end=loose_end)
    pieces: list[Cover | Gap] = sorted(
        [*found.covers, *found.gaps],
        key=lambda one: one.last_id if isinstance(one, Cover) else one.last_missing,
    )
    at = found.from_ms
    for piece in pieces:
        assert piece.from_ms == at
        assert piece.to_ms >= at
        at = piece.to_ms
    assert at == found.to_ms
    assert found.covered_ms + found.gap_ms == found.to_ms - found.from_ms
    if not pieces:
        return
    assert isinstance(pieces[0], Cover)
    assert isinstance(pieces[-1], Cover) or loose_end is not None
    for instant in range(found.from_ms, found.to_ms + 1, 7):
        piece_then = found.at(instant)
        assert piece_then is not None
        assert piece_then.from_ms <= instant <= piece_then.to_ms


@given(segments())
def test_every_update_id_is_in_one_cover_or_one_gap(recorded: list[Segment]) -> None:
    found = of(*recorded)
    ids = [
        *(
            update_id
            for one in found.covers
            for update_id in range(one.after_id + 1, one.last_id + 1)
        ),
        *(
            update_id
            for one in found.gaps
            for update_id in range(one.first_missing, one.last_missing + 1)
        ),
    ]
    assert sorted(ids) == list(range(min(ids, default=0), max(ids, default=-1) + 1))
    known = {
        update_id for one in recorded for update_id in range(one.snapshot_id + 1, one.last_id + 1)
    }
    missing = {
        update_id
        for one in found.gaps
        for update_id in range(one.first_missing, one.last_missing + 1)
    }
    assert not known & missing
    assert known <= set(ids)


@given(segments())
def test_a_cover_is_of_a_segment_that_has_its_events(recorded: list[Segment]) -> None:
    by_id = {f"s{number}": one for number, one in enumerate(recorded)}
    for cover in of(*recorded).covers:
        one = by_id[cover.segment_id]
        assert one.snapshot_id <= cover.after_id < cover.last_id == one.last_id
        assert cover.continues or cover.after_id == one.snapshot_id


@given(segments(), loose_ends, st.integers(0, 1_000), st.integers(0, 1_000))
def test_a_part_is_covered_or_a_gap_too(
    recorded: list[Segment], loose_end: LooseEnd | None, one: int, other: int
) -> None:
    found = of(*recorded, loose_end=loose_end)
    begin, end = sorted((one, other))
    part = found.between(begin, end)
    inside = max(0, min(end, found.to_ms) - max(begin, found.from_ms))
    assert part.covered_ms + part.gap_ms == inside
