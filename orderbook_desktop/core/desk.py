"""What a window shows and commands; the window does not know the parts that do the work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Final, Protocol

from msgspec import Struct
from msgspec.structs import replace

from orderbook_desktop.core.heatmap.pages import HeatmapPages, TileBuilding
from orderbook_desktop.core.library_jobs import RecordingLibrary
from orderbook_desktop.core.recorded_gaps import RecordedGaps
from orderbook_desktop.core.recording_status import RecordingState, RecordingStatus
from orderbook_desktop.core.replay import Replay
from orderbook_desktop.core.sources import BookSource
from orderbook_desktop.core.status import FeedState, FeedStatus, SourceKind
from orderbook_desktop.core.symbols import SymbolInfo
from orderbook_desktop.core.trade_coverage import TradeGap
from orderbook_desktop.core.trades import Trade
from orderbook_desktop.core.wording import counted


class NoticeLevel(Enum):
    """How much attention a notice asks for."""

    INFORMATION = "information"
    WARNING = "warning"


class NoticeAction(Enum):
    """The action that a notice offers."""

    NONE = ""
    START_DEMO = "Start the demo"
    LEAVE_DEMO = "Leave the demo"
    USE_DIRECT = "Use the direct source"
    KEEP_RECORDING = "Keep recording"


class Notice(Struct, frozen=True):
    """One sentence for the person, on screen until it is dismissed or no longer true.

    `symbol` is the symbol of its action, or empty.
    """

    key: str
    level: NoticeLevel
    text: str
    action: NoticeAction = NoticeAction.NONE
    symbol: str = ""

    @property
    def action_text(self) -> str:
        """The action's label, such as `Keep recording BTC/USDT`; empty where there is no action."""
        return f"{self.action.value} {self.symbol}".strip()


# The notice that tells why a feed is in a state, and why a recording is.
_TELLERS_OF_FEEDS: Final = {
    FeedState.SYNCING: "exchange",
    FeedState.STALE: "exchange",
    FeedState.RECONNECTING: "exchange",
    FeedState.DATABASE_AWAY: "database",
    FeedState.NOT_TRADED: "symbol",
}
_TELLERS_OF_RECORDINGS: Final = {
    RecordingState.FAILED: ("exchange", "symbol", "database"),
    RecordingState.PAUSED: ("disk",),
    RecordingState.DELAYED: ("database",),
}


def without_told_detail(status: FeedStatus, notices: Sequence[Notice]) -> FeedStatus:
    """Return `status` without its detail if one of the `notices` tells that already.

    One problem is told in one sentence at one place; all other places only name the state.
    """
    teller = _TELLERS_OF_FEEDS.get(status.state)
    is_told = bool(status.detail) and any(
        notice.key == teller or notice.text == status.detail for notice in notices
    )
    return replace(status, detail="") if is_told else status


def without_told_problem(recording: RecordingStatus, notices: Sequence[Notice]) -> RecordingStatus:
    """Return `recording` without its problem if one of the `notices` tells that already."""
    tellers = _TELLERS_OF_RECORDINGS.get(recording.state, ())
    is_told = bool(recording.problem) and any(
        notice.key in tellers or notice.text == recording.problem for notice in notices
    )
    return replace(recording, problem="") if is_told else recording


class NextAttempt(Struct, frozen=True):
    """When what a notice tells is tried again: in `in_s` seconds.

    It is `fixed` where the exchange has asked for the wait, so that it can't be tried at once.
    """

    in_s: float
    fixed: bool = False


class Connections(Struct, frozen=True):
    """By how many connections each event comes; `fixed` is whether a setting says so."""

    count: int = 1
    fixed: bool = False


class TradePage(Struct, frozen=True):
    """Recorded trades of one market in order of ids, and the recording's gaps around them.

    `problem` is the sentence why they could not be read, else empty.
    """

    trades: Sequence[Trade] = ()
    gaps: Sequence[TradeGap] = ()
    problem: str = ""


