from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from orderbook_desktop.core import depth_sync
from orderbook_desktop.core.depth_sync import (
    Applied,
    Buffered,
    Crossed,
    DepthSync,
    DiffOutcome,
    Implausible,
    MissingIds,
    Overflow,
    Readable,
    SnapshotCrossed,
    SnapshotTooOld,
    Stale,
    Synced,
    TooWide,
    Withheld,
)
from orderbook_desktop.core.events import (
    DepthDiff,
    DepthSnapshot,
    decode_diff,
    decode_snapshot,
    timed,
)
from tests.core.reference_book import (
    Change,
    ReferenceBook,
    TruthHistory,
    changes,
    diff_payload,
    shown,
    snapshot_payload,
)
from tests.examples import examples


def a_diff(first: int, last: int, *, bid: str = "1", quantity: str = "1") -> DepthDiff:
    return decode_diff(diff_payload([(bid, quantity)], [], first, last))


def a_snapshot(update_id: int) -> DepthSnapshot:
    return decode_snapshot(snapshot_payload([("9", "9")], [("10", "1")], update_id), "BTCUSDT")


class Interleavings(RuleBasedStateMachine):
    """An exchange that tells the truth, and a network that does what it likes with it."""

    def __init__(self) -> None:
        super().__init__()
        self.history = TruthHistory(first_id=100)
        self.history.changes.append(Change(bid=True, price="1.50000000", quantity="1.00000000"))
        self.published: list[DepthDiff] = []
        self.next_to_deliver = 0
        self.sync = DepthSync()
        self.reference = ReferenceBook()
        self.waiting: list[DepthDiff] = []
        self.covered: tuple[Decimal, Decimal] | None = None
        self.newest = 0
        self.refused = 0

    @rule(new=st.lists(changes(), min_size=1, max_size=4), overlap=st.sampled_from([0, 0, 0, 1, 3]))
    def publish(self, new: list[Change], overlap: int) -> None:
        first = max(self.history.last_id + 1 - overlap, self.history.first_id)
        self.history.changes.extend(new)
        self.published.append(decode_diff(self.history.diff(first, self.history.last_id)))

    @precondition(lambda self: self.next_to_deliver < len(self.published))
    @rule()
    def deliver_in_order(self) -> None:
        self.next_to_deliver += 1
        self.deliver(self.published[self.next_to_deliver - 1])

    @precondition(lambda self: self.next_to_deliver < len(self.published))
    @rule()
    def drop(self) -> None:
        self.next_to_deliver += 1

    @precondition(lambda self: self.published)
    @rule(data=st.data())
    def deliver_any(self, data: st.DataObject) -> None:
        self.deliver(data.draw(st.sampled_from(self.published)))

    @rule(data=st.data(), limit=st.sampled_from([2, 5000]))
    def deliver_any_snapshot(self, data: st.DataObject, limit: int) -> None:
        update_id = data.draw(st.integers(self.history.first_id, self.history.last_id))
        self.deliver_snapshot(update_id, limit)

    @precondition(lambda self: self.waiting)
    @rule(past=st.integers(-2, 3))
    def deliver_snapshot_near_the_buffer(self, past: int) -> None:
        update_id = min(diff.first_id for diff in self.waiting) + past
        last = self.history.last_id
        self.deliver_snapshot(min(max(update_id, self.history.first_id), last), 5000)

    @rule()
    def break_stream(self) -> None:
        self.sync.stream_broken()
        self.waiting = []

    @rule()
    def recover(self) -> None:
        """After any past, all later events in order and a new snapshot give the book."""
        if not self.sync.synced:
            self.deliver_snapshot(self.history.last_id, 5000)
            assert self.sync.synced is not self.history.book_at(self.history.last_id).is_crossed
        if self.sync.synced:
            assert not self.reference.is_crossed

    def deliver(self, diff: DepthDiff) -> None:
        self.newest = max(self.newest, diff.final_id)
        last = self.sync.book.last_update_id
        was_synced = self.sync.synced
        outcomes = self.sync.receive_diff(diff)
        if not was_synced:
            assert outcomes == [Buffered(diff)]
        elif diff.final_id <= last:
            assert outcomes == [Stale(diff)]
        elif diff.first_id <= last + 1:
            if self.reference.take(diff.payload).is_crossed:
                assert isinstance(outcomes[0], Crossed)
                assert outcomes[1:] == [Buffered(diff)]
            else:
                assert outcomes == [Applied(diff)]
                assert self.sync.book.last_update_id == diff.final_id
        else:
            assert outcomes == [MissingIds(last + 1, diff.first_id - 1), Buffered(diff)]
        if not self.sync.synced:
            self.waiting.append(diff)

    def deliver_snapshot(self, update_id: int, limit: int) -> None:
        snapshot = decode_snapshot(self.history.snapshot(update_id, limit), "BTCUSDT")
        bids, asks = self.history.book_at(update_id).levels
        outcomes = self.sync.receive_snapshot(snapshot)
        earliest = min((diff.first_id for diff in self.waiting), default=0)
        if self.waiting and update_id < earliest - 1:
            assert outcomes == [SnapshotTooOld(update_id, earliest)]
            self.refused += 1
            return
        if not self.waiting and update_id < self.newest and self.refused < 3:
            assert outcomes == [SnapshotTooOld(update_id, self.newest)]
            self.refused += 1
            return
        self.refused = 0
        if self.reference.take(snapshot.payload).is_crossed:
            assert [type(outcome) for outcome in outcomes] == [SnapshotCrossed]
            self.newest = update_id
            return
        assert outcomes[0] == Synced(snapshot)
        self.newest = max([update_id, *(diff.final_id for diff in self.waiting)])
        # Beyond the last of its levels, a limited snapshot tells nothing.
        self.covered = (
            bids[limit - 1][0] if len(bids) > limit else Decimal(0),
            asks[limit - 1][0] if len(asks) > limit else Decimal("Infinity"),
        )
        self.settle_waiting(update_id, outcomes[1:])

    def settle_waiting(self, last: int, outcomes: list[depth_sync.SnapshotOutcome]) -> None:
        waiting = sorted(self.waiting, key=lambda diff: (diff.first_id, diff.final_id))
        self.waiting = []
        expected: list[depth_sync.SnapshotOutcome] = []
        for position, diff in enumerate(waiting):
            if diff.final_id <= last:
                expected.append(Stale(diff))
            elif diff.first_id > last + 1:
                expected.append(MissingIds(last + 1, diff.first_id - 1))
                self.waiting = waiting[position:]
                break
            elif self.reference.take(diff.payload).is_crossed:
                (crossed,) = outcomes[len(expected) :]
                assert isinstance(crossed, Crossed)
                expected.append(crossed)
                self.waiting = waiting[position:]
                break
            else:
                expected.append(Applied(diff))
                last = diff.final_id
        assert outcomes == expected

    @invariant()
    def the_book_is_true_or_empty(self) -> None:
        assert self.sync.wants_snapshot is not self.sync.synced
        bids, asks = shown(self.sync.book)
        if not self.sync.synced:
            assert (bids, asks) == ([], [])
            assert self.sync.book.last_update_id == 0
            return
        assert self.covered is not None
        true_bids, true_asks = self.history.book_at(self.sync.book.last_update_id).levels
        lowest, highest = self.covered
        assert [level for level in true_bids if level[0] >= lowest] == [
            level for level in bids if level[0] >= lowest
        ]
        assert [level for level in true_asks if level[0] <= highest] == [
            level for level in asks if level[0] <= highest
        ]
        assert set(bids) <= set(true_bids)
        assert set(asks) <= set(true_asks)


