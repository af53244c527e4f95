"""Tiles are built while there is time for them, and only then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from msgspec import Struct

from orderbook_desktop.core.errors import KnownError
from orderbook_desktop.core.heatmap.pages import TileStatus
from orderbook_desktop.engine.settings import SpareTimes
from orderbook_desktop.engine.spare_time import SpareTimeTiles
from orderbook_desktop.system.tasks import ending

TIMES = SpareTimes(begin_s=0, least_rest_s=0.001, busy_s=0.001, again_s=0.001)


class Counts(Struct, frozen=True):
    done: int
    wanted: int
    market: str


class NoStore(KnownError):
    def __str__(self) -> str:
        return "The database is away."


class Steps:
    """A builder of `wanted` stretches, one by each step; it notes what it is asked to do."""

    def __init__(self, wanted: int) -> None:
        self.wanted, self.done, self.closed = wanted, 0, 0
        self.error: KnownError | None = None

    @property
    def progress(self) -> Counts:
        return Counts(self.done, self.wanted, "BTCUSDT")

    async def step(self) -> bool:
        if self.error is not None:
            raise self.error
        if self.done == self.wanted:
            return False
        self.done += 1
        return True

    async def close(self) -> None:
        self.closed += 1


class Program:
    """The rest of a program, which works as much as a test wants."""

    def __init__(self) -> None:
        self.is_busy = False
        self.share = 0.0
        self.steps = Steps(3)
        self.opened = 0
        self._at = self._worked = 0.0

    async def open(self) -> Steps:
        self.opened += 1
        return self.steps

    def now(self) -> float:
        self._at += 1
        self._worked += self.share
        return self._at

    def worked(self) -> float:
        return self._worked


@asynccontextmanager
async def building(program: Program, *, is_on: bool = True) -> AsyncIterator[SpareTimeTiles]:
    tiles = SpareTimeTiles(
        program.open,
        is_busy=lambda: program.is_busy,
        is_on=is_on,
        times=TIMES,
        now=program.now,
        worked=program.worked,
    )
    running = asyncio.create_task(tiles.run())
    async with ending(running):
        yield tiles


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.001)


async def test_steps_are_taken_until_all_is_built_and_looked_for_again() -> None:
    program = Program()
    async with building(program) as tiles:
        assert tiles.status.sentence == "It is not known yet which tiles are missing."
        await until(lambda: tiles.status.percent == 100)
        await until(lambda: not tiles.status.market)
        assert tiles.status.sentence == "All tiles are built."
        program.steps.wanted = 1_005
        await until(lambda: tiles.status.market == "BTCUSDT")
        assert tiles.status.sentence.endswith(
            " of 1,005 stretches have tiles; BTCUSDT is being built."
        )
        assert program.steps.closed == 0
    assert (program.opened, program.steps.closed) == (1, 1)


async def test_none_is_built_while_recording_or_painting_needs_the_time() -> None:
    program = Program()
    program.steps.wanted = 1_000_000
    async with building(program) as tiles:
        await until(lambda: program.steps.done > 0)
        program.is_busy = True
        await until(lambda: tiles.status.waits)
        done = program.steps.done
        await asyncio.sleep(0.02)
        assert program.steps.done == done
        assert "; recording and painting come first now." in tiles.status.sentence
        program.is_busy = False
        await until(lambda: program.steps.done > done)
        program.share = TIMES.busy_share + 0.1
        await until(lambda: tiles.status.waits)
        done = program.steps.done
        await asyncio.sleep(0.02)
        assert program.steps.done == done
        program.share = TIMES.busy_share - 0.1
        await until(lambda: program.steps.done > done and not tiles.status.waits)


async def test_a_person_pauses_it_and_what_was_being_built_is_given_up() -> None:
    program = Program()
    program.steps.wanted = 1_000_000
    async with building(program, is_on=False) as tiles:
        await asyncio.sleep(0.01)
        assert (program.opened, tiles.status) == (0, TileStatus(is_on=False))
        tiles.switch(wanted=True)
        await until(lambda: tiles.status.done > 0)
        tiles.switch(wanted=False)
        await until(lambda: program.steps.closed == 1)
        status, done = tiles.status, program.steps.done
        assert status == TileStatus(is_on=False, done=done, wanted=1_000_000)
        assert status.sentence == f"{done:,} of 1,000,000 stretches have tiles; no more are built."
        await asyncio.sleep(0.01)
        assert program.steps.done == done
        tiles.switch(wanted=True)
        await until(lambda: program.steps.done > done)
    assert (program.opened, program.steps.closed) == (2, 2)


async def test_a_failure_is_told_and_a_new_builder_tries_again() -> None:
    program = Program()
    program.steps.error = NoStore()
    async with building(program) as tiles:
        await until(lambda: program.opened > 2)
        assert tiles.status.sentence == "The database is away."
        tiles.switch(wanted=False)
        assert not tiles.status.problem
        tiles.switch(wanted=True)
        program.steps.error = None
        await until(lambda: tiles.status.percent == 100)
        assert not tiles.status.problem
        assert program.steps.closed == program.opened - 1
