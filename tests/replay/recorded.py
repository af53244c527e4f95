"""Recordings for the player's tests, and what is to be seen of them, from first principles."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import msgspec

from orderbook_desktop.core.book import Book
from orderbook_desktop.core.checkpoint import BookImage
from orderbook_desktop.core.events import DepthDiff, DepthSnapshot
from orderbook_desktop.core.replay_status import ReplayOrder
from orderbook_desktop.core.segments import GapCause
from orderbook_desktop.core.trades import Trade
from orderbook_desktop.replay.player import Player
from orderbook_desktop.storage.store.database import Database
from orderbook_desktop.storage.store.database_store import store_of
from orderbook_desktop.storage.store.recording_store import RecordingStore
from tests.core.reference_book import Pairs, pairs_of, shown
from tests.storage.recording_fixtures import Tape
from tests.storage.shelf import Shelf, Shelved

MARKET = "BTCUSDT"
SYMBOL = "BTC/USDT"
_MINUTE_NS = 60_000_000_000


class Wound:
    """A clock that the test winds."""

    def __init__(self) -> None:
        self.now_ns = 5_000_000_000

    def __call__(self) -> int:
        return self.now_ns


@dataclass
class Sight:
    """What is to be seen at one time: a book, or a gap."""

    update_id: int
    run: int
    index: int
    in_gap: bool = False


@dataclass
class Recorded:
    """A recording: its unbroken runs, each with its base and its events."""

    runs: list[Shelved] = field(default_factory=list)

    def dues(self, order: ReplayOrder) -> list[list[int]]:
        """When the base and the events of each run are due."""
        all_dues: list[list[int]] = []
        latest = 0
        for run in self.runs:
            begins_ns = latest
            dues = []
            for event in run.events:
                latest = max(latest, due_of(event, order))
                dues.append(latest)
            base_ns = run.base.event_ms * 1_000_000
            received_ns = run.base.received_ns
            first = base_ns or received_ns or run.events[0].event_ms * 1_000_000
            if order is ReplayOrder.RECEIVED and received_ns:
                first = received_ns
            all_dues.append([max(begins_ns, min(first, dues[0])), *dues])
        return all_dues

    def at(self, at_ns: int, order: ReplayOrder) -> Sight:
        """What is to be seen at a time."""
        dues = self.dues(order)
        number = max((n for n, run in enumerate(dues) if run[0] <= at_ns), default=0)
        place = max((at for at, due in enumerate(dues[number]) if due <= at_ns), default=0)
        run = self.runs[number]
        is_over = place == len(run.events) and at_ns > dues[number][-1]
        in_gap = is_over and number + 1 < len(self.runs)
        return Sight(self.id_at(number, place - 1), number, place - 1, in_gap)

    def id_at(self, run: int, index: int) -> int:
        """The update id after the event at an index; -1: of the base."""
        one = self.runs[run]
        return one.base.last_update_id if index < 0 else one.events[index].final_id

    def levels(self, sight: Sight) -> tuple[Pairs, Pairs]:
        """The book that is to be seen."""
        if sight.in_gap:
            return [], []
        return levels_of(self.runs[sight.run].book_after(sight.index))

    def random_ns(self, rng: random.Random, order: ReplayOrder) -> int:
        """A time by chance: often that of an event, or just beside it."""
        dues = self.dues(order)
        if rng.random() < 0.5:
            return rng.choice(rng.choice(dues)) + rng.choice([-1, 0, 0, 1])
        return rng.randint(dues[0][0] - 10**9, dues[-1][-1] + 10**9)


def due_of(event: DepthDiff | Trade, order: ReplayOrder) -> int:
    """When an event is due by its own times alone."""
    event_ns, received_ns = event.event_ms * 1_000_000, event.received_ns
    is_wrong = not received_ns or abs(received_ns - event_ns) > _MINUTE_NS
    return event_ns if order is ReplayOrder.EXCHANGE or is_wrong else received_ns


def levels_of(image: BookImage) -> tuple[Pairs, Pairs]:
    """The levels of a book."""
    scale = image.scale.price, image.scale.quantity
    return pairs_of(image.bids, *scale), pairs_of(image.asks, *scale)


def levels_in(book: Book) -> tuple[Pairs, Pairs]:
    """The levels of a book that is shown."""
    return shown(book)


def received_late(events: Sequence[DepthDiff], rng: random.Random) -> list[DepthDiff]:
    """The same events, received later by a time that varies; some by a wrong clock, or never."""
    late = []
    for event in events:
        received_ns = event.event_ms * 1_000_000 + rng.randint(3_000_000, 900_000_000)
        chance = rng.random()
        if chance < 0.02:
            received_ns = 0
        elif chance < 0.04:
            received_ns += rng.choice([-1, 1]) * 3_600_000_000_000
        late.append(msgspec.structs.replace(event, received_ns=received_ns))
    return late


async def record(
    database: Database,
    counts: Sequence[int],
    *,
    seed: int = 1,
    step_ms: int = 700,
    archived: float = 0.6,
    is_growing: bool = False,
) -> Recorded:
    """Store runs of so many events each, of which a share is archived."""
    rng, shelf, tape = random.Random(seed), Shelf(database), Tape(seed=seed, step_ms=step_ms)
    recorded = Recorded()
    for number, count in enumerate(counts):
        is_last = number == len(counts) - 1
        base = tape.snapshot()
        events = received_late(tape.diffs(count), rng)
        cause = None if is_last and is_growing else GapCause.DISCONNECT
        shelved = await shelf.put(_Standing(base, tape), events, cause)
        if int(count * archived):
            await shelf.archive(shelved, int(count * archived))
        recorded.runs.append(shelved)
        tape.diffs(5)
        tape.now_ms += 10_000
    return recorded


class _Standing(Tape):
    """A tape whose book stands still, for `Shelf.put`."""

    def __init__(self, snapshot: DepthSnapshot, tape: Tape) -> None:
        self.market = tape.market
        self._snapshot = snapshot

    def snapshot(self) -> DepthSnapshot:
        return self._snapshot


@asynccontextmanager
async def playing(
    place: Database | RecordingStore, at: int | None = None
) -> AsyncIterator[tuple[Player, Wound]]:
    """A player of the recording, and its clock."""
    clock = Wound()
    player = Player(store_of(place), MARKET, SYMBOL, now_ns=clock)
    try:
        await player.start(at)
        await player.idle()
        yield player, clock
    finally:
        await player.close()


async def ordered(player: Player, order: ReplayOrder) -> None:
    """Play in an order."""
    player.set_order(order)
    await player.idle()