Interleavings.TestCase.settings = examples(200, stateful_step_count=40)
TestInterleavings = Interleavings.TestCase


@pytest.mark.parametrize(
    ("snapshot_id", "expected"),
    [
        (8, [SnapshotTooOld(8, 10)]),
        (9, [Synced, Applied, Applied]),
        (10, [Synced, Applied, Applied]),
        (14, [Synced, Applied, Applied]),
        (15, [Synced, Stale, Applied]),
        (20, [Synced, Stale, Stale]),
        (25, [Synced, Stale, Stale]),
    ],
)
def test_snapshot_against_what_waits(snapshot_id: int, expected: list[object]) -> None:
    sync = DepthSync()
    later, earlier = a_diff(16, 20, quantity="2"), a_diff(10, 15)
    assert sync.receive_diff(later) == [Buffered(later)]
    assert sync.receive_diff(earlier) == [Buffered(earlier)]
    outcomes = sync.receive_snapshot(a_snapshot(snapshot_id))
    if isinstance(expected[0], SnapshotTooOld):
        assert outcomes == expected
        assert sync.wants_snapshot
        assert shown(sync.book) == ([], [])
        # What waits goes on waiting for a newer one.
        assert len(sync.receive_snapshot(a_snapshot(9))) == 3
        return
    assert [type(outcome) for outcome in outcomes] == expected
    assert sync.book.last_update_id == max(20, snapshot_id)


