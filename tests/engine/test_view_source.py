"""A view shows the recorded book unless it can't be had, and never a book from before a gap."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from orderbook_desktop.core.book import Book
from orderbook_desktop.core.checkpoint import BookImage, image_of
from orderbook_desktop.core.events import decode_snapshot
from orderbook_desktop.core.status import FeedState, FeedStatus, SourceKind
from orderbook_desktop.engine.view_source import (
    AWAY_AFTER_NS,
    LATE_AFTER_NS,
    LATE_FOR_NS,
    ViewSource,
)

_SYNCED = FeedState.SYNCED
_GOOD_TIME_MS = 1_700_000_000_000


class FakeFeed:
    """A feed whose book ends where the test says."""

    def __init__(self, kind: SourceKind) -> None:
        self.book = Book()
        self.last: BookImage | None = None
        self.base_id = 0
        self.status = FeedStatus(FeedState.SYNCING, kind)
        self.changed: Callable[[], None] = lambda: None
        self._kind = kind

    def be(self, last_id: int, *, base_id: int = 100, at_ms: int = 0) -> None:
        """Be in step with a book that ends at `last_id`, `at_ms` after the good time."""
        self.status = FeedStatus(_SYNCED, self._kind, 1)
        self.base_id = base_id
        text = json.dumps({"lastUpdateId": last_id, "bids": [["1", "1"]], "asks": [["2", "1"]]})
        self.book.load(decode_snapshot(text.encode(), "BTCUSDT", _GOOD_TIME_MS + at_ms))
        self.last = None
        self.changed()

    def lose(self, state: FeedState = FeedState.RECONNECTING) -> None:
        """Lose the book."""
        self.status = FeedStatus(state, self._kind, 1, "The connection broke off.")
        self.base_id = 0
        self.last = image_of(self.book, "BTCUSDT")
        self.book.clear()
        self.changed()


class Scene:
    """A view on two fake feeds, with a database and a clock that the test controls."""

    def __init__(self) -> None:
        self.live = FakeFeed(SourceKind.DIRECT)
        self.recorded = FakeFeed(SourceKind.MONGO)
        self.problem = ""
        self.recording = True
        self.now_ns = 10**12
        self.ns_a_reading = 0
        self.kind = SourceKind.MONGO
        self.view = ViewSource(
            self.live,
            self.recorded,
            database_problem=lambda: self.problem,
            is_recording=lambda: self.recording,
            now_ns=self._read_clock,
        )
        self.live.changed = self.recorded.changed = self.view.feeds_moved

    def _read_clock(self) -> int:
        now_ns, self.now_ns = self.now_ns, self.now_ns + self.ns_a_reading
        return now_ns

    def set_recording(self, wanted: bool) -> None:
        self.recording = wanted
        self.view.recording_changed()

    def pass_time(self, ns: int) -> None:
        """Let time pass while nothing happens, not even a look at the view."""
        self.now_ns += ns

    @property
    def shown(self) -> tuple[SourceKind, FeedState]:
        """Return the source of the book on screen, and its state."""
        look = self.view.look(self.kind)
        shows_live = look.book is self.live.book
        assert shows_live or look.book is self.recorded.book
        status = look.status
        assert status.source is (SourceKind.DIRECT if shows_live else SourceKind.MONGO)
        return status.source, status.state


@pytest.fixture
def scene() -> Scene:
    scene = Scene()
    scene.live.be(120)
    scene.recorded.be(118)
    return scene


def test_the_recorded_book_is_shown(scene: Scene) -> None:
    assert scene.shown == (SourceKind.MONGO, _SYNCED)


def untimed(scene: Scene) -> None:
    """Let it be unknown how late the events of the recorded book are."""
    scene.recorded.status = replace(scene.recorded.status, as_of_ns=5, is_timed=False)
    scene.live.status = replace(scene.live.status, as_of_ns=9)


def test_our_own_recording_is_as_old_as_the_exchange_s_book(scene: Scene) -> None:
    untimed(scene)
    status = scene.view.look(scene.kind).status
    assert scene.shown == (SourceKind.MONGO, _SYNCED)
    assert (status.as_of_ns, status.is_timed) == (9, True)


def test_a_recorded_book_of_unknown_age_is_not_shown_if_the_exchange_s_is_there(
    scene: Scene,
) -> None:
    scene.set_recording(False)
    scene.recorded.be(125)
    untimed(scene)
    assert scene.shown == (SourceKind.DIRECT, _SYNCED)
    assert "how old" in scene.view.look(scene.kind).status.detail
    scene.recorded.be(126)
    assert scene.shown == (SourceKind.MONGO, _SYNCED)


def test_a_recorded_book_of_unknown_age_is_all_that_a_viewer_without_an_exchange_has(
    scene: Scene,
) -> None:
    scene.set_recording(False)
    scene.recorded.be(125)
    untimed(scene)
    scene.live.lose()
    assert scene.shown == (SourceKind.MONGO, _SYNCED)
    assert not scene.view.look(scene.kind).status.is_timed


def test_the_direct_source_can_be_chosen(scene: Scene) -> None:
    scene.kind = SourceKind.DIRECT
    scene.problem = "The database is away."
    assert scene.shown == (SourceKind.DIRECT, _SYNCED)


def test_the_exchange_stands_in_while_the_database_is_away(scene: Scene) -> None:
    scene.problem = "The database is away."
    assert scene.shown == (SourceKind.DIRECT, FeedState.DATABASE_AWAY)
    assert scene.view.look(scene.kind).status.detail.startswith(
        "The database is away. This is the exchange's own"
    )


def test_without_either_the_exchanges_state_counts(scene: Scene) -> None:
    scene.problem = "The database is away."
    scene.live.lose()
    assert scene.shown == (SourceKind.DIRECT, FeedState.RECONNECTING)


def test_a_lost_connection_is_not_covered_by_the_recorded_book(scene: Scene) -> None:
    scene.live.lose()
    assert scene.shown == (SourceKind.DIRECT, FeedState.RECONNECTING)
    assert scene.view.look(scene.kind).book.last_update_id == 0


def test_the_exchanges_book_is_shown_while_the_recorded_one_loads(scene: Scene) -> None:
    scene.recorded.lose(FeedState.SYNCING)
    assert scene.shown == (SourceKind.DIRECT, FeedState.SYNCING)
    # The recorded feed's own detail would advise to start the recording that is on already.
    assert scene.view.look(scene.kind).status.detail.startswith("Loading the recorded book;")


def test_a_recorded_book_that_never_loads_counts_as_away(scene: Scene) -> None:
    scene.recorded.lose(FeedState.SYNCING)
    scene.pass_time(AWAY_AFTER_NS + 1)
    assert scene.shown == (SourceKind.DIRECT, FeedState.DATABASE_AWAY)


def test_a_recorded_book_from_before_a_gap_is_not_shown(scene: Scene) -> None:
    scene.live.be(520, base_id=500)
    assert scene.shown == (SourceKind.DIRECT, FeedState.SYNCING)
    scene.recorded.be(515)
    assert scene.shown == (SourceKind.MONGO, _SYNCED)


def test_a_recording_that_lags_is_late_until_it_has_kept_up_for_a_while(scene: Scene) -> None:
    scene.live.be(200)
    scene.pass_time(LATE_AFTER_NS)
    assert scene.shown == (SourceKind.MONGO, _SYNCED)
    scene.pass_time(1)
    assert scene.shown == (SourceKind.DIRECT, FeedState.DATABASE_LATE)
    status = scene.view.look(scene.kind).status
    assert status.stands_in
    assert status.detail.startswith("The database is behind the exchange.")
    scene.recorded.be(200)
    scene.pass_time(LATE_FOR_NS - 1)
    assert scene.shown == (SourceKind.DIRECT, FeedState.DATABASE_LATE)
    scene.pass_time(1)
    assert scene.shown == (SourceKind.MONGO, _SYNCED)


def test_each_lateness_counts_anew_so_that_the_view_does_not_flap(scene: Scene) -> None:
    for last_id in range(200, 230, 10):
        scene.live.be(last_id)
        scene.pass_time(LATE_AFTER_NS + 1)
        scene.recorded.be(last_id)
        scene.pass_time(LATE_FOR_NS // 2)
        assert scene.shown == (SourceKind.DIRECT, FeedState.DATABASE_LATE)


def test_the_last_book_stays_while_none_is_known(scene: Scene) -> None:
    assert scene.view.look(scene.kind).last is None
    scene.live.lose()
    look = scene.view.look(scene.kind)
    assert (look.book.last_update_id, look.status.state) == (0, FeedState.RECONNECTING)
    assert look.last is not None
    assert look.last.last_update_id == 120


def test_without_the_exchange_another_process_s_last_book_stays(scene: Scene) -> None:
    scene.set_recording(wanted=False)
    scene.recorded.be(129)
    scene.live.lose()
    scene.recorded.lose(FeedState.SYNCING)
    look = scene.view.look(scene.kind)
    assert look.last is not None
    assert look.last.last_update_id == 129
    # The exchange's own book was never shown by this view, but it is the last one of a direct view.
    direct = scene.view.look(SourceKind.DIRECT).last
    assert direct is not None
    assert direct.last_update_id == 120


def test_a_recording_that_keeps_up_is_never_late(scene: Scene) -> None:
    for last_id in range(200, 300):
        scene.live.be(last_id)
        scene.recorded.be(last_id - 1)
        scene.pass_time(LATE_AFTER_NS // 2)
        assert scene.shown == (SourceKind.MONGO, _SYNCED)


def test_a_quiet_market_that_comes_to_life_is_not_late(scene: Scene) -> None:
    scene.recorded.be(120)
    scene.pass_time(20 * LATE_AFTER_NS)
    assert scene.shown == (SourceKind.MONGO, _SYNCED)
    scene.live.be(121)
    assert scene.shown == (SourceKind.MONGO, _SYNCED)


def test_events_that_are_recorded_already_are_told(scene: Scene) -> None:
    scene.recorded.be(9_000, at_ms=60_000)
    assert scene.shown == (SourceKind.DIRECT, _SYNCED)
    assert "recorded already" in scene.view.look(scene.kind).status.detail


def test_the_book_of_the_last_recording_is_not_shown_when_the_next_begins(scene: Scene) -> None:
    scene.set_recording(wanted=False)
    scene.live.be(300)
    scene.set_recording(wanted=True)
    assert scene.shown == (SourceKind.DIRECT, FeedState.SYNCING)
    scene.recorded.be(300)
    assert scene.shown == (SourceKind.MONGO, _SYNCED)


def test_when_our_recording_stops_the_live_book_goes_on_at_once(scene: Scene) -> None:
    scene.set_recording(wanted=False)
    assert scene.shown == (SourceKind.DIRECT, _SYNCED)
    # The last events of this program's own recording arrive later, and prove nothing.
    scene.recorded.be(120)
    scene.live.be(125)
    assert scene.shown == (SourceKind.DIRECT, _SYNCED)


def test_another_process_s_recording_is_followed(scene: Scene) -> None:
    scene.set_recording(wanted=False)
    scene.live.be(130)
    scene.recorded.be(129)
    assert scene.shown == (SourceKind.MONGO, _SYNCED)


def test_another_process_s_recording_is_followed_without_the_exchange(scene: Scene) -> None:
    scene.set_recording(wanted=False)
    scene.recorded.be(129)
    scene.live.lose()
    assert scene.shown == (SourceKind.MONGO, _SYNCED)


def test_another_process_s_recording_that_ended_is_left(scene: Scene) -> None:
    scene.set_recording(wanted=False)
    scene.recorded.be(129)
    scene.live.be(300)
    scene.pass_time(AWAY_AFTER_NS + 1)
    assert scene.shown == (SourceKind.DIRECT, _SYNCED)


@pytest.mark.parametrize("ns_a_reading", [1, LATE_AFTER_NS // 7, LATE_AFTER_NS + 1])
def test_book_and_status_belong_together_whenever_it_becomes_late(
    scene: Scene, ns_a_reading: int
) -> None:
    scene.live.be(200)
    scene.now_ns += LATE_AFTER_NS - 2
    scene.ns_a_reading = ns_a_reading
    shown = [scene.shown for _ in range(9)]
    assert set(shown) <= {(SourceKind.MONGO, _SYNCED), (SourceKind.DIRECT, FeedState.DATABASE_LATE)}
    assert shown[-1] == (SourceKind.DIRECT, FeedState.DATABASE_LATE)


@pytest.mark.parametrize("looks", [0, 1, 50])
def test_to_look_changes_nothing(scene: Scene, looks: int) -> None:
    """How often a view looks must not decide when the database counts as late."""
    for last_id in (200, 210, 220):
        scene.live.be(last_id)
        for _ in range(looks):
            assert scene.shown == (SourceKind.MONGO, _SYNCED)
        scene.pass_time(LATE_AFTER_NS // 3)
    assert scene.shown == (SourceKind.MONGO, _SYNCED)
    scene.pass_time(LATE_AFTER_NS // 3)
    assert scene.shown == (SourceKind.DIRECT, FeedState.DATABASE_LATE)


def test_a_recorded_book_is_not_late_before_it_is_followed(scene: Scene) -> None:
    scene.recorded.lose(FeedState.SYNCING)
    scene.pass_time(1_000 * LATE_AFTER_NS)
    scene.view.recorded_feed_starts()
    assert scene.shown == (SourceKind.DIRECT, FeedState.SYNCING)
    scene.pass_time(AWAY_AFTER_NS + 1)
    assert scene.shown == (SourceKind.DIRECT, FeedState.DATABASE_AWAY)
