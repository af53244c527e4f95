"""Depth messages of captures, as the live feed would have received them."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct, field

from orderbook_desktop.core.errors import MalformedMessage
from orderbook_desktop.core.events import (
    DepthDiff,
    DepthSnapshot,
    TextLevels,
    answered,
    decode_diff,
    decode_snapshot,
)
from orderbook_desktop.core.received import (
    Broken,
    FileNotes,
    Received,
    Time,
    UnusableFile,
    in_order_of_time,
)
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.trades import Trade, decode_trade
from orderbook_desktop.formats.capture_lines import CaptureUnreadable, read_lines
from orderbook_desktop.formats.capture_messages import UNREADABLE, CaptureLine, short_reason
from orderbook_desktop.formats.single_trades import AGGREGATED, TRADE, SingleTrades

_LINES_SURVEYED: Final = 20_000
_PRICES_REMEMBERED: Final = 1_000
# Snapshots that do not name their market; each may be large.
_SNAPSHOTS_SURVEYED: Final = 20
_SLOW, _FAST = "@depth", "@depth@100ms"
_looks_like_line: Final = re.compile(rb"\d+(\.\d+)? +\{").match


class MarketSurvey(Struct):
    """What a capture shows of one market: streams, an update id, prices, and decimal places."""

    market: str
    streams: set[str] = field(default_factory=set)
    update_id: int = 0
    has_snapshot: bool = False
    price_places: int = 0
    quantity_places: int = 0
    prices: deque[str] = field(default_factory=lambda: deque(maxlen=_PRICES_REMEMBERED))

    @property
    def diff_streams(self) -> list[str]:
        """The streams of diffs that were recorded."""
        name = self.market.lower()
        return [stream for stream in (name + _SLOW, name + _FAST) if stream in self.streams]

    def also(self, stream: str) -> tuple[str, ...]:
        """Return the other name by which a diff stream is asked for, unless both were recorded."""
        name = self.market.lower()
        other = {name + _SLOW: name + _FAST, name + _FAST: name + _SLOW}.get(stream)
        return (other,) if other and other not in self.streams else ()

    def take(self, line: CaptureLine) -> None:
        """Learn from one line."""
        if line.snapshot:
            self.has_snapshot = True
            self._levels(line.snapshot.bids + line.snapshot.asks)
        self.update_id = line.update_id or self.update_id
        if line.stream:
            self.streams.add(line.stream)
        if line.diff:
            self._levels(line.diff.bids + line.diff.asks)

    def _levels(self, levels: TextLevels) -> None:
        self.prices.extend(price for price, _ in levels)
        for price, quantity in levels:
            self.price_places = max(self.price_places, _places(price))
            self.quantity_places = max(self.quantity_places, _places(quantity))


def survey_capture(path: Path) -> dict[str, MarketSurvey]:
    """Return the survey of each market in the first lines of the capture at `path`.

    Raises `CaptureUnreadable` where no line can be played. The player handles unreadable lines
    further down.
    """
    surveys: dict[str, MarketSurvey] = {}
    nameless: list[CaptureLine] = []
    malformed: CaptureLine | None = None
    for line in _readable(path):
        malformed = malformed or (line if line.malformed else None)
        if line.market and not line.broken:
            surveys.setdefault(line.market, MarketSurvey(line.market)).take(line)
        elif not line.broken and len(nameless) < _SNAPSHOTS_SURVEYED:
            nameless.append(line)
    if not any(survey.streams for survey in surveys.values()):
        if malformed is not None:
            raise CaptureUnreadable(path, malformed.malformed, malformed.number)
        raise CaptureUnreadable(path, "holds no message of a stream")
    for line in nameless:
        surveys[market_of(line, surveys)].take(line)
    return surveys


def market_of(line: CaptureLine, surveys: dict[str, MarketSurvey]) -> str:
    """Return the market of a snapshot that does not name it.

    It is the market that shares many more prices with the snapshot than any other. Without such a
    market it is the one whose update ids are nearest. `surveys` is not empty; each has the last
    known update id of its market.
    """
    if line.market or line.snapshot is None:
        return line.market
    snapshot = line.snapshot
    prices = {price for price, _ in snapshot.bids + snapshot.asks}
    common = {market: sum(map(prices.__contains__, of.prices)) for market, of in surveys.items()}
    likeliest, *others = sorted(surveys, key=common.__getitem__, reverse=True)
    if all(common[likeliest] > 2 * common[other] for other in others):
        return likeliest
    snapshot_id = snapshot.last_update_id
    return min(surveys.values(), key=lambda survey: abs(survey.update_id - snapshot_id)).market


def _readable(path: Path) -> Iterator[CaptureLine]:
    """Iterate over the first lines up to an unreadable one; the very first must be readable."""
    seen = 0
    with closing(read_lines(path)) as lines:
        try:
            for line in islice(lines, _LINES_SURVEYED):
                seen += 1
                yield line
        except CaptureUnreadable:
            if not seen:
                raise


def _places(text: str) -> int:
    return len(text.partition(".")[2].rstrip("0"))


def is_captured(line: bytes) -> bool:
    """Whether a file that begins with `line` is a capture."""
    return _looks_like_line(line) is not None


class _Single(Struct, frozen=True):
    """An event of a single trade, which may be a part of an aggregated one."""

    path: Path
    line: CaptureLine


def captured_messages(
    paths: Sequence[Path], notes: FileNotes | None = None
) -> Iterator[Received | Broken]:
    """Iterate over diffs, snapshots and trades of the captures at `paths`, in the order of time.

    Where a market's diffs were collected at two speeds, the faster ones are taken. No file may
    have only the slower ones, as a time would be missing. A snapshot that does not name its market
    is that of the market with the nearest update ids. Where a market's aggregated trades were not
    collected, they are made of its single ones. `notes` gets the lines and streams that are left
    out, and the places where a file is broken. Raises `UnusableFile` with the number of the line.
    """
    notes = FileNotes() if notes is None else notes
    surveys: dict[str, MarketSurvey] = {}
    for path in paths:
        _survey(path, surveys)
    choice = _Choice(surveys)
    singles: dict[str, SingleTrades] = {}
    for item in in_order_of_time(_messages(path, surveys, choice, notes) for path in paths):
        if not isinstance(item, _Single):
            yield item
            continue
        line = item.line
        trades = singles.setdefault(line.market, SingleTrades(line.market))
        try:
            for trade in trades.take(line.payload, line.recv_ns):
                yield Received(trade.received_ns, trade, is_made=True)
        except UNREADABLE as error:
            notes.leave_out(item.path, line.number, _unreadable_trade(line, error))
    for market, trades in singles.items():
        for trade in trades.end():
            yield Received(trade.received_ns, trade, is_made=True)
        notes.single_trades[market] = trades.count


class _Choice:
    """Which streams of each market are taken: of diffs the faster ones, of trades aggregated ones.

    `surveys` are of the first lines of all files. A stream that appears only later is taken if
    there is no other one of its kind.
    """

    def __init__(self, surveys: Mapping[str, MarketSurvey]) -> None:
        self._diffs = {
            market: survey.diff_streams[-1]
            for market, survey in surveys.items()
            if survey.diff_streams
        }
        self._trades: dict[str, str] = {}
        for market, survey in surveys.items():
            for kind in (AGGREGATED, TRADE):
                if f"{market.lower()}@{kind}" in survey.streams:
                    self._trades.setdefault(market, kind)

    def has(self, line: CaptureLine) -> bool:
        """Whether the stream of `line`, which is of diffs or trades, is taken."""
        if line.diff is not None:
            return self._diffs.setdefault(line.market, line.stream) == line.stream
        return self._trades.setdefault(line.market, _kind(line)) == _kind(line)


def _survey(path: Path, surveys: dict[str, MarketSurvey]) -> None:
    """Learn from the first lines of a file."""
    for line in islice(_lines(path, FileNotes()), _LINES_SURVEYED):
        if line.market and not line.broken:
            surveys.setdefault(line.market, MarketSurvey(line.market)).take(line)


def _lines(path: Path, notes: FileNotes) -> Iterator[CaptureLine]:
    with closing(read_lines(path, notes)) as lines:
        try:
            yield from lines
        except CaptureUnreadable as error:
            raise UnusableFile(path, error.reason, error.line) from error


def _messages(
    path: Path, surveys: dict[str, MarketSurvey], choice: _Choice, notes: FileNotes
) -> Iterator[tuple[Time, Received | Broken | _Single]]:
    """Iterate over the messages of one file, and keep the surveys up to date."""
    taken: set[str] = set()
    passed_over: dict[str, int] = {}
    malformed: CaptureLine | None = None
    for line in _lines(path, notes):
        if line.broken:
            malformed = malformed or (line if line.malformed else None)
            yield (line.recv_ns,), _broken(line, taken)
            continue
        survey = surveys.get(line.market)
        if survey is not None and line.update_id:
            survey.update_id = line.update_id
        is_taken = line.snapshot is not None or (
            (line.diff is not None or _kind(line) in (TRADE, AGGREGATED)) and choice.has(line)
        )
        if line.diff is not None and is_taken:
            taken.add(line.market)
        elif line.diff is not None:
            passed_over.setdefault(line.market, line.number)
        if not is_taken:
            notes.leave_out_of_stream(path, _kind(line))
        elif _kind(line) == TRADE:
            yield (line.recv_ns,), _Single(path, line)
        elif (received := _received(path, line, surveys, notes)) is not None:
            yield (line.recv_ns,), received
    for market, number in passed_over.items():
        if market not in taken:
            reason = f"has {market} only at a slower speed than another file; import it by itself"
            raise UnusableFile(path, reason, number)
    if malformed is not None and not taken:
        raise UnusableFile(path, malformed.malformed, malformed.number)


def _kind(line: CaptureLine) -> str:
    """Return what a line's stream is of, such as `depth@100ms`; empty if it has no stream."""
    return line.stream.partition("@")[2]