def test_gap_among_what_waits_is_named_and_the_rest_waits_on() -> None:
    sync = DepthSync()
    for first, last in ((10, 11), (14, 15), (16, 17)):
        sync.receive_diff(a_diff(first, last))
    outcomes = sync.receive_snapshot(a_snapshot(9))
    assert [type(outcome) for outcome in outcomes] == [Synced, Applied, MissingIds]
    assert outcomes[-1] == MissingIds(12, 13)
    assert sync.wants_snapshot
    assert shown(sync.book) == ([], [])
    again = sync.receive_snapshot(a_snapshot(13))
    assert [type(outcome) for outcome in again] == [Synced, Applied, Applied]
    assert sync.book.last_update_id == 17


def test_what_waits_is_ordered_by_where_it_begins() -> None:
    sync = DepthSync()
    inner, outer = a_diff(8, 10), a_diff(5, 12)
    sync.receive_diff(inner)
    sync.receive_diff(outer)
    snapshot = a_snapshot(4)
    assert sync.receive_snapshot(snapshot) == [Synced(snapshot), Applied(outer), Stale(inner)]


def test_gap_empties_the_book_and_changes_its_revision() -> None:
    sync = DepthSync()
    sync.receive_snapshot(a_snapshot(9))
    revision = sync.book.revision
    late = a_diff(12, 13)
    assert sync.receive_diff(late) == [MissingIds(10, 11), Buffered(late)]
    assert shown(sync.book) == ([], [])
    assert sync.book.revision > revision


def crossing_diff(first: int, last: int, bid: str = "10") -> DepthDiff:
    return decode_diff(diff_payload([(bid, "1")], [], first, last))


@pytest.mark.parametrize("bid", ["10", "10.00000000", "10.00000001", "9999999999.00000001"])
def test_a_bid_that_reaches_the_ask_ends_what_is_known(bid: str) -> None:
    sync = DepthSync()
    sync.receive_snapshot(a_snapshot(5))
    crossing = crossing_diff(6, 8, bid)
    crossed, waiting = sync.receive_diff(crossing)
    assert str(crossed).startswith("At update id 8 the best bid ")
    assert str(crossed).endswith(" reaches the best ask 10.")
    assert waiting == Buffered(crossing)
    assert sync.wants_snapshot
    assert shown(sync.book) == ([], [])
    # A book that contains the event, or in which the crossing is no more, is a new beginning.
    assert sync.receive_snapshot(a_snapshot(8)) == [Synced(a_snapshot(8)), Stale(crossing)]


def test_a_crossing_within_one_event_is_none() -> None:
    sync = DepthSync()
    sync.receive_snapshot(a_snapshot(5))
    # The ask at 10 goes as the bid comes: no book had both.
    swept = decode_diff(diff_payload([("10.5", "1")], [("10", "0"), ("11", "2")], 6, 9))
    assert sync.receive_diff(swept) == [Applied(swept)]
    back = decode_diff(diff_payload([("10.5", "0")], [("9.5", "1")], 10, 10))
    assert sync.receive_diff(back) == [Applied(back)]


def test_a_crossed_snapshot_is_refused_and_what_waits_goes_on_waiting() -> None:
    sync = DepthSync()
    later = a_diff(6, 7)
    sync.receive_diff(later)
    crossed = decode_snapshot(snapshot_payload([("10", "1")], [("10", "3")], 5), "BTCUSDT")
    (refused,) = sync.receive_snapshot(crossed)
    assert str(refused) == (
        "In the book as of update id 5 the best bid 10 reaches the best ask 10."
    )
    assert sync.wants_snapshot
    assert sync.book.last_update_id == 0
    assert sync.receive_snapshot(a_snapshot(5)) == [Synced(a_snapshot(5)), Applied(later)]


def test_an_event_that_waited_and_crosses_the_book_ends_it_and_the_rest_waits_on() -> None:
    sync = DepthSync()
    for diff in (a_diff(6, 6), crossing_diff(7, 7), a_diff(8, 8)):
        sync.receive_diff(diff)
    outcomes = sync.receive_snapshot(a_snapshot(5))
    assert [type(outcome) for outcome in outcomes] == [Synced, Applied, Crossed]
    assert sync.wants_snapshot
    again = sync.receive_snapshot(a_snapshot(7))
    assert [type(outcome) for outcome in again] == [Synced, Stale, Applied]


