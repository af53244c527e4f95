"""What the time-and-sales pane shows, without Qt: the widget paints it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from datetime import tzinfo
from typing import Final, NamedTuple

from orderbook_desktop.core.desk import TradePage, TradePages
from orderbook_desktop.core.errors import MalformedMessage
from orderbook_desktop.core.status import FeedState
from orderbook_desktop.core.tape import Tape, tape_of
from orderbook_desktop.core.tape_rows import (
    LiveRows,
    RecordedCauses,
    SizeFilter,
    Summed,
    Sweep,
    TapeRow,
    preset_sizes,
    rows_of,
)
from orderbook_desktop.core.tape_texts import TapeFormat, cost_places
from orderbook_desktop.core.time_text import date_text
from orderbook_desktop.core.wording import counted
from orderbook_desktop.gui.panes.book_frame import BookFrame, Message, message_of
from orderbook_desktop.gui.panes.time_and_sales.reading import PAGE_TRADES, Reading

_USUAL_OF: Final = 500
# So many pages are read without a row that is shown; then the person scrolls on.
_SCROLL_ON: Final = "Scroll on for older trades"
_PAGES_AT_ONCE: Final = 50


class TapeScene(NamedTuple):
    """What is in view: the rows from the newest on, and which of them are large or picked.

    `end_text` is what comes after the oldest row, where that is in view. `place_text` says where a
    person who has scrolled back is; empty at the newest rows. `marked` is the first id of the
    row of the time that is pointed at in another pane.
    """

    rows: Sequence[TapeRow]
    format: TapeFormat
    large_from: int | None
    picked: int | None
    end_text: str
    place_text: str
    marked: int | None = None

    def is_large(self, row: TapeRow) -> bool:
        """Return whether the row is of a size far above the usual one."""
        return (
            self.large_from is not None
            and isinstance(row, Sweep)
            and row.quantity >= self.large_from
        )


class TapeModel:
    """The rows of the market on screen: the newest ones, or those that were scrolled back to.

    `changed` is called after a page of a recording has come. Sizes are marked from `large_times`
    the usual one on (0: none).
    """

    def __init__(
        self, changed: Callable[[], None], *, in_quote: bool = False, large_times: int = 0
    ) -> None:
        self.frame: BookFrame | None = None
        self.pages: TradePages | None = None
        self.in_quote = in_quote
        self.large_times = large_times
        self.zone: tzinfo | None = None
        self.size = SizeFilter()
        self.picked: int | None = None
        self.marked_ms: int | None = None
        self.presets: list[str] = []
        self._changed = changed
        self._live = LiveRows()
        self._reading: Reading | None = None
        # Since the last scroll: pages that were read, and whether one is being read.
        self._pages_read = 0
        self._is_asking = False
        self._problem = ""
        self._usual: tuple[int, int | None] = -1, None
        self._cost_places = 2

    @property
    def tape(self) -> Tape | None:
        """The tape of the market on screen."""
        return None if self.frame is None else self.frame.tape

    @property
    def is_home(self) -> bool:
        """Whether the newest rows are in view, and new ones come on top."""
        return self._reading is None

    @property
    def rows(self) -> Sequence[TapeRow]:
        """The rows that are held, the latest last."""
        return self._live.rows if self._reading is None else self._reading.rows

    def set_frame(self, frame: BookFrame, size_text: str) -> None:
        """Take in the frame of another market, of which trades of a least size are shown."""
        self.frame = frame
        self._live = LiveRows()
        self.presets = []
        self.go_home()
        self.show_sizes(size_text)

    def show_sizes(self, text: str) -> bool:
        """Show trades of at least a size; return whether `text` is one. Empty: show all."""
        try:
            self.size = SizeFilter.of_text(text)
        except MalformedMessage:
            return False
        self._live.show_sizes(self.size)
        self.go_home()
        return True

    def follow(self) -> bool:
        """Take in new trades; return whether anything changed."""
        before = self._live.revision
        self._live.follow(self.tape)
        if not self.presets and self.tape is not None:
            self.presets = preset_sizes(self.tape)
            self._cost_places = cost_places(self.tape)
        return self._live.revision != before

    def go_home(self) -> None:
        """Show the newest rows, and follow them."""
        self._reading, self.picked = None, None
        self._is_asking, self._problem = False, ""

    def scroll(self, rows: int, lines: int) -> None:
        """Scroll by `rows` to older ones; negative: to newer ones."""
        reading = self._reading
        if reading is None:
            if rows <= 0 or self.frame is None:
                return
            reading = self._begin_reading()
        self._pages_read, self._problem = 0, ""
        reading.end -= rows
        if reading.end >= len(reading.rows):
            self._want_newer(reading)
        elif reading.end <= lines:
            self._want_older(reading, lines)
        _keep_in_view(reading, lines)
        is_newest = reading.end == len(reading.rows) and not self._is_asking
        if rows < 0 and is_newest and reading.newest_id >= self._live.newest_id:
            self.go_home()

    def pick(self, row: TapeRow) -> None:
        """Pick a row; from now on the rows stand still."""
        if self._reading is None:
            self._begin_reading()
        self.picked = row.first_id

    def pick_next(self, down: int, lines: int) -> TapeRow | None:
        """Pick the row `down` rows below the picked one, or the topmost; return it."""
        view = self.view(lines)
        places = [place for place, row in enumerate(view) if row.first_id == self.picked]
        if not places:
            wanted = 0
        else:
            wanted = places[0] + down
            if wanted < 0 or wanted >= lines:
                self.scroll(wanted if wanted < 0 else wanted - lines + 1, lines)
                view = self.view(lines)
                wanted = 0 if wanted < 0 else len(view) - 1
        if not 0 <= wanted < len(view):
            return None
        row = view[wanted]
        self.pick(row)
        return row

    @property
    def picked_row(self) -> TapeRow | None:
        """The picked row; None if there is none any more."""
        return next((row for row in self.rows if row.first_id == self.picked), None)

    def expand(self, row: TapeRow) -> None:
        """Show the trades that `row` sums up in rows of their own, where the tape has them."""
        tape = self.tape
        if not isinstance(row, Summed) or tape is None or (tape.oldest_id or 0) > row.first_id:
            return
        reading = self._reading or self._begin_reading()
        if row in reading.rows:
            count = row.last_id - row.first_id + 1
            rows = rows_of(tape.since(row.first_id - 1, count), tape.scale, tape)
            reading.replace(reading.rows.index(row), rows)

    def view(self, lines: int) -> list[TapeRow]:
        """Return the rows in view, the newest first."""
        rows = self.rows
        end = len(rows) if self._reading is None else self._reading.end
        return list(rows[max(0, end - lines) : end])[::-1]

    def scene(self, lines: int) -> TapeScene | None:
        """Return what is in view; None while a message is shown in its place."""
        if self.frame is None or self.message is not None:
            return None
        rows = self.view(lines)
        symbol, text = self.frame.symbol, self.frame.format
        return TapeScene(
            rows,
            TapeFormat(
                text, symbol, in_quote=self.in_quote, cost_places=self._cost_places, zone=self.zone
            ),
            self._large_from(),
            self.picked,
            self._end_text(rows, lines),
            self._place_text(rows),
            self._marked(),
        )

    def _marked(self) -> int | None:
        """Return the first id of the last row up to `marked_ms`; None: it is not held."""
        if self.marked_ms is None:
            return None
        rows = self.rows
        after = bisect_right(rows, self.marked_ms, key=lambda row: row.last_ms)
        # Of recorded rows the last one held need not be the last one up to then.
        is_last = self._reading is not None and after == len(rows)
        return None if after == 0 or is_last else rows[after - 1].first_id

    @property
    def message(self) -> Message | None:
        """The message in place of rows; None if there are some, or older ones may come."""
        frame = self.frame
        if frame is None or self.rows or not self.is_home:
            return None
        name, told = frame.symbol.symbol, message_of(frame)
        if frame.tape is None:
            return _without_tape(frame) if told is None else Message(told.title, "")
        if len(frame.tape):
            asset = frame.symbol.base
            title = f"No trade of at least {self.size.text} {asset} among the newest"
            return Message(title, f"{_SCROLL_ON}.")
        if frame.status.state is FeedState.RECONNECTING:
            return Message(f"Reconnecting to {name}", "Trades come as soon as the stream is back.")
        return Message(f"No trade of {name} yet", "The next one appears here.")

    def summary(self) -> str:
        """Return the newest trade and the place in words."""
        if self.frame is None:
            return ""
        if self.message is not None:
            return f"{self.message.title}. {self.message.detail}".strip()
        scene = self.scene(1)
        if scene is None or not scene.rows:
            return ""
        row = self.picked_row or scene.rows[0]
        word = "Picked" if self.picked_row else "Newest" if self.is_home else "Topmost"
        said = f"{word} trade: {self.describe(row)}".replace("\n", ", ")
        return ". ".join(filter(None, (said, scene.place_text)))

    def describe(self, row: TapeRow) -> str:
        """Return all that is known of a row, exact."""
        if self.frame is None:
            return ""
        text = TapeFormat(self.frame.format, self.frame.symbol, zone=self.zone).describe(row)
        large, usual = self._large_from(), self._usual[1]
        if usual and large and isinstance(row, Sweep) and row.quantity >= large:
            text += f"\n{row.quantity // usual:,} times the usual size"
        return text

    def _large_from(self) -> int | None:
        """Return from which size on a trade is marked: so many times the median one."""
        live = self._live
        if self._usual[0] != live.revision:
            sizes = sorted(row.quantity for row in live.rows[-_USUAL_OF:] if isinstance(row, Sweep))
            self._usual = live.revision, sizes[len(sizes) // 2] if sizes else None
        usual = self._usual[1]
        return usual * self.large_times if usual is not None and self.large_times else None

    def _begin_reading(self) -> Reading:
        market = "" if self.frame is None else self.frame.symbol.market
        live = self._live
        self._reading = Reading(market, live.rows, live.newest, self.size)
        return self._reading

    def _want_older(self, reading: Reading, lines: int) -> None:
        """Put older trades before the rows: those of the tape at once, others when they come."""
        tape = self.tape
        while tape is not None and reading.end <= lines:
            held = tape.before(reading.oldest_id, PAGE_TRADES)
            if not held:
                break
            reading.put_older(held, tape.scale, tape)
        if reading.end > lines or reading.is_at_start or self._is_asking or self.pages is None:
            return
        self._is_asking = True
        self._pages_read += 1
        self.pages.before(
            reading.market,
            reading.oldest_id,
            PAGE_TRADES,
            lambda page: self._take_older(reading, page, lines),
        )

    def _take_older(self, reading: Reading, page: TradePage, lines: int) -> None:
        if reading is not self._reading:
            return
        self._is_asking, self._problem = False, page.problem
        if not page.problem:
            tape = tape_of(reading.market, page.trades)
            reading.put_older(tape.since(-1), tape.scale, RecordedCauses(tape, page.gaps))
            if reading.end <= lines and self._pages_read < _PAGES_AT_ONCE:
                self._want_older(reading, lines)
        _keep_in_view(reading, lines)
        self._changed()

    def _want_newer(self, reading: Reading) -> None:
        tape = self.tape
        if tape is None or self._is_asking:
            return
        if (tape.oldest_id or 0) <= reading.newest_id + 1 or self.pages is None:
            reading.put_newer(tape.since(reading.newest_id, PAGE_TRADES), tape.scale, tape)
            return
        self._is_asking = True
        self.pages.after(
            reading.market,
            reading.newest_id,
            PAGE_TRADES,
            lambda page: self._take_newer(reading, page),
        )

    def _take_newer(self, reading: Reading, page: TradePage) -> None:
        if reading is not self._reading:
            return
        self._is_asking, self._problem = False, page.problem
        tape, held = self.tape, tape_of(reading.market, page.trades)
        if len(held):
            reading.put_newer(held.since(-1), held.scale, RecordedCauses(held, page.gaps))
        elif tape is not None and not page.problem:
            # What is not recorded may be on the tape.
            reading.put_newer(tape.since(reading.newest_id, PAGE_TRADES), tape.scale, tape)
        self._changed()

    def _end_text(self, rows: Sequence[TapeRow], lines: int) -> str:
        """Return what comes after the oldest row that is held, if there is room for it."""
        reading = self._reading
        if reading is None:
            # Only the newest trades were looked through for some of that size.
            return _SCROLL_ON if self.size.least and len(rows) < lines else ""
        if len(rows) >= lines or reading.end > lines:
            return ""
        if self._problem:
            return self._problem
        if self._is_asking:
            return "Reading older trades…"
        if reading.is_at_start or self.pages is None:
            return "No older trades are recorded"
        return _SCROLL_ON

    def _place_text(self, rows: Sequence[TapeRow]) -> str:
        reading = self._reading
        if reading is None:
            return ""
        newer = self._live.newest_id - (rows[0].last_id if rows else reading.newest_id)
        count = counted(newer, "newer trade") if newer > 0 else ""
        date = date_text(rows[0].last_ms, self.zone) if rows else ""
        return ", ".join(filter(None, (count, date)))


def _without_tape(frame: BookFrame) -> Message:
    """Return the message where the market's trades are not to be had."""
    name = frame.symbol.symbol
    if frame.status.state is FeedState.REPLAY:
        return Message(f"No trade of {name} is recorded", "The book was recorded alone.")
    detail = "The setting ORDERBOOK_TRADES, or the source that is shown, leaves them out."
    return Message(f"The trades of {name} are not followed", detail)


def _keep_in_view(reading: Reading, lines: int) -> None:
    """Scroll no farther than to the newest row, or to a line below the oldest one."""
    count = len(reading.rows)
    reading.end = max(min(reading.end, count), min(lines - 1, count))