def _broken(line: CaptureLine, taken: set[str]) -> Broken:
    """Return what is missing where a line can't be read; `taken` are the markets of its file."""
    if line.malformed:
        markets = frozenset({line.market})
        return Broken(line.recv_ns, markets, line.broken, GapCause.MALFORMED)
    return Broken(line.recv_ns, frozenset(taken), line.broken)


def _received(
    path: Path, line: CaptureLine, surveys: dict[str, MarketSurvey], notes: FileNotes
) -> Received | None:
    """Return the message of `line`; None if it is a snapshot of no market, or no trade."""
    message: DepthDiff | DepthSnapshot | Trade
    try:
        if line.snapshot is not None:
            if not surveys:
                return None
            market = market_of(line, surveys)
            snapshot = decode_snapshot(line.payload, market, received_ns=line.recv_ns)
            message = answered(snapshot)
        elif line.diff is not None:
            message = decode_diff(line.payload, line.recv_ns)
        else:
            message = _trade(line)
    except MalformedMessage as error:
        if line.diff is None and line.snapshot is None:
            # It is missing, and the ids say so.
            notes.leave_out(path, line.number, _unreadable_trade(line, error))
            return None
        reason = f"is not a message of the exchange ({error.reason})"
        raise UnusableFile(path, reason, line.number) from error
    return Received(line.recv_ns, message)


def _trade(line: CaptureLine) -> Trade:
    """Return an aggregated trade, with its market as the exchange spells it."""
    trade = decode_trade(line.payload, line.recv_ns)
    if trade.market == line.market:
        return trade
    fields = msgspec.json.decode(line.payload, type=dict[str, msgspec.Raw])
    market = msgspec.Raw(msgspec.json.encode(line.market))
    return decode_trade(msgspec.json.encode({**fields, "s": market}), line.recv_ns)


def _unreadable_trade(line: CaptureLine, error: Exception) -> str:
    return f"is a trade of {line.market} that can't be read ({short_reason(error)})"