def absurd_diff(first: int, final: int) -> DepthDiff:
    payload = diff_payload([("1", "1")], [], first, final)
    return decode_diff(payload.replace(b"%d" % (1_700_000_000_000 + final), b"1700000000000"))


@pytest.mark.parametrize(
    ("first", "final"),
    [
        (2**63 - 9, 2**63 - 1),
        (10_000_007, 10_000_007),
        (2**53, 2**53),
    ],
)
def test_ids_that_cannot_follow_are_not_used(first: int, final: int) -> None:
    absurd = absurd_diff(first, final)
    sync = DepthSync()
    sync.receive_snapshot(a_snapshot(5), 1_700_000_000_000)
    (outcome,) = sync.receive_diff(absurd)
    assert str(outcome) == f"Update id {final} can't follow update id 5."
    assert sync.wants_snapshot
    assert shown(sync.book) == ([], [])
    # The true ones that follow are believed.
    sync.receive_snapshot(a_snapshot(6))
    following = a_diff(7, 7)
    assert sync.receive_diff(following) == [Applied(following)]


def test_ids_may_go_on_a_million_a_second() -> None:
    later = timed(a_diff(70_000_000, 70_000_000), 1_700_000_060_000)
    sync = DepthSync()
    sync.receive_snapshot(a_snapshot(5), 1_700_000_000_000)
    assert sync.receive_diff(later) == [MissingIds(6, 69_999_999), Buffered(later)]
    # A minute holds no more than this.
    beyond = timed(a_diff(70_000_006, 70_000_006), 1_700_000_060_000)
    sync = DepthSync()
    sync.receive_snapshot(a_snapshot(5), 1_700_000_000_000)
    assert sync.receive_diff(beyond) == [Implausible(beyond, 5)]


def test_ids_far_below_a_book_say_that_one_of_the_two_is_wrong() -> None:
    sync = DepthSync()
    sync.receive_snapshot(a_snapshot(2**63 - 1))
    low = a_diff(100, 101)
    assert sync.receive_diff(low) == [Implausible(low, 2**63 - 1)]
    assert sync.wants_snapshot
    waiting = a_diff(102, 102)
    assert sync.receive_diff(waiting) == [Buffered(waiting)]
    assert sync.receive_snapshot(a_snapshot(101)) == [Synced(a_snapshot(101)), Applied(waiting)]


def synced_through(final: int) -> DepthSync:
    """Return a synchroniser whose book comes from a snapshot and one event, at the second 100."""
    sync = DepthSync()
    sync.receive_snapshot(a_snapshot(1000))
    event = timed(a_diff(1001, final), 100_000)
    assert sync.receive_diff(event) == [Applied(event)]
    return sync


@pytest.mark.parametrize(("final", "first"), [(1001, 1), (1001, 985), (9_000_001, 1002)])
def test_events_that_go_on_below_the_book_end_it(final: int, first: int) -> None:
    # The ids have begun anew, or one event came too far ahead: else the book would stay as it is.
    sync = synced_through(final)
    below = [timed(a_diff(first + at, first + at), 100_001 + at) for at in range(10)]
    outcomes = [outcome for one in below for outcome in sync.receive_diff(one)]
    assert outcomes[:-1] == [Stale(one) for one in below[:-1]]
    assert outcomes[-1] == Implausible(below[-1], final)
    assert sync.wants_snapshot
    assert shown(sync.book) == ([], [])
    # The exchange's own book is believed, be it far below.
    base = a_snapshot(below[-1].final_id)
    following = timed(a_diff(base.last_update_id + 1, base.last_update_id + 1), 300_000)
    assert sync.receive_snapshot(base) == [Synced(base)]
    assert sync.receive_diff(following) == [Applied(following)]


def test_what_comes_twice_or_late_contradicts_nothing() -> None:
    sync = synced_through(1010)
    late = [timed(a_diff(one, one), 99_000 + one) for one in range(900, 1000)]
    again = [timed(a_diff(1001, 1010), 100_000) for _ in range(20)]
    for diff in (*late, *again):
        assert sync.receive_diff(diff) == [Stale(diff)]
    # Nor do some of another recorder's between those that go on.
    for final in range(1011, 1051):
        following = timed(a_diff(final, final), 100_000 + final)
        inside = timed(a_diff(final, final), 100_050 + final)
        assert sync.receive_diff(following) == [Applied(following)]
        assert sync.receive_diff(inside) == [Stale(inside)]


