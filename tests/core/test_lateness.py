"""Late events: backlogs are found, wrong clocks are no lateness, and steps are forgotten."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from orderbook_desktop.core.lateness import Activity, BookAge, Punctuality, UsualDelay

MS = 1_000_000
# The clocks of the exchange and of the reader: true time in ms, and what they say besides.
HOURS = 3_600_000
YEARS = 365 * 24 * HOURS
WRONG_CLOCKS = [0, -7, 4_000, -61_000, 26 * HOURS, -26 * HOURS, 2 * YEARS, -3 * YEARS]
BEGAN_MS = 1_700_000_000_000


class Reader:
    """A reader of events, each made at one true time and read at another, in ms from the begin."""

    def __init__(
        self,
        usual: UsualDelay | None = None,
        exchange_off_ms: int = 0,
        *,
        may_begin_late: bool = False,
    ) -> None:
        self.punctuality = Punctuality(usual or UsualDelay(), may_begin_late=may_begin_late)
        self.exchange_off_ms = exchange_off_ms
        self.now_ms = 0

    def late_ms(self, made_ms: float, read_ms: float) -> int:
        """Take an event; return how late it is said to be."""
        event_ms = BEGAN_MS + int(made_ms) + self.exchange_off_ms
        now_ns = int(read_ms * MS)
        received_ns = (BEGAN_MS + int(read_ms)) * MS
        self.now_ms = int(read_ms)
        self.punctuality.take(event_ms, received_ns, now_ns)
        return (now_ns - self.punctuality.due_ns(event_ms, now_ns)) // MS

    def punctual(self, begin_ms: int, end_ms: int, every_ms: int = 100) -> list[int]:
        """Take events from one time to another, each read after a varying delay."""
        times = range(begin_ms, end_ms, every_ms)
        return [self.late_ms(made, made + 40 + 13 * made // 100 % 90) for made in times]

    def backlog(self, begin_ms: int, end_ms: int, read_ms: int) -> list[int]:
        """Take events of a time all at once, a millisecond apart."""
        times = range(begin_ms, end_ms, 100)
        return [self.late_ms(made, read_ms + place) for place, made in enumerate(times)]


def close(found: Iterable[int], expected: Iterable[int], within_ms: int = 200) -> bool:
    return all(abs(a - b) <= within_ms for a, b in zip(found, expected, strict=True))


def test_a_first_event_says_nothing() -> None:
    reader = Reader()
    assert reader.late_ms(0, 90_000) == 0
    assert reader.late_ms(100, 90_001) == 0


@pytest.mark.parametrize("off_ms", WRONG_CLOCKS)
def test_a_constant_error_of_the_exchange_s_clock_is_no_lateness(off_ms: int) -> None:
    reader = Reader(exchange_off_ms=off_ms)
    assert max(reader.punctual(0, 200_000)) < 200


@pytest.mark.parametrize("off_ms", WRONG_CLOCKS)
def test_a_backlog_is_as_late_as_it_is(off_ms: int) -> None:
    reader = Reader(exchange_off_ms=off_ms)
    reader.punctual(0, 30_000)
    found = reader.backlog(30_000, 41_400, read_ms=41_400)
    assert close(
        found, [41_400 + place - made for place, made in enumerate(range(30_000, 41_400, 100))]
    )
    assert max(reader.punctual(41_600, 300_000)) < 200


def test_a_backlog_after_minutes_is_late_too() -> None:
    reader = Reader()
    reader.punctual(0, 90_000)
    found = reader.backlog(90_000, 690_000, read_ms=690_000)
    assert close(found[:1], [600_000])
    assert close(found[-1:], [6_100])


def test_a_backlog_that_is_worked_off_slowly_is_late_to_its_end() -> None:
    """Events of two minutes are read at twice the pace, with no other stream to compare."""
    reader = Reader()
    reader.punctual(0, 30_000)
    for made in range(30_000, 270_000, 100):
        read = 150_000 + (made - 30_000) / 2
        assert abs(reader.late_ms(made, read) - (read - made)) <= 200


def test_events_that_come_ever_later_are_late() -> None:
    reader = Reader()
    reader.punctual(0, 30_000)
    for made in range(30_000, 300_000, 100):
        behind = (made - 30_000) * 0.2
        assert abs(reader.late_ms(made, made + behind) - behind) <= 200


def test_quiet_is_not_late() -> None:
    reader = Reader()
    assert max(reader.late_ms(made, made + 50) for made in range(0, 3_600_000, 47_000)) < 200


def test_an_event_that_comes_late_in_a_quiet_market() -> None:
    reader = Reader()
    reader.punctual(0, 200_000, every_ms=40_000)
    assert close([reader.late_ms(200_000, 212_000)], [12_000])
    assert max(reader.punctual(240_000, 600_000, every_ms=40_000)) < 200


@pytest.mark.parametrize("step_ms", [2_000, 20_000, 300_000, 3_700_000])
@pytest.mark.parametrize("every_ms", [100, 1_000])
def test_an_exchange_s_clock_that_is_set_is_never_lateness(step_ms: int, every_ms: int) -> None:
    reader = Reader()
    reader.punctual(0, 50_000, every_ms)
    reader.exchange_off_ms = step_ms
    assert max(reader.punctual(50_000, 80_000, every_ms)) < 200
    reader.exchange_off_ms = 0
    # Its first event may seem to come after a pause.
    assert max(reader.punctual(80_000, 90_000, every_ms)) < 2 * every_ms + 200


def test_a_step_that_looks_like_lateness_is_forgotten() -> None:
    """The clock is set back by less than the market is quiet, so that no time goes back."""
    reader = Reader()
    reader.punctual(0, 200_000, every_ms=10_000)
    reader.exchange_off_ms = -8_000
    found = reader.punctual(200_000, 400_000, every_ms=10_000)
    assert close(found[:1], [8_000])
    assert max(found[9:]) < 200


def test_a_clock_that_is_set_back_amid_a_backlog_leaves_it_late() -> None:
    reader = Reader()
    reader.punctual(0, 30_000)
    reader.backlog(30_000, 31_000, read_ms=42_000)
    reader.exchange_off_ms = -20_000
    assert close([reader.late_ms(31_000, 42_011)], [11_000], within_ms=300)
    assert max(reader.punctual(42_100, 50_000)) < 300


@pytest.mark.parametrize("step_ms", [14_000, 20_000, 3_700_000])
def test_a_clock_that_is_set_forward_amid_a_backlog_leaves_it_late(step_ms: int) -> None:
    """The backlog is worked off, one event a millisecond, before and after the step."""
    reader = Reader()
    reader.punctual(0, 30_000)
    reader.backlog(30_000, 31_000, read_ms=42_000)
    reader.exchange_off_ms = step_ms
    found = reader.backlog(31_000, 42_000, read_ms=42_010)
    true = [42_010 + place - made for place, made in enumerate(range(31_000, 42_000, 100))]
    assert close(found, true, within_ms=300)
    assert max(reader.punctual(42_200, 50_000)) < 300


def test_an_event_from_the_future_amid_a_backlog_is_as_late_as_the_others() -> None:
    reader = Reader()
    reader.punctual(0, 30_000)
    reader.backlog(30_000, 31_000, read_ms=42_000)
    reader.exchange_off_ms = 60_000
    assert close([reader.late_ms(31_000, 42_011)], [11_000], within_ms=300)
    reader.exchange_off_ms = 0
    assert close([reader.late_ms(31_100, 42_012)], [10_900], within_ms=300)


def test_a_single_event_from_the_future_makes_the_others_not_late() -> None:
    reader = Reader()
    reader.punctual(0, 30_000)
    assert reader.late_ms(60_000, 30_050) < 200
    assert max(reader.punctual(30_100, 40_000)) < 300


def test_a_capture_that_is_played_slowly_is_not_late() -> None:
    reader = Reader(exchange_off_ms=-2 * YEARS)
    for made in range(0, 60_000, 100):
        assert reader.late_ms(made, made * 10) < 5_000


def test_streams_of_one_source_share_the_usual_delay() -> None:
    """A stream that is late from its first event on is known to be, by the other one."""
    usual = UsualDelay()
    live, recorded = Reader(usual), Reader(usual)
    live.punctual(0, 30_000)
    for made in range(30_000, 300_000, 100):
        assert live.late_ms(made, made + 50) < 200
        assert abs(recorded.late_ms(made - 9_000, made + 60) - 9_000) < 200


class Beginner(Reader):
    """A reader that begins with a stream which may begin amid a backlog."""

    def __init__(self, exchange_off_ms: int = 0) -> None:
        super().__init__(exchange_off_ms=exchange_off_ms, may_begin_late=True)

    @property
    def knows(self) -> bool:
        return self.punctuality.is_known

    def known_after_ms(self, begin_ms: int, every_ms: int) -> int:
        """Take punctual events until the usual delay is known; return how long that took."""
        for made in range(begin_ms, begin_ms + 600_000, every_ms):
            self.late_ms(made, made + 40 + 13 * made // 100 % 90)
            if self.knows:
                return made - begin_ms
        raise AssertionError("never known")


@pytest.mark.parametrize("off_ms", WRONG_CLOCKS)
@pytest.mark.parametrize(
    ("every_ms", "within_ms"),
    [(100, 1_000), (250, 1_000), (600, 1_800), (999, 3_000), (2_000, 2_000), (40_000, 40_000)],
)
def test_a_steady_beginning_is_known_to_be_punctual(
    off_ms: int, every_ms: int, within_ms: int
) -> None:
    """It takes about a second, or two events in a quiet market, whatever the clocks say."""
    reader = Beginner(off_ms)
    assert 0 < reader.known_after_ms(0, every_ms) <= within_ms
    assert max(reader.punctual(600_000, 660_000, every_ms)) < 200


@pytest.mark.parametrize("pace", [1.6, 2, 5, 30, 1_000])
@pytest.mark.parametrize("off_ms", WRONG_CLOCKS)
def test_a_beginning_amid_a_backlog_is_not_known_before_its_end(pace: float, off_ms: int) -> None:
    """Fifteen seconds wait, and are worked off at `pace` while further events are made."""
    reader = Beginner(off_ms)
    made = 0
    # A capture may be played at any pace.
    until = 15_000 + (3_000 if off_ms < -24 * HOURS else 60_000)
    while (read := 15_000 + made / pace) > made + 50:
        reader.late_ms(made, read)
        assert not reader.knows or read >= until, f"{read - made} ms late"
        made += 100
    assert reader.known_after_ms(made, 100) <= 1_300
    assert max(reader.punctual(made + 2_000, made + 60_000)) < 200


@pytest.mark.parametrize("stall_ms", [300, 450, 900, 1_500, 4_000])
@pytest.mark.parametrize("chunk", [20, 45, 100])
def test_a_backlog_that_is_worked_off_with_stalls_is_not_known(stall_ms: int, chunk: int) -> None:
    """A chunk of events a millisecond apart, a pause of the database, the next chunk."""
    reader = Beginner()
    read, behind = 60_000, 0
    for number, made in enumerate(range(0, 50_000, 100)):
        read += stall_ms if number and not number % chunk else 1
        behind = read - made
        reader.late_ms(made, read)
        if behind < 1_000 or read > 110_000:
            break
        assert not reader.knows, f"{behind} ms late"


@pytest.mark.parametrize("every_ms", [2_000, 4_000, 7_000])
def test_the_backlog_of_a_quiet_market_is_not_known_either(every_ms: int) -> None:
    reader = Beginner()
    for place, made in enumerate(range(0, 30_000, every_ms)):
        reader.late_ms(made, 30_500 + place)
        assert not reader.knows
    assert reader.known_after_ms(made + every_ms, every_ms) <= 2 * every_ms


def test_a_backlog_of_more_than_a_minute_counts_as_the_usual_delay() -> None:
    reader = Beginner()
    for made in range(0, 125_000, 100):
        reader.late_ms(made, 100_000 + made / 2)
    assert reader.knows


def test_delays_that_vary_end_in_known() -> None:
    """The database answers slowly at times, so an event is up to a second later than another."""
    reader = Beginner()
    for made in range(0, 3_000, 100):
        reader.late_ms(made, made + 30 + made * 7 % 1_000)
    assert reader.knows


def test_a_capture_that_is_played_fast_is_known_after_seconds() -> None:
    reader = Beginner(-2 * YEARS)
    for made in range(0, 31_000, 100):
        reader.late_ms(made, made / 10)
    assert reader.knows


def test_a_stream_of_the_exchange_tells_a_recorded_one_how_late_it_is() -> None:
    """The recorded stream began amid a backlog before the exchange's first event came."""
    usual = UsualDelay()
    live, recorded = Reader(usual), Reader(usual, may_begin_late=True)
    age = BookAge(recorded.punctuality)
    age.load(BEGAN_MS, 16_000 * MS)
    recorded.late_ms(100, 16_010)
    recorded.late_ms(200, 16_020)
    age.take(BEGAN_MS + 200, 16_020 * MS)
    assert not recorded.punctuality.is_known
    assert age.as_of_ns == 16_000 * MS
    live.late_ms(16_000, 16_050)
    assert recorded.punctuality.is_known
    assert age.as_of_ns == 250 * MS


