"""A notice is shown once for each reason, until it is dismissed or its reason is gone."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from orderbook_desktop.app.settings import load_settings
from orderbook_desktop.core.desk import Notice, NoticeAction, NoticeLevel
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.status import SourceKind
from orderbook_desktop.desk.notices import UNREACHABLE_AFTER_S, DeskWatch, NoticeBoard, ProgramWatch
from orderbook_desktop.engine.engine import Engine
from orderbook_desktop.engine.market_session import MarketSession
from orderbook_desktop.exchange.errors import Paced, RateLimited, Unreachable
from tests.app.conftest import NOWHERE
from tests.unhurried import ENGINE_TIMES

_FIRST = Notice("a", NoticeLevel.WARNING, "The first.")
_NOTE = Notice("n", NoticeLevel.INFORMATION, "A note.")


@pytest.fixture
def changes() -> list[bool]:
    return []


@pytest.fixture
def board(changes: list[bool]) -> NoticeBoard:
    return NoticeBoard(lambda: changes.append(True))


def test_the_same_notice_changes_nothing(board: NoticeBoard, changes: list[bool]) -> None:
    board.put(_FIRST)
    board.put(_FIRST)
    assert board.notices == [_FIRST]
    assert len(changes) == 1


def test_a_new_text_takes_the_place_of_the_old(board: NoticeBoard) -> None:
    board.put(_FIRST)
    other = Notice("a", NoticeLevel.WARNING, "The second.")
    board.put(other)
    assert board.notices == [other]


def test_warnings_come_first(board: NoticeBoard) -> None:
    board.put(_NOTE)
    board.put(_FIRST)
    assert board.notices == [_FIRST, _NOTE]


def test_a_dismissed_notice_returns_only_after_its_reason_was_gone(board: NoticeBoard) -> None:
    board.put(_FIRST)
    board.dismiss("a")
    board.put(_FIRST)
    assert board.notices == []
    board.withdraw("a")
    board.put(_FIRST)
    assert board.notices == [_FIRST]


def test_another_notice_of_a_dismissed_one_s_key_is_shown(board: NoticeBoard) -> None:
    other = Notice("a", NoticeLevel.WARNING, "The second.")
    board.put(_FIRST)
    board.dismiss("a")
    board.put(other)
    assert board.notices == [other]
    board.dismiss("a")
    board.put(_FIRST)
    board.put(other)
    assert board.notices == []


def test_what_just_happened_is_told_again(board: NoticeBoard) -> None:
    board.tell(_FIRST)
    board.dismiss("a")
    board.tell(_FIRST)
    assert board.notices == [_FIRST]


def test_clear_forgets_also_what_was_dismissed(board: NoticeBoard) -> None:
    board.put(_FIRST)
    board.put(_NOTE)
    board.dismiss("a")
    board.clear()
    assert board.notices == []
    board.put(_FIRST)
    assert board.notices == [_FIRST]


class Watched:
    """A watch over a session that gets no book; the test moves its clock."""

    def __init__(self, session: MarketSession, engine: Engine) -> None:
        self.session = session
        self.engine = engine
        self.now_s = 100.0
        self.board = NoticeBoard(lambda: None)
        self.watch = DeskWatch(self.board, lambda: self.now_s)
        self.program_watch = ProgramWatch(engine, self.board)

    def look(self, kind: SourceKind = SourceKind.MONGO) -> None:
        """Look as a program does that shows the session from the source `kind`."""
        self.program_watch.look()
        self.watch.look(self.engine, self.session, kind, demo=False)

    def after(self, seconds: float, problem: KnownError | None) -> list[tuple[str, NoticeAction]]:
        """Return the notice about the exchange after `problem` has lasted for so long."""
        self.session.live.problem = problem
        self.now_s += seconds
        self.look()
        return [(one.text, one.action) for one in self.board.notices if one.key == "exchange"]


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    engine = Engine(load_settings(**NOWHERE), times=ENGINE_TIMES)
    with engine.open_market("BTC/USDT", viewed=False) as lease:
        yield Watched(lease.session, engine)
    await engine.close()


async def test_an_exchange_out_of_reach_is_told_with_the_demo(watched: Watched) -> None:
    # The time until the first look belongs to the engine's start.
    assert watched.after(UNREACHABLE_AFTER_S + 5, None) == []
    assert watched.after(UNREACHABLE_AFTER_S, None) == []
    [(text, action)] = watched.after(0.1, None)
    assert "does not answer yet" in text
    assert action is NoticeAction.START_DEMO


async def test_what_can_t_be_archived_is_told(watched: Watched) -> None:
    counts = watched.engine.recorder.sink("ETHUSDT").counts
    watched.after(0, None)
    assert watched.board.notices == []
    counts.archive_problem = "ETHUSDT: after update id 7, an event is missing."
    watched.after(0, None)
    (notice,) = watched.board.notices
    assert notice.text == (
        "A part of what is recorded can't be archived: ETHUSDT: after update id 7, an event is "
        "missing."
    )


async def test_our_own_pacing_is_not_the_exchange_s_fault(watched: Watched) -> None:
    assert watched.after(UNREACHABLE_AFTER_S + 1, Paced(23)) == []
    assert watched.after(50, Paced(1)) == []
    # What comes then has its own time.
    unreachable = Unreachable("http://127.0.0.1:1", "refused")
    assert watched.after(UNREACHABLE_AFTER_S, unreachable) == []
    assert watched.after(1, unreachable) != []


async def test_a_pause_the_exchange_asked_for_offers_no_demo(watched: Watched) -> None:
    watched.look()
    [(text, action)] = watched.after(UNREACHABLE_AFTER_S + 1, RateLimited(60, 403))
    assert text.endswith("; the program waits for as long as the exchange asked.")
    assert action is NoticeAction.NONE


async def test_a_dismissed_pause_does_not_return_with_each_second(watched: Watched) -> None:
    watched.look()
    [(text, _)] = watched.after(UNREACHABLE_AFTER_S + 1, RateLimited(57, 418))
    assert text.startswith("The exchange has banned this address for a while;")
    watched.board.dismiss("exchange")
    assert watched.after(15, RateLimited(42, 418)) == []
    # Another reason makes a new notice.
    assert watched.after(1, RateLimited(42, 403)) != []


@pytest.mark.expects_log(r"WARNING .*disk_watch: the disk's state is low")
async def test_a_low_disk_is_told_while_something_is_recorded(watched: Watched) -> None:
    engine, board = watched.engine, watched.board
    engine.disk_watch.look(1_500_000_000)
    watched.look()
    assert [one.key for one in board.notices] == []
    watched.session.set_recording(wanted=True)
    watched.look()
    [notice] = board.notices
    assert notice.text.startswith("Less than 2.0 GB is free on the disk of the recordings")
    board.dismiss("disk")
    engine.disk_watch.look(1_400_000_000)
    watched.look()
    assert board.notices == []
    engine.disk_watch.look(50_000_000_000)
    watched.look()
    assert board.notices == []


async def test_a_database_away_is_told_for_a_recording_behind_the_screen(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = watched.engine
    monkeypatch.setattr(engine, "database_problem", lambda _market: "The database is away.")
    watched.look(SourceKind.DIRECT)
    assert watched.board.notices == []
    with engine.open_market("ETH/USDT", viewed=False) as behind:
        behind.session.set_recording(wanted=True)
        watched.look(SourceKind.DIRECT)
    assert [one.text for one in watched.board.notices] == ["The database is away."]
