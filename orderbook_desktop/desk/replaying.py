"""The recording that one window plays: opens it in the background, and closes it at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final, Protocol

from msgspec import Struct

from orderbook_desktop.core.desk import Notice, NoticeLevel
from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.heatmap.pages import HeatmapPages
from orderbook_desktop.core.replay import Replay, ReplayStatus
from orderbook_desktop.core.symbols import SymbolInfo
from orderbook_desktop.desk.notices import NoticeBoard
from orderbook_desktop.desk.trade_pages import GappyHistory

_NOTICE: Final = "replay"


class ReplayWish(Struct, frozen=True):
    """What a person wants to see: the recording of `info` at a moment (see `Desk.start_replay`).

    `like` is the replay that it takes the place of: it is to be played in the same way.
    """

    info: SymbolInfo
    at: int | str | None = None
    file: Path | None = None
    like: ReplayStatus | None = None


class OpenedReplay(Struct, frozen=True):
    """A recording that is played, and its `trades`, of which none is after the clock's time.

    `remark` is a sentence for the person, or empty. `heatmaps` are those of a packed file; None:
    those of the database.
    """

    replay: Replay
    trades: GappyHistory
    remark: str = ""
    heatmaps: HeatmapPages | None = None


class OpenReplay(Protocol):
    """Opens recordings to be played."""

    def __call__(self, wish: ReplayWish) -> AbstractAsyncContextManager[OpenedReplay]:
        """Return a context in which the recording is open, and the book of the moment is there.

        To enter it raises the `KnownError` why that can't be.
        """
        ...


class Replaying:
    """Plays one recording at a time: the one that was wished for last, once it is open.

    `started` is called with what is on screen from then on, and `ended` when nothing is played any
    more: after `leave()`, or because the job was cancelled. `run` starts a job in the background.
    A recording that is not open after `tell_after_s` is told as being opened.
    """

    def __init__(
        self,
        open_replay: OpenReplay | None,
        run: Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]],
        board: NoticeBoard,
        *,
        started: Callable[[ReplayWish], None],
        ended: Callable[[], None],
        tell_after_s: float,
    ) -> None:
        self._tell_after_s = tell_after_s
        self._open = open_replay
        self._run = run
        self._board = board
        self._started = started
        self._ended = ended
        self._opening: asyncio.Task[None] | None = None
        self._telling: asyncio.TimerHandle | None = None
        # Ends the job of the recording that is played.
        self._left = asyncio.Event()
        self._is_cut = False
        self.opened: OpenedReplay | None = None
        self.wish: ReplayWish | None = None

    @property
    def replay(self) -> Replay | None:
        """The recording that is played."""
        return None if self.opened is None else self.opened.replay

    def start(self, wish: ReplayWish) -> None:
        """Play what is wished for as soon as it is open."""
        self._stop_opening()
        self._board.withdraw(_NOTICE)
        if self._open is not None:
            job = self._play(wish, self._open)
            self._opening = self._run(job, f"replay of {wish.info.market}")
            text = f"Opening the recording of {wish.info.symbol}…"
            notice = Notice(_NOTICE, NoticeLevel.INFORMATION, text)
            # At the start of the program its database takes a while.
            loop = asyncio.get_running_loop()
            self._telling = loop.call_later(self._tell_after_s, self._board.put, notice)

    def leave(self) -> None:
        """Play nothing any more."""
        self._stop_opening()
        self._board.withdraw(_NOTICE)
        self._left.set()
        self._end()

    def _stop_opening(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
        self._not_opening()

    def tell_if_cut(self) -> None:
        """Put up a notice if a replay has ended without `leave()`."""
        is_cut, self._is_cut = self._is_cut, False
        if is_cut:
            text = "The replay has ended, because another market is shown."
            self._board.tell(Notice(_NOTICE, NoticeLevel.INFORMATION, text))

    def _not_opening(self) -> None:
        """Tell no longer that a recording is being opened."""
        self._opening = None
        if self._telling is not None:
            self._telling.cancel()
        self._telling = None

    async def _play(self, wish: ReplayWish, open_replay: OpenReplay) -> None:
        try:
            async with open_replay(wish) as opened:
                self._not_opening()
                self._board.withdraw(_NOTICE)
                _play_like(opened.replay, wish.like)
                self._left.set()
                self._left = left = asyncio.Event()
                self.opened, self.wish = opened, wish
                self._started(wish)
                if opened.remark:
                    self._board.tell(Notice(_NOTICE, NoticeLevel.INFORMATION, opened.remark))
                try:
                    await left.wait()
                finally:
                    if self.opened is opened:
                        self._is_cut = True
                        self._end()
        except KnownError as error:
            self._board.tell(Notice(_NOTICE, NoticeLevel.WARNING, str(error)))
        finally:
            if self._opening is asyncio.current_task():
                # It failed, or the engine has ended.
                self._not_opening()

    def _end(self) -> None:
        if self.opened is not None:
            self.opened = self.wish = None
            self._ended()


def _play_like(replay: Replay, like: ReplayStatus | None) -> None:
    if like is None:
        return
    replay.set_order(like.order)
    replay.set_speed(like.speed)
    replay.set_skips(quiet=like.skips_quiet, gaps=like.skips_gaps)
    if like.is_playing:
        replay.play()