def test_a_first_event_from_the_future_counts_until_the_second_one() -> None:
    reader = Reader()
    reader.late_ms(3_600_000, 50)
    assert reader.punctuality.is_known
    assert max(reader.punctual(100, 10_000)) < 200


def test_a_book_of_the_exchange_is_no_older_than_the_request_for_it() -> None:
    reader = Reader()
    reader.punctual(0, 30_000)
    age = BookAge(reader.punctuality)
    assert age.as_of_ns == 0
    age.load(0, 45_000 * MS)
    age.take(BEGAN_MS + 31_000, 45_010 * MS)
    assert age.as_of_ns == 45_000 * MS
    age.take(BEGAN_MS + 45_100, 45_140 * MS)
    age.take(BEGAN_MS + 40_000, 45_150 * MS)
    assert age.as_of_ns == 45_140 * MS


@pytest.mark.parametrize(
    ("every_ms", "events", "is_active"),
    [(100, 10, True), (100, 9, False), (999, 30, True), (1_200, 30, False)],
)
def test_a_market_is_active_if_its_events_come_more_often_than_once_a_second(
    every_ms: int, events: int, is_active: bool
) -> None:
    activity = Activity()
    for event in range(events):
        activity.take(event * every_ms * 1_000_000)
    assert activity.is_active == is_active