def test_a_stream_that_is_behind_the_snapshot_contradicts_nothing() -> None:
    sync = DepthSync()
    sync.receive_snapshot(a_snapshot(1000))
    for final in range(900, 1001):
        behind = timed(a_diff(final, final), 100_000 + final)
        assert sync.receive_diff(behind) == [Stale(behind)]


def test_a_snapshot_far_beyond_what_waits_is_refused() -> None:
    sync = DepthSync()
    waiting = a_diff(6, 6)
    sync.receive_diff(waiting)
    (refused,) = sync.receive_snapshot(a_snapshot(2**62), 1_700_000_000_000)
    assert str(refused) == f"A book as of update id {2**62} can't follow update id 6."
    assert sync.wants_snapshot
    assert sync.receive_snapshot(a_snapshot(5)) == [Synced(a_snapshot(5)), Applied(waiting)]


def test_an_absurd_first_event_is_found_by_the_snapshot() -> None:
    sync = DepthSync()
    absurd = absurd_diff(2**60, 2**60)
    assert sync.receive_diff(absurd) == [Buffered(absurd)]
    first = a_diff(6, 6)
    # Which of the two is wrong can't be told yet.
    assert sync.receive_diff(first) == [Implausible(first, 2**60)]
    second = a_diff(7, 7)
    sync.receive_diff(second)
    assert sync.receive_snapshot(a_snapshot(6)) == [Synced(a_snapshot(6)), Applied(second)]


def test_an_absurd_event_that_waits_alone_holds_up_nothing_for_long() -> None:
    sync = DepthSync()
    absurd = absurd_diff(2**60, 2**60)
    sync.receive_diff(absurd)
    assert sync.receive_snapshot(a_snapshot(5)) == [SnapshotTooOld(5, 2**60)]
    later = a_diff(6, 6)
    assert sync.receive_diff(later) == [Implausible(later, 2**60)]
    assert sync.receive_snapshot(a_snapshot(6)) == [Synced(a_snapshot(6))]


def test_broken_stream_forgets_what_waited() -> None:
    sync = DepthSync()
    sync.receive_diff(a_diff(10, 11))
    sync.stream_broken()
    assert sync.receive_snapshot(a_snapshot(11)) == [Synced(a_snapshot(11))]


def test_a_snapshot_replaces_a_synced_book() -> None:
    sync = DepthSync()
    sync.receive_snapshot(a_snapshot(5))
    sync.receive_diff(a_diff(6, 6, bid="3"))
    sync.receive_snapshot(a_snapshot(7))
    assert shown(sync.book) == ReferenceBook().take(a_snapshot(7).payload).levels


def test_waiting_events_are_bounded_and_the_oldest_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(depth_sync, "_BUFFERED_AT_MOST", 2)
    sync = DepthSync()
    diffs = [a_diff(first, first) for first in (10, 11, 12)]
    outcomes: list[DiffOutcome] = []
    for diff in diffs:
        outcomes.extend(sync.receive_diff(diff))
    assert outcomes == [*(Buffered(diff) for diff in diffs), Overflow(diffs[0])]
    # The event let go is missing, so a snapshot from before it is too old.
    assert sync.receive_snapshot(a_snapshot(9)) == [SnapshotTooOld(9, 11)]


def test_a_snapshot_from_before_the_stream_broke_is_taken_for_stale() -> None:
    sync = DepthSync()
    sync.receive_snapshot(a_snapshot(9))
    sync.receive_diff(a_diff(10, 11))
    sync.stream_broken()
    assert sync.receive_snapshot(a_snapshot(10)) == [SnapshotTooOld(10, 11)]
    assert not sync.synced
    assert sync.receive_snapshot(a_snapshot(11)) == [Synced(a_snapshot(11))]


def test_a_source_whose_ids_began_anew_is_believed_in_the_end() -> None:
    sync = DepthSync()
    sync.receive_diff(a_diff(10, 11))
    sync.stream_broken()
    for _ in range(3):
        assert sync.receive_snapshot(a_snapshot(5)) == [SnapshotTooOld(5, 11)]
    assert sync.receive_snapshot(a_snapshot(5)) == [Synced(a_snapshot(5))]
    sync.stream_broken()
    assert sync.receive_snapshot(a_snapshot(6)) == [Synced(a_snapshot(6))]