class TradePages(Protocol):
    """The recorded trades, read a page at a time.

    Both methods return at once. `answered` is called later, in the thread of the caller, or never
    where the program ends before.
    """

    def before(
        self, market: str, trade_id: int, count: int, answered: Callable[[TradePage], None]
    ) -> None:
        """Read the last `count` trades before an id; a page without trades is the end."""
        ...

    def after(
        self, market: str, trade_id: int, count: int, answered: Callable[[TradePage], None]
    ) -> None:
        """Read the first `count` trades after an id; a page without trades is the end."""
        ...


class Desk(Protocol):
    """The state behind one window, to be looked at once per display frame at most.

    `revision` grows with each change of the symbol, the switches, `symbols`, `recents`, `notices`,
    the `replay`, or the set of `recordings`. It does not grow with the book, its feed's status and
    the counters. Commands return at once; their effects show in the state later. After
    `select_symbol` the `source` is at once that of the new symbol, with an empty book. In a replay
    the symbol changes as soon as its recording is open, and `live_symbol` with the end of the
    replay.
    """

    @property
    def revision(self) -> int:
        """A number that grows with each change named above."""
        ...

    @property
    def exchange(self) -> str:
        """The host of the exchange, where it is not the usual one; else empty."""
        ...

    @property
    def symbol(self) -> SymbolInfo:
        """The symbol on screen: in a replay, that of the recording."""
        ...

    @property
    def live_symbol(self) -> SymbolInfo:
        """The symbol that is followed live: that on screen, unless a replay shows another one."""
        ...

    @property
    def source(self) -> BookSource:
        """The symbol's book, with its status: the `replay` while there is one."""
        ...

    @property
    def replay(self) -> Replay | None:
        """The recording that is played, the same object until another one is; None: live."""
        ...

    @property
    def source_kind(self) -> SourceKind:
        """The source that was chosen (`source.look().status` tells which one serves)."""
        ...

    @property
    def symbols(self) -> Sequence[SymbolInfo]:
        """All traded spot symbols; empty until the exchange has listed them."""
        ...

    @property
    def recents(self) -> Sequence[str]:
        """Symbols shown before, the latest first."""
        ...

    @property
    def recording(self) -> RecordingStatus:
        """The recording of the `live_symbol`, with its gaps."""
        ...

    @property
    def recordings(self) -> Sequence[RecordingStatus]:
        """All recordings: the kept ones in the order of their start, then that on screen."""
        ...

    def recorded_gaps(self, symbol: str) -> RecordedGaps | None:
        """Return the gaps of the recording of `symbol`; None while they are not known.

        They are kept up to date while this is called every few seconds.
        """
        ...

    @property
    def trade_pages(self) -> TradePages | None:
        """The recorded trades of all markets; None: there are none to be had.

        In a replay none is of after the clock's time.
        """
        ...

    @property
    def heatmaps(self) -> HeatmapPages | None:
        """The heatmaps of all recordings: in a replay of a packed file, those of the file.

        It is the same object until another engine runs, or another file is played. None: there are
        none to be had.
        """
        ...

    @property
    def tiles(self) -> TileBuilding | None:
        """The tiles of live recordings, another object with another engine; None: none are kept."""
        ...

    @property
    def library(self) -> RecordingLibrary | None:
        """All recordings that were ever made, and the jobs on them; None: there are none."""
        ...

    @property
    def notices(self) -> Sequence[Notice]:
        """What the person should know now, the most important first."""
        ...

    @property
    def demo(self) -> bool:
        """Whether all this is the made-up market of the demo."""
        ...

    def call_on_change(self, changed: Callable[[], None] | None) -> None:
        """Call `changed` after each change of the book of `source`; None: call nothing any more.

        The call comes in the thread of the desk, and must return at once. A book's status, and the
        choice of the book, may change also without a call, just because time passes.
        """
        ...

    def select_symbol(self, symbol: str) -> None:
        """Show `symbol` (`BTC/USDT`); an unknown one leaves everything and adds a notice."""
        ...

    def select_source(self, kind: SourceKind) -> None:
        """Show the recorded book, or the exchange's own."""
        ...

    def start_replay(
        self,
        symbol: str | None = None,
        *,
        at: int | str | None = None,
        file: Path | None = None,
    ) -> None:
        """Play the recording of `symbol` (None: the one on screen), from the database or a `file`.

        `at` is the moment to begin with, in ns or as a person types it; None: a minute before the
        newest moment, or the first moment of a file. Until the book of that moment is there, the
        desk stays as it is. Where nothing is recorded, it stays so, with a notice. Recordings go
        on.
        """
        ...

    def leave_replay(self) -> None:
        """Go back to the live book; where no recording is played, nothing happens."""
        ...

    def set_recording(self, wanted: bool) -> None:
        """Start or stop recording the `live_symbol`."""
        ...

    @property
    def connections(self) -> Connections:
        """By how many connections to the exchange each event comes, for all symbols."""
        ...

    def set_connections(self, count: int) -> None:
        """Take each event from `count` connections; nothing happens if they are fixed."""
        ...

    @property
    def here_too(self) -> Sequence[str]:
        """The symbols that are recorded here also while another program records them."""
        ...

    def record_here(self, symbol: str, wanted: bool) -> None:
        """Record `symbol` also while another program records it, or follow that program again."""
        ...

    def start_recording(self, symbol: str) -> None:
        """Record `symbol`, which need not be on screen; an unknown one only adds a notice."""
        ...

    def stop_recording(self, symbol: str) -> None:
        """Stop recording `symbol`, which stays among the `recordings`."""
        ...

    def remove_recording(self, symbol: str) -> None:
        """Stop recording `symbol` by hand; what has been recorded stays in the database."""
        ...

    def dismiss(self, key: str) -> None:
        """Take the notice `key` off the screen."""
        ...

    def act(self, action: NoticeAction) -> None:
        """Do what a notice offered."""
        ...

    def next_attempt(self, key: str) -> NextAttempt | None:
        """Return when what the notice `key` tells is tried again; None: no attempt is planned.

        While an attempt is being made none is planned, either.
        """
        ...

    def retry(self, key: str) -> None:
        """Try at once what the notice `key` tells."""
        ...


