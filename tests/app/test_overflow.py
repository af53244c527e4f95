"""Events that don't fit into memory: the loss is reported while it lasts, and afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from io import StringIO

import pytest
from rich.console import Console

from orderbook_desktop.app.commands.record_progress import RecordProgress
from orderbook_desktop.app.settings import Settings
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.status import SourceKind
from orderbook_desktop.desk.notices import DeskWatch, NoticeBoard
from orderbook_desktop.engine.engine import Engine
from tests.storage.recording_fixtures import HandFeed, Tape, started
from tests.unhurried import ENGINE_TIMES

pytestmark = [
    pytest.mark.expects_log(r"WARNING .*market_sink: BTCUSDT: gap in the recording: more events"),
    pytest.mark.allows_log(r"WARNING .*market_sink: BTCUSDT: gap in the recording"),
    pytest.mark.allows_log(r"(ERROR|WARNING) .*recorder: \d+ events could not be written"),
]

_SENTENCE = "The database is too slow for what comes in; events are being lost."


@pytest.fixture
async def engine(stranded: Settings) -> AsyncIterator[Engine]:
    """Return an engine that was not started: it writes no events, and holds a megabyte of them."""
    engine = Engine(stranded.model_copy(update={"buffer_mb": 1}), times=ENGINE_TIMES)
    yield engine
    await engine.close()


def _overflow(engine: Engine) -> tuple[HandFeed, Tape]:
    tape = Tape()
    feed = started(engine.recorder, tape)
    while not engine.recorder.sink(tape.market).overflowing:
        feed.diffs(tape.diff())
    return feed, tape


async def test_window_and_headless_recorder_report_an_overflow_while_it_lasts(
    engine: Engine,
) -> None:
    lease = engine.open_market("BTC/USDT", viewed=False)
    session = lease.session
    session.set_recording(wanted=True)
    board = NoticeBoard(lambda: None)
    watch = DeskWatch(board)
    watch.look(engine, session, SourceKind.MONGO, demo=False)
    assert board.notices == []
    _overflow(engine)
    assert session.recording_status.problem == _SENTENCE
    assert session.recording_status.waiting == engine.recorder.waiting > 0
    assert engine.database_problem("ETHUSDT") == ""
    watch.look(engine, session, SourceKind.MONGO, demo=False)
    assert _SENTENCE in [notice.text for notice in board.notices]
    console = Console(file=StringIO(), force_terminal=False)
    RecordProgress("orderbook", {"BTC/USDT": session}, console).show()
    assert isinstance(console.file, StringIO)
    assert _SENTENCE.split(";", maxsplit=1)[0] in console.file.getvalue()
    await engine.start()
    async with asyncio.timeout(60):
        while engine.recorder.waiting or session.recording_status.problem:
            await asyncio.sleep(0.01)
    watch.look(engine, session, SourceKind.MONGO, demo=False)
    lease.close()
    # There is no exchange, and the wait for it may be reported as well.
    assert {notice.key for notice in board.notices} - {"exchange"} == {"gap"}


async def test_a_loss_is_reported_again_only_when_it_grows(engine: Engine) -> None:
    lease = engine.open_market("BTC/USDT", viewed=False)
    session = lease.session
    board = NoticeBoard(lambda: None)
    watch = DeskWatch(board)
    feed, tape = _overflow(engine)
    # A later gap with another cause does not change the reason of the loss.
    session.sink.broken(GapCause.DISCONNECT, "")
    session.sink.counts.last_gap = GapCause.DISCONNECT.sentence
    # Without recording only the loss is reported.
    watch.look(engine, session, SourceKind.DIRECT, demo=False)
    (notice,) = board.notices
    assert notice.text.startswith("1 event of this symbol could not be recorded, because more")
    board.dismiss("gap")
    watch.look(engine, session, SourceKind.DIRECT, demo=False)
    assert board.notices == []
    feed.diffs(tape.diff())
    watch.look(engine, session, SourceKind.DIRECT, demo=False)
    (notice,) = board.notices
    assert notice.text.startswith("2 events")
    lease.close()