WIDE, DUST = "93000000000.00000000", "0.12345678"


def kinds(outcomes: Sequence[object]) -> list[type]:
    return [type(outcome) for outcome in outcomes]


def test_a_value_too_wide_is_told_once_and_the_book_goes_on_without_a_snapshot() -> None:
    sync = DepthSync()
    sync.receive_snapshot(a_snapshot(10))
    sync.receive_diff(a_diff(11, 11, bid="8", quantity=DUST))
    (outcome,) = sync.receive_diff(a_diff(12, 12, bid="7", quantity=WIDE))
    assert isinstance(outcome, TooWide)
    assert str(outcome) == (
        "At update id 12 the value 93000000000 does not fit exactly into 64 bits beside 0.12345678."
    )
    assert (sync.synced, sync.withheld, sync.wants_snapshot) == (False, True, False)
    assert kinds(sync.receive_diff(a_diff(13, 13, bid="6"))) == [Withheld]
    assert kinds(sync.receive_diff(a_diff(13, 13, bid="6"))) == [Stale]
    (outcome,) = sync.receive_diff(a_diff(14, 14, bid="7", quantity="0"))
    assert isinstance(outcome, Readable)
    assert (sync.synced, sync.withheld) == (True, False)
    assert shown(sync.book)[0] == [
        (Decimal(price), Decimal(quantity))
        for price, quantity in (("9", "9"), ("8", DUST), ("6", "1"))
    ]
    assert (outcome.image.last_update_id, len(outcome.image.bids.prices)) == (14, 3)
    assert kinds(sync.receive_diff(a_diff(15, 15))) == [Applied]


def test_a_snapshot_too_wide_is_the_book_all_the_same() -> None:
    sync = DepthSync()
    levels = [("9", WIDE), ("8", DUST)]
    wide = decode_snapshot(snapshot_payload(levels, [("10", "1")], 10), "BTCUSDT")
    sync.receive_diff(a_diff(11, 11))
    (first, second) = sync.receive_snapshot(wide)
    assert isinstance(first, TooWide)
    assert "At update id 10 " in str(first)
    assert isinstance(second, Withheld)
    assert not sync.wants_snapshot
    assert kinds(sync.receive_diff(a_diff(12, 12, bid="9", quantity="1"))) == [Readable]


def test_ids_and_crossings_are_watched_while_the_book_is_too_wide() -> None:
    def too_wide() -> DepthSync:
        sync = DepthSync()
        sync.receive_snapshot(a_snapshot(10))
        sync.receive_diff(a_diff(11, 11, bid="8", quantity=DUST))
        sync.receive_diff(a_diff(12, 12, bid="7", quantity=WIDE))
        return sync

    sync = too_wide()
    assert kinds(sync.receive_diff(a_diff(14, 14))) == [MissingIds, Buffered]
    assert sync.wants_snapshot
    sync = too_wide()
    assert kinds(sync.receive_diff(a_diff(13, 13, bid="11"))) == [Withheld]
    assert kinds(sync.receive_diff(a_diff(14, 14, bid="7", quantity="0"))) == [Crossed, Buffered]
    sync = too_wide()
    sync.stream_broken()
    assert (sync.withheld, sync.wants_snapshot) == (False, True)


def test_a_value_that_comes_and_goes_makes_no_storm() -> None:
    sync = DepthSync()
    sync.receive_snapshot(a_snapshot(10))
    sync.receive_diff(a_diff(11, 11, bid="8", quantity=DUST))
    seen: list[type] = []
    for at in range(12, 5012):
        quantity = WIDE if at % 4 == 0 else "0"
        seen += kinds(sync.receive_diff(a_diff(at, at, bid="7", quantity=quantity)))
    assert seen.count(TooWide) == 2
    assert seen.count(Readable) == 1
    # Once the value stays away the book is readable again, and a later one is the first again.
    for at in range(5012, 6800):
        seen += kinds(sync.receive_diff(a_diff(at, at)))
    assert seen.count(Readable) == 2
    assert sync.synced
    assert kinds(sync.receive_diff(a_diff(6800, 6800, bid="7", quantity=WIDE))) == [TooWide]
    assert kinds(sync.receive_diff(a_diff(6801, 6801, bid="7", quantity="0"))) == [Readable]