class BrowserState(Enum):
    """Whether browsers are served; the values are what a person reads."""

    OFF = "off"
    STARTING = "starting"
    ON = "on"
    STOPPING = "stopping"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class BrowserStatus:
    """How the browser view is doing.

    `link` is the address to open, empty unless the view is on. It may hold the token. So it is for
    the screen, never for the log, and left out of the `repr`. `local_only` says that no other
    computer can open it. `viewers` counts the streams being watched. `problem` is the sentence
    that says why it failed. `other_port` is then a port to use in place of a taken one (0: any
    free one), and None where another port would not help.
    """

    state: BrowserState
    link: str = field(default="", repr=False)
    local_only: bool = True
    viewers: int = 0
    problem: str = ""
    other_port: int | None = None


class BrowserSwitch(Protocol):
    """The switch of the browser view. Commands return at once; look at `status` for more."""

    @property
    def status(self) -> BrowserStatus:
        """How it is doing now; cheap enough to be asked a few times a second."""
        ...

    def switch(self, wanted: bool) -> None:
        """Serve, or stop serving; the latest wish counts."""
        ...

    def admit_others(self, admitted: bool) -> None:
        """Let other computers in, or only this one; viewers have to connect again."""
        ...

    def use_other_port(self) -> None:
        """Serve on `status.other_port`; nothing happens where there is none."""
        ...


def viewers_text(viewers: int) -> str:
    """Return the number of viewers in words."""
    return counted(viewers, "viewer")
