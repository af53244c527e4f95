"""What a window shows and commands, without knowing who does it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from orderbook_desktop.core.sources import BookSource
from orderbook_desktop.core.status import SourceKind
from orderbook_desktop.core.symbols import SymbolInfo


@dataclass(frozen=True, slots=True)
class RecordingStatus:
    """How the recording of the symbol on screen is doing.

    `wanted` is the switch. `events` and `payload_bytes` count what the database has
    acknowledged since the start of this session, `waiting` what it has not yet. `problem`
    is a sentence, or empty while all is well.
    """

    wanted: bool
    events: int = 0
    payload_bytes: int = 0
    waiting: int = 0
    gaps: int = 0
    problem: str = ""


class NoticeLevel(Enum):
    """How much attention a notice asks for."""

    INFORMATION = "information"
    WARNING = "warning"


class NoticeAction(Enum):
    """What a notice offers to do about itself."""

    NONE = ""
    START_DEMO = "Start the demo"
    USE_DIRECT = "Use the direct source"


@dataclass(frozen=True, slots=True)
class Notice:
    """One sentence to the person, kept on screen until it is dismissed or no longer true."""

    key: str
    level: NoticeLevel
    text: str
    action: NoticeAction = NoticeAction.NONE


class Desk(Protocol):
    """The state behind one window, to be looked at once per display frame.

    `revision` grows whenever anything but the book and its feed's status changed: the
    symbol, the switches, `symbols`, `recents` or `notices`. Commands return at once; what
    they cause shows in the state later. After `select_symbol` the `source` is at once that
    of the new symbol, with an empty book.
    """

    @property
    def revision(self) -> int:
        """A number that grows with every change told of above."""
        ...

    @property
    def symbol(self) -> SymbolInfo:
        """The symbol on screen."""
        ...

    @property
    def source(self) -> BookSource:
        """Its book and the book's trustworthiness."""
        ...

    @property
    def source_kind(self) -> SourceKind:
        """The source that was chosen (`source.status` tells which one serves)."""
        ...

    @property
    def symbols(self) -> Sequence[SymbolInfo]:
        """All traded spot symbols; empty until the exchange has told."""
        ...

    @property
    def recents(self) -> Sequence[str]:
        """Symbols shown before, the latest first."""
        ...

    @property
    def recording(self) -> RecordingStatus:
        """The recording of the symbol on screen."""
        ...

    @property
    def notices(self) -> Sequence[Notice]:
        """What the person should know now, the most important first."""
        ...

    @property
    def demo(self) -> bool:
        """Whether all this is the made-up market of the demo."""
        ...

    def select_symbol(self, symbol: str) -> None:
        """Show `symbol` (`BTC/USDT`); an unknown one leaves everything and adds a notice."""
        ...

    def select_source(self, kind: SourceKind) -> None:
        """Show the recorded book, or the exchange's own."""
        ...

    def set_recording(self, wanted: bool) -> None:
        """Start or stop recording the symbol on screen."""
        ...

    def dismiss(self, key: str) -> None:
        """Take the notice `key` off the screen."""
        ...

    def act(self, action: NoticeAction) -> None:
        """Do what a notice offered."""
        ...
