"""What was traded at the ladder's rows, without Qt: since when it counts, and its texts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo
from typing import Final, NamedTuple, Self

from orderbook_desktop.core.desk import TradePage, TradePages
from orderbook_desktop.core.known_depth import AT_LEAST
from orderbook_desktop.core.ladder import Ladder, Side
from orderbook_desktop.core.number_format import (
    ColumnFormat,
    MarketFormat,
    column_format,
    exact_text,
)
from orderbook_desktop.core.status import FeedState
from orderbook_desktop.core.tape import tape_of
from orderbook_desktop.core.time_text import clock_text, date_text
from orderbook_desktop.core.traded_volume import Period, Traded, TradedVolume
from orderbook_desktop.core.units import INT64_MAX
from orderbook_desktop.gui.panes.axes import scale_top
from orderbook_desktop.gui.panes.book_frame import BookFrame
from orderbook_desktop.gui.panes.ladder.position import Row

# Such a page is read and counted within a frame.
_PAGE_TRADES: Final = 500
# After a failure the recording is asked again so much later, by the exchange's clock.
_AGAIN_MS: Final = 5_000


class VolumeTexts(NamedTuple):
    """What was bought and sold at a row, as texts, and the lengths of its bars as shares of 1."""

    bought: str = ""
    sold: str = ""
    bought_share: float = 0.0
    sold_share: float = 0.0


class _Seen(NamedTuple):
    """A market as it is seen: live, or in a replay."""

    market: str
    is_replay: bool

    @classmethod
    def of(cls, frame: BookFrame) -> Self:
        """Return how the market of `frame` is seen."""
        return cls(frame.symbol.market, frame.status.state is FeedState.REPLAY)


class LadderVolume:
    """Counts what is traded at each price of the market on screen, in a chosen period.

    Call `follow` with each frame while the columns are shown. Trades of the period that came
    before the tape are read from pages. As long as some are missing, what is shown is a lower
    bound. `in_quote` is whether it is what that cost.
    """

    def __init__(self, period: Period, *, in_quote: bool) -> None:
        self._pages: TradePages | None = None
        self.in_quote = in_quote
        self.zone: tzinfo | None = None
        self._period = period
        self._frame: BookFrame | None = None
        # By market, live and in a replay, when it was first seen, and when all was cleared last.
        self._first_ms: dict[_Seen, int] = {}
        self._cleared_ms: dict[_Seen, int] = {}
        self._volume: TradedVolume | None = None
        self._begun: tuple[object, ...] | None = None
        self._from_ms = 0
        # The oldest trade that was counted or looked at, and since when all are known.
        self._oldest_id = 0
        self._known_from_ms = 0
        self._is_asking = False
        self._ask_from_ms = 0
        self._format: ColumnFormat | None = None
        self._top = 1.0

    @property
    def period(self) -> Period:
        """Of what time trades count."""
        return self._period

    @period.setter
    def period(self, period: Period) -> None:
        self._period = period
        self._begun = None

    def set_pages(self, pages: TradePages | None) -> None:
        """Read older trades from `pages` from now on: another replay begins, or none is played."""
        self._pages = pages
        self.forget()
        for times in (self._first_ms, self._cleared_ms):
            for seen in [seen for seen in times if seen.is_replay]:
                del times[seen]

    def forget(self) -> None:
        """Count nothing until the next frame."""
        self._begun = self._volume = self._frame = None

    def reset(self) -> None:
        """Count only what is traded from now on."""
        if self._frame is not None:
            self._cleared_ms[_Seen.of(self._frame)] = _now_ms(self._frame) + 1
            self._begun = None

    def clear(self, ladder: Ladder, side: Side) -> None:
        """Forget what was traded above the mid (`Side.ASK`), or below it."""
        volume, twice_mid = self._volume, ladder.twice_mid
        if volume is None or twice_mid is None:
            return
        middle = twice_mid * self._finer(volume, ladder) // 2
        if side is Side.ASK:
            volume.clear(low=middle)
        else:
            volume.clear(high=middle + 1)

    def follow(self, frame: BookFrame) -> None:
        """Count the trades that have come."""
        self._frame = frame
        tape = frame.tape
        if tape is None:
            self.forget()
            return
        seen, now_ms = _Seen.of(frame), _now_ms(frame)
        if seen.is_replay and now_ms < self._first_ms.get(seen, now_ms):
            # The clock of the replay went back.
            del self._first_ms[seen]
            self._cleared_ms.pop(seen, None)
        from_ms = self._period.from_ms(now_ms, self._first_ms.setdefault(seen, now_ms))
        begun = seen, tape, self._period, from_ms if self._period.is_session else 0
        from_ms = max(from_ms, self._cleared_ms.get(seen, 0))
        self._from_ms, volume = from_ms, self._volume
        if begun != self._begun or volume is None:
            volume = self._begin(frame, begun, now_ms)
        volume.refine(frame.format.scale)
        if not volume.follow(tape, from_ms):
            # The window was hidden for long; the recording has what the tape holds no more.
            self._begin(frame, begun, now_ms).follow(tape, from_ms)
        self._look_back(frame, now_ms)

    def texts(self, rows: Sequence[Row], ladder: Ladder, step: int) -> list[VolumeTexts]:
        """Return what to show of `rows`, which are of groups of `step` unless they are single."""
        volume, frame = self._volume, self._frame
        if volume is None or frame is None:
            return [VolumeTexts()] * len(rows)
        traded = [self._sizes(self._traded(row, ladder, step, volume)) for row in rows]
        largest = max((max(pair) for pair in traded), default=0)
        self._top = scale_top(largest, self._top)
        exponent = volume.scale.notional if self.in_quote else volume.scale.quantity
        places = 2 if self.in_quote else min(frame.format.quantity_places, exponent)
        held = self._format if self._format and self._format.exponent == exponent else None
        self._format = written = column_format(round(self._top), exponent, places, held)
        least = "" if self.is_whole else AT_LEAST
        return [
            VolumeTexts(
                least + written.text(bought) if bought else "",
                least + written.text(sold) if sold else "",
                min(1.0, bought / self._top),
                min(1.0, sold / self._top),
            )
            for bought, sold in traded
        ]

    def headings(self, asset: str) -> tuple[str, str]:
        """Return the headings of both columns, with their unit; `asset` may be empty."""
        if self._format is None:
            unit = f", {asset}" if asset else ""
            return f"Bought{unit}", f"Sold{unit}"
        return self._format.heading("Bought", asset), self._format.heading("Sold", asset)

    def describe(self, row: Row, ladder: Ladder, step: int) -> str:
        """Return what was traded at a row, exact, and since when."""
        volume, frame = self._volume, self._frame
        if volume is None or frame is None:
            return ""
        traded = self._traded(row, ladder, step, volume)
        asset = frame.symbol.quote if self.in_quote else frame.symbol.base
        bought, sold = (self._exact(size, volume, frame.format) for size in self._sizes(traded))
        least = "" if self.is_whole else "at least "
        return f"Bought {least}{bought} {asset}, sold {least}{sold} {asset}, {self.since_text}"

    @property
    def is_whole(self) -> bool:
        """Whether all trades of the period are counted."""
        volume = self._volume
        return volume is not None and not volume.has_holes and self._is_known_back

    @property
    def since_text(self) -> str:
        """Since when the volume is counted: `since 12:00:00.000`, with the date if it is older."""
        from_ms, now_ms = self._from_ms, _now_ms(self._frame) if self._frame is not None else 0
        if not self._is_known_back:
            from_ms = self._known_from_ms
        day = date_text(from_ms, self.zone)
        is_today = day == date_text(now_ms, self.zone)
        return f"since {clock_text(from_ms, self.zone)}" + ("" if is_today else f", {day}")

    @property
    def _is_known_back(self) -> bool:
        return self._known_from_ms <= self._from_ms

    def _begin(self, frame: BookFrame, begun: tuple[object, ...], now_ms: int) -> TradedVolume:
        tape = frame.tape
        self._begun, self._is_asking, self._ask_from_ms = begun, False, 0
        slides = self._period.minutes > 0
        self._volume = volume = TradedVolume(frame.format.scale, slides=slides)
        self._format, self._top = None, 1.0
        first = tape.since(-1, 1) if tape is not None else []
        # A tape without trades is followed from now on.
        self._known_from_ms = first[0].event_ms if first else now_ms
        self._oldest_id = first[0].trade_id if first else INT64_MAX
        return volume

    def _look_back(self, frame: BookFrame, now_ms: int) -> None:
        """Read a page of older trades of the period, if one is needed and none is being read."""
        pages = self._pages
        if self._is_known_back or self._is_asking or pages is None or now_ms < self._ask_from_ms:
            return
        self._is_asking, begun = True, self._begun
        pages.before(
            frame.symbol.market,
            self._oldest_id,
            _PAGE_TRADES,
            lambda page: self._take_page(page, begun, now_ms),
        )

    def _take_page(self, page: TradePage, begun: tuple[object, ...] | None, asked_ms: int) -> None:
        volume = self._volume
        if begun is not self._begun or volume is None or self._frame is None:
            return
        self._is_asking = False
        if page.problem or not page.trades:
            # A repair, or an import, may bring more.
            self._ask_from_ms = asked_ms + _AGAIN_MS
            return
        tape = tape_of(self._frame.symbol.market, page.trades)
        volume.take(tape.since(-1), tape.scale, self._from_ms)
        first = page.trades[0]
        self._oldest_id, self._known_from_ms = first.trade_id, first.event_ms

    def _traded(self, row: Row, ladder: Ladder, step: int, volume: TradedVolume) -> Traded:
        finer, twice_mid = self._finer(volume, ladder), ladder.twice_mid
        price = row.price * finer
        if row.side is not None and _is_single(row, ladder, row.side):
            return volume.at_price(price)
        is_ask = row.side is Side.ASK
        if row.side is None:
            is_ask = twice_mid is not None and 2 * row.price > twice_mid
        middle = None if twice_mid is None else twice_mid * finer
        return volume.at(price, step * finer, middle, is_ask=is_ask)

    def _finer(self, volume: TradedVolume, ladder: Ladder) -> int:
        """Return how many of the volume's price units are one of the ladder's."""
        return int(10 ** (volume.scale.price - ladder.scale.price))

    def _sizes(self, traded: Traded) -> tuple[int, int]:
        if self.in_quote:
            return traded.bought_cost, traded.sold_cost
        return traded.bought, traded.sold

    def _exact(self, size: int, volume: TradedVolume, market: MarketFormat) -> str:
        if self.in_quote:
            return exact_text(size, volume.scale.notional, 2)
        return exact_text(size, volume.scale.quantity, market.quantity_places)


def _now_ms(frame: BookFrame) -> int:
    """Return the exchange's time."""
    newest = frame.tape.newest(1) if frame.tape is not None else []
    return max(frame.event_ms, newest[0].event_ms if newest else 0)


def _is_single(row: Row, ladder: Ladder, side: Side) -> bool:
    """Return whether the row is of a single level beyond what is known."""
    levels = ladder.side(side)
    if levels.single >= len(levels.prices):
        return False
    first = int(levels.prices[levels.single])
    return row.price >= first if side is Side.ASK else row.price <= first
